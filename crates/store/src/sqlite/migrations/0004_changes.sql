-- The feed of changes: every transition of an operation, in commit order (there is one writer). One row for the
-- operations of an organisation that a statement brought to one status. Servers forget what is older than the feed is kept.
CREATE TABLE changes (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    organization_id TEXT    NOT NULL,
    at              INTEGER NOT NULL,
    status          INTEGER NOT NULL,              -- what the operations became, all of them
    ids             BLOB    NOT NULL               -- 16 bytes each
) STRICT;
CREATE INDEX changes_by_organization ON changes (organization_id, id);

-- The last change of an organisation that was forgotten: who has not seen that far has missed something.
CREATE TABLE change_floors (
    organization_id TEXT    NOT NULL PRIMARY KEY,
    id              INTEGER NOT NULL,
    entries         INTEGER NOT NULL               -- operations of that row
) STRICT, WITHOUT ROWID;
