-- Who called what: one row a transaction and organisation, with the entries of all its calls. Appended in the
-- transaction of what they changed, and never updated. The log of the instance is that of the empty name.

-- Each organisation numbers its entries 1, 2, 3 …; the oldest are removed once their time is over, and counted here.
ALTER TABLE organizations ADD COLUMN audit_seq INTEGER NOT NULL DEFAULT 1;
ALTER TABLE organizations ADD COLUMN audit_removed INTEGER NOT NULL DEFAULT 0;

CREATE TABLE audit (
    organization_id TEXT    NOT NULL,
    seq             INTEGER NOT NULL,              -- of the first entry
    entries         INTEGER NOT NULL,
    at              INTEGER NOT NULL,
    log             TEXT    NOT NULL               -- JSON array of the entries
) STRICT;
CREATE UNIQUE INDEX audit_by_seq ON audit (organization_id, seq);
CREATE INDEX audit_by_time ON audit (organization_id, at, seq);
