-- What servers see in their policy folders, a JSON object of digests by references; under the empty name what was followed
-- last.
CREATE TABLE seen_policies (
    server   TEXT    NOT NULL PRIMARY KEY,
    seen_at  INTEGER NOT NULL,
    policies TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
