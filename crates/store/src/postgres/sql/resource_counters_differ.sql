WITH op (organization_id, resource, seq, kind, project_id, status) AS (
    SELECT organization_id, c.resource, seq, kind, project_id, status
    FROM counted_resources c JOIN active USING (organization_id, resource_type, resource_id) WHERE c.is_counted
    UNION ALL
    SELECT organization_id, c.resource, seq, kind, project_id, status
    FROM counted_resources c JOIN settled USING (organization_id, resource_type, resource_id) WHERE c.is_counted
), rows (organization_id, resource, level, bucket, kind, project_id, n) AS (
    SELECT organization_id, resource, level, seq >> level, kind, p.id, array[
        count(*) FILTER (WHERE status = 1), count(*) FILTER (WHERE status = 2),
        count(*) FILTER (WHERE status = 3), count(*) FILTER (WHERE status = 4)]
    FROM op CROSS JOIN (VALUES (12), (16), (20), (24)) l (level) CROSS JOIN LATERAL (SELECT '' UNION SELECT op.project_id) p (id)
    GROUP BY 1, 2, 3, 4, 5, 6
), counted (organization_id, resource, level, bucket, kind, project_id, n) AS (
    SELECT organization_id, resource, level, bucket, kind, project_id,
        array[sum(pending), sum(running), sum(completed), sum(failed)]::bigint[]
    FROM (
        SELECT organization_id, resource, level, bucket, kind, project_id, pending, running, completed, failed
        FROM resource_counters
        UNION ALL
        SELECT d.organization_id, d.resource, l.level, d.bucket >> (l.level - 12), d.kind, p.id,
            d.pending, d.running, d.completed, d.failed
        FROM resource_deltas d JOIN counted_resources c USING (organization_id, resource)
            LEFT JOIN counter_folds f USING (organization_id) CROSS JOIN (VALUES (12), (16), (20), (24)) l (level)
            CROSS JOIN LATERAL (SELECT '' UNION SELECT d.project_id) p (id)
        WHERE c.is_counted AND d.xid >= coalesce(f.folded_before, '0')
    ) AS c GROUP BY 1, 2, 3, 4, 5, 6
), difference (organization_id, resource, found) AS (
    SELECT coalesce(c.organization_id, r.organization_id), coalesce(c.resource, r.resource),
        ' level ' || coalesce(c.level, r.level) || ' bucket ' || coalesce(c.bucket, r.bucket) || ' '
            || coalesce(c.kind, r.kind) || ': counters ' || coalesce(c.n, '{0,0,0,0}')::text || ', rows '
            || coalesce(r.n, '{0,0,0,0}')::text
    FROM counted c FULL JOIN rows r USING (organization_id, resource, level, bucket, kind, project_id)
    WHERE coalesce(c.n, '{0,0,0,0}') <> coalesce(r.n, '{0,0,0,0}')
)
SELECT d.organization_id || coalesce(' resource ' || k.resource_type || ' ' || k.resource_id, ' no resource') || d.found
FROM difference d LEFT JOIN counted_resources k USING (organization_id, resource)
