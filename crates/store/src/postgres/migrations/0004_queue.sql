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

-- Secondary indexes begin with what they are for. While a table is empty, as a queue often is, all its indexes look alike
-- to the planner, and a plan that is made then stands: an index that begins with the organisation could be taken for any
-- query, one that does not only for its own. Of two that can serve, the planner takes the younger on a tie, which is the
-- special one, since primary keys are made first.
DROP INDEX active_by_id, active_by_kind, active_by_resource, active_by_project;
CREATE INDEX active_by_kind ON active (kind, organization_id, seq);
CREATE INDEX active_by_resource ON active (resource_id, resource_type, organization_id, seq) WHERE resource_type <> '';
CREATE INDEX active_by_project ON active (project_id, organization_id, seq) WHERE project_id <> '';
CREATE UNIQUE INDEX active_by_id ON active (id, organization_id);

DROP INDEX settled_by_id, settled_by_status, settled_by_kind, settled_by_resource, settled_by_project;
CREATE INDEX settled_by_status ON settled (status, organization_id, seq);
CREATE INDEX settled_by_kind ON settled (kind, status, organization_id, seq);
CREATE INDEX settled_by_resource ON settled (resource_id, resource_type, organization_id, seq) WHERE resource_type <> '';
CREATE INDEX settled_by_project ON settled (project_id, status, organization_id, seq) WHERE project_id <> '';
CREATE UNIQUE INDEX settled_by_id ON settled (id, organization_id);
