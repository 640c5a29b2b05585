// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The ways to an account: each makes it wholly or not at all, and no more of them than was allowed.

use super::super::pending::{Request, Status};
use super::super::testing;
use super::*;
use crate::database::Database;

fn candidate(name: &str, invite: Option<&Secret>) -> Candidate {
    Candidate { name: Name::parse("name", name).unwrap(), password: None, invite: invite.cloned() }
}

async fn join(database: &Database, name: &str, invite: Option<&Secret>, clock: &Clock) -> Result<Registered> {
    let (candidate, clock) = (candidate(name, invite), clock.clone());
    database.write(move |transaction| admit(transaction, &Author::console(), &candidate, &clock)).await
}

async fn request(database: &Database, name: &str, password: Option<&str>) -> Result<String> {
    let candidate = Candidate { password: password.map(str::to_owned), ..candidate(name, None) };
    let asked = database.write(move |transaction| ask(transaction, &Author::console(), &candidate, 1000));
    match asked.await? {
        Registered::Pending { id } => Ok(id),
        Registered::Created { .. } => panic!("nobody decided yet"),
    }
}

async fn requests(database: &Database, status: Option<Status>) -> Vec<Request> {
    database.read(move |connection| pending::all(connection, status)).await.unwrap()
}

async fn approve(database: &Database, id: &str) -> Result<pending::Approved> {
    let id = id.to_owned();
    database.write(move |transaction| pending::approve(transaction, &Author::console(), &id, 2000)).await
}

async fn reject(database: &Database, id: &str) -> Result<()> {
    let id = id.to_owned();
    database.write(move |transaction| pending::reject(transaction, &Author::console(), &id, 2000)).await
}

async fn invite(database: &Database, uses: i64, hours: Option<i64>) -> Secret {
    let terms = invites::Terms::new(uses, hours).unwrap();
    let act =
        move |transaction: &Transaction<'_>| invites::create(transaction, &Author::console(), terms, 1000);
    database.write(act).await.unwrap().code
}

fn is_about<T>(refused: Result<T>, about: &str) -> bool {
    matches!(refused, Err(Error::Invalid { param, .. }) if param == about)
}

async fn accounts(database: &Database) -> Vec<String> {
    database.read(accounts::all).await.unwrap().into_iter().map(|account| account.name).collect()
}

#[tokio::test]
async fn an_open_server_gives_everybody_an_account_that_may_make_pictures_and_a_key() {
    let (_directory, database) = testing::database();
    let made = join(&database, "Alice", None, &Clock::standing(1000)).await.unwrap();
    assert!(!format!("{made:?}").contains("alice_"), "the key is not shown");
    let Registered::Created { account, key } = made else { panic!("nothing to decide") };
    let caller = database
        .read(move |connection| keys::holder(connection, key.secret.expose()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((caller.account, caller.role), (account, Role::User));
}

#[tokio::test]
async fn of_64_registrations_on_an_invite_for_one_exactly_one_is_admitted() {
    let (_directory, database) = testing::database();
    let clock = Clock::standing(1000);
    let code = invite(&database, 1, None).await;
    let attempts = (0..64).map(|number| {
        let (database, code, clock) = (database.clone(), code.clone(), clock.clone());
        tokio::spawn(async move { join(&database, &format!("guest {number}"), Some(&code), &clock).await })
    });
    let mut admitted = Vec::new();
    for attempt in attempts.collect::<Vec<_>>() {
        match attempt.await.unwrap() {
            Ok(Registered::Created { key, .. }) => admitted.push(key.id),
            refused => assert!(is_about(refused, "invite_code")),
        }
    }
    assert_eq!((admitted.len(), accounts(&database).await.len()), (1, 1));
    let invites = database.read(invites::all).await.unwrap();
    assert_eq!((&invites[0].used_by, invites[0].uses_remaining), (&admitted, 0));
}

#[tokio::test]
async fn a_registration_that_fails_does_not_use_up_its_invite() {
    let (_directory, database) = testing::database();
    let clock = Clock::standing(1000);
    let code = invite(&database, 1, None).await;
    testing::account(&database, "Taken").await;
    assert!(is_about(join(&database, "tAKEN", Some(&code), &clock).await, "name"));
    join(&database, "free", Some(&code), &clock).await.unwrap();
}

#[tokio::test]
async fn an_invite_admits_nobody_after_its_time_or_when_the_clock_went_back() {
    let (_directory, database) = testing::database();
    let clock = Clock::standing(1000);
    let code = invite(&database, 0, Some(1)).await;
    join(&database, "in time", Some(&code), &clock).await.unwrap();
    clock.turn(1000 + 3600);
    assert!(is_about(join(&database, "late", Some(&code), &clock).await, "invite_code"));
    clock.turn(1000);
    assert!(is_about(join(&database, "early", Some(&code), &clock).await, "invite_code"));
    assert_eq!(accounts(&database).await, ["in time"]);
}

#[tokio::test]
async fn without_a_good_invite_nobody_learns_which_names_are_taken() {
    let (_directory, database) = testing::database();
    testing::account(&database, "taken").await;
    let refused = join(&database, "taken", Some(&"alice_invite_guess".into()), &Clock::standing(1000)).await;
    assert!(is_about(refused, "invite_code"));
}

#[tokio::test]
async fn an_approved_request_becomes_an_account_with_the_password_that_was_chosen() {
    let (directory, database) = testing::database();
    let id = request(&database, "Alice", Some("$argon2id$the-hash")).await.unwrap();
    assert!(accounts(&database).await.is_empty());
    let approved = approve(&database, &id).await.unwrap();
    let account = approved.account;
    let password = database.read(move |connection| accounts::password(connection, account)).await.unwrap();
    assert_eq!(password.as_deref(), Some("$argon2id$the-hash"));
    let request = requests(&database, None).await.remove(0);
    assert_eq!(request.status, Status::Approved);
    assert_eq!(request.key.as_deref(), Some(approved.key.id.as_str()));
    assert_eq!((request.decided_by.as_deref(), request.decided_at), (Some("console"), Some(2000)));
    let kept: u32 = database
        .read(|connection| {
            let sql = "SELECT count(*) FROM registrations WHERE password IS NOT NULL";
            Ok(connection.query_row(sql, [], |row| row.get(0))?)
        })
        .await
        .unwrap();
    assert_eq!(kept, 0, "the account has it");
    let secret = approved.key.secret.expose();
    assert!(!format!("{approved:?}").contains(secret));
    assert!(!testing::is_in_a_file_of(directory.path(), secret));
    assert!(requests(&database, Some(Status::Pending)).await.is_empty());
}

#[tokio::test]
async fn a_request_is_decided_once() {
    let (_directory, database) = testing::database();
    for first in [Status::Approved, Status::Rejected] {
        let id = request(&database, first.as_str(), None).await.unwrap();
        match first {
            Status::Approved => drop(approve(&database, &id).await.unwrap()),
            _ => reject(&database, &id).await.unwrap(),
        }
        assert!(matches!(approve(&database, &id).await, Err(Error::Conflict(_))));
        assert!(matches!(reject(&database, &id).await, Err(Error::Conflict(_))));
    }
    assert_eq!(accounts(&database).await, ["approved"]);
    assert!(matches!(approve(&database, "nothing").await, Err(Error::NotFound)));
    assert!(matches!(reject(&database, "nothing").await, Err(Error::NotFound)));
    assert_eq!(requests(&database, Some(Status::Rejected)).await.len(), 1);
    assert!(requests(&database, Some(Status::Pending)).await.is_empty());
}

#[tokio::test]
async fn a_name_is_asked_for_once_and_must_still_be_free_when_it_is_approved() {
    let (_directory, database) = testing::database();
    testing::account(&database, "taken").await;
    assert!(is_about(request(&database, "Taken", None).await, "name"));
    let id = request(&database, "Alice", None).await.unwrap();
    assert!(is_about(request(&database, "aLICE", None).await, "name"));
    testing::account(&database, "ALICE").await;
    assert!(matches!(approve(&database, &id).await, Err(Error::Conflict(_))));
    assert_eq!(requests(&database, Some(Status::Pending)).await.len(), 1, "it can still be rejected");
    reject(&database, &id).await.unwrap();
}

#[tokio::test]
async fn a_rejected_or_deleted_name_can_be_asked_for_again() {
    let (_directory, database) = testing::database();
    let id = request(&database, "alice", None).await.unwrap();
    reject(&database, &id).await.unwrap();
    let id = request(&database, "alice", None).await.unwrap();
    let delete_it = async || {
        let id = id.clone();
        let act =
            move |transaction: &Transaction<'_>| pending::delete(transaction, &Author::console(), &id, 0);
        database.write(act).await
    };
    delete_it().await.unwrap();
    assert!(matches!(delete_it().await, Err(Error::NotFound)));
    request(&database, "alice", None).await.unwrap();
    let acts = database.read(|connection| audit::latest(connection, 10)).await.unwrap();
    let acts: Vec<_> = acts.iter().rev().map(|entry| entry.act.as_str()).collect();
    let expected = ["request", "reject", "request", "delete", "request"];
    assert_eq!(acts, expected.map(|act| format!("registration.{act}")));
}

#[tokio::test]
async fn a_thousand_requests_may_wait() {
    let (_directory, database) = testing::database();
    let filled = database.write(|transaction| {
        for number in 0..1000 {
            let name = Name::parse("name", &format!("guest {number}"))?;
            pending::create(transaction, &name, None, 0)?;
        }
        Ok(())
    });
    filled.await.unwrap();
    assert!(matches!(request(&database, "one more", None).await, Err(Error::Conflict(_))));
    let id = requests(&database, None).await.remove(0).id;
    reject(&database, &id).await.unwrap();
    request(&database, "one more", None).await.unwrap();
}
