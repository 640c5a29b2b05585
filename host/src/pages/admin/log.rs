// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/admin/log`: what was done to accounts, keys, invites and logins, and by administrators to others' pictures, the latest
//! first.

use askama::Template;
use axum::response::Response;

use super::{Tab, tabs};
use crate::auth::audit::{self, Entry};
use crate::pages::moment::Moment;
use crate::pages::{self, Frame, Place, Visit};

/// How many acts the page holds.
const LATEST: u32 = 50;

/// The page.
#[derive(Template)]
#[template(path = "admin/log.html")]
struct Page {
    frame: Frame,
    tabs: [Tab; 6],
    latest: u32,
    entries: Vec<Row>,
}

/// One act.
struct Row {
    at: Moment,
    actor: String,
    act: String,
    object: String,
    address: String,
}

/// `GET /admin/log`.
pub async fn show(visit: Visit) -> Response {
    let entries = visit.app.database.read(|connection| audit::latest(connection, LATEST)).await;
    visit.answer(entries.map(|entries| {
        let entries = entries.into_iter().map(|entry| Row::new(&visit, entry)).collect();
        let page =
            Page { frame: visit.frame().at(Place::Admin), tabs: tabs("/admin/log"), latest: LATEST, entries };
        pages::page_about(None, &page)
    }))
}

impl Row {
    fn new(visit: &Visit, entry: Entry) -> Self {
        Self {
            at: visit.moment(entry.at),
            // How the log names whoever has no account.
            actor: if entry.actor == audit::NOBODY { "somebody".into() } else { entry.actor },
            act: in_words(&entry.act).map_or(entry.act, str::to_owned),
            object: entry.object,
            address: entry.address,
        }
    }
}

/// An act in plain words, to be followed by what it was done to.
fn in_words(act: &str) -> Option<&'static str> {
    Some(match act {
        "setup" => "set the server up as",
        "login" => "began the login",
        "logout" => "logged out of the login",
        "password.change" => "changed the password of",
        "registration.create" => "registered",
        "registration.request" => "asked for the account",
        "registration.approve" => "let in",
        "registration.reject" => "turned away",
        "registration.delete" => "deleted the request of",
        "invite.create" => "made the invite",
        "invite.delete" => "deleted the invite",
        "key.create" => "made the key",
        "key.revoke" => "revoked the key",
        "key.delete" => "deleted the key",
        "session.end" => "ended the login",
        "picture.publish" => "made public the picture of somebody else",
        "picture.withdraw" => "made private the picture of somebody else",
        "picture.trash" => "moved to the trash the picture of somebody else",
        "picture.restore" => "brought back the picture of somebody else",
        "picture.delete" => "deleted the picture of somebody else",
        "account.role" => "changed the role of",
        "account.enable" => "let in again",
        "account.disable" => "shut out",
        "account.delete" => "deleted the account",
        "account.password" => "set the password of",
        "admin.create" => "made the administrator",
        "keys.import" => "took over",
        "model.default" => "made the default model",
        "model.delete" => "deleted the model",
        "lora.delete" => "deleted the LoRA",
        "controlnet.delete" => "deleted the ControlNet",
        "upscaler.delete" => "deleted the upscaler",
        "clock.back" => "ended, as the clock went back:",
        _ => return None,
    })
}
