-- Operations, their counters, leases, tokens and evidence records, in the schema "longrun". Every key starts with the
-- organisation and every transaction touches one organisation, so that the tables can be distributed by it. No sequence,
-- no trigger, no foreign key across organisations. Times are milliseconds since the epoch.

-- Tenants. next_seq numbers the organisation's operations 1, 2, 3 … in commit order, without gaps. The row is locked by
-- every creation; few rows a page leave room for its new versions on the same page.
CREATE TABLE organizations (
    organization_id text   NOT NULL PRIMARY KEY,
    next_seq        bigint NOT NULL DEFAULT 1,
    created_at      bigint NOT NULL
) WITH (fillfactor = 20);

-- PENDING and RUNNING operations: the queue. Small and hot.
CREATE TABLE active (
    organization_id    text     NOT NULL,
    seq                bigint   NOT NULL,
    id                 uuid     NOT NULL,
    kind               text     NOT NULL,
    status             smallint NOT NULL CHECK (status IN (1, 2)),
    resource_type      text     NOT NULL,
    resource_id        text     NOT NULL,
    project_id         text     NOT NULL,
    project_version_id text     NOT NULL,
    created_at         bigint   NOT NULL,
    started_at         bigint,
    due_at             bigint,                     -- NULL: may be claimed now
    priority           smallint NOT NULL,
    attempts           integer  NOT NULL,
    max_attempts       integer  NOT NULL,
    fence              bigint   NOT NULL,          -- the fencing token of the latest claim
    cancel_requested   boolean  NOT NULL DEFAULT false,
    timeout_ms         bigint,
    retain_for_ms      bigint,
    input              text     NOT NULL,
    PRIMARY KEY (organization_id, seq)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE UNIQUE INDEX active_by_id ON active (organization_id, id);
CREATE INDEX active_by_kind ON active (organization_id, kind, seq);
CREATE INDEX active_by_resource ON active (organization_id, resource_type, resource_id, seq) WHERE resource_type <> '';
CREATE INDEX active_by_project ON active (organization_id, project_id, seq) WHERE project_id <> '';
-- What may be claimed, in the order in which it is.
CREATE INDEX active_ready ON active (organization_id, kind, priority DESC, seq) WHERE status = 1 AND due_at IS NULL;
-- What becomes claimable later: retries that back off, run_after.
CREATE INDEX active_due ON active (organization_id, due_at) WHERE due_at IS NOT NULL;

-- COMPLETED and FAILED operations: inserted once, never updated.
CREATE TABLE settled (
    organization_id    text     NOT NULL,
    seq                bigint   NOT NULL,
    id                 uuid     NOT NULL,
    kind               text     NOT NULL,
    status             smallint NOT NULL CHECK (status IN (3, 4)),
    resource_type      text     NOT NULL,
    resource_id        text     NOT NULL,
    project_id         text     NOT NULL,
    project_version_id text     NOT NULL,
    created_at         bigint   NOT NULL,
    started_at         bigint,
    finished_at        bigint   NOT NULL,
    priority           smallint NOT NULL,
    attempts           integer  NOT NULL,
    max_attempts       integer  NOT NULL,
    fence              bigint   NOT NULL,
    timeout_ms         bigint,
    retain_for_ms      bigint,
    error_message      text     NOT NULL,
    output             text     NOT NULL,
    input              text     NOT NULL,          -- kept of FAILED ones, for a retry
    PRIMARY KEY (organization_id, seq)
);
CREATE UNIQUE INDEX settled_by_id ON settled (organization_id, id);
CREATE INDEX settled_by_status ON settled (organization_id, status, seq);
CREATE INDEX settled_by_kind ON settled (organization_id, kind, status, seq);
CREATE INDEX settled_by_resource ON settled (organization_id, resource_type, resource_id, seq) WHERE resource_type <> '';
CREATE INDEX settled_by_project ON settled (organization_id, project_id, status, seq) WHERE project_id <> '';

-- Leases of RUNNING operations, one each. Heartbeats write here only, and touch no index.
CREATE TABLE leases (
    organization_id text   NOT NULL,
    seq             bigint NOT NULL,
    fence           bigint NOT NULL,
    worker          text   NOT NULL,
    expires_at      bigint NOT NULL,
    PRIMARY KEY (organization_id, seq)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

-- Exact counts per bucket of the sequence as of a fold: level 1 is seq >> 12, level 2 is seq >> 20.
CREATE TABLE counters (
    organization_id text     NOT NULL,
    level           smallint NOT NULL,
    bucket          bigint   NOT NULL,
    kind            text     NOT NULL,
    status          smallint NOT NULL,
    n               bigint   NOT NULL,
    PRIMARY KEY (organization_id, level, bucket, kind, status)
) WITH (fillfactor = 50);

-- The same per project, for callers that are limited to projects. Operations without a project are not here.
CREATE TABLE project_counters (
    organization_id text     NOT NULL,
    project_id      text     NOT NULL,
    level           smallint NOT NULL,
    bucket          bigint   NOT NULL,
    kind            text     NOT NULL,
    status          smallint NOT NULL,
    n               bigint   NOT NULL,
    PRIMARY KEY (organization_id, project_id, level, bucket, kind, status)
) WITH (fillfactor = 50);

-- What has changed since the fold: appended in the transaction of the rows that are counted, never updated. Rows below
-- counter_folds.folded_before are in the counters already, and are never looked at again: a snapshot that is held open
-- keeps them from being removed, but not from being skipped, since the index is read from that transaction id on.
CREATE TABLE counter_deltas (
    organization_id text     NOT NULL,
    xid             xid8     NOT NULL DEFAULT pg_current_xact_id(),
    bucket          bigint   NOT NULL,             -- of level 1
    project_id      text     NOT NULL,
    kind            text     NOT NULL,
    status          smallint NOT NULL,
    n               integer  NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX counter_deltas_by_xid ON counter_deltas (organization_id, xid);

CREATE TABLE counter_folds (
    organization_id text NOT NULL PRIMARY KEY,
    folded_before   xid8 NOT NULL
) WITH (fillfactor = 20);

-- First uses of idempotency keys, written in the transaction of the creation that they guard.
CREATE TABLE idempotency_keys (
    organization_id text   NOT NULL,
    key             text   NOT NULL,
    fingerprint     bytea  NOT NULL,               -- SHA-256 of the request
    ids             uuid[] NOT NULL,
    created_at      bigint NOT NULL,
    PRIMARY KEY (organization_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- API tokens: only a SHA-256 of the secret. The hash alone finds the organisation, so it is the key. A small table:
-- replicated, not distributed, where the others are distributed.
CREATE TABLE tokens (
    hash            bytea  NOT NULL PRIMARY KEY,
    id              text   NOT NULL UNIQUE,
    organization_id text   NOT NULL,
    name            text   NOT NULL,
    scopes          text[] NOT NULL,
    projects        text[],                        -- NULL: the whole organisation
    created_at      bigint NOT NULL,
    expires_at      bigint,
    last_used_at    bigint,
    revoked_at      bigint
);

-- What is known about evidence besides its content, which lies in the content store under the same digest.
CREATE TABLE evidence (
    organization_id text   NOT NULL,
    digest          text   NOT NULL,
    size            bigint NOT NULL,
    kind            text   NOT NULL,
    created_at      bigint NOT NULL,
    PRIMARY KEY (organization_id, digest)
);
