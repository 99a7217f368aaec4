-- Evidence that can be listed, limited in bytes and removed. What was stored before counts as used now.
ALTER TABLE evidence
    ADD COLUMN name           text     NOT NULL DEFAULT '',
    ADD COLUMN last_used_at   bigint   NOT NULL DEFAULT 0,
    -- 1 reserved: its content is on its way; 2 stored; 3 being removed
    ADD COLUMN state          smallint NOT NULL DEFAULT 2,
    ADD COLUMN removing_since bigint;
UPDATE evidence SET last_used_at = greatest(created_at, (extract(epoch FROM now()) * 1000)::bigint);
CREATE INDEX evidence_by_age ON evidence (organization_id, created_at, digest);

-- How much there is, whatever its state. Written under the lock of the organization's row, and touches no index.
CREATE TABLE evidence_totals (
    organization_id text   NOT NULL PRIMARY KEY,
    pieces          bigint NOT NULL,
    bytes           bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO evidence_totals
SELECT organization_id, count(*), sum(size)::bigint FROM evidence GROUP BY organization_id;
