-- Steering: operations are cancelled, tried again, and removed, by callers or when their time is over.

-- The numbers of removed operations are not given again: next_seq - 1 = operations there are + removed.
ALTER TABLE organizations ADD COLUMN removed INTEGER NOT NULL DEFAULT 0;

-- When what runs was asked to stop; NULL: nobody asked. Few rows have it, and only those are in the index.
ALTER TABLE active ADD COLUMN cancel_requested_at INTEGER;
CREATE INDEX active_by_cancel ON active (cancel_requested_at) WHERE cancel_requested_at IS NOT NULL;

-- When it is to be removed; NULL: never. Rows without such a time are not in the index and cost nothing.
ALTER TABLE settled ADD COLUMN purge_at INTEGER;
UPDATE settled SET purge_at = finished_at + retain_for_ms WHERE retain_for_ms IS NOT NULL;
CREATE INDEX settled_by_purge ON settled (organization_id, purge_at) WHERE purge_at IS NOT NULL;
