-- Statistics: how many operations were created, started and ended, and how long they waited and ran, by step of time. A
-- reader of the feed counts them there, so that no other write does.

-- What creates operations is told from what gives them back.
ALTER TABLE changes ADD COLUMN is_creation INTEGER NOT NULL DEFAULT 0;

-- Each change is counted in its minute, its hour and its day; with an empty project_id for the whole organisation, and
-- once more for the project, if there is one. A kind is empty where the operation was removed before it was counted.
CREATE TABLE statistics (
    organization_id TEXT    NOT NULL,
    step            INTEGER NOT NULL,              -- 1 minute, 2 hour, 3 day
    project_id      TEXT    NOT NULL,
    start           INTEGER NOT NULL,
    kind            TEXT    NOT NULL,
    created         INTEGER NOT NULL,
    started         INTEGER NOT NULL,
    completed       INTEGER NOT NULL,
    failed          INTEGER NOT NULL,
    waiting         BLOB    NOT NULL,              -- how long, as operations::Durations writes it
    running         BLOB    NOT NULL,
    PRIMARY KEY (organization_id, step, project_id, start, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX statistics_by_age ON statistics (step, start);

-- Since when an organisation's changes are counted without a gap. Numbers given = those before + counted + creations
-- that the feed has behind the reader.
CREATE TABLE statistics_origins (
    organization_id TEXT    NOT NULL PRIMARY KEY,
    since           INTEGER NOT NULL,
    created_before  INTEGER NOT NULL,
    created         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Saved views: a name for a filter. An empty owner: shared in the organisation; else the id of the token that it is
-- private to.
CREATE TABLE views (
    organization_id TEXT    NOT NULL,
    id              TEXT    NOT NULL,
    owner           TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    filter          TEXT    NOT NULL,
    columns         TEXT    NOT NULL,              -- JSON array of names
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    PRIMARY KEY (organization_id, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX views_by_name ON views (organization_id, owner, name);
