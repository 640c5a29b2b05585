// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Passwords: what people show instead of a key. Only their argon2id hashes are kept, each of which takes
//! 19 MiB and some ten milliseconds to compute, so that a stolen database does not give them away.

use std::ops::RangeInclusive;
use std::sync::Arc;

use argon2::password_hash::Error as HashError;
use argon2::{ARGON2ID_IDENT, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use rusqlite::Transaction;
use tokio::sync::Semaphore;

use super::accounts::{self, Name};
use super::token;
use crate::app::App;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Bytes of a password.
const LENGTHS: RangeInclusive<usize> = 8..=1024;
/// Hashes that are computed at the same time; the others wait.
const AT_ONCE: usize = 2;
/// The hash of no password, with today's parameters: it is compared where there is none to compare with.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5cyBwYXNzd29yZA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Computes the hashes of passwords, a few at a time, so that whoever sends many passwords gets no more of
/// this machine than that.
#[derive(Debug)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    #[cfg(test)]
    compared: Arc<std::sync::atomic::AtomicUsize>,
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The password is the one that the hash was made of.
    pub matches: bool,
    /// The hash was made with other parameters than today's.
    pub outdated: bool,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            #[cfg(test)]
            compared: Arc::default(),
        }
    }
}

impl Passwords {
    /// The hash of a password, as a PHC string.
    ///
    /// # Errors
    /// When the machine has no memory or no random numbers.
    pub async fn hash(&self, password: Secret) -> Result<String> {
        self.in_turn(move || {
            let salt = token::random::<16>()?;
            let hash = Argon2::default().hash_password_with_salt(password.expose().as_bytes(), &salt)?;
            Ok(hash.to_string())
        })
        .await
    }

    /// The hash of the password that somebody chose for a new account, if they chose one.
    ///
    /// # Errors
    /// Those of [`check`] about `password`, and of [`hash`](Self::hash).
    pub async fn chosen(&self, password: Option<Secret>) -> Result<Option<String>> {
        let Some(password) = password else { return Ok(None) };
        check("password", &password)?;
        self.hash(password).await.map(Some)
    }

    /// Whether `given` is the password of the hash `stored`. Without a hash the answer is no, and costs as
    /// much, so that nobody learns from the time which names are known.
    ///
    /// # Errors
    /// When `stored` is no hash, or the machine has no memory.
    pub async fn verify(&self, stored: Option<String>, given: Secret) -> Result<Verdict> {
        #[cfg(test)]
        let compared = Arc::clone(&self.compared);
        self.in_turn(move || {
            let hash = PasswordHash::new(stored.as_deref().unwrap_or(NOBODYS))?;
            #[cfg(test)]
            compared.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let matches = match Argon2::default().verify_password(given.expose().as_bytes(), &hash) {
                Ok(()) => stored.is_some(),
                Err(HashError::PasswordInvalid) => false,
                Err(error) => return Err(error.into()),
            };
            Ok(Verdict { matches, outdated: is_outdated(&hash)? })
        })
        .await
    }

    /// Does `work` on a thread that may take its time, when it is its turn.
    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(anyhow::Error::from)?;
        // The turn ends with the work, not with the request, which may be gone before.
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        Ok(done.await.map_err(anyhow::Error::from)??)
    }
}

fn is_outdated(hash: &PasswordHash) -> anyhow::Result<bool> {
    let (used, today) = (Params::try_from(hash)?, Params::default());
    let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
    let version = Some(u32::from(Version::default()));
    Ok(hash.algorithm != ARGON2ID_IDENT || hash.version != version || costs(&used) != costs(&today))
}

/// Refuses a password of fewer than 8 or more than 1024 bytes as the value of the parameter `param`.
///
/// # Errors
/// [`Error::Invalid`] about `param`.
pub fn check(param: &str, password: &Secret) -> Result<()> {
    if LENGTHS.contains(&password.expose().len()) {
        return Ok(());
    }
    let (least, most) = (LENGTHS.start(), LENGTHS.end());
    Err(Error::invalid(param, format!("must have {least} to {most} bytes")))
}

/// A login by name and password: counts the attempt against the name, and if the password is right, runs `then`
/// with the account's number.
///
/// `then` runs in a transaction in which the password still is the one that was proved, so that a login that
/// a change of the password overtakes does not outlive that change.
///
/// # Errors
/// [`Error::TooOften`]; [`Error::Unauthorized`], the same whether the account is unknown, disabled, without a
/// password, or has another; those of `then`.
pub async fn login<T: Send + 'static>(
    app: &App,
    name: &str,
    password: Secret,
    then: impl FnOnce(&Transaction<'_>, i64) -> Result<T> + Send + 'static,
) -> Result<T> {
    let name = folded(name);
    app.rates.login_to(&name)?;
    prove(&app.database, &app.passwords, name, password, then).await
}

/// The form in which an account's name is looked up. What can be no name becomes one that no account has,
/// and goes the same way as the others.
fn folded(name: &str) -> String {
    Name::try_from(name.to_owned()).map_or_else(|_| String::new(), |name| name.folded())
}

async fn prove<T: Send + 'static>(
    database: &Database,
    passwords: &Passwords,
    name: String,
    password: Secret,
    then: impl FnOnce(&Transaction<'_>, i64) -> Result<T> + Send + 'static,
) -> Result<T> {
    let wrong = || Error::Unauthorized("the name or the password is wrong");
    let asked = name.clone();
    let found = database.read(move |connection| accounts::for_login(connection, &asked)).await?;
    let stored = found.as_ref().map(|(_, stored)| stored.clone());
    let verdict = passwords.verify(stored, password.clone()).await?;
    let Some((account, stored)) = found.filter(|_| verdict.matches) else {
        return Err(wrong());
    };
    let renewed = if verdict.outdated { Some(passwords.hash(password).await?) } else { None };
    let act = move |transaction: &Transaction<'_>| {
        if accounts::for_login(transaction, &name)?.is_none_or(|now| now != (account, stored.clone())) {
            return Err(wrong());
        }
        if let Some(renewed) = renewed {
            accounts::renew_password_hash(transaction, account, &stored, &renewed)?;
        }
        then(transaction, account)
    };
    database.write(act).await
}

#[cfg(test)]
mod tests;
