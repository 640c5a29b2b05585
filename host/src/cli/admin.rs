// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `alice admin`: the way in for whoever has the server itself but no account on it any more.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use crate::auth::accounts::Name;
use crate::auth::audit::{self, Author};
use crate::auth::setup;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::database::Database;
use crate::error::Error;
use crate::secret::Secret;

/// What `alice admin` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make an administrator and print a key for it. Stop the server before, and act as its user.
    Create {
        /// The name of the account, which must be free.
        name: String,
    },
}

/// Does what is asked, on the database of the configuration.
///
/// # Errors
/// A server that is running, a database that cannot be used, a name that is taken.
pub(super) fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Command::Create { name } = arguments.command;
    let name = Name::parse("NAME", &name)?;
    let database = Database::open(&config.storage.database)?;
    let key = create(&database, name, Clock::system().now())?;
    eprintln!("This key is the administrator's. It is not shown again:");
    println!("{}", key.expose());
    Ok(ExitCode::SUCCESS)
}

/// Makes an administrator with a key.
fn create(database: &Database, name: Name, now: Timestamp) -> anyhow::Result<Secret> {
    let made = database.write_now(move |transaction| {
        let made = setup::make_administrator(transaction, &name, None, true, now)?;
        audit::note(transaction, &Author::console(), "admin.create", name.as_str(), now)?;
        made.key.ok_or_else(|| Error::Internal(anyhow::anyhow!("no key was made")))
    });
    Ok(made?.secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Role, keys, testing};

    #[test]
    fn the_key_is_an_administrators_and_the_server_is_set_up() {
        let (_directory, database) = testing::database();
        let name = || Name::parse("NAME", "Alice").unwrap();
        let key = create(&database, name(), 1000).unwrap();
        assert!(!format!("{key:?}").contains(key.expose()));
        let (caller, set_up, acts) = database
            .write_now(move |transaction| {
                let caller = keys::holder(transaction, key.expose())?;
                Ok((caller, setup::is_done(transaction)?, audit::latest(transaction, 9)?))
            })
            .unwrap();
        let caller = caller.unwrap();
        assert_eq!((caller.name.as_str(), caller.role), ("Alice", Role::Admin));
        assert!(set_up);
        assert_eq!(acts.len(), 1);
        assert_eq!((acts[0].actor.as_str(), acts[0].act.as_str()), ("console", "admin.create"));
        let again = create(&database, name(), 1000).unwrap_err();
        assert!(again.to_string().contains("taken"), "{again}");
    }

    #[test]
    fn a_running_server_is_the_reason_for_a_refusal() {
        let (directory, _database) = testing::database();
        let mut config = Config::default();
        config.storage.database = directory.path().join("alice.db");
        let arguments = Arguments { command: Command::Create { name: "Alice".into() } };
        let refused = run(&config, arguments).unwrap_err();
        assert!(format!("{refused:#}").contains("another ALICE"), "{refused:#}");
    }
}
