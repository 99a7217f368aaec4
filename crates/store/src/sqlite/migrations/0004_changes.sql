-- The feed of changes: every transition and removal of an operation, in commit order (there is one writer). One row for the
-- operations of an organisation that a statement brought to one status. Servers forget what is older than the feed is kept.
CREATE TABLE changes (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    organization_id TEXT    NOT NULL,
    at              INTEGER NOT NULL,
    status          INTEGER NOT NULL,              -- what the operations became, all of them; 0: removed
    ids             BLOB    NOT NULL               -- 16 bytes each
) STRICT;
CREATE INDEX changes_by_organization ON changes (organization_id, id);

-- The last change of an organisation that was forgotten: who has not seen that far has missed something.
CREATE TABLE change_floors (
    organization_id TEXT    NOT NULL PRIMARY KEY,
    id              INTEGER NOT NULL,
    entries         INTEGER NOT NULL               -- operations of that row
) STRICT, WITHOUT ROWID;

-- Who reads every feed for the servers' own purposes. What was not read is not forgotten.
CREATE TABLE change_readers (
    reader          TEXT    NOT NULL PRIMARY KEY,
    id              INTEGER NOT NULL,              -- where every feed stood when it began
    holder          TEXT    NOT NULL DEFAULT '',   -- whose turn it is
    held_until      INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Up to where a reader has read an organisation's feed; without a row, from where it began.
CREATE TABLE change_marks (
    reader          TEXT    NOT NULL,
    organization_id TEXT    NOT NULL,
    id              INTEGER NOT NULL,
    seen            INTEGER NOT NULL,              -- operations of that row
    PRIMARY KEY (reader, organization_id)
) STRICT, WITHOUT ROWID;

-- Who made the last attempt; empty when there was none.
ALTER TABLE settled ADD COLUMN worker TEXT NOT NULL DEFAULT '';

-- What happened to an operation and cannot be told from its row: attempts that ended without ending it, what workers
-- said, wishes to stop it, ends before a retry. A life without trouble leaves nothing here.
CREATE TABLE events (
    organization_id TEXT    NOT NULL,
    seq             INTEGER NOT NULL,
    at              INTEGER NOT NULL,
    kind            INTEGER NOT NULL,              -- 1 failed, 2 lost, 3 released, 4 progress, 5 cancel, 6 retry, 7 end
    attempt         INTEGER NOT NULL,
    worker          TEXT    NOT NULL,
    started_at      INTEGER,                       -- of the attempt that ended
    message         TEXT    NOT NULL
) STRICT;
CREATE INDEX events_by_operation ON events (organization_id, seq);
