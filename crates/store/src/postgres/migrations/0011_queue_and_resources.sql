-- What is in order in the queue comes in by its numbers, and nothing of it can come in before what is there: it has no
-- priority, was not delayed, and waits for its first attempt. As most of a queue is so, it has an index of its own, which
-- a claim reads from a number on, and not past what is dead (postgres/heads.rs). What is there already may be anything.
ALTER TABLE queue ADD COLUMN in_order boolean NOT NULL DEFAULT false
    CONSTRAINT "what is in order has neither a priority nor a time" CHECK (NOT in_order OR (priority = 0 AND due_at IS NULL));
CREATE UNIQUE INDEX queue_in_order ON queue (organization_id, kind, seq) WHERE in_order;
CREATE UNIQUE INDEX queue_rest ON queue (organization_id, kind, (-priority), seq) WHERE due_at IS NULL AND NOT in_order;
DROP INDEX queue_ready;
ALTER INDEX queue_rest RENAME TO queue_ready;

-- Resources that have many operations are counted as organisations and projects are; the others along their range of an
-- index, which is short (postgres/resources.rs). From the moment that a resource is here, who changes the status of one of
-- its operations appends to resource_deltas; its counters count once is_counted. A short key stands for it in them.
CREATE TABLE counted_resources (
    organization_id text    NOT NULL,
    resource_type   text    NOT NULL,
    resource_id     text    NOT NULL,
    resource        uuid    NOT NULL DEFAULT gen_random_uuid(),
    marked_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    is_counted      boolean NOT NULL DEFAULT false,
    PRIMARY KEY (organization_id, resource_type, resource_id)
);

CREATE TABLE resource_counters (
    organization_id text     NOT NULL,
    resource        uuid     NOT NULL,
    level           smallint NOT NULL,             -- as in counters
    bucket          bigint   NOT NULL,
    kind            text     NOT NULL,
    project_id      text     NOT NULL,             -- '' counts all, those of no project included
    pending         integer  NOT NULL,
    running         integer  NOT NULL,
    completed       integer  NOT NULL,
    failed          integer  NOT NULL,
    PRIMARY KEY (organization_id, resource, project_id, level, bucket, kind)
) WITH (fillfactor = 50);

-- As counter_deltas, and folded with them.
CREATE TABLE resource_deltas (
    organization_id text    NOT NULL,
    xid             xid8    NOT NULL DEFAULT pg_current_xact_id(),
    resource        uuid    NOT NULL,
    bucket          bigint  NOT NULL,
    project_id      text    NOT NULL,
    kind            text    NOT NULL,
    pending         integer NOT NULL,
    running         integer NOT NULL,
    completed       integer NOT NULL,
    failed          integer NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX resource_deltas_by_xid ON resource_deltas (organization_id, xid);
