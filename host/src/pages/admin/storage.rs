// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/admin/storage`: how much room pictures take, whose they are, and how much each account may have.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use serde::Deserialize;

use super::{Tab, tabs};
use crate::api::Id;
use crate::auth::accounts;
use crate::config::Storage;
use crate::error::{Error, Result};
use crate::pages::bytes::Bytes;
use crate::pages::gallery::words;
use crate::pages::visit::{Sent, read, to};
use crate::pages::{self, Frame, Place, Visit, sentence};
use crate::pictures::{self, Statistics, Usage, Viewer};

/// Bytes of a gigabyte.
const GB: u64 = 1_000_000_000;
/// The largest limit, in gigabytes: more than any disk has.
const MOST_GB: f64 = 1e6;

/// The page.
#[derive(Template)]
#[template(path = "admin/storage.html")]
struct Page {
    frame: Frame,
    tabs: [Tab; 6],
    count: String,
    size: String,
    public: String,
    trashed: String,
    /// What the configuration says about old pictures.
    rules: String,
    /// The limit of accounts that have none of their own.
    usual: String,
    done: bool,
    problem: Option<String>,
    rows: Vec<Row>,
}

/// Somebody who has pictures, or may have some.
struct Row {
    account: Option<i64>,
    name: String,
    pictures: String,
    size: String,
    /// Its own limit in gigabytes, as it is typed.
    limit: String,
}

/// What the page's address holds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Address {
    done: String,
}

/// `GET /admin/storage`.
pub async fn show(visit: Visit, address: std::result::Result<Query<Address>, QueryRejection>) -> Response {
    let done = address.is_ok_and(|Query(address)| address.done == "quota");
    render(&visit, done, None).await
}

/// What was typed.
#[derive(Debug, Deserialize)]
pub struct Fields {
    gb: String,
}

/// `POST /admin/accounts/{id}/quota`.
pub async fn set_quota(visit: Visit, Id(id): Id, form: Sent<Fields>) -> Response {
    let set = async {
        let bytes = bytes(&read(form)?.gb)?;
        let id = id.parse().map_err(|_| Error::NotFound)?;
        let work = move |transaction: &rusqlite::Transaction<'_>, _now| {
            let name = accounts::find(transaction, id)?.name;
            pictures::set_quota(transaction, id, bytes)?;
            let limit = bytes.map_or_else(|| "as configured".to_owned(), |bytes| Bytes(bytes).to_string());
            Ok(format!("{id} {name}: {limit}"))
        };
        visit.act("account.quota", work).await
    };
    match set.await {
        Ok(()) => to("/admin/storage?done=quota"),
        Err(error) => render(&visit, false, Some(&error)).await,
    }
}

/// The limit that was typed in gigabytes; `None` leaves it to the configuration.
fn bytes(gb: &str) -> Result<Option<u64>> {
    let gb = gb.trim().replace(',', ".");
    if gb.is_empty() {
        return Ok(None);
    }
    let number = gb.parse::<f64>().ok().filter(|number| (0.0..=MOST_GB).contains(number));
    let number =
        number.ok_or_else(|| Error::out_of_range("limit", "a number of gigabytes from 0 to 1,000,000"))?;
    // At most 10^15, of which every integer is exact.
    Ok(Some((number * GB as f64).round() as u64))
}

/// A limit as it is typed: the shortest way to write it.
fn typed(bytes: u64) -> String {
    (bytes as f64 / GB as f64).to_string()
}

/// What the database says.
struct Found {
    statistics: Statistics,
    /// Accounts in the order of what they have; `None`: those without one.
    rows: Vec<Row>,
}

async fn render(visit: &Visit, done: bool, problem: Option<&Error>) -> Response {
    let viewer = Viewer::of(&visit.actor, &visit.app.clock);
    let found = visit.app.database.read(move |connection| find(connection, &viewer)).await;
    visit.answer(found.map(|Found { statistics, rows }| {
        let storage = &visit.app.config.storage;
        let page = Page {
            frame: visit.frame().at(Place::Admin),
            tabs: tabs("/admin/storage"),
            count: words::pictures(statistics.total + statistics.trashed),
            size: Bytes(statistics.bytes).to_string(),
            public: words::thousands(statistics.public),
            trashed: words::thousands(statistics.trashed),
            rules: rules(storage),
            usual: storage.quota_gb.map_or_else(|| "no limit".to_owned(), |gb| format!("{gb} GB")),
            done,
            problem: problem.map(sentence),
            rows,
        };
        pages::page_about(problem, &page)
    }))
}

fn find(connection: &rusqlite::Connection, viewer: &Viewer) -> Result<Found> {
    let mut left: BTreeMap<_, _> =
        accounts::all(connection)?.into_iter().map(|account| (account.id, account.name)).collect();
    let mut rows = Vec::new();
    for owners in pictures::usage_by_owner(connection)? {
        let name = match (owners.account, owners.owner) {
            (None, _) => "Without an account".to_owned(),
            (Some(_), Some(name)) => name,
            (Some(_), None) => "An account that is gone".to_owned(),
        };
        // One that is gone has no page and no limit.
        let account = owners.account.filter(|account| left.remove(account).is_some());
        rows.push(Row::new(connection, account, name, owners.usage)?);
    }
    for (account, name) in left {
        rows.push(Row::new(connection, Some(account), name, Usage::default())?);
    }
    Ok(Found { statistics: pictures::statistics(connection, viewer)?, rows })
}

impl Row {
    fn new(
        connection: &rusqlite::Connection,
        account: Option<i64>,
        name: String,
        usage: Usage,
    ) -> Result<Self> {
        let own = match account {
            Some(account) => pictures::own_quota(connection, account)?,
            None => None,
        };
        Ok(Self {
            account,
            name,
            pictures: words::pictures(usage.pictures),
            size: Bytes(usage.bytes).to_string(),
            limit: own.map(typed).unwrap_or_default(),
        })
    }
}

/// What the configuration says about old pictures.
fn rules(storage: &Storage) -> String {
    let days = |days: u32| format!("{days} day{}", if days == 1 { "" } else { "s" });
    let mut rules = Vec::new();
    match storage.retention_days {
        Some(count) => rules.push(format!("Pictures move to the trash after {}.", days(count))),
        None => rules.push("Pictures stay for as long as their owners want.".to_owned()),
    }
    rules.extend(storage.max_storage_gb.map(|gb| format!("Beyond {gb} GB the oldest move to the trash.")));
    rules.extend(
        storage
            .trash_days
            .map(|count| format!("What lies in the trash goes for good after {}.", days(count))),
    );
    rules.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_typed_in_gigabytes() {
        assert_eq!(bytes(" ").unwrap(), None);
        assert_eq!(bytes("0").unwrap(), Some(0));
        assert_eq!(bytes("1.5").unwrap(), Some(1_500_000_000));
        assert_eq!(bytes("0,1").unwrap(), Some(100_000_000));
        for wrong in ["x", "-1", "NaN", "inf", "1e9"] {
            bytes(wrong).unwrap_err();
        }
        for limit in [0, 100_000_000, 1_500_000_000, 20 * GB] {
            assert_eq!(bytes(&typed(limit)).unwrap(), Some(limit));
        }
    }
}
