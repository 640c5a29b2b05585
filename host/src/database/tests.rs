// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The database's promises: nothing half done, nothing repaired in silence, nothing for other users to read.

use std::fs;

use rusqlite::params;

use super::*;

fn insert(transaction: &Transaction<'_>, name: &str) -> Result<()> {
    transaction.execute("INSERT INTO settings VALUES (?1, 1)", [name])?;
    Ok(())
}

fn count(connection: &Connection) -> Result<u32> {
    Ok(connection.query_row("SELECT count(*) FROM settings", [], |row| row.get(0))?)
}

#[test]
fn the_schema_is_valid() {
    Migrations::from_slice(MIGRATIONS).validate().unwrap();
}

#[tokio::test]
async fn what_is_written_is_read_and_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/alice.db");
    let database = Database::open(&path).unwrap();
    database.write(|transaction| insert(transaction, "one")).await.unwrap();
    assert_eq!(database.read(count).await.unwrap(), 1);
    drop(database);
    // The writer's thread closes the file on its own time.
    let database = loop {
        match Database::open(&path) {
            Ok(database) => break database,
            Err(error) => assert!(format!("{error:#}").contains("another ALICE"), "{error:#}"),
        }
    };
    assert_eq!(database.read(count).await.unwrap(), 1);
}

#[tokio::test]
async fn an_error_or_a_panic_takes_everything_back_and_the_writer_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("alice.db")).unwrap();
    let failed: Result<()> =
        database.write(|transaction| insert(transaction, "a").and(Err(Error::NotFound))).await;
    assert!(matches!(failed, Err(Error::NotFound)));
    let panicked: Result<()> = database
        .write(|transaction| {
            insert(transaction, "b")?;
            panic!("as a test wants it");
        })
        .await;
    assert!(matches!(panicked, Err(Error::Internal(_))));
    assert_eq!(database.read(count).await.unwrap(), 0);
    database.write(|transaction| insert(transaction, "c")).await.unwrap();
    assert_eq!(database.read(count).await.unwrap(), 1);
}

#[tokio::test]
async fn readers_cannot_write() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("alice.db")).unwrap();
    let written = database.read(|connection| Ok(connection.execute("DELETE FROM settings", [])?)).await;
    assert!(written.is_err());
}

#[test]
fn files_are_for_this_user_alone_even_if_they_were_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data/alice.db");
    drop(Database::open(&path).unwrap());
    for name in ["alice.db", "alice.db-wal", "alice.db-shm", "alice.db.lock"] {
        let file = path.with_file_name(name);
        OpenOptions::new().append(true).create(true).open(&file).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    }
    let database = loop {
        if let Ok(database) = Database::open(&path) {
            break database;
        }
    };
    database.write_now(|transaction| insert(transaction, "one")).unwrap();
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    let entries: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap()).collect();
    assert!(entries.len() >= 3, "with the log of changes and the lock");
    for entry in entries {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
}

#[test]
fn a_second_daemon_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alice.db");
    let _first = Database::open(&path).unwrap();
    let refused = format!("{:#}", Database::open(&path).unwrap_err());
    assert!(refused.contains("another ALICE"), "{refused}");
}

/// What opening says after `spoil` was done to a good file.
fn complaint(spoil: impl FnOnce(&Path)) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alice.db");
    let mut connection = prepare(&path).unwrap();
    let transaction = connection.transaction().unwrap();
    for number in 0..500 {
        transaction
            .execute(
                "INSERT INTO pictures (id, created_at, number) VALUES (?1, 0, ?2)",
                params![format!("{number:032x}"), number],
            )
            .unwrap();
    }
    transaction.commit().unwrap();
    connection.close().unwrap();
    spoil(&path);
    let before = fs::read(&path).unwrap();
    let complaint = format!("{:#}", Database::open(&path).unwrap_err());
    assert_eq!(fs::read(&path).unwrap(), before, "nothing is repaired: {complaint}");
    complaint
}

#[test]
fn a_newer_foreign_or_damaged_file_refuses_to_open_and_stays_as_it_is() {
    let newer = complaint(|path| {
        Connection::open(path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    });
    assert!(newer.contains("later version") && newer.contains("alice.db"), "{newer}");
    let foreign = complaint(|path| {
        fs::remove_file(path).unwrap();
        Connection::open(path).unwrap().execute("CREATE TABLE cookies (a)", []).unwrap();
    });
    assert!(foreign.contains("not ALICE's"), "{foreign}");
    let junk = complaint(|path| fs::write(path, "this is no database, but long enough to look at").unwrap());
    assert!(junk.contains("not a database"), "{junk}");
    let holed = complaint(|path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 6000].fill(0xa5);
        fs::write(path, bytes).unwrap();
    });
    assert!(holed.contains("damaged") || holed.contains("malformed"), "{holed}");
    complaint(|path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    });
}

#[tokio::test]
async fn a_settled_database_is_whole_in_its_own_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alice.db");
    let database = Database::open(&path).unwrap();
    database.write(|transaction| insert(transaction, "one")).await.unwrap();
    assert_eq!(database.read(count).await.unwrap(), 1);
    database.settle().await.unwrap();
    let copy = directory.path().join("copy.db");
    fs::copy(&path, &copy).unwrap();
    assert_eq!(count(&prepare(&copy).unwrap()).unwrap(), 1);
}

#[test]
fn a_database_of_every_earlier_schema_is_kept_beside_and_brought_to_this_one() {
    for version in 1..MIGRATIONS.len() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alice.db");
        let mut earlier = Connection::open(&path).unwrap();
        earlier.pragma_update(None, "application_id", APPLICATION).unwrap();
        Migrations::from_slice(&MIGRATIONS[..version]).to_latest(&mut earlier).unwrap();
        let sql = "INSERT INTO pictures (id, account, created_at) VALUES ('ab', 7, 1)";
        earlier.execute(sql, []).unwrap();
        earlier.close().unwrap();
        let owner = |connection: &Connection| {
            connection.query_row("SELECT account FROM pictures", [], |row| row.get::<_, i64>(0)).unwrap()
        };
        assert_eq!(owner(&prepare(&path).unwrap()), 7);
        let copy = beside(&path, &format!(".schema-{version}"));
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        let copy = Connection::open(copy).unwrap();
        let kept: u32 = copy.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!((owner(&copy), kept as usize), (7, version));
    }
}

#[test]
fn a_database_that_went_missing_beside_its_log_is_not_replaced() {
    for spoil in [|path: &Path| fs::remove_file(path).unwrap(), |path: &Path| fs::write(path, "").unwrap()] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alice.db");
        prepare(&path).unwrap().close().unwrap();
        let log = beside(&path, "-wal");
        fs::write(&log, "changes").unwrap();
        spoil(&path);
        let complaint = Database::open(&path).unwrap_err().to_string();
        assert!(complaint.contains("missing or empty"), "{complaint}");
        assert_eq!(fs::read(&log).unwrap(), b"changes");
    }
}
