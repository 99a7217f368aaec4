-- Steering: operations are cancelled, tried again, and removed, by callers or when their time is over.

-- The numbers of removed operations are not given again: next_seq - 1 = operations there are + removed.
ALTER TABLE organizations ADD COLUMN removed bigint NOT NULL DEFAULT 0;

-- When what runs was asked to stop; NULL: nobody asked. Few rows have it, and only those are in the index.
ALTER TABLE active ADD COLUMN cancel_requested_at bigint;
CREATE INDEX active_by_cancel ON active (cancel_requested_at, organization_id, seq)
    WHERE cancel_requested_at IS NOT NULL;

-- When it is to be removed; NULL: never. The index has only rows with such a time, so that it can be taken for nothing
-- else, and that rows without cost nothing; it begins with the organisation, since removals rotate over organisations.
ALTER TABLE settled ADD COLUMN purge_at bigint;
UPDATE settled SET purge_at = finished_at + retain_for_ms WHERE retain_for_ms IS NOT NULL;
CREATE INDEX settled_by_purge ON settled (organization_id, purge_at, seq) WHERE purge_at IS NOT NULL;

-- With the number, so that a single row is found among many that become due at the same time.
DROP INDEX queue_due;
CREATE INDEX queue_due ON queue (organization_id, due_at, seq) WHERE due_at IS NOT NULL;
