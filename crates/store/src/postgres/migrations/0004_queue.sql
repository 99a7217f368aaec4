-- The line of pending operations, apart from the operations themselves: a claim takes a short row out of it, and starts
-- the operation by an update that touches no index of "active", since none has the status or the due time any more.

CREATE TABLE queue (
    organization_id text     NOT NULL,
    kind            text     NOT NULL,
    priority        smallint NOT NULL,
    seq             bigint   NOT NULL,
    due_at          bigint                         -- NULL: may be claimed now
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

INSERT INTO queue SELECT organization_id, kind, priority, seq, due_at FROM active WHERE status = 1
ORDER BY organization_id, seq;

-- What may be claimed, in the order in which it is.
CREATE UNIQUE INDEX queue_ready ON queue (organization_id, kind, priority DESC, seq) WHERE due_at IS NULL;
-- What becomes claimable later: retries that back off, run_after.
CREATE INDEX queue_due ON queue (organization_id, due_at) WHERE due_at IS NOT NULL;

DROP INDEX active_ready;
DROP INDEX active_due;
-- Room on each page for the row of its attempt.
ALTER TABLE active SET (fillfactor = 50);
