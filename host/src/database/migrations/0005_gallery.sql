-- SPDX-License-Identifier: GPL-3.0-only
-- SPDX-FileCopyrightText: ALICE contributors
--
-- The gallery: what a picture shows, who may see it, and the trash.

-- The order in which pictures came, which no two have in common: pictures of one second keep their order.
ALTER TABLE pictures ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
UPDATE pictures SET number = counted.number
FROM (SELECT id, row_number() OVER (ORDER BY created_at, job, place, id) AS number FROM pictures) AS counted
WHERE counted.id = pictures.id;
CREATE UNIQUE INDEX pictures_number ON pictures (number);

-- Everybody may see it, until this time; NULL: until it is withdrawn.
ALTER TABLE pictures ADD COLUMN public INTEGER NOT NULL DEFAULT 0 CHECK (public IN (0, 1));
ALTER TABLE pictures ADD COLUMN public_until INTEGER;
ALTER TABLE pictures ADD COLUMN favourite INTEGER NOT NULL DEFAULT 0 CHECK (favourite IN (0, 1));
-- Since when it lies in the trash.
ALTER TABLE pictures ADD COLUMN trashed_at INTEGER;

-- The rest says what a picture shows. It is filled in later for those that are older than these columns.
ALTER TABLE pictures ADD COLUMN described INTEGER NOT NULL DEFAULT 0 CHECK (described IN (0, 1));
ALTER TABLE pictures ADD COLUMN width INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pictures ADD COLUMN height INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pictures ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pictures ADD COLUMN prompt TEXT NOT NULL DEFAULT '';
ALTER TABLE pictures ADD COLUMN negative_prompt TEXT NOT NULL DEFAULT '';
-- The model's id and its bare name.
ALTER TABLE pictures ADD COLUMN model TEXT;
ALTER TABLE pictures ADD COLUMN model_name TEXT;
ALTER TABLE pictures ADD COLUMN family TEXT;
ALTER TABLE pictures ADD COLUMN steps INTEGER;
ALTER TABLE pictures ADD COLUMN guidance REAL;
ALTER TABLE pictures ADD COLUMN scheduler TEXT;
-- The 64 bits of the seed, which has no sign.
ALTER TABLE pictures ADD COLUMN seed INTEGER;
ALTER TABLE pictures ADD COLUMN took_ms INTEGER;
-- As JSON: a list of objects with `id` and `scale`.
ALTER TABLE pictures ADD COLUMN loras TEXT NOT NULL DEFAULT '[]';
ALTER TABLE pictures ADD COLUMN mode TEXT;
-- The `parameters` text of its file.
ALTER TABLE pictures ADD COLUMN text TEXT NOT NULL DEFAULT '';
-- The prompt in small letters, for the search.
ALTER TABLE pictures ADD COLUMN folded TEXT NOT NULL DEFAULT '';

DROP INDEX pictures_account;
-- With everything that says who may see it, so that counting looks at nothing else.
CREATE INDEX pictures_of_account ON pictures (account, created_at, number, public, public_until, trashed_at)
    WHERE trashed_at IS NULL;
CREATE INDEX pictures_in_order ON pictures (created_at, number, account, public, public_until, trashed_at)
    WHERE trashed_at IS NULL;
CREATE INDEX pictures_public ON pictures (created_at, number, account, public, public_until, trashed_at)
    WHERE public = 1 AND trashed_at IS NULL;
CREATE INDEX pictures_in_trash ON pictures (account, trashed_at, number) WHERE trashed_at IS NOT NULL;
CREATE INDEX pictures_of_model ON pictures (model, model_name, account, public, public_until, trashed_at)
    WHERE trashed_at IS NULL;
CREATE INDEX pictures_undescribed ON pictures (id) WHERE described = 0;
-- What an account has on the disk is summed up from here alone.
CREATE INDEX pictures_usage ON pictures (account, bytes, number, trashed_at);

CREATE TABLE picture_tags (
    picture TEXT NOT NULL REFERENCES pictures (id) ON DELETE CASCADE,
    tag TEXT NOT NULL,
    PRIMARY KEY (picture, tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX picture_tags_tag ON picture_tags (tag, picture);

-- Pictures whose rows are gone, and whose files are about to go.
CREATE TABLE removed_pictures (
    id TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Who may see what comes of a job: everybody, for so many hours; NULL: until it is withdrawn.
ALTER TABLE jobs ADD COLUMN public INTEGER NOT NULL DEFAULT 0 CHECK (public IN (0, 1));
ALTER TABLE jobs ADD COLUMN public_hours INTEGER;

-- Bytes that the account's pictures may have; NULL: as many as the configuration says.
ALTER TABLE accounts ADD COLUMN quota_bytes INTEGER CHECK (quota_bytes >= 0);
