-- The queue in the order in which it is claimed, all ascending: so a place in it is one bound, (-priority, seq), and a
-- claim can begin where the last one ended (postgres/heads.rs).
CREATE UNIQUE INDEX queue_in_order ON queue (organization_id, kind, (-priority), seq) WHERE due_at IS NULL;
DROP INDEX queue_ready;
ALTER INDEX queue_in_order RENAME TO queue_ready;
