-- Lists leave notices out unless they are asked for: the kind is looked at in the index, without the row.
DROP INDEX active_by_seq;
CREATE UNIQUE INDEX active_by_seq ON active (organization_id, seq, status, kind);
DROP INDEX settled_by_status;
CREATE UNIQUE INDEX settled_by_status ON settled (organization_id, status, seq, kind);

-- What only the servers of this store know. `feed` hides places in the feed of changes, whose numbers would tell an
-- organisation how much the others do.
CREATE TABLE secrets (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO secrets (name, value) VALUES ('feed', randomblob(32));
