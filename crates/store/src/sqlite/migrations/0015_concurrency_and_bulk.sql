-- At most so many operations of one concurrency key run at a time.

ALTER TABLE active ADD COLUMN concurrency_key TEXT;      -- NULL: it has none
ALTER TABLE active ADD COLUMN concurrency_limit INTEGER; -- as its creation named it
-- It is due, and none of its key's places is free: then it is not among what may be claimed.
ALTER TABLE active ADD COLUMN waits INTEGER NOT NULL DEFAULT 0;
ALTER TABLE settled ADD COLUMN concurrency_key TEXT;
ALTER TABLE settled ADD COLUMN concurrency_limit INTEGER;

DROP INDEX active_ready;
CREATE INDEX active_ready ON active (organization_id, kind, priority DESC, seq)
    WHERE status = 1 AND due_at IS NULL AND waits = 0;
-- What waits for a place, in the order in which it gets one.
CREATE INDEX active_waiting ON active (organization_id, concurrency_key, priority DESC, seq) WHERE waits = 1;

-- The keys of operations that have not ended.
CREATE TABLE concurrency_keys (
    organization_id TEXT    NOT NULL,
    key             TEXT    NOT NULL,
    most            INTEGER NOT NULL,              -- places, as the newest creation named them
    held            INTEGER NOT NULL,              -- by what may be claimed and by what runs
    operations      INTEGER NOT NULL,              -- that have not ended
    PRIMARY KEY (organization_id, key)
) STRICT, WITHOUT ROWID;

-- How far each bulk operation is, written with what it does: counts that add up whatever breaks off.
CREATE TABLE bulk_progress (
    organization_id TEXT    NOT NULL,
    id              BLOB    NOT NULL,
    progress        TEXT    NOT NULL,              -- JSON
    PRIMARY KEY (organization_id, id)
) STRICT, WITHOUT ROWID;
