-- What servers see in their policy folders, a JSON object of digests by references; under the empty name what was followed
-- last.
CREATE TABLE seen_policies (
    server   text   NOT NULL PRIMARY KEY,
    seen_at  bigint NOT NULL,
    policies text   NOT NULL
);
