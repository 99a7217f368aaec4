-- When the operations of a full bucket were created: the earliest and the latest, of all that there ever were. So a range
-- of times is a few ranges of numbers. Noted by a maintenance task; what has none is looked through.
CREATE TABLE bucket_times (
    organization_id text     NOT NULL,
    level           smallint NOT NULL,             -- as in counters
    bucket          bigint   NOT NULL,
    low             bigint   NOT NULL,             -- above high: there was no operation
    high            bigint   NOT NULL,
    PRIMARY KEY (organization_id, level, bucket)
);

WITH op (organization_id, seq, created_at) AS (
    SELECT organization_id, seq, created_at FROM active
    UNION ALL SELECT organization_id, seq, created_at FROM settled
), finest (organization_id, bucket, low, high) AS MATERIALIZED (
    SELECT organization_id, seq >> 12, min(created_at), max(created_at) FROM op GROUP BY 1, 2
)
INSERT INTO bucket_times (organization_id, level, bucket, low, high)
SELECT f.organization_id, level, bucket >> (level - 12), min(low), max(high)
FROM finest f CROSS JOIN (VALUES (12), (16), (20)) l (level)
    JOIN organizations o ON o.organization_id = f.organization_id
WHERE ((bucket >> (level - 12)) + 1) << level <= o.next_seq
GROUP BY 1, 2, 3;
