// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The predecessor's keys work on, or the daemon does not start.

use std::fs;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::super::{Caller, accounts, testing};
use super::*;

/// A directory with this `api_keys.json`, a database in it, and what taking it over came to.
fn import(text: &str) -> (TempDir, Database, anyhow::Result<()>) {
    let (directory, database) = testing::database();
    fs::write(directory.path().join("api_keys.json"), text).unwrap();
    let done = run(&database, directory.path(), 9000);
    (directory, database, done)
}

fn hash(key: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(key.as_bytes()))
}

/// A row as the predecessor writes it, for the key `sd-<id>`.
fn row(id: &str) -> Value {
    json!({
        "id": id, "name": "Alice", "key_hash": hash(&format!("sd-{id}")), "created_at": 1700000000.75,
        "last_used": null, "is_admin": false, "access_level": "user", "rate_limit": 100, "enabled": true,
    })
}

/// The same with `changes`.
fn changed(id: &str, changes: &Value) -> Value {
    let mut row = row(id);
    for (field, value) in changes.as_object().unwrap() {
        row[field] = value.clone();
    }
    row
}

fn holder(database: &Database, key: &str) -> Option<Caller> {
    let key = key.to_owned();
    database.write_now(move |transaction| keys::holder(transaction, &key)).unwrap()
}

fn is_set_up(database: &Database) -> bool {
    database.write_now(|transaction| setup::is_done(transaction)).unwrap()
}

fn names(database: &Database) -> Vec<String> {
    let all = database.write_now(|transaction| accounts::all(transaction)).unwrap();
    all.into_iter().map(|account| account.name).collect()
}

#[test]
fn a_key_keeps_all_that_it_was_and_opens_an_account_of_its_own() {
    let rows = json!({
        "0a1b2c3d": changed("0a1b2c3d", &json!({"last_used": 1700000100.5, "rate_limit": 7})),
        "4e5f6a7b": changed("4e5f6a7b", &json!({"name": "alice", "is_admin": true, "access_level": "admin"})),
    });
    let text = rows.to_string();
    let (directory, database, done) = import(&text);
    done.unwrap();
    let caller = holder(&database, "sd-0a1b2c3d").unwrap();
    assert_eq!(caller.role, Role::User);
    let shown = caller.key().unwrap();
    assert_eq!((shown.id.as_str(), shown.rate_limit), ("0a1b2c3d", 7));
    let admin = holder(&database, "sd-4e5f6a7b").unwrap();
    assert_eq!(admin.role, Role::Admin);
    assert_ne!(admin.account, caller.account);
    assert_eq!(names(&database), ["Alice", "alice 2"]);
    let key = database.write_now(|transaction| keys::find(transaction, "0a1b2c3d", None)).unwrap();
    assert_eq!((key.created_at, key.last_used), (1_700_000_000, Some(1_700_000_100)));
    assert!(holder(&database, "sd-unknown").is_none());
    assert!(is_set_up(&database), "there is an administrator");
    let kept = fs::read_to_string(directory.path().join("api_keys.json")).unwrap();
    assert_eq!(kept, text, "the file is the predecessor's");
}

#[test]
fn levels_of_all_ages_of_the_file_mean_what_they_meant() {
    for (changes, role) in [
        (json!({"access_level": null}), Some(Role::User)),
        (json!({"access_level": null, "is_admin": true}), Some(Role::Admin)),
        (json!({"access_level": "admin"}), Some(Role::Admin)),
        (json!({"access_level": "user", "is_admin": true}), Some(Role::Admin)),
        (json!({"access_level": "anonymous"}), None),
        (json!({"enabled": false}), None),
        (json!({"enabled": false, "is_admin": true}), None),
    ] {
        let (_directory, database, done) = import(&json!({"k": changed("k", &changes)}).to_string());
        done.unwrap();
        assert_eq!(holder(&database, "sd-k").map(|caller| caller.role), role, "{changes}");
        assert_eq!(is_set_up(&database), role == Some(Role::Admin), "{changes}");
    }
    let mut oldest = row("k");
    oldest.as_object_mut().unwrap().remove("access_level");
    let (_directory, database, done) = import(&json!({"k": oldest}).to_string());
    done.unwrap();
    assert_eq!(holder(&database, "sd-k").unwrap().role, Role::User);
}

#[test]
fn names_that_cannot_be_used_here_are_made_usable() {
    let long = "x".repeat(100);
    for (name, usable) in [
        (" a \t b\n", "a b"),
        ("a\u{202e}\u{0}b", "ab"),
        ("", "key k"),
        ("\u{200b}", "key k"),
        (long.as_str(), &long[..64]),
    ] {
        let changes = json!({ "name": name });
        let (_directory, database, done) = import(&json!({"k": changed("k", &changes)}).to_string());
        done.unwrap();
        assert_eq!(names(&database), [usable]);
    }
}

#[test]
fn a_file_is_taken_over_once() {
    let (directory, database, done) = import(&json!({"a": row("a")}).to_string());
    done.unwrap();
    database.write_now(|transaction| Ok(transaction.execute("DELETE FROM accounts", [])?)).unwrap();
    run(&database, directory.path(), 9001).unwrap();
    assert!(holder(&database, "sd-a").is_none(), "a key that was deleted here does not come back");
    fs::write(directory.path().join("api_keys.json"), "{").unwrap();
    run(&database, directory.path(), 9002).unwrap();
}

#[test]
fn a_directory_without_the_file_is_looked_into_again_at_the_next_start() {
    let (directory, database) = testing::database();
    run(&database, &directory.path().join("missing"), 9000).unwrap();
    run(&database, directory.path(), 9000).unwrap();
    fs::write(directory.path().join("api_keys.json"), json!({"a": row("a")}).to_string()).unwrap();
    run(&database, directory.path(), 9000).unwrap();
    assert!(holder(&database, "sd-a").is_some());
    assert!(!is_set_up(&database), "no administrator among them");
}

#[test]
fn what_makes_no_sense_refuses_the_start_and_takes_nothing_over() {
    let broken = |changes: Value| json!({"a": row("a"), "k": changed("k", &changes)}).to_string();
    for (text, reason) in [
        (String::new(), "line 1"),
        ("{".into(), "line 1"),
        ("[]".into(), "not a JSON object"),
        (json!({"k": 5}).to_string(), "\"k\""),
        (json!({"k": {}}).to_string(), "`key_hash`"),
        (broken(json!({"key_hash": "ba78"})), "`key_hash`"),
        (broken(json!({"key_hash": "z".repeat(64)})), "`key_hash`"),
        (broken(json!({"key_hash": hash("sd-a")})), "the same hash"),
        (broken(json!({"key_hash": hash("sd-a").to_uppercase()})), "the same hash"),
        (broken(json!({"created_at": "yesterday"})), "`created_at`"),
        (broken(json!({"created_at": -1})), "`created_at`"),
        (broken(json!({"created_at": 1e300})), "`created_at`"),
        (broken(json!({"last_used": 1e300})), "`last_used`"),
        (broken(json!({"rate_limit": 0})), "`rate_limit`"),
        (broken(json!({"rate_limit": -5})), "`rate_limit`"),
        (broken(json!({"access_level": "root"})), "`access_level`"),
        (broken(json!({"is_admin": "yes"})), "`is_admin`"),
        (broken(json!({"enabled": "Alice's"})), "`enabled`"),
        (broken(json!({"id": "other"})), "its `id` is another"),
        (json!({"../k": row("../k")}).to_string(), "its id"),
        (json!({"config": row("config")}).to_string(), "its id"),
    ] {
        let (directory, database, done) = import(&text);
        let complaint = format!("{:#}", done.unwrap_err());
        let path = directory.path().join("api_keys.json").display().to_string();
        assert!(complaint.contains(reason) && complaint.contains(&path), "{complaint}");
        for private in ["Alice", &hash("sd-a"), &hash("sd-k"), "ba78", "zzzz"] {
            assert!(!complaint.contains(private), "{complaint}");
        }
        assert!(names(&database).is_empty(), "{complaint}");
        let again = run(&database, directory.path(), 9001);
        assert!(again.is_err(), "it is not forgotten");
    }
}

#[test]
fn a_file_that_cannot_be_read_refuses_the_start() {
    let (directory, database) = testing::database();
    fs::create_dir(directory.path().join("api_keys.json")).unwrap();
    let complaint = format!("{:#}", run(&database, directory.path(), 9000).unwrap_err());
    assert!(complaint.contains("cannot read") && complaint.contains("api_keys.json"), "{complaint}");
}
