WITH floor AS MATERIALIZED (
    SELECT xid, n FROM (SELECT xid, n FROM change_floors WHERE organization_id = $1
        UNION ALL SELECT '0'::xid8, 0) AS f ORDER BY xid DESC LIMIT 1
), read AS MATERIALIZED (
    SELECT coalesce(m.xid, r.xid) AS xid, coalesce(m.n, 0) AS n, coalesce(m.seen, 0) AS seen
    FROM change_readers r LEFT JOIN change_marks m ON m.reader = r.reader AND m.organization_id = $1
    ORDER BY 1, 2, 3 LIMIT 1
), forgotten AS (
    DELETE FROM changes WHERE ctid = ANY (ARRAY(
        SELECT place FROM (
            -- The clocks of servers differ: a row goes with those before it only.
            SELECT ctid AS place, xid, n, cardinality(ids) AS entries, max(at) OVER (ORDER BY xid, n) AS at
            FROM (SELECT ctid, xid, n, ids, at FROM changes
                WHERE organization_id = $1 AND (xid, n) > ((SELECT xid FROM floor), (SELECT n FROM floor))
                    AND xid < pg_snapshot_xmin(pg_current_snapshot())
                ORDER BY xid, n LIMIT $3) AS oldest) AS c
        WHERE at < $2 AND (at < $4 OR NOT EXISTS (
            SELECT FROM read r
            WHERE (c.xid, c.n) > (r.xid, r.n) OR (c.xid, c.n) = (r.xid, r.n) AND c.entries > r.seen))))
        AND organization_id IS NOT DISTINCT FROM $1
    RETURNING xid, n, cardinality(ids) AS entries
), last AS (
    SELECT xid, n, entries FROM forgotten ORDER BY xid DESC, n DESC LIMIT 1
), noted AS (
    INSERT INTO change_floors (organization_id, xid, n, entries) SELECT $1, xid, n, entries FROM last
    ON CONFLICT (organization_id) DO UPDATE
        SET xid = excluded.xid, n = excluded.n, entries = excluded.entries
        WHERE (change_floors.xid, change_floors.n) < (excluded.xid, excluded.n)
)
SELECT count(*) FROM forgotten
