-- Operations, their counters, leases, tokens and evidence records. Every key starts with the organisation.

-- Tenants. next_seq numbers the organisation's operations 1, 2, 3 … in commit order, without gaps.
CREATE TABLE organizations (
    organization_id TEXT    NOT NULL PRIMARY KEY,
    next_seq        INTEGER NOT NULL DEFAULT 1,
    created_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- PENDING and RUNNING operations: the queue. Small and hot. Times are milliseconds since the epoch.
CREATE TABLE active (
    organization_id    TEXT    NOT NULL REFERENCES organizations,
    seq                INTEGER NOT NULL,
    id                 BLOB    NOT NULL,
    kind               TEXT    NOT NULL,
    status             INTEGER NOT NULL CHECK (status IN (1, 2)),
    resource_type      TEXT    NOT NULL,
    resource_id        TEXT    NOT NULL,
    project_id         TEXT    NOT NULL,
    project_version_id TEXT    NOT NULL,
    created_at         INTEGER NOT NULL,
    started_at         INTEGER,
    due_at             INTEGER,                    -- NULL: may be claimed now
    priority           INTEGER NOT NULL,
    attempts           INTEGER NOT NULL,
    max_attempts       INTEGER NOT NULL,
    fence              INTEGER NOT NULL,           -- the fencing token of the latest claim
    cancel_requested   INTEGER NOT NULL DEFAULT 0,
    timeout_ms         INTEGER,
    retain_for_ms      INTEGER,
    input              TEXT    NOT NULL            -- last: long values lie on pages that lists never touch
) STRICT;
CREATE UNIQUE INDEX active_by_seq ON active (organization_id, seq, status);
CREATE UNIQUE INDEX active_by_id ON active (organization_id, id);
CREATE INDEX active_by_kind ON active (organization_id, kind, seq, status);
CREATE INDEX active_by_resource ON active (organization_id, resource_type, resource_id, seq, status, kind, project_id)
    WHERE resource_type <> '';
CREATE INDEX active_by_project ON active (organization_id, project_id, seq, status, kind) WHERE project_id <> '';
-- What may be claimed, in the order in which it is.
CREATE INDEX active_ready ON active (organization_id, kind, priority DESC, seq) WHERE status = 1 AND due_at IS NULL;
-- What becomes claimable later: retries that back off, run_after.
CREATE INDEX active_due ON active (due_at) WHERE due_at IS NOT NULL;

-- COMPLETED and FAILED operations: inserted once, never updated.
CREATE TABLE settled (
    organization_id    TEXT    NOT NULL REFERENCES organizations,
    seq                INTEGER NOT NULL,
    id                 BLOB    NOT NULL,
    kind               TEXT    NOT NULL,
    status             INTEGER NOT NULL CHECK (status IN (3, 4)),
    resource_type      TEXT    NOT NULL,
    resource_id        TEXT    NOT NULL,
    project_id         TEXT    NOT NULL,
    project_version_id TEXT    NOT NULL,
    created_at         INTEGER NOT NULL,
    started_at         INTEGER,
    finished_at        INTEGER NOT NULL,
    priority           INTEGER NOT NULL,
    attempts           INTEGER NOT NULL,
    max_attempts       INTEGER NOT NULL,
    fence              INTEGER NOT NULL,
    timeout_ms         INTEGER,
    retain_for_ms      INTEGER,
    error_message      TEXT    NOT NULL,
    output             TEXT    NOT NULL,
    input              TEXT    NOT NULL            -- kept of FAILED ones, for a retry
) STRICT;
CREATE UNIQUE INDEX settled_by_status ON settled (organization_id, status, seq);
CREATE UNIQUE INDEX settled_by_id ON settled (organization_id, id);
CREATE INDEX settled_by_kind ON settled (organization_id, kind, status, seq);
CREATE INDEX settled_by_resource ON settled (organization_id, resource_type, resource_id, seq, status, kind, project_id)
    WHERE resource_type <> '';
CREATE INDEX settled_by_project ON settled (organization_id, project_id, status, seq, kind) WHERE project_id <> '';

-- Leases of RUNNING operations, one each. Heartbeats write here only, where no secondary index is touched.
CREATE TABLE leases (
    organization_id TEXT    NOT NULL,
    seq             INTEGER NOT NULL,
    fence           INTEGER NOT NULL,
    worker          TEXT    NOT NULL,
    expires_at      INTEGER NOT NULL,
    PRIMARY KEY (organization_id, seq)
) STRICT, WITHOUT ROWID;

-- Exact counts per bucket of the sequence: level 1 is seq >> 12, level 2 is seq >> 20. Rows that reach 0 are deleted.
CREATE TABLE counters (
    organization_id TEXT    NOT NULL,
    level           INTEGER NOT NULL,
    bucket          INTEGER NOT NULL,
    kind            TEXT    NOT NULL,
    status          INTEGER NOT NULL,
    n               INTEGER NOT NULL,
    PRIMARY KEY (organization_id, level, bucket, kind, status)
) STRICT, WITHOUT ROWID;

-- The same per project, for callers that are limited to projects. Operations without a project are not here.
CREATE TABLE project_counters (
    organization_id TEXT    NOT NULL,
    project_id      TEXT    NOT NULL,
    level           INTEGER NOT NULL,
    bucket          INTEGER NOT NULL,
    kind            TEXT    NOT NULL,
    status          INTEGER NOT NULL,
    n               INTEGER NOT NULL,
    PRIMARY KEY (organization_id, project_id, level, bucket, kind, status)
) STRICT, WITHOUT ROWID;

-- First uses of idempotency keys, written in the transaction of the creation that they guard.
CREATE TABLE idempotency_keys (
    organization_id TEXT    NOT NULL,
    key             TEXT    NOT NULL,
    fingerprint     BLOB    NOT NULL,              -- SHA-256 of the request
    ids             TEXT    NOT NULL,              -- JSON array of the operations' ids
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (organization_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- API tokens: only a SHA-256 of the secret. The hash alone finds the organisation, so it is the key.
CREATE TABLE tokens (
    hash            BLOB    NOT NULL PRIMARY KEY,
    id              TEXT    NOT NULL UNIQUE,
    organization_id TEXT    NOT NULL REFERENCES organizations,
    name            TEXT    NOT NULL,
    scopes          TEXT    NOT NULL,              -- JSON array of names
    projects        TEXT,                          -- JSON array of ids; NULL: the whole organisation
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    last_used_at    INTEGER,
    revoked_at      INTEGER
) STRICT, WITHOUT ROWID;

-- What is known about evidence besides its content, which lies in the content store under the same digest.
CREATE TABLE evidence (
    organization_id TEXT    NOT NULL,
    digest          TEXT    NOT NULL,
    size            INTEGER NOT NULL,
    kind            TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (organization_id, digest)
) STRICT, WITHOUT ROWID;
