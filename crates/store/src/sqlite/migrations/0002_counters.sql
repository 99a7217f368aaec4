-- Counters on three levels, with a column for each status: a page reads 16 buckets a level and not 256, and a transition
-- changes one row and not two. Level l counts seq >> l. A bucket that is empty again keeps its row, with zeros.

ALTER TABLE counters RENAME TO old_counters;
ALTER TABLE project_counters RENAME TO old_project_counters;

CREATE TABLE counters (
    organization_id TEXT    NOT NULL,
    level           INTEGER NOT NULL,              -- 12, 16, 20
    bucket          INTEGER NOT NULL,              -- seq >> level
    kind            TEXT    NOT NULL,
    pending         INTEGER NOT NULL,
    running         INTEGER NOT NULL,
    completed       INTEGER NOT NULL,
    failed          INTEGER NOT NULL,
    PRIMARY KEY (organization_id, level, bucket, kind)
) STRICT, WITHOUT ROWID;

-- The same per project, for callers that are limited to projects. Operations without a project are not here.
CREATE TABLE project_counters (
    organization_id TEXT    NOT NULL,
    project_id      TEXT    NOT NULL,
    level           INTEGER NOT NULL,
    bucket          INTEGER NOT NULL,
    kind            TEXT    NOT NULL,
    pending         INTEGER NOT NULL,
    running         INTEGER NOT NULL,
    completed       INTEGER NOT NULL,
    failed          INTEGER NOT NULL,
    PRIMARY KEY (organization_id, project_id, level, bucket, kind)
) STRICT, WITHOUT ROWID;

WITH levels (level) AS (VALUES (12), (16), (20))
INSERT INTO counters
SELECT organization_id, l.level, bucket >> (l.level - 12), kind, sum(iif(status = 1, n, 0)), sum(iif(status = 2, n, 0)),
    sum(iif(status = 3, n, 0)), sum(iif(status = 4, n, 0))
FROM old_counters o CROSS JOIN levels l WHERE o.level = 1 GROUP BY 1, 2, 3, 4;

WITH levels (level) AS (VALUES (12), (16), (20))
INSERT INTO project_counters
SELECT organization_id, project_id, l.level, bucket >> (l.level - 12), kind, sum(iif(status = 1, n, 0)),
    sum(iif(status = 2, n, 0)), sum(iif(status = 3, n, 0)), sum(iif(status = 4, n, 0))
FROM old_project_counters o CROSS JOIN levels l WHERE o.level = 1 GROUP BY 1, 2, 3, 4, 5;

DROP TABLE old_counters;
DROP TABLE old_project_counters;
