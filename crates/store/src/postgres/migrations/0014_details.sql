-- What few operations have: labels, a unique key, the schedule that made it. A row for those that have any of it.
CREATE TABLE details (
    organization_id text   NOT NULL,
    seq             bigint NOT NULL,
    labels          jsonb  NOT NULL,               -- an object of texts
    unique_key      text,
    schedule        text,                          -- its id
    PRIMARY KEY (organization_id, seq)
);
CREATE INDEX details_by_unique_key ON details (organization_id, unique_key, seq) WHERE unique_key IS NOT NULL;

-- The index by label of what details says.
CREATE TABLE labels (
    organization_id text   NOT NULL,
    key             text   NOT NULL,
    value           text   NOT NULL,
    seq             bigint NOT NULL,
    PRIMARY KEY (organization_id, key, value, seq)
);

-- Which operation took a unique key last: the only one with it that may not have ended. Written under the lock of the
-- organisation's row only, so that nobody waits for a row of it.
CREATE TABLE unique_keys (
    organization_id text   NOT NULL,
    unique_key      text   NOT NULL,
    seq             bigint NOT NULL,
    PRIMARY KEY (organization_id, unique_key)
) WITH (fillfactor = 80);
