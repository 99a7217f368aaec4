-- Resources that have many operations are counted as organisations and projects are; the others along their range of an
-- index, which is short. A short number stands for the resource in its counters, and is not given again.
CREATE TABLE counted_resources (
    resource        INTEGER PRIMARY KEY AUTOINCREMENT,
    organization_id TEXT    NOT NULL,
    resource_type   TEXT    NOT NULL,
    resource_id     TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX counted_resources_by_key ON counted_resources (organization_id, resource_type, resource_id);

CREATE TABLE resource_counters (
    resource        INTEGER NOT NULL,
    level           INTEGER NOT NULL,              -- as in counters
    bucket          INTEGER NOT NULL,
    kind            TEXT    NOT NULL,
    project_id      TEXT    NOT NULL,
    pending         INTEGER NOT NULL,
    running         INTEGER NOT NULL,
    completed       INTEGER NOT NULL,
    failed          INTEGER NOT NULL,
    PRIMARY KEY (resource, level, bucket, kind, project_id)
) STRICT, WITHOUT ROWID;

INSERT INTO counted_resources (organization_id, resource_type, resource_id)
SELECT organization_id, resource_type, resource_id FROM (
    SELECT organization_id, resource_type, resource_id FROM active WHERE resource_type <> ''
    UNION ALL SELECT organization_id, resource_type, resource_id FROM settled WHERE resource_type <> ''
) GROUP BY 1, 2, 3 HAVING count(*) >= 1024;

WITH levels (level) AS (VALUES (12), (16), (20)), op (resource, seq, kind, project_id, status) AS (
    SELECT c.resource, a.seq, a.kind, a.project_id, a.status FROM counted_resources c CROSS JOIN active a
        ON a.organization_id = c.organization_id AND a.resource_type = c.resource_type
            AND a.resource_id = c.resource_id AND a.resource_type <> ''
    UNION ALL
    SELECT c.resource, s.seq, s.kind, s.project_id, s.status FROM counted_resources c CROSS JOIN settled s
        ON s.organization_id = c.organization_id AND s.resource_type = c.resource_type
            AND s.resource_id = c.resource_id AND s.resource_type <> ''
)
INSERT INTO resource_counters
SELECT resource, level, seq >> level, kind, project_id, sum(status = 1), sum(status = 2), sum(status = 3),
    sum(status = 4)
FROM op CROSS JOIN levels GROUP BY 1, 2, 3, 4, 5;
