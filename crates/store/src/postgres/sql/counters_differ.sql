WITH op (organization_id, seq, kind, status) AS (
    SELECT organization_id, seq, kind, status FROM active
    UNION ALL SELECT organization_id, seq, kind, status FROM settled
), rows (organization_id, level, bucket, kind, n) AS (
    SELECT organization_id, level, seq >> level, kind, array[
        count(*) FILTER (WHERE status = 1), count(*) FILTER (WHERE status = 2),
        count(*) FILTER (WHERE status = 3), count(*) FILTER (WHERE status = 4)]
    FROM op, (VALUES (12), (16), (20), (24)) l (level) GROUP BY 1, 2, 3, 4
), counted (organization_id, level, bucket, kind, n) AS (
    SELECT organization_id, level, bucket, kind, array[sum(pending), sum(running), sum(completed), sum(failed)]::bigint[]
    FROM (
        SELECT organization_id, level, bucket, kind, pending, running, completed, failed FROM counters
        UNION ALL
        SELECT d.organization_id, l.level, d.bucket >> (l.level - 12), d.kind, d.pending, d.running, d.completed, d.failed
        FROM counter_deltas d LEFT JOIN counter_folds f USING (organization_id), (VALUES (12), (16), (20), (24)) l (level)
        WHERE d.xid >= coalesce(f.folded_before, '0')
    ) AS c GROUP BY 1, 2, 3, 4
)
SELECT coalesce(c.organization_id, r.organization_id) || ' level ' || coalesce(c.level, r.level) || ' bucket '
    || coalesce(c.bucket, r.bucket) || ' ' || coalesce(c.kind, r.kind) || ': counters '
    || coalesce(c.n, '{0,0,0,0}')::text || ', rows ' || coalesce(r.n, '{0,0,0,0}')::text
FROM counted c FULL JOIN rows r USING (organization_id, level, bucket, kind)
WHERE coalesce(c.n, '{0,0,0,0}') <> coalesce(r.n, '{0,0,0,0}')
