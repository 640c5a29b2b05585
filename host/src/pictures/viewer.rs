// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Which pictures somebody may see and change, as conditions on rows of `pictures`.
//!
//! An owner sees and changes what is his, administrators see everything, and everybody sees what is public. What
//! was made without an account is shared by all who may use the server.

use crate::auth::audit::Author;
use crate::auth::{Actor, Who};
use crate::clock::{Clock, Timestamp};

/// Somebody who looks at the gallery, at one moment.
#[derive(Clone, Debug)]
pub struct Viewer {
    account: Option<i64>,
    author: Author,
    is_admin: bool,
    /// May use the server, and with it what was made without an account.
    shares: bool,
    now: Timestamp,
}

impl Viewer {
    /// `actor`, now. Where the clock went back, nothing that expires is public any more.
    pub fn of(actor: &Actor, clock: &Clock) -> Self {
        Self {
            account: actor.account(),
            author: Author::from(actor),
            is_admin: actor.is_admin(),
            shares: !matches!(actor.who, Who::Nobody),
            now: if clock.went_back() { Timestamp::MAX } else { clock.now() },
        }
    }

    /// The account that looks.
    pub fn account(&self) -> Option<i64> {
        self.account
    }

    /// Who it is, for the audit log.
    pub(super) fn author(&self) -> &Author {
        &self.author
    }

    /// Whether an administrator looks.
    pub fn is_admin(&self) -> bool {
        self.is_admin
    }

    /// The moment.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether a picture of `account` is theirs.
    pub fn owns(&self, account: Option<i64>) -> bool {
        match account {
            Some(account) => self.account == Some(account),
            None => self.shares,
        }
    }

    /// Whether they may publish, withdraw, delete and restore a picture of `account`.
    pub fn may_change(&self, account: Option<i64>) -> bool {
        self.is_admin || self.owns(account)
    }

    /// Those of their own: of their account, or of nobody's where they have none.
    pub(super) fn mine(&self) -> String {
        match self.account {
            Some(account) => format!("pictures.account = {account}"),
            None if self.shares => "pictures.account IS NULL".to_owned(),
            None => "0".to_owned(),
        }
    }

    /// Those that are theirs to describe: [`owns`](Self::owns).
    pub(super) fn owned(&self) -> String {
        match (self.account, self.shares) {
            (Some(account), _) => format!("(pictures.account = {account} OR pictures.account IS NULL)"),
            (None, true) => "pictures.account IS NULL".to_owned(),
            (None, false) => "0".to_owned(),
        }
    }

    /// Those that nobody but they can take out of the trash: [`owned`](Self::owned), and for administrators also what
    /// belongs to an account that is gone.
    pub(super) fn cares_for(&self) -> String {
        let owned = self.owned();
        match self.is_admin {
            true => format!("({owned} OR pictures.account NOT IN (SELECT id FROM accounts))"),
            false => owned,
        }
    }

    /// [`may_change`](Self::may_change).
    pub(super) fn changeable(&self) -> String {
        if self.is_admin { "1".to_owned() } else { self.owned() }
    }

    /// Those that everybody may see now.
    pub(super) fn published(&self) -> String {
        let now = self.now;
        format!("(pictures.public = 1 AND (pictures.public_until IS NULL OR pictures.public_until > {now}))")
    }

    /// Those that others may see too: the public and the shared ones.
    pub(super) fn open(&self) -> String {
        let published = self.published();
        if self.shares { format!("({published} OR pictures.account IS NULL)") } else { published }
    }

    /// Those that they may see. What lies in the trash only those see who may take it out.
    pub(super) fn visible(&self) -> String {
        if self.is_admin {
            return "1".to_owned();
        }
        format!("({} OR ({} AND pictures.trashed_at IS NULL))", self.owned(), self.published())
    }
}
