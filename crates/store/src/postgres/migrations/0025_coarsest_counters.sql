-- A level of counters above 2^20: a hundred million operations are six buckets of 2^24. Triggers keep it, and not the
-- statements that change the other levels, so that it is right as well while servers of older versions still run.
CREATE FUNCTION count_coarsest() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- What a counter is of, beside its organization: nothing, a project, or a resource in a project.
    of text := TG_ARGV[0];
    counted text := format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME);
    change text := format('
        SELECT organization_id%s, bucket, kind, pending, running, completed, failed FROM added WHERE level = 20', of);
BEGIN
    IF TG_OP = 'UPDATE' THEN
        change := change || format('
        UNION ALL
        SELECT organization_id%s, bucket, kind, -pending, -running, -completed, -failed FROM removed WHERE level = 20', of);
    END IF;
    EXECUTE format('
        INSERT INTO %1$s AS c (organization_id%2$s, level, bucket, kind, pending, running, completed, failed)
        SELECT organization_id%2$s, 24, bucket >> 4, kind, sum(pending), sum(running), sum(completed), sum(failed)
        FROM (%3$s) AS change GROUP BY organization_id%2$s, bucket >> 4, kind
        ON CONFLICT (organization_id%2$s, level, bucket, kind) DO UPDATE SET
            pending = c.pending + excluded.pending, running = c.running + excluded.running,
            completed = c.completed + excluded.completed, failed = c.failed + excluded.failed', counted, of, change);
    RETURN NULL;
END $$;

CREATE TRIGGER count_coarsest_of_new AFTER INSERT ON counters REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION count_coarsest('');
CREATE TRIGGER count_coarsest AFTER UPDATE ON counters REFERENCING NEW TABLE AS added OLD TABLE AS removed
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION count_coarsest('');

CREATE TRIGGER count_coarsest_of_new AFTER INSERT ON project_counters REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION count_coarsest(', project_id');
CREATE TRIGGER count_coarsest AFTER UPDATE ON project_counters REFERENCING NEW TABLE AS added OLD TABLE AS removed
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION count_coarsest(', project_id');

CREATE TRIGGER count_coarsest_of_new AFTER INSERT ON resource_counters REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION count_coarsest(', resource, project_id');
CREATE TRIGGER count_coarsest AFTER UPDATE ON resource_counters REFERENCING NEW TABLE AS added OLD TABLE AS removed
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION count_coarsest(', resource, project_id');

-- What was counted before. The triggers lock the tables against changes until here.
INSERT INTO counters (organization_id, level, bucket, kind, pending, running, completed, failed)
SELECT organization_id, 24, bucket >> 4, kind, sum(pending), sum(running), sum(completed), sum(failed)
FROM counters WHERE level = 20 GROUP BY organization_id, bucket >> 4, kind;
INSERT INTO project_counters (organization_id, project_id, level, bucket, kind, pending, running, completed, failed)
SELECT organization_id, project_id, 24, bucket >> 4, kind, sum(pending), sum(running), sum(completed), sum(failed)
FROM project_counters WHERE level = 20 GROUP BY organization_id, project_id, bucket >> 4, kind;
INSERT INTO resource_counters
    (organization_id, resource, project_id, level, bucket, kind, pending, running, completed, failed)
SELECT organization_id, resource, project_id, 24, bucket >> 4, kind, sum(pending), sum(running), sum(completed), sum(failed)
FROM resource_counters WHERE level = 20 GROUP BY organization_id, resource, project_id, bucket >> 4, kind;
