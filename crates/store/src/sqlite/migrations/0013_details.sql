-- What few operations have: labels, a unique key, the schedule that made it. A row for those that have any of it.
CREATE TABLE details (
    organization_id TEXT    NOT NULL,
    seq             INTEGER NOT NULL,
    labels          TEXT    NOT NULL,              -- a JSON object of texts
    unique_key      TEXT,
    schedule        TEXT,                          -- its id
    PRIMARY KEY (organization_id, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX details_by_unique_key ON details (organization_id, unique_key, seq) WHERE unique_key IS NOT NULL;

-- The index by label of what details says.
CREATE TABLE labels (
    organization_id TEXT    NOT NULL,
    key             TEXT    NOT NULL,
    value           TEXT    NOT NULL,
    seq             INTEGER NOT NULL,
    PRIMARY KEY (organization_id, key, value, seq)
) STRICT, WITHOUT ROWID;

-- Which operation took a unique key last: the only one with it that may not have ended.
CREATE TABLE unique_keys (
    organization_id TEXT    NOT NULL,
    unique_key      TEXT    NOT NULL,
    seq             INTEGER NOT NULL,
    PRIMARY KEY (organization_id, unique_key)
) STRICT, WITHOUT ROWID;
