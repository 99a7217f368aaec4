-- Evidence that can be listed, limited in bytes and removed. What was stored before counts as used now.
ALTER TABLE evidence ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE evidence ADD COLUMN last_used_at INTEGER NOT NULL DEFAULT 0;
-- 1 reserved: its content is on its way; 2 stored; 3 being removed
ALTER TABLE evidence ADD COLUMN state INTEGER NOT NULL DEFAULT 2;
ALTER TABLE evidence ADD COLUMN removing_since INTEGER;
UPDATE evidence SET last_used_at = max(created_at, CAST(strftime('%s', 'now') AS INTEGER) * 1000);
CREATE INDEX evidence_by_age ON evidence (organization_id, created_at, digest);

-- How much there is, whatever its state.
CREATE TABLE evidence_totals (
    organization_id TEXT    NOT NULL PRIMARY KEY,
    pieces          INTEGER NOT NULL,
    bytes           INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO evidence_totals SELECT organization_id, count(*), sum(size) FROM evidence GROUP BY organization_id;
