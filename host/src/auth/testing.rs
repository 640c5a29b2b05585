// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the tests of accounts share.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::accounts::{self, Name};
use super::{Role, setup};
use crate::database::Database;

/// An empty database, and the directory that it vanishes with.
pub(crate) fn database() -> (TempDir, Database) {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("alice.db")).unwrap();
    (directory, database)
}

/// The number of a new account that may make pictures, without a password.
pub(crate) async fn account(database: &Database, name: &str) -> i64 {
    let name = Name::parse("name", name).unwrap();
    database
        .write(move |transaction| accounts::create(transaction, &name, Role::User, None, 0))
        .await
        .unwrap()
}

/// An administrator, whom some changes of accounts need to be there.
pub(crate) async fn administrator(database: &Database) {
    let name = Name::parse("name", "the administrator").unwrap();
    database
        .write(move |transaction| setup::make_administrator(transaction, &name, None, true, 0))
        .await
        .unwrap();
}

/// Whether a file in `directory` holds `text`.
pub(crate) fn is_in_a_file_of(directory: &Path, text: &str) -> bool {
    fs::read_dir(directory).unwrap().any(|entry| {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}
