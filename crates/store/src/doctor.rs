//! What `longrun doctor` finds.

use std::fmt;

/// Findings shown per invariant; a damaged store may have millions.
pub(crate) const SHOWN: i64 = 20;

/// How many organizations and operations there are.
pub(crate) const TOTALS: &str = "
    SELECT (SELECT count(*) FROM organizations WHERE deleted < 2),
        (SELECT count(*) FROM active) + (SELECT count(*) FROM settled)";

/// The invariant of statistics; each engine has its own query.
pub(crate) const STATISTICS_ADD_UP: &str =
    "statistics count every creation since they began, except those not read from the change log yet";

/// Invariants as queries that both engines understand: each answers one text column per violation.
pub(crate) const ALIKE: &[(&str, &str)] = &[
    (
        "the numbers of an organization's operations have no gaps except for removed operations",
        "SELECT o.organization_id || ': ' || (o.next_seq - 1) || ' numbers, ' || o.removed || ' removed, ' || count(r.seq) || ' operations up to '
             || coalesce(max(r.seq), 0)
         FROM organizations o LEFT JOIN (
             SELECT organization_id, seq FROM active UNION SELECT organization_id, seq FROM settled) r
             USING (organization_id)
         -- Organizations that must not be used in this database, since they are being moved, are left out.
         WHERE o.deleted <> 3
         GROUP BY o.organization_id, o.next_seq, o.removed
         HAVING count(r.seq) + o.removed <> o.next_seq - 1 OR coalesce(max(r.seq), 0) > o.next_seq - 1",
    ),
    (
        "every running operation has a lease with its fencing token, and no other operation has one",
        "SELECT coalesce(a.organization_id, l.organization_id) || ' #' || coalesce(a.seq, l.seq)
         FROM (SELECT * FROM active WHERE status = 2) a FULL JOIN leases l
             ON l.organization_id = a.organization_id AND l.seq = a.seq AND l.fence = a.fence
         WHERE a.seq IS NULL OR l.seq IS NULL",
    ),
    (
        "running and completed operations have a start time, ended operations an end time, and failed ones an error message",
        "SELECT organization_id || ' #' || seq FROM active WHERE status = 2 AND started_at IS NULL
         UNION ALL
         SELECT organization_id || ' #' || seq FROM settled
         WHERE finished_at IS NULL OR (status = 3 AND started_at IS NULL) OR (status = 4 AND error_message = '')",
    ),
    (
        "histories belong to operations that exist",
        "SELECT organization_id || ' #' || seq FROM events e
         WHERE NOT EXISTS (SELECT 1 FROM active a WHERE a.organization_id = e.organization_id AND a.seq = e.seq)
             AND NOT EXISTS (SELECT 1 FROM settled s WHERE s.organization_id = e.organization_id AND s.seq = e.seq)",
    ),
    (
        "details of operations belong to operations that exist",
        "SELECT organization_id || ' #' || seq FROM details d
         WHERE NOT EXISTS (SELECT 1 FROM active a WHERE a.organization_id = d.organization_id AND a.seq = d.seq)
             AND NOT EXISTS (SELECT 1 FROM settled s WHERE s.organization_id = d.organization_id AND s.seq = d.seq)",
    ),
    (
        "of the operations with the same unique key, all have ended except perhaps the last one that took it, which exists",
        "SELECT d.organization_id || ' #' || d.seq || ' has not ended; the key was last taken by #' || coalesce(u.seq, 0)
         FROM details d JOIN active a ON a.organization_id = d.organization_id AND a.seq = d.seq
             LEFT JOIN unique_keys u ON u.organization_id = d.organization_id AND u.unique_key = d.unique_key
         WHERE d.unique_key IS NOT NULL AND u.seq IS DISTINCT FROM d.seq
         UNION ALL
         SELECT organization_id || ' #' || seq || ' does not exist, or has another key' FROM unique_keys u
         WHERE NOT EXISTS (SELECT 1 FROM details d WHERE d.organization_id = u.organization_id AND d.seq = u.seq
             AND d.unique_key = u.unique_key)",
    ),
    (
        "only running operations have been asked to stop, and the time of removal of ended operations follows from their own retention",
        "SELECT organization_id || ' #' || seq FROM active
         WHERE cancel_requested_at IS NOT NULL AND NOT (cancel_requested AND status = 2)
         UNION ALL
         SELECT organization_id || ' #' || seq FROM settled
         WHERE retain_for_ms IS NOT NULL AND purge_at IS DISTINCT FROM finished_at + retain_for_ms",
    ),
    (
        "the numbers of an audit log's entries have no gaps, and begin after those that its retention removed",
        "SELECT o.organization_id || ': ' || (o.audit_seq - 1) || ' numbers, ' || o.audit_removed || ' removed, '
             || coalesce(sum(a.entries), 0) || ' entries from ' || coalesce(min(a.seq), 0) || ' on'
         FROM organizations o LEFT JOIN audit a ON a.organization_id = o.organization_id
         WHERE o.deleted <> 3
         GROUP BY o.organization_id, o.audit_seq, o.audit_removed
         HAVING coalesce(sum(a.entries), 0) + o.audit_removed <> o.audit_seq - 1
             OR coalesce(min(a.seq), o.audit_seq) <> o.audit_removed + 1
         UNION ALL
         SELECT organization_id || ': ' || seq || ' comes where ' || expected || ' is missing' FROM (
             SELECT organization_id, seq, lag(seq + entries) OVER (PARTITION BY organization_id ORDER BY seq) AS expected
             FROM audit) AS follows
         WHERE seq <> expected",
    ),
    (
        "statistics by day add up to all creations that are counted",
        "SELECT s.organization_id || ': ' || s.created || ' counted, ' || coalesce(sum(d.created), 0) || ' by day'
         FROM statistics_origins s JOIN organizations o ON o.organization_id = s.organization_id AND o.deleted = 0
         LEFT JOIN statistics d ON d.organization_id = s.organization_id AND d.step = 3 AND d.project_id = ''
         GROUP BY s.organization_id, s.created HAVING s.created <> coalesce(sum(d.created), 0)",
    ),
    (
        "statistics by hour add up to those by day, and those by minute to those by hour, while all are kept",
        "WITH wider (step, finer, millis) AS (VALUES (3, 2, 86400000), (2, 1, 3600000)), oldest (step, start) AS (
             SELECT step, min(start) FROM statistics GROUP BY step
         ), finer AS (
             SELECT f.organization_id, w.step, f.project_id, f.start / w.millis * w.millis AS start, f.kind,
                 sum(f.created) AS created, sum(f.started) AS started, sum(f.completed) AS completed,
                 sum(f.failed) AS failed
             FROM statistics f JOIN wider w ON w.finer = f.step GROUP BY 1, 2, 3, 4, 5
         )
         SELECT w.organization_id || ' step ' || w.step || ' project ' || w.project_id || ' from ' || w.start || ' '
             || w.kind || ': ' || w.created || ' created, of which ' || coalesce(f.created, 0) || ' by finer steps'
         FROM statistics w JOIN wider ON wider.step = w.step JOIN oldest o ON o.step = wider.finer AND w.start > o.start
         JOIN organizations g ON g.organization_id = w.organization_id AND g.deleted = 0
         LEFT JOIN finer f ON f.organization_id = w.organization_id AND f.step = w.step
             AND f.project_id = w.project_id AND f.start = w.start AND f.kind = w.kind
         WHERE w.created <> coalesce(f.created, 0) OR w.started <> coalesce(f.started, 0)
             OR w.completed <> coalesce(f.completed, 0) OR w.failed <> coalesce(f.failed, 0)",
    ),
    (
        "the recorded times of a bucket enclose the creations of its operations, and exist for full buckets only",
        "SELECT t.organization_id || ' bucket ' || t.bucket || ': ' || count(*) || ' operations were created at other times'
         FROM bucket_times t JOIN (
             SELECT organization_id, seq >> 12 AS bucket, created_at FROM active
             UNION ALL SELECT organization_id, seq >> 12, created_at FROM settled) r
             ON r.organization_id = t.organization_id AND r.bucket = t.bucket
         WHERE t.level = 12 AND (r.created_at < t.low OR r.created_at > t.high) GROUP BY t.organization_id, t.bucket
         UNION ALL
         SELECT c.organization_id || ' level ' || c.level || ' bucket ' || c.bucket || ': bucket ' || f.bucket
             || ' has other times'
         FROM bucket_times c JOIN bucket_times f ON f.organization_id = c.organization_id AND f.level = 12
             AND f.bucket >> (c.level - 12) = c.bucket
         WHERE c.level > 12 AND f.low <= f.high AND (f.low < c.low OR f.high > c.high)
         UNION ALL
         SELECT t.organization_id || ' level ' || t.level || ' bucket ' || t.bucket || ' is not full'
         FROM bucket_times t JOIN organizations o ON o.organization_id = t.organization_id
         WHERE ((t.bucket + 1) << t.level) > o.next_seq",
    ),
    (
        "a schedule has a next time unless it is paused or never due again, and its times are in order",
        "SELECT organization_id || ' ' || name FROM schedules
         WHERE (paused AND next_due IS NOT NULL) OR (next_due IS NULL) <> (fire_at IS NULL) OR last_time >= next_due
             OR seq < 1 OR revision < 1",
    ),
    (
        "the totals of evidence are the sums of its rows, and the rows are valid",
        "SELECT coalesce(t.organization_id, e.organization_id) || ': ' || coalesce(t.pieces, 0) || ' pieces with '
             || coalesce(t.bytes, 0) || ' bytes counted, ' || coalesce(e.pieces, 0) || ' with ' || coalesce(e.bytes, 0)
             || ' stored'
         FROM evidence_totals t FULL JOIN (
             SELECT organization_id, count(*) AS pieces, sum(size) AS bytes FROM evidence GROUP BY organization_id) e
             ON e.organization_id = t.organization_id
         WHERE (coalesce(t.pieces, 0) <> coalesce(e.pieces, 0) OR coalesce(t.bytes, 0) <> coalesce(e.bytes, 0))
             AND NOT EXISTS (SELECT 1 FROM organizations o
                 WHERE o.organization_id = coalesce(t.organization_id, e.organization_id) AND o.deleted > 0)
         UNION ALL
         SELECT organization_id || ' ' || digest FROM evidence
         WHERE state NOT IN (1, 2, 3) OR (state = 3) <> (removing_since IS NOT NULL) OR size < 0",
    ),
    (
        "no operation has more attempts than it may",
        "SELECT organization_id || ' #' || seq FROM active WHERE attempts > max_attempts OR attempts > fence
         UNION ALL
         SELECT organization_id || ' #' || seq FROM settled WHERE attempts > max_attempts OR attempts > fence",
    ),
];

/// The result of a check of the whole store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Organizations checked.
    pub organizations: u64,
    /// Operations counted.
    pub operations: u64,
    /// What is wrong; empty when the store is sound.
    pub findings: Vec<Finding>,
}

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which invariant, in a few words.
    pub invariant: &'static str,
    /// What breaks it: organization, key and the numbers that differ.
    pub detail: String,
}

impl fmt::Display for Finding {
    /// What was found, and then what must hold: the invariant alone would read as if it held.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (must hold: {})", self.detail, self.invariant)
    }
}
