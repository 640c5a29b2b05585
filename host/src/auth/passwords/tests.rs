// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What passwords promise: the right one lets in, and a wrong one costs the same whoever it is tried on.

use std::sync::atomic::Ordering;

use super::super::testing;
use super::*;

impl Passwords {
    /// How many comparisons there were.
    fn compared(&self) -> usize {
        self.compared.load(Ordering::Relaxed)
    }
}

/// Gives an account this hash.
async fn set(database: &Database, account: i64, hash: String) {
    database.write(move |transaction| accounts::set_password(transaction, account, &hash)).await.unwrap();
}

async fn try_login(database: &Database, passwords: &Passwords, name: &str, password: &str) -> Result<i64> {
    prove(database, passwords, folded(name), Secret::from(password), |_, account| Ok(account)).await
}

fn is_uniform(refused: &Result<i64>) -> bool {
    matches!(refused, Err(Error::Unauthorized("the name or the password is wrong")))
}

#[tokio::test]
async fn a_hash_is_of_its_password_alone_and_never_the_same_twice() {
    let passwords = Passwords::default();
    let hash = passwords.hash("correct horse".into()).await.unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    assert_ne!(hash, passwords.hash("correct horse".into()).await.unwrap());
    let verdict = async |given: &str| passwords.verify(Some(hash.clone()), given.into()).await.unwrap();
    assert_eq!(verdict("correct horse").await, Verdict { matches: true, outdated: false });
    for wrong in ["correct hors", "correct horse ", "Correct horse", ""] {
        assert_eq!(verdict(wrong).await, Verdict { matches: false, outdated: false }, "{wrong}");
    }
}

#[tokio::test]
async fn without_a_hash_the_same_work_is_done_for_nothing() {
    let hash = PasswordHash::new(NOBODYS).unwrap();
    assert!(!is_outdated(&hash).unwrap(), "it costs what today's hashes cost");
    assert!(hash.salt.is_some() && hash.hash.is_some_and(|hash| hash.len() == Params::DEFAULT_OUTPUT_LEN));
    let passwords = Passwords::default();
    assert!(!passwords.verify(None, "anything".into()).await.unwrap().matches);
    assert_eq!(passwords.compared(), 1);
}

#[tokio::test]
async fn what_is_no_hash_is_a_fault_and_not_a_wrong_password() {
    let verdict = Passwords::default().verify(Some("plain text".into()), "plain text".into()).await;
    assert!(matches!(verdict, Err(Error::Internal(_))), "{verdict:?}");
}

#[test]
fn a_password_has_8_to_1024_bytes() {
    for (length, fits) in [(0, false), (7, false), (8, true), (1024, true), (1025, false)] {
        let password = Secret::from("x".repeat(length));
        let checked = check("new_password", &password);
        assert_eq!(checked.is_ok(), fits, "{length}");
        assert!(checked.is_ok() || checked.unwrap_err().to_string().contains("`new_password`"));
    }
}

#[tokio::test]
async fn every_login_costs_one_comparison_whether_the_account_exists_or_not() {
    let (_directory, database) = testing::database();
    let passwords = Passwords::default();
    let hash = passwords.hash("correct horse".into()).await.unwrap();
    testing::administrator(&database).await;
    let known = testing::account(&database, "Known One").await;
    let disabled = testing::account(&database, "disabled").await;
    testing::account(&database, "passwordless").await;
    set(&database, known, hash.clone()).await;
    set(&database, disabled, hash).await;
    database.write(move |transaction| accounts::set_enabled(transaction, disabled, false)).await.unwrap();
    let mut expected = 0;
    for (name, password) in [
        ("Known One", "wrong horse"),
        ("unknown", "correct horse"),
        ("disabled", "correct horse"),
        ("passwordless", ""),
        ("", "correct horse"),
        ("\u{200b}", "correct horse"),
    ] {
        let refused = try_login(&database, &passwords, name, password).await;
        assert!(is_uniform(&refused), "{name}: {refused:?}");
        expected += 1;
        assert_eq!(passwords.compared(), expected, "{name}");
    }
    for name in ["Known One", "  kNOWN   oNE "] {
        assert_eq!(try_login(&database, &passwords, name, "correct horse").await.unwrap(), known);
    }
    assert_eq!(passwords.compared(), expected + 2);
}

#[tokio::test]
async fn a_hash_of_former_days_is_renewed_by_the_login_that_proves_its_password() {
    let (_directory, database) = testing::database();
    let passwords = Passwords::default();
    let cheap = Argon2::from(Params::new(64, 1, 1, None).unwrap());
    let old = cheap.hash_password_with_salt(b"correct horse", b"some salt").unwrap().to_string();
    testing::administrator(&database).await;
    let account = testing::account(&database, "alice").await;
    set(&database, account, old.clone()).await;
    let stored = async || {
        database.read(move |connection| accounts::password(connection, account)).await.unwrap().unwrap()
    };
    assert!(is_uniform(&try_login(&database, &passwords, "alice", "wrong horse").await));
    assert_eq!(stored().await, old);
    try_login(&database, &passwords, "alice", "correct horse").await.unwrap();
    let new = stored().await;
    assert!(new.contains("m=19456"), "{new}");
    try_login(&database, &passwords, "alice", "correct horse").await.unwrap();
    assert_eq!(stored().await, new);
}

#[tokio::test]
async fn a_login_that_a_change_of_the_password_overtakes_does_not_happen() {
    let (_directory, database) = testing::database();
    let passwords = Passwords::default();
    testing::administrator(&database).await;
    let account = testing::account(&database, "alice").await;
    let old = passwords.hash("correct horse".into()).await.unwrap();
    let new = passwords.hash("new password".into()).await.unwrap();
    set(&database, account, old).await;
    // Both turns are taken, so the login stands between reading the hash and comparing it as soon as it holds
    // on to the turns as well, which two others do.
    let turns = Arc::clone(&passwords.turns).acquire_many_owned(2).await.unwrap();
    let overtake = async {
        while Arc::strong_count(&passwords.turns) < 3 {
            tokio::task::yield_now().await;
        }
        set(&database, account, new).await;
        drop(turns);
    };
    let login = try_login(&database, &passwords, "alice", "correct horse");
    let (login, ()) = tokio::join!(login, overtake);
    assert!(is_uniform(&login), "{login:?}");
}
