-- SPDX-License-Identifier: GPL-3.0-only
-- SPDX-FileCopyrightText: ALICE contributors
--
-- Clients that send a request again by themselves find its job also after a restart of the daemon.

-- SHA-256 of who asked, where, and for what; NULL where no client does so.
ALTER TABLE jobs ADD COLUMN fingerprint BLOB;

-- Prompts of any length are heard in chunks; none is cut any more.
ALTER TABLE jobs DROP COLUMN truncated;
