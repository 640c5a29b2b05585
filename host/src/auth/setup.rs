// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The first administrator. Whoever reads the daemon's terminal gets the right to become it, as a token that
//! works once and for half an hour.
//!
//! That a server is set up is written down for ever: one that lost its accounts does not open up again.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tracing::warn;

use super::accounts::{self, Name};
use super::audit::{self, Author};
use super::keys::{self, NewKey};
use super::token::{self, Hash, Kind};
use super::{Actor, Role};
use crate::app::App;
use crate::clock::{Clock, Timestamp};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Seconds for which a setup token works.
const LIFE: i64 = 30 * 60;
/// Requests a minute of an administrator's first key.
const RATE_LIMIT: u32 = 1000;
/// The name of that key, which the Python ALICE gives it too.
const KEY_NAME: &str = "Initial Admin Key";

/// An administrator that was just made.
#[derive(Debug)]
pub struct Administrator {
    /// The account's number.
    pub account: i64,
    /// Its key, if one was asked for.
    pub key: Option<NewKey>,
}

/// Whether the first administrator has been made, at any time.
///
/// # Errors
/// When the database fails.
pub fn is_done(connection: &Connection) -> Result<bool> {
    Ok(connection.prepare_cached("SELECT 1 FROM settings WHERE name = 'set_up_at'")?.exists([])?)
}

/// Writes down that there is an administrator.
///
/// # Errors
/// When the database fails.
pub fn finish(transaction: &Transaction<'_>, now: Timestamp) -> Result<()> {
    let sql = "INSERT INTO settings (name, value) VALUES ('set_up_at', ?1) ON CONFLICT DO NOTHING";
    transaction.execute(sql, [now])?;
    transaction.execute("DELETE FROM setup_token", [])?;
    Ok(())
}

/// A new setup token, which replaces the one before; `None` on a server that is set up.
///
/// # Errors
/// When the database fails.
pub async fn offer(database: &Database, clock: &Clock) -> Result<Option<Secret>> {
    let ends = clock.now().saturating_add(LIFE);
    let act = move |transaction: &Transaction<'_>| {
        if is_done(transaction)? {
            return Ok(None);
        }
        let token = token::mint(Kind::Setup)?;
        let sql = "INSERT OR REPLACE INTO setup_token (only, hash, expires_at) VALUES (1, ?1, ?2)";
        transaction.execute(sql, params![Hash::of(token.expose()), ends])?;
        Ok(Some(token))
    };
    database.write(act).await
}

/// Prints a new setup token for whoever started the daemon, which listens at `address`; nothing on a server
/// that is set up.
///
/// It goes to standard error and not to the log, which may be turned down, and is kept and sent elsewhere.
///
/// # Errors
/// When the database fails.
pub async fn announce(app: &App, address: SocketAddr) -> Result<()> {
    let Some(token) = offer(&app.database, &app.clock).await? else {
        return Ok(());
    };
    let printed = writeln!(
        std::io::stderr(),
        "This server has no administrator yet. To become it, open http://{}/setup within {} minutes and \
         enter this token:\n\n    {}\n",
        reachable(address),
        LIFE / 60,
        token.expose(),
    );
    if let Err(error) = printed {
        warn!(%error, "The setup token cannot be printed; `alice admin create` makes an administrator too");
    }
    Ok(())
}

/// `address` as a browser on this machine can open it.
fn reachable(address: SocketAddr) -> SocketAddr {
    let host = match address.ip() {
        IpAddr::V4(host) if host.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(host) if host.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        host => host,
    };
    SocketAddr::new(host, address.port())
}

/// Makes the first administrator for whoever has the setup token.
///
/// # Errors
/// [`Error::Forbidden`] on a server that is set up, or for a token that is wrong or has
/// expired; [`Error::Invalid`] about `password` when it cannot be used, or when it is missing and no key is
/// asked for; [`Error::Conflict`] when the name is taken.
pub async fn create_administrator(
    app: &App,
    actor: &Actor,
    token: &Secret,
    name: Name,
    password: Option<Secret>,
    with_key: bool,
) -> Result<Administrator> {
    if app.is_set_up() {
        return Err(set_up_already());
    }
    let password = app.passwords.chosen(password).await?;
    let (author, token, clock) = (Author::from(actor), token.clone(), app.clock.clone());
    let act = move |transaction: &Transaction<'_>| {
        redeem(transaction, &token, &clock)?;
        let now = clock.now();
        let administrator = make_administrator(transaction, &name, password.as_deref(), with_key, now)?;
        audit::note(transaction, &author, "setup", name.as_str(), now)?;
        Ok(administrator)
    };
    let administrator = app.database.write(act).await?;
    app.note_set_up();
    Ok(administrator)
}

/// Uses up the setup token.
fn redeem(transaction: &Transaction<'_>, token: &Secret, clock: &Clock) -> Result<()> {
    if is_done(transaction)? {
        return Err(set_up_already());
    }
    let sql = "DELETE FROM setup_token WHERE hash = ?1 RETURNING expires_at";
    let ends = transaction.query_row(sql, [Hash::of(token.expose().trim())], |row| row.get(0)).optional()?;
    match ends {
        Some(ends) if !clock.passed(ends) => Ok(()),
        _ => Err(Error::Forbidden("the setup token is wrong or has expired; a restart prints a new one")),
    }
}

fn set_up_already() -> Error {
    Error::Forbidden("this server is set up already")
}

/// Makes an administrator, by whose account the server counts as set up. `password` is a hash.
///
/// # Errors
/// [`Error::Conflict`] when the name is taken; [`Error::Invalid`] when it would have neither password nor key.
pub fn make_administrator(
    transaction: &Transaction<'_>,
    name: &Name,
    password: Option<&str>,
    with_key: bool,
    now: Timestamp,
) -> Result<Administrator> {
    if password.is_none() && !with_key {
        return Err(Error::invalid("password", "is needed where no key is asked for"));
    }
    let account = accounts::create(transaction, name, Role::Admin, password, now)?;
    let key = if with_key {
        let key_name = Name::parse("name", KEY_NAME)?;
        Some(keys::create(transaction, account, &key_name, Role::Admin, RATE_LIMIT, now)?)
    } else {
        None
    };
    finish(transaction, now)?;
    Ok(Administrator { account, key })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    /// What remains of a claim without the hash of a password.
    async fn claim(database: &Database, clock: &Clock, token: &Secret, name: &str) -> Result<Administrator> {
        let (token, clock, name) = (token.clone(), clock.clone(), Name::parse("name", name)?);
        database
            .write(move |transaction| {
                redeem(transaction, &token, &clock)?;
                make_administrator(transaction, &name, None, true, clock.now())
            })
            .await
    }

    async fn administrators(database: &Database) -> usize {
        let all = database.read(accounts::all).await.unwrap();
        all.iter().filter(|account| account.role == Role::Admin).count()
    }

    fn is_refused(claimed: &Result<Administrator>, why: &str) -> bool {
        matches!(claimed, Err(Error::Forbidden(text)) if text.contains(why))
    }

    #[tokio::test]
    async fn of_64_claims_of_one_token_exactly_one_is_admitted() {
        let (_directory, database) = testing::database();
        let clock = Clock::standing(1000);
        let token = offer(&database, &clock).await.unwrap().unwrap();
        let claims = (0..64).map(|number| {
            let (database, clock, token) = (database.clone(), clock.clone(), token.clone());
            tokio::spawn(async move { claim(&database, &clock, &token, &format!("admin {number}")).await })
        });
        let mut admitted = Vec::new();
        for claim in claims.collect::<Vec<_>>() {
            match claim.await.unwrap() {
                Ok(administrator) => admitted.push(administrator),
                refused => assert!(is_refused(&refused, "set up already"), "{refused:?}"),
            }
        }
        assert_eq!((admitted.len(), administrators(&database).await), (1, 1));
        let secret = admitted.pop().unwrap().key.unwrap().secret;
        let caller =
            database.read(move |connection| keys::holder(connection, secret.expose())).await.unwrap();
        assert_eq!(caller.unwrap().role, Role::Admin);
        assert!(database.read(is_done).await.unwrap());
        assert!(offer(&database, &clock).await.unwrap().is_none(), "no second administrator this way");
    }

    #[tokio::test]
    async fn a_token_works_for_half_an_hour_unless_the_clock_goes_back() {
        let (_directory, database) = testing::database();
        let clock = Clock::standing(100_000);
        let token = offer(&database, &clock).await.unwrap().unwrap();
        clock.turn(100_000 + LIFE);
        assert!(is_refused(&claim(&database, &clock, &token, "late").await, "expired"));
        clock.turn(100_000 - 1000);
        assert!(is_refused(&claim(&database, &clock, &token, "early").await, "expired"));
        clock.turn(100_000 + LIFE - 1);
        let padded = Secret::from(format!(" {}\n", token.expose()));
        claim(&database, &clock, &padded, "in time").await.unwrap();
        assert_eq!(administrators(&database).await, 1);
    }

    #[tokio::test]
    async fn only_the_latest_token_works_and_a_failed_claim_does_not_use_it_up() {
        let (_directory, database) = testing::database();
        let clock = Clock::standing(1000);
        let old = offer(&database, &clock).await.unwrap().unwrap();
        let new = offer(&database, &clock).await.unwrap().unwrap();
        for wrong in [old, Secret::default(), Secret::from("alice_setup_guess")] {
            assert!(is_refused(&claim(&database, &clock, &wrong, "x").await, "wrong"));
        }
        testing::account(&database, "taken").await;
        let taken = claim(&database, &clock, &new, "Taken").await;
        assert!(matches!(taken, Err(Error::Conflict(_))), "{taken:?}");
        claim(&database, &clock, &new, "free").await.unwrap();
    }

    #[tokio::test]
    async fn a_server_without_accounts_stays_set_up() {
        let (_directory, database) = testing::database();
        let clock = Clock::standing(1000);
        let token = offer(&database, &clock).await.unwrap().unwrap();
        claim(&database, &clock, &token, "admin").await.unwrap();
        database.write(|transaction| Ok(transaction.execute("DELETE FROM accounts", [])?)).await.unwrap();
        assert!(offer(&database, &clock).await.unwrap().is_none());
        assert!(is_refused(&claim(&database, &clock, &token, "admin").await, "set up already"));
    }

    #[tokio::test]
    async fn an_administrator_without_a_way_in_is_not_made() {
        let (_directory, database) = testing::database();
        let name = Name::parse("name", "admin").unwrap();
        let made = database
            .write(move |transaction| make_administrator(transaction, &name, None, false, 1000))
            .await;
        assert!(matches!(made, Err(Error::Invalid { .. })), "{made:?}");
        assert!(!database.read(is_done).await.unwrap());
    }

    #[tokio::test]
    async fn neither_the_database_nor_debug_output_holds_the_token() {
        let (directory, database) = testing::database();
        let clock = Clock::standing(1000);
        let token = offer(&database, &clock).await.unwrap().unwrap();
        let administrator = claim(&database, &clock, &token, "admin").await.unwrap();
        let key = administrator.key.as_ref().unwrap().secret.expose();
        let shown = format!("{token:?} {administrator:?}");
        for secret in [token.expose(), key] {
            assert!(!shown.contains(secret), "{shown}");
            assert!(!testing::is_in_a_file_of(directory.path(), secret));
        }
    }

    #[test]
    fn the_page_is_named_by_an_address_that_a_browser_can_open() {
        for (listens, named) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("192.0.2.1:80", "192.0.2.1:80"),
        ] {
            assert_eq!(reachable(listens.parse().unwrap()).to_string(), named);
        }
    }
}
