-- SPDX-License-Identifier: GPL-3.0-only
-- SPDX-FileCopyrightText: ALICE contributors
--
-- Accounts and how people show that one is theirs. Every time is in seconds since 1970, UTC. Every `hash` is
-- the SHA-256 of a secret that the daemon made of 160 random bits, which needs no slower hash (or of the key in
-- the configuration, which is there in clear); passwords are argon2id.

-- One value each: `set_up_at`, `link_key`, `latest_time`, `imported_keys`.
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- Numbers of accounts are never used again: a picture of an account that is gone belongs to nobody else.
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    -- The name in lower case: two accounts never differ in case alone.
    folded_name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL CHECK (role IN ('user', 'admin')),
    password TEXT,
    enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    -- What the key may do at most; its account may do less.
    role TEXT NOT NULL CHECK (role IN ('user', 'admin')),
    -- Requests a minute.
    rate_limit INTEGER NOT NULL CHECK (rate_limit > 0),
    enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    created_at INTEGER NOT NULL,
    last_used INTEGER
) STRICT;
CREATE INDEX keys_account ON keys (account);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    -- The key that was used to log in; the session ends with it.
    key TEXT REFERENCES keys (id) ON DELETE CASCADE,
    hash BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    last_used INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_account ON sessions (account);
CREATE INDEX sessions_key ON sessions (key);

CREATE TABLE invites (
    id TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    -- How often it can still be used; -1 for ever.
    uses_remaining INTEGER NOT NULL CHECK (uses_remaining >= -1)
) STRICT;

CREATE TABLE invite_uses (
    invite TEXT NOT NULL REFERENCES invites (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    used_at INTEGER NOT NULL
) STRICT;
CREATE INDEX invite_uses_invite ON invite_uses (invite);

-- Requests for an account that an administrator decides.
CREATE TABLE registrations (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    folded_name TEXT NOT NULL,
    password TEXT,
    status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'approved', 'rejected')),
    created_at INTEGER NOT NULL,
    decided_by TEXT,
    decided_at INTEGER,
    key TEXT
) STRICT;
CREATE UNIQUE INDEX registrations_waiting ON registrations (folded_name) WHERE status = 'pending';

-- The token that makes the first administrator: at most one.
CREATE TABLE setup_token (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    hash BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

-- What administrators, and those who log in, did. Names are kept as they were.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    act TEXT NOT NULL,
    object TEXT NOT NULL,
    address TEXT NOT NULL
) STRICT;

-- Whose picture is whose.
CREATE TABLE pictures (
    id TEXT PRIMARY KEY,
    -- The account's number, also after the account is gone; NULL: made without an account.
    account INTEGER,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX pictures_account ON pictures (account);
