// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/admin/...`: what administrators decide about accounts, keys, invites and logins, and what was done so far.

pub mod account;
pub mod accounts;
pub mod invites;
pub mod keys;
pub mod log;
pub mod logins;
pub mod storage;

/// A page of the administration in its menu.
#[derive(Debug)]
struct Tab {
    path: &'static str,
    label: &'static str,
    here: bool,
}

/// The menu, on the page at `here`.
fn tabs(here: &str) -> [Tab; 6] {
    [
        ("/admin", "Accounts"),
        ("/admin/keys", "Keys"),
        ("/admin/invites", "Invites"),
        ("/admin/logins", "Logins"),
        ("/admin/storage", "Storage"),
        ("/admin/log", "Log"),
    ]
    .map(|(path, label)| Tab { path, label, here: path == here })
}
