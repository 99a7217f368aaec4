-- Who called what: one row a transaction and organisation, with the entries of all its calls. Appended in the
-- transaction of what they changed, and never updated. The log of the instance is that of the empty name.

-- Each organisation numbers its entries 1, 2, 3 …; the oldest are removed once their time is over, and counted here.
ALTER TABLE organizations ADD COLUMN audit_seq bigint NOT NULL DEFAULT 1;
ALTER TABLE organizations ADD COLUMN audit_removed bigint NOT NULL DEFAULT 0;

CREATE TABLE audit (
    organization_id text    NOT NULL,
    seq             bigint  NOT NULL,              -- of the first entry
    entries         integer NOT NULL,
    at              bigint  NOT NULL,
    log             text    NOT NULL,              -- JSON array of the entries
    PRIMARY KEY (organization_id, seq)
);
CREATE INDEX audit_by_time ON audit (organization_id, at, seq);
