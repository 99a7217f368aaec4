SELECT n.kind, sum(n.pending)::bigint AS pending, sum(n.running)::bigint AS running, min(o.created_at) AS oldest
FROM (
    SELECT organization_id, kind, sum(pending) AS pending, sum(running) AS running
    FROM (
        SELECT organization_id, kind, pending, running FROM counters WHERE level = 20
        UNION ALL
        SELECT d.organization_id, d.kind, d.pending, d.running FROM counter_deltas d
            LEFT JOIN counter_folds f ON f.organization_id = d.organization_id
        WHERE d.xid >= coalesce(f.folded_before, '0')
    ) AS c
    GROUP BY 1, 2 HAVING sum(pending) + sum(running) > 0
) AS n
LEFT JOIN LATERAL (
    -- What may be claimed by the queue's three indexes: in order, not in order, and due by now.
    SELECT min(a.created_at) AS created_at
    FROM (
        (SELECT seq FROM queue
            WHERE organization_id = n.organization_id AND kind = n.kind AND in_order ORDER BY seq LIMIT 1)
        UNION ALL
        (SELECT seq FROM queue
            WHERE organization_id = n.organization_id AND kind = n.kind AND due_at IS NULL AND NOT in_order
            ORDER BY -priority, seq LIMIT $2)
        UNION ALL
        (SELECT seq FROM (
            SELECT seq, kind FROM queue WHERE organization_id = n.organization_id AND due_at <= $1
            ORDER BY due_at, seq LIMIT $2) AS due
            WHERE due.kind = n.kind)
    ) AS q CROSS JOIN LATERAL (
        SELECT created_at FROM active WHERE organization_id = n.organization_id AND seq = q.seq OFFSET 0) AS a
    WHERE n.pending > 0
) AS o ON true
GROUP BY 1 ORDER BY 1
