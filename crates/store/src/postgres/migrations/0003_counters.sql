-- Counters on three levels, with a column for each status: a page reads 16 buckets a level and not 256, and a transition
-- changes one row and not two. Level l counts seq >> l. A bucket that is empty again keeps its row, with zeros.

CREATE TABLE counted (
    organization_id text     NOT NULL,
    project_id      text     NOT NULL,             -- '' counts all, those of no project included
    level           smallint NOT NULL,
    bucket          bigint   NOT NULL,
    kind            text     NOT NULL,
    pending         integer  NOT NULL,
    running         integer  NOT NULL,
    completed       integer  NOT NULL,
    failed          integer  NOT NULL
);

INSERT INTO counted
SELECT organization_id, project_id, l.level, bucket >> (l.level - 12), kind,
    coalesce(sum(n) FILTER (WHERE status = 1), 0), coalesce(sum(n) FILTER (WHERE status = 2), 0),
    coalesce(sum(n) FILTER (WHERE status = 3), 0), coalesce(sum(n) FILTER (WHERE status = 4), 0)
FROM (
    SELECT organization_id, '' AS project_id, bucket, kind, status, n FROM counters WHERE level = 1
    UNION ALL
    SELECT organization_id, project_id, bucket, kind, status, n FROM project_counters WHERE level = 1
    UNION ALL
    SELECT d.organization_id, p.project_id, d.bucket, d.kind, d.status, d.n
    FROM counter_deltas d LEFT JOIN counter_folds f USING (organization_id)
        CROSS JOIN LATERAL (SELECT '' UNION SELECT d.project_id) AS p (project_id)
    WHERE d.xid >= coalesce(f.folded_before, '0')
) AS c, (VALUES (12), (16), (20)) AS l (level)
GROUP BY 1, 2, 3, 4, 5;

DROP TABLE counters, project_counters, counter_deltas;

CREATE TABLE counters (
    organization_id text     NOT NULL,
    level           smallint NOT NULL,             -- 12, 16, 20
    bucket          bigint   NOT NULL,             -- seq >> level
    kind            text     NOT NULL,
    pending         integer  NOT NULL,
    running         integer  NOT NULL,
    completed       integer  NOT NULL,
    failed          integer  NOT NULL,
    PRIMARY KEY (organization_id, level, bucket, kind)
) WITH (fillfactor = 50);

-- The same per project, for callers that are limited to projects. Operations without a project are not here.
CREATE TABLE project_counters (
    organization_id text     NOT NULL,
    project_id      text     NOT NULL,
    level           smallint NOT NULL,
    bucket          bigint   NOT NULL,
    kind            text     NOT NULL,
    pending         integer  NOT NULL,
    running         integer  NOT NULL,
    completed       integer  NOT NULL,
    failed          integer  NOT NULL,
    PRIMARY KEY (organization_id, project_id, level, bucket, kind)
) WITH (fillfactor = 50);

INSERT INTO counters SELECT organization_id, level, bucket, kind, pending, running, completed, failed
FROM counted WHERE project_id = '';
INSERT INTO project_counters SELECT * FROM counted WHERE project_id <> '';
DROP TABLE counted;

-- What has changed since the fold: appended in the transaction of the rows that are counted, never updated. Rows below
-- counter_folds.folded_before are in the counters already, and are never looked at again: a snapshot that is held open
-- keeps them from being removed, but not from being skipped, since the index is read from that transaction id on.
CREATE TABLE counter_deltas (
    organization_id text    NOT NULL,
    xid             xid8    NOT NULL DEFAULT pg_current_xact_id(),
    bucket          bigint  NOT NULL,              -- of level 12
    project_id      text    NOT NULL,
    kind            text    NOT NULL,
    pending         integer NOT NULL,
    running         integer NOT NULL,
    completed       integer NOT NULL,
    failed          integer NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX counter_deltas_by_xid ON counter_deltas (organization_id, xid);

-- The migration's own transaction counted what was there; a horizon of before stands, for there are no deltas below it.
