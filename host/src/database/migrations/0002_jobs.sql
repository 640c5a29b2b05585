-- SPDX-License-Identifier: GPL-3.0-only
-- SPDX-FileCopyrightText: ALICE contributors
--
-- Jobs: every request for pictures that the daemon has accepted, from before its client hears so.

CREATE TABLE jobs (
    -- The order of acceptance.
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    -- The account's number, also after the account is gone; NULL: asked for without an account.
    account INTEGER,
    -- Whom the line treats as one: an account or a neighbourhood of addresses.
    caller TEXT NOT NULL,
    -- What is not over yet is 'accepted', whether it waits or runs.
    state TEXT NOT NULL DEFAULT 'accepted' CHECK (state IN ('accepted', 'done', 'failed', 'cancelled')),
    -- The request with everything filled in, as JSON.
    request TEXT NOT NULL,
    accepted_at INTEGER NOT NULL,
    -- It runs, or did so when the daemon died. After an orderly end of the daemon none does.
    begun INTEGER NOT NULL DEFAULT 0 CHECK (begun IN (0, 1)),
    -- How often the daemon has died of it alone.
    strikes INTEGER NOT NULL DEFAULT 0,
    ended_at INTEGER,
    -- Milliseconds from its last beginning to its end.
    took_ms INTEGER,
    -- The end of the prompt was beyond what the model reads.
    truncated INTEGER NOT NULL DEFAULT 0 CHECK (truncated IN (0, 1)),
    -- Why it failed: a word for programs and a sentence for people.
    error_code TEXT,
    error TEXT
) STRICT;
CREATE INDEX jobs_unfinished ON jobs (number) WHERE state = 'accepted';
CREATE INDEX jobs_caller ON jobs (caller, number);
CREATE INDEX jobs_ended ON jobs (ended_at) WHERE state <> 'accepted';

-- The pictures that a job is going to have. The name is chosen before the file is written, so that a file without
-- a picture's row can always be told; the row goes when the picture's own comes.
CREATE TABLE planned_pictures (
    id TEXT PRIMARY KEY,
    job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    -- Which of the job's pictures, from 0.
    place INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX planned_pictures_job ON planned_pictures (job, place);

ALTER TABLE pictures ADD COLUMN job INTEGER;
ALTER TABLE pictures ADD COLUMN place INTEGER;
-- No picture of a job is there twice.
CREATE UNIQUE INDEX pictures_job ON pictures (job, place) WHERE job IS NOT NULL;
