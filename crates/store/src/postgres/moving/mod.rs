//! Moving an organization from one database to another: the steps in either. Their order is in [`crate::cells`].
//!
//! **The source** keeps everything until the end. Its row of `organizations` is marked ([`AWAY`]), so that creations
//! are refused in the statement that takes numbers; a pause, which callers can no longer set or lift, keeps claims away;
//! triggers, for this organization alone and for as long as the move takes, refuse every other write, also by a server
//! that knows nothing of the move. Applications write to the inbox themselves: it refuses rows of the organization
//! until the organization comes back, by a trigger that stays.
//!
//! **The target** takes a copy (`copy.rs`), which nobody uses until it is opened.
//!
//! **The mover** is a process with a number, which is greater than those of the processes that moved the organization
//! before. Both databases keep the number of the last one that was there, and every transaction of a step
//! [requires](hold) that no later one has come meanwhile.

mod copy;

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::cells::away;
use super::pause::PAUSE_WHOLE;
use super::tx::Tx;
use super::{PostgresStore, session};
use crate::{StoreError, go_on_deleting};

/// How long a change of the fence waits for a table: meanwhile every transaction that writes to it waits behind.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '1s'";
/// How many times the change is tried.
const LOCK_TRIES: u32 = 30;
/// The first number of the advisory locks on organizations that are being moved; an arbitrary number that nobody else
/// uses.
const MOVING: i32 = 0x6d6f_7665;

/// The value of the column `deleted` of an organization that must not be used in this database.
pub(crate) const AWAY: i16 = 3;

/// The tables that are no longer written in the source. A transaction that writes to another table of the organization
/// writes to one of these too.
const FENCED: &[&str] = &[
    "changes",
    "change_marks",
    "active",
    "settled",
    "leases",
    "events",
    "audit",
    "bulk_progress",
    "evidence",
    "evidence_totals",
    "idempotency_keys",
    "inbox",
    "organization_limits",
    "schedules",
    "sessions",
    "statistics",
    "statistics_origins",
    "tokens",
    "views",
    "waivers",
];

/// What the source reports to the target.
#[derive(Clone, Copy, Debug)]
struct Left {
    /// A caller had paused the organization before.
    was_paused: bool,
    /// For how many milliseconds it could not be used yet; the clocks of the two may differ.
    stood_still: i64,
}

/// The right to move an organization, until it is dropped.
pub(crate) struct RightToMove {
    /// The number of the mover.
    pub(crate) mover: i64,
    /// Has the lock.
    _connection: PgConnection,
}

impl PostgresStore {
    /// Directory: the right to move an organization; `None`: another process has it.
    pub(crate) async fn right_to_move(&self, organization: &str) -> Result<Option<RightToMove>, StoreError> {
        let mut connection = session::unhurried(&self.pool).await?;
        let sql = "SELECT pg_try_advisory_lock($1, hashtext($2))";
        let is_free: bool =
            sqlx::query_scalar(sql).bind(MOVING).bind(organization).fetch_one(&mut connection).await.map_err(away)?;
        if !is_free {
            return Ok(None);
        }
        // On the connection that has the lock, so that the numbers are in the order of those who had it.
        let sql = "UPDATE organization_cells SET mover = mover + 1 WHERE organization_id = $1 RETURNING mover";
        let mover = sqlx::query_scalar(sql).bind(organization).fetch_optional(&mut connection).await.map_err(away)?;
        // An organization that the directory does not know cannot be moved.
        Ok(Some(RightToMove { mover: mover.unwrap_or_default(), _connection: connection }))
    }

    /// What an organization's row says about it: 0 it is here, 1 it is being deleted, 2 it was deleted, [`AWAY`];
    /// `None`: it was never here.
    pub(crate) async fn standing(&self, organization: &str) -> Result<Option<i16>, StoreError> {
        let sql = "SELECT deleted FROM organizations WHERE organization_id = $1";
        sqlx::query_scalar(sql).bind(organization).fetch_optional(&self.pool).await.map_err(away)
    }

    /// Source: marks the organization as no longer to be used here. Nothing is created or started from here on; other
    /// writes are refused once it is [fenced](PostgresStore::fence).
    pub(crate) async fn leave(&self, organization: &str, mover: i64) -> Result<(), StoreError> {
        self.change(async |tx| {
            self.take_over(tx, organization, mover).await?;
            match standing_of(tx, organization).await? {
                Some(AWAY) => return Ok(()),
                Some(0) => {}
                _ => return Err(StoreError::OrganizationGone),
            }
            for sql in [
                "UPDATE organizations_elsewhere SET since = $2,
                    was_paused = EXISTS (SELECT FROM pauses WHERE organization_id = $1 AND kind = '')
                 WHERE organization_id = $1",
                PAUSE_WHOLE,
            ] {
                sqlx::query(sql).bind(organization).bind(self.millis()).execute(&mut **tx).await?;
            }
            Ok(mark(tx, organization, AWAY).await?)
        })
        .await
    }

    /// Source: what is known about the time since [`PostgresStore::leave`].
    async fn left(&self, organization: &str) -> Result<Left, StoreError> {
        let sql = "SELECT was_paused, since FROM organizations_elsewhere WHERE organization_id = $1";
        let found = sqlx::query_as::<_, (bool, i64)>(sql).bind(organization).fetch_optional(&self.pool).await;
        let (was_paused, since) = found.map_err(away)?.ok_or_else(overtaken)?;
        Ok(Left { was_paused, stood_still: (self.millis() - since).max(0) })
    }

    /// Source: makes every transaction fail that writes to the organization and is not committed yet.
    pub(crate) async fn fence(&self, organization: &str, mover: i64) -> Result<(), StoreError> {
        let (name, literal) = (fence_name(organization), organization.replace('\'', "''"));
        let statements = FENCED.iter().map(|table| {
            format!(
                "CREATE OR REPLACE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW
                 WHEN (NEW.organization_id = '{literal}') EXECUTE FUNCTION refuse_while_moving()"
            )
        });
        self.alter(organization, mover, statements).await
    }

    async fn unfence(&self, organization: &str, mover: i64) -> Result<(), StoreError> {
        let name = fence_name(organization);
        let sql = "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = $1";
        let tables: Vec<String> = sqlx::query_scalar(sql).bind(&name).fetch_all(&self.pool).await.map_err(away)?;
        let statements = tables.iter().map(|table| format!("DROP TRIGGER IF EXISTS {name} ON {table}"));
        self.alter(organization, mover, statements).await
    }

    /// Makes the inbox refuse the rows of applications for organizations that are elsewhere, from now on.
    async fn guard_inbox(&self, organization: &str, mover: i64) -> Result<(), StoreError> {
        let sql = "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'inbox'::regclass AND tgname = 'not_here')";
        if sqlx::query_scalar(sql).fetch_one(&self.pool).await.map_err(away)? {
            return Ok(());
        }
        let sql = "CREATE OR REPLACE TRIGGER not_here BEFORE INSERT ON inbox FOR EACH ROW
            EXECUTE FUNCTION refuse_elsewhere()";
        self.alter(organization, mover, [sql.to_owned()].into_iter()).await
    }

    /// Carries out statements that lock a table, each by itself, so that none waits for long, and none for another.
    async fn alter(
        &self,
        organization: &str,
        mover: i64,
        statements: impl Iterator<Item = String>,
    ) -> Result<(), StoreError> {
        let mut connection = session::unhurried(&self.pool).await?;
        connection.execute(LOCK_TIMEOUT).await.map_err(away)?;
        for sql in statements {
            let mut tries = 1;
            while let Err(error) = alter_one(&mut connection, organization, mover, &sql).await {
                if !is_locked(&error) || tries == LOCK_TRIES {
                    return Err(error.or_unavailable());
                }
                tries += 1;
            }
        }
        connection.close().await.map_err(away)
    }

    /// Source: gives the move up. The organization remains here, its leases as long as they had left.
    pub(crate) async fn stay(&self, organization: &str, mover: i64) -> Result<(), StoreError> {
        // From here on nobody else puts triggers there.
        self.step(organization, mover, async |_| Ok(())).await?;
        self.unfence(organization, mover).await?;
        self.open(organization, mover).await.map(drop)
    }

    /// Makes the organization usable here again, with its leases extended by the time that it could not be used;
    /// answers that time. That it was paused before is known here, also when its source does not answer.
    pub(crate) async fn open(&self, organization: &str, mover: i64) -> Result<Duration, StoreError> {
        self.change(async |tx| {
            let is_held = is_held(tx, organization, mover).await?;
            match standing_of(tx, organization).await? {
                Some(0) => return Ok(Duration::ZERO),
                Some(AWAY) if is_held => {}
                Some(AWAY) => return Err(overtaken()),
                _ => return Err(StoreError::OrganizationGone),
            }
            let sql = "DELETE FROM organizations_elsewhere WHERE organization_id = $1 RETURNING was_paused, since";
            let (was_paused, since): (bool, i64) = sqlx::query_as(sql).bind(organization).fetch_one(&mut **tx).await?;
            let stood_still = (self.millis() - since).max(0);
            let sql = "UPDATE leases SET expires_at = expires_at + $2 WHERE organization_id = $1";
            sqlx::query(sql).bind(organization).bind(stood_still).execute(&mut **tx).await?;
            if !was_paused {
                let sql = "DELETE FROM pauses WHERE organization_id = $1 AND kind = ''";
                sqlx::query(sql).bind(organization).execute(&mut **tx).await?;
            }
            mark(tx, organization, 0).await?;
            Ok(Duration::from_millis(stood_still.unsigned_abs()))
        })
        .await
    }

    /// Removes the rows here of an organization that is elsewhere; its name stays, so that it is not created anew here,
    /// and the inbox takes nothing for it.
    pub(crate) async fn remove_left(&self, organization: &str, mover: i64) -> Result<(), StoreError> {
        self.guard_inbox(organization, mover).await?;
        if matches!(self.standing(organization).await?, Some(1 | 2 | AWAY)) {
            self.step(organization, mover, async |tx| Ok(mark(tx, organization, 1).await?)).await?;
            let deleted = go_on_deleting(self, None, organization, None, |_| {}).await;
            deleted.map_err(|error| match error {
                crate::DeletionError::Store(error) => error,
                crate::DeletionError::Content(error) => StoreError::Unusable(error.to_string()),
            })?;
            self.step(organization, mover, async |tx| Ok(mark(tx, organization, AWAY).await?)).await?;
        }
        self.unfence(organization, mover).await
    }

    /// Target: notes that the organization is not to be used here, and removes what is left of an earlier stay or of a
    /// copy that was interrupted.
    pub(crate) async fn arrive(&self, organization: &str, mover: i64) -> Result<(), StoreError> {
        self.change(async |tx| {
            self.take_over(tx, organization, mover).await?;
            // It was opened since this mover looked.
            if standing_of(tx, organization).await? == Some(0) { Err(overtaken()) } else { Ok(()) }
        })
        .await?;
        self.remove_left(organization, mover).await
    }

    /// Notes that this mover is the last one that was here, and that the organization is not to be used here.
    async fn take_over(&self, tx: &mut Tx<'_>, organization: &str, mover: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO organizations_elsewhere AS e (organization_id, since, was_paused, mover)
            VALUES ($1, $2, false, $3)
            ON CONFLICT (organization_id) DO UPDATE SET mover = excluded.mover WHERE e.mover <= excluded.mover";
        let taken = sqlx::query(sql).bind(organization).bind(self.millis()).bind(mover).execute(&mut **tx).await?;
        if taken.rows_affected() == 0 { Err(overtaken()) } else { Ok(()) }
    }

    /// Does `work` in one transaction, unless another mover has taken over.
    async fn step<T>(
        &self,
        organization: &str,
        mover: i64,
        work: impl AsyncFnOnce(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.change(async |tx| {
            hold(tx, organization, mover).await?;
            work(tx).await
        })
        .await
    }

    /// Does `work` in one transaction.
    pub(super) async fn change<T>(
        &self,
        work: impl AsyncFnOnce(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let change = async {
            let mut connection = self.pool.acquire().await?;
            let mut tx = Tx::begun(&mut connection).await?;
            let done = work(&mut tx).await?;
            tx.commit().await?;
            connection.release();
            Ok::<_, StoreError>(done)
        };
        self.pool.within(change).await.map_err(StoreError::or_unavailable)
    }

    fn millis(&self) -> i64 {
        (self.clock)().as_millis()
    }
}

/// Fails when another mover has taken over here; until the end of the transaction, none does.
async fn hold(tx: &mut Tx<'_>, organization: &str, mover: i64) -> Result<(), StoreError> {
    if is_held(tx, organization, mover).await? { Ok(()) } else { Err(overtaken()) }
}

async fn is_held(tx: &mut Tx<'_>, organization: &str, mover: i64) -> Result<bool, StoreError> {
    let sql = "UPDATE organizations_elsewhere SET mover = $2 WHERE organization_id = $1 AND mover <= $2";
    let held = sqlx::query(sql).bind(organization).bind(mover).execute(&mut **tx).await?;
    Ok(held.rows_affected() > 0)
}

fn overtaken() -> StoreError {
    StoreError::Unavailable("another process has taken over the move of the organization".to_owned())
}

/// As [`PostgresStore::standing`]; it does not change until the end of the transaction.
async fn standing_of(tx: &mut Tx<'_>, organization: &str) -> Result<Option<i16>, StoreError> {
    let sql = "SELECT deleted FROM organizations WHERE organization_id = $1 FOR UPDATE";
    Ok(sqlx::query_scalar(sql).bind(organization).fetch_optional(&mut **tx).await?)
}

async fn alter_one(connection: &mut PgConnection, organization: &str, mover: i64, sql: &str) -> Result<(), StoreError> {
    let mut tx = Tx::begun(connection).await?;
    hold(&mut tx, organization, mover).await?;
    tx.execute(AssertSqlSafe(sql.to_owned())).await?;
    tx.commit().await
}

/// Whether a statement has waited for a lock for too long.
fn is_locked(error: &StoreError) -> bool {
    let StoreError::Database(error) = error else { return false };
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03")
}

async fn mark(connection: &mut PgConnection, organization: &str, as_: i16) -> Result<(), sqlx::Error> {
    let sql = "UPDATE organizations SET deleted = $2 WHERE organization_id = $1";
    sqlx::query(sql).bind(organization).bind(as_).execute(connection).await.map(drop)
}

/// The name of the triggers: short, whatever the organization is called.
fn fence_name(organization: &str) -> String {
    let digest = crate::Digest::of(organization.as_bytes()).to_string();
    format!("moving_{}", &digest[digest.len() - 24..])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use operations::{Access, Filter, NewOperation, PageRequest};
    use testkit::{Cluster, Durability};

    use super::*;
    use crate::{ClaimRequest, IdempotencyKey, OperationCommand, Pausable, Sessions as _, Statistics as _, Store as _};

    /// A directory and two cells, with an organization in the first.
    async fn databases(cluster: &Cluster) -> [PostgresStore; 3] {
        let mut stores = Vec::new();
        for _ in 0..3 {
            stores.push(PostgresStore::connect(&cluster.database().await.unwrap(), 2).await.unwrap());
        }
        let [directory, source, target] = stores.try_into().ok().unwrap();
        directory.assign("acme", &["source"]).await.unwrap();
        source.create("acme", vec![NewOperation::of_kind("scan"); 5], None).await.unwrap();
        [directory, source, target]
    }

    /// A process that gets the right to move the organization, as soon as nobody else has it.
    async fn mover(directory: &PostgresStore) -> RightToMove {
        mover_between(directory, "source", "target").await
    }

    async fn mover_between(directory: &PostgresStore, from: &str, to: &str) -> RightToMove {
        loop {
            if let Some(right) = directory.right_to_move("acme").await.unwrap() {
                let is_noted = directory.note_moving("acme", from, Some(to), right.mover).await.unwrap();
                assert!(is_noted, "it has the greatest number");
                return right;
            }
            tokio::task::yield_now().await;
        }
    }

    fn assert_overtaken<T: std::fmt::Debug>(result: Result<T, StoreError>) {
        assert!(
            matches!(&result, Err(StoreError::Unavailable(why)) if why.starts_with("another process has taken over")),
            "{result:?}"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_paused_is_paused_in_the_copy_and_stays_so() {
        let cluster = Cluster::start(Durability::None).unwrap();
        let [directory, source, target] = databases(&cluster).await;
        let acme = Pausable::Organization("acme".to_owned());
        let kind = Pausable::KindOf { organization: "acme".to_owned(), kind: "scan".to_owned() };
        assert!(source.pause(acme.clone()).await.unwrap());
        let right = mover(&directory).await;
        target.arrive("acme", right.mover).await.unwrap();
        source.leave("acme", right.mover).await.unwrap();
        for what in [&acme, &kind] {
            assert!(!source.pause(what.clone()).await.unwrap(), "it is no longer here");
            assert!(!source.resume(what.clone()).await.unwrap(), "it is no longer here");
        }
        // As a server of an older version does.
        let sql = "DELETE FROM pauses WHERE organization_id = 'acme'";
        assert_eq!(sqlx::query(sql).execute(&source.pool).await.unwrap().rows_affected(), 1);
        target.copy_from(&source, "acme", right.mover, |_| {}).await.unwrap();
        let claim = ClaimRequest {
            kinds: vec!["scan".to_owned()],
            access: None,
            among: None,
            limit: 10,
            worker: "w".to_owned(),
            lease: Duration::from_secs(30),
        };
        assert_eq!(target.claim(claim.clone()).await.unwrap(), [], "nobody claims from a copy");
        target.open("acme", right.mover).await.unwrap();
        assert_eq!(target.claim(claim.clone()).await.unwrap(), [], "it is still paused");
        assert!(target.resume(acme).await.unwrap());
        assert_eq!(target.claim(claim).await.unwrap().len(), 5);
        for store in [directory, source, target] {
            store.close().await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_mover_whose_lock_was_lost_is_refused_wherever_another_one_was() {
        let cluster = Cluster::start(Durability::None).unwrap();
        let [directory, source, target] = databases(&cluster).await;
        let first = mover(&directory).await;
        target.arrive("acme", first.mover).await.unwrap();
        source.leave("acme", first.mover).await.unwrap();
        source.fence("acme", first.mover).await.unwrap();
        target.copy_from(&source, "acme", first.mover, |_| {}).await.unwrap();
        assert!(directory.right_to_move("acme").await.unwrap().is_none(), "the first one has it");
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let ended: i64 = sqlx::query_scalar(sql).bind(MOVING).fetch_one(&directory.pool).await.unwrap();
        assert_eq!(ended, 1);

        // The second one has removed the copy, and has not copied again, when the first one continues.
        let second = mover(&directory).await;
        target.arrive("acme", second.mover).await.unwrap();
        assert!(!directory.note_moved("acme", "target", first.mover).await.unwrap());
        assert_overtaken(target.copy_from(&source, "acme", first.mover, |_| {}).await);
        assert_overtaken(target.open("acme", first.mover).await);
        assert_overtaken(target.remove_left("acme", first.mover).await);
        assert_overtaken(target.arrive("acme", first.mover).await);
        source.leave("acme", second.mover).await.unwrap();
        assert_overtaken(source.leave("acme", first.mover).await);
        assert_overtaken(source.fence("acme", first.mover).await);
        assert_overtaken(source.stay("acme", first.mover).await);
        assert_overtaken(source.remove_left("acme", first.mover).await);

        source.fence("acme", second.mover).await.unwrap();
        target.copy_from(&source, "acme", second.mover, |_| {}).await.unwrap();
        assert!(directory.note_moved("acme", "target", second.mover).await.unwrap());
        target.open("acme", second.mover).await.unwrap();
        assert_overtaken(target.arrive("acme", first.mover).await);
        target.open("acme", first.mover).await.unwrap();
        source.remove_left("acme", second.mover).await.unwrap();
        assert_overtaken(source.remove_left("acme", first.mover).await);
        let page = PageRequest { page: 0, page_size: 10 };
        let listed = target.list(&Access::organization("acme"), &Filter::default(), page).await.unwrap();
        assert_eq!(listed.page.total_count, 5);
        assert!(!target.is_elsewhere("acme").await.unwrap());
        assert_eq!(target.doctor().await.unwrap().findings, []);
        for store in [directory, source, target] {
            store.close().await;
        }
    }

    /// What is left over in the tables that maintenance cleans up.
    async fn kept(store: &PostgresStore) -> Vec<i64> {
        let mut kept = Vec::new();
        for table in ["settled", "idempotency_keys", "changes", "audit", "sessions", "statistics"] {
            let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE organization_id = 'acme'"));
            kept.push(sqlx::query_scalar(sql).fetch_one(&store.pool).await.unwrap());
        }
        kept
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn maintenance_leaves_a_copy_as_it_is_until_it_is_opened() {
        let cluster = Cluster::start(Durability::None).unwrap();
        let [directory, source, target] = databases(&cluster).await;
        let key = IdempotencyKey { key: "once".to_owned(), fingerprint: [7; 32] };
        let made = source.create("acme", vec![NewOperation::of_kind("scan")], Some(key)).await.unwrap();
        source.command(&Access::organization("acme"), made[0].id, OperationCommand::Cancel).await.unwrap();
        for sql in [
            "UPDATE settled SET purge_at = 0",
            "UPDATE idempotency_keys SET created_at = 0",
            "UPDATE changes SET at = 0",
            "UPDATE organizations SET audit_seq = audit_seq + 1",
            "INSERT INTO audit (organization_id, seq, entries, at, log) VALUES ('acme', 1, 1, 0, '[]')",
            "INSERT INTO sessions (organization_id, id, subject, name, begun_at, expires_at)
             VALUES ('acme', 'session', 'somebody', '', 0, 0)",
            "INSERT INTO statistics (organization_id, step, project_id, start, kind, created, started, completed,
                failed, waiting, running)
             VALUES ('acme', 1, '', 0, 'scan', 0, 0, 0, 0, '', '')",
        ] {
            sqlx::query(sql).execute(&source.pool).await.unwrap();
        }
        let right = mover(&directory).await;
        target.arrive("acme", right.mover).await.unwrap();
        source.leave("acme", right.mover).await.unwrap();
        source.fence("acme", right.mover).await.unwrap();
        target.copy_from(&source, "acme", right.mover, |_| {}).await.unwrap();
        let before = kept(&target).await;
        assert!(before.iter().all(|rows| *rows > 0), "{before:?}");
        let maintain = async |store: &PostgresStore| {
            store.purge(10).await.unwrap();
            store.forget_idempotency_keys(10).await.unwrap();
            store.forget_changes(Duration::ZERO, 10).await.unwrap();
            store.forget_audit(Duration::ZERO, 10).await.unwrap();
            store.forget_sessions(10).await.unwrap();
            store.forget_statistics(10).await.unwrap();
        };
        for store in [&target, &source] {
            maintain(store).await;
            assert_eq!(kept(store).await, before, "nothing is removed during a move");
        }
        assert!(directory.note_moved("acme", "target", right.mover).await.unwrap());
        target.open("acme", right.mover).await.unwrap();
        maintain(&target).await;
        let mut after = kept(&target).await;
        // The purge itself is a change, which may be too new.
        after.remove(2);
        assert_eq!(after, [0; 5], "it is done where the organization is");
        for store in [directory, source, target] {
            store.close().await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_pause_survives_a_move_back_from_a_cell_in_which_the_organization_was_never_opened() {
        let cluster = Cluster::start(Durability::None).unwrap();
        let [directory, source, target] = databases(&cluster).await;
        let acme = Pausable::Organization("acme".to_owned());
        assert!(source.pause(acme.clone()).await.unwrap());
        // It left an hour ago.
        let hour = 3_600_000;
        let right = mover(&directory).await;
        target.arrive("acme", right.mover).await.unwrap();
        source.leave("acme", right.mover).await.unwrap();
        sqlx::query("UPDATE organizations_elsewhere SET since = since - $1")
            .bind(hour)
            .execute(&source.pool)
            .await
            .unwrap();
        source.fence("acme", right.mover).await.unwrap();
        target.copy_from(&source, "acme", right.mover, |_| {}).await.unwrap();
        assert!(directory.note_moved("acme", "target", right.mover).await.unwrap());
        // The process ends here. The next one moves the organization back.
        drop(right);
        let right = mover_between(&directory, "target", "source").await;
        source.arrive("acme", right.mover).await.unwrap();
        target.leave("acme", right.mover).await.unwrap();
        target.fence("acme", right.mover).await.unwrap();
        source.copy_from(&target, "acme", right.mover, |_| {}).await.unwrap();
        assert!(directory.note_moved("acme", "source", right.mover).await.unwrap());
        let stood_still = source.open("acme", right.mover).await.unwrap();
        assert!(stood_still >= Duration::from_secs(3_600), "leases are extended by all of the time: {stood_still:?}");
        let paused: Vec<Pausable> = source.paused().await.unwrap().into_iter().map(|paused| paused.what).collect();
        assert_eq!(paused, [acme], "somebody had paused it");
        for store in [directory, source, target] {
            store.close().await;
        }
    }
}
