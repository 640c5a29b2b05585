-- SPDX-License-Identifier: GPL-3.0-only
-- SPDX-FileCopyrightText: ALICE contributors
--
-- Pictures that came with requests.

-- The files that jobs which are not over need. The file is written before the row, and removed after it, so that a
-- file without a row can always be told.
CREATE TABLE inputs (
    name TEXT PRIMARY KEY,
    job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX inputs_job ON inputs (job);
