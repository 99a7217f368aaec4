-- What is in order in the queue comes in by its numbers, and nothing of it can come in before what is there: it has no
-- priority, was not delayed, and waits for its first attempt. As most of a queue is so, it has an index of its own, which
-- a claim reads from a number on, and not past what is dead (postgres/heads.rs). What is there already may be anything.
ALTER TABLE queue ADD COLUMN in_order boolean NOT NULL DEFAULT false
    CONSTRAINT "what is in order has neither a priority nor a time" CHECK (NOT in_order OR (priority = 0 AND due_at IS NULL));
CREATE UNIQUE INDEX queue_in_order ON queue (organization_id, kind, seq) WHERE in_order;
CREATE UNIQUE INDEX queue_rest ON queue (organization_id, kind, (-priority), seq) WHERE due_at IS NULL AND NOT in_order;
DROP INDEX queue_ready;
ALTER INDEX queue_rest RENAME TO queue_ready;
