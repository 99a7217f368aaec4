-- Operations that are created again and again, at times. A due time and what it creates are one transaction: the row
-- says which due time comes next, and whoever has it creates.
CREATE TABLE schedules (
    organization_id TEXT    NOT NULL,
    seq             INTEGER NOT NULL,              -- of the organization's schedules; for walks
    name            TEXT    NOT NULL,
    id              BLOB    NOT NULL,              -- what its texts are sealed for, and its delays are made of
    project_id      TEXT    NOT NULL,
    definition      TEXT    NOT NULL,              -- JSON
    input           TEXT    NOT NULL,
    paused          INTEGER NOT NULL,
    revision        INTEGER NOT NULL,              -- grows with each change by a caller
    anchor          INTEGER NOT NULL,              -- what `every` is counted from
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    next_due        INTEGER,                       -- the first due time that nothing was done about
    fire_at         INTEGER,                       -- when that is done; NULL: never, as long as it is paused
    last_time       INTEGER,                       -- the last due time that has created
    last_operation  BLOB,
    passed_over     INTEGER,                       -- the last due time that has not
    last_error      TEXT    NOT NULL DEFAULT '',
    last_error_at   INTEGER
) STRICT;
CREATE UNIQUE INDEX schedules_by_name ON schedules (organization_id, name);
CREATE UNIQUE INDEX schedules_by_seq ON schedules (organization_id, seq);
-- Of one organization, and of all.
CREATE INDEX schedules_due_by_organization ON schedules (organization_id, fire_at) WHERE fire_at IS NOT NULL;
CREATE INDEX schedules_due ON schedules (fire_at) WHERE fire_at IS NOT NULL;
