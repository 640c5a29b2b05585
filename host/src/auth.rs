// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Who asks, and what they may do: accounts and the keys, passwords and sessions that prove them.
//!
//! Everything here works on the database's transactions: a handler composes one act, such as "use up the
//! invite, make the account and its key", in one transaction, which happens wholly or not at all.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};

use crate::error::{Alice, Error};

pub mod accounts;
pub mod audit;
pub mod credentials;
pub mod import;
pub mod invites;
pub mod keys;
pub mod passwords;
pub mod pending;
pub mod rate;
pub mod registration;
pub mod sessions;
pub mod setup;
#[cfg(test)]
pub(crate) mod testing;
pub mod token;
pub mod usage;

/// What somebody may do. The order counts: an administrator may do all that a user may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Make pictures and keep them.
    User,
    /// Also decide over accounts and the server.
    Admin,
}

impl Role {
    /// The word for it in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }

    /// The role that two spellings of the Python ALICE mean together.
    pub fn admin_if(admin: bool) -> Self {
        if admin { Self::Admin } else { Self::User }
    }
}

impl ToSql for Role {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Role {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "user" => Ok(Self::User),
            "admin" => Ok(Self::Admin),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

/// Who asks, and from where.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Who.
    pub who: Who,
    /// The address that the request came from, or that a trusted proxy tells.
    pub address: IpAddr,
}

/// Who asks.
#[derive(Clone, Debug)]
pub enum Who {
    /// Somebody without an account where one is needed: may use the public routes only.
    Nobody,
    /// Somebody without an account where none is needed: may make pictures.
    Anonymous,
    /// The holder of an account.
    Known(Caller),
}

/// The holder of an account, for one request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The account's number.
    pub account: i64,
    /// The account's name.
    pub name: String,
    /// What the account and the key at hand both allow.
    pub role: Role,
    /// How the caller proved to be this account's holder.
    pub proof: Proof,
}

/// How a caller proved an account.
#[derive(Clone, Debug)]
pub enum Proof {
    /// By a key.
    Key {
        /// The key.
        key: ShownKey,
        /// Its name.
        name: String,
    },
    /// By an earlier login.
    Session {
        /// Its id.
        id: String,
        /// The key that was used to log in, if it was one.
        key: Option<ShownKey>,
    },
}

/// A key that stands behind a request, at once or through a login.
#[derive(Clone, Debug)]
pub struct ShownKey {
    /// Its id.
    pub id: String,
    /// Requests a minute.
    pub rate_limit: u32,
}

impl Caller {
    /// The key behind the request, by whose limit it counts.
    pub fn key(&self) -> Option<&ShownKey> {
        match &self.proof {
            Proof::Key { key, .. } => Some(key),
            Proof::Session { key, .. } => key.as_ref(),
        }
    }

    /// Whether the account's password stands behind the request. Only that changes the account itself: who
    /// was lent a key must not take the account over.
    pub fn proved_password(&self) -> bool {
        matches!(self.proof, Proof::Session { key: None, .. })
    }
}

impl Actor {
    /// The account that is asking, if there is one.
    pub fn caller(&self) -> Option<&Caller> {
        match &self.who {
            Who::Known(caller) => Some(caller),
            Who::Nobody | Who::Anonymous => None,
        }
    }

    /// The number of the account that is asking.
    pub fn account(&self) -> Option<i64> {
        self.caller().map(|caller| caller.account)
    }

    /// Whether an administrator is asking.
    pub fn is_admin(&self) -> bool {
        self.caller().is_some_and(|caller| caller.role == Role::Admin)
    }
}

/// The guard has found out who asks before any handler runs.
impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = Alice;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Alice> {
        let actor = parts.extensions.get::<Self>().cloned();
        actor.ok_or_else(|| Alice(Error::Internal(anyhow::anyhow!("a route without its guard"))))
    }
}

/// For handlers of routes that need an account.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Alice;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Alice> {
        let actor = Actor::from_request_parts(parts, state).await?;
        actor.caller().cloned().ok_or(Alice(Error::Unauthorized("this needs an account")))
    }
}
