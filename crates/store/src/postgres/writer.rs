//! What carries a batcher's batches out: one transaction an organization.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use operations::{Event, Refusal, Status, Timestamp};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};
use tasks::{Health, Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use super::connections::{ALIVE, Connections};
use super::replica::Written;
use super::{admin, claim, command, complete, counters, create, heartbeat, pause, purge, transition};
use crate::batch::{Answer, Answered, Commit, Create, Write, indexed};
use crate::commits::News;
use crate::error::cause;
use crate::quota::Admission;
use crate::retention::Retention;
use crate::{ClaimRequest, Clock, LeaseRef, StoreError};

/// Tries of a transaction that lost against another one (a deadlock or a serialisation failure).
const TRIES: u32 = 5;
/// Between two folds of what this process has written.
const FOLD_EVERY: Duration = Duration::from_millis(500);
/// Every so many folds, what servers that died left unfolded is looked for.
const SWEEP_EVERY: u32 = 60;

/// Writes the batches of one batcher, over a connection of its own.
pub(super) struct Writer {
    pool: Connections,
    /// Taken out of the pool, which would look whether it is alive before and after every use.
    connection: Option<PgConnection>,
    /// When it was used last.
    used: Instant,
    /// There was no connection, or it fell silent: what else there is to be written would fare no better.
    is_away: bool,
    clock: Clock,
    retention: Retention,
    admission: Admission,
    folds: Folds,
}

impl Writer {
    pub(super) fn new(
        pool: Connections,
        clock: Clock,
        retention: Retention,
        admission: Admission,
        folds: Folds,
    ) -> Writer {
        Writer { pool, connection: None, used: Instant::now(), is_away: false, clock, retention, admission, folds }
    }

    /// Carries out the writes of one organization in one transaction, again when it lost against another one.
    async fn transact(&mut self, organization: &str, writes: &[&Write]) -> Result<Vec<Answered>, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let limit = self.pool.limits().call;
            let attempt = tokio::time::timeout(limit, self.attempt(organization, writes)).await;
            match attempt.unwrap_or_else(|_| {
                self.is_away = true;
                Err(StoreError::Unavailable("the database does not answer".to_owned()))
            }) {
                Err(error) if tries < TRIES && error.lost_against_another() => {}
                result => return result.map_err(StoreError::or_unavailable),
            }
        }
    }

    async fn attempt(&mut self, organization: &str, writes: &[&Write]) -> Result<Vec<Answered>, StoreError> {
        // Given back at the end only: one whose transaction failed or was given up is not used again.
        let mut connection = match self.connection.take() {
            Some(mut kept) => {
                let is_alive = self.used.elapsed() < ALIVE || self.pool.is_alive(&mut kept).await;
                if is_alive { kept } else { self.connect().await? }
            }
            None => self.connect().await?,
        };
        let in_transaction = !is_one_statement(writes);
        // One that broke since its last use, when the database was started anew perhaps, was asked for nothing yet.
        if in_transaction && connection.execute("BEGIN").await.is_err() {
            connection = self.connect().await?;
            connection.execute("BEGIN").await.map_err(unavailable)?;
        }
        let settings =
            Settings { now: (self.clock)(), retain_for_ms: self.retention.millis(), admission: &self.admission };
        let answers = perform(&mut connection, settings, organization, writes, in_transaction).await?;
        if in_transaction {
            connection.execute("COMMIT").await?;
        }
        self.connection = Some(connection);
        self.used = Instant::now();
        Ok(answers)
    }

    async fn connect(&mut self) -> Result<PgConnection, StoreError> {
        let connected = self.pool.connect().await;
        self.is_away = connected.is_err();
        connected.map_err(unavailable)
    }
}

/// The organization of a write; what is of none goes by itself.
fn organization(write: &Write) -> &str {
    match write {
        Write::Create(create) => &create.organization,
        Write::Transition(events) => events.first().map_or("", |(lease, _)| &lease.organization),
        Write::Heartbeat(beats, _) => beats.first().map_or("", |beat| &beat.lease.organization),
        Write::Claim(request) => request.organization().unwrap_or(""),
        Write::Command(access, ..) => &access.organization,
        Write::Purge(organization, _) => organization,
        Write::Pause(what, _) => what.key().0,
        Write::CreateToken(token) => &token.access.organization,
        Write::PutEvidence(organization, _) => organization,
        Write::ForgetIdempotencyKeys(_)
        | Write::Feed(_)
        | Write::Delete(..)
        | Write::RevokeToken(_)
        | Write::TouchTokens(_)
        | Write::Ping
        | Write::Disconnect => "",
    }
}

#[async_trait]
impl Commit for Writer {
    async fn commit(&mut self, writes: Arc<Vec<Write>>) -> Result<Vec<Answered>, StoreError> {
        let closes = |write: &Write| matches!(write, Write::Disconnect);
        // A command is a transaction by itself: it locks in an order of its own. So is a removal, which must see what
        // it removes before its transaction has a number (see `changes`).
        let mut by_organization: BTreeMap<(&str, Option<usize>), Vec<usize>> = BTreeMap::new();
        for (index, write) in writes.iter().enumerate() {
            let alone = matches!(write, Write::Command(..) | Write::Purge(..)).then_some(index);
            if !closes(write) {
                by_organization.entry((organization(write), alone)).or_default().push(index);
            }
        }
        let single = by_organization.len() == 1;
        let mut answers: Vec<Option<Answered>> =
            writes.iter().map(|write| closes(write).then_some(Ok(Answer::Count(0)))).collect();
        self.is_away = false;
        let mut away: Option<String> = None;
        for ((organization, _), indexes) in by_organization {
            if let Some(why) = &away {
                for index in indexes {
                    answers[index] = Some(Err(StoreError::Unavailable(why.clone())));
                }
                continue;
            }
            let part: Vec<&Write> = indexes.iter().map(|index| &writes[*index]).collect();
            match self.transact(organization, &part).await {
                Ok(part) => {
                    let (mut news, mut has_written) = (News::default(), false);
                    for (index, answer) in indexes.iter().zip(part) {
                        let brought = News::of(&writes[*index], &answer);
                        has_written |= brought != News::default() || !matches!(writes[*index], Write::Claim(_));
                        news |= brought;
                        answers[*index] = Some(answer);
                    }
                    // What changes counts is told by the feed. A look that found nothing to claim changes nothing at all.
                    if news.feed {
                        self.folds.note(organization);
                    } else if has_written {
                        self.folds.seen(organization);
                    }
                }
                // The database is away: to try one by one would make everybody wait once a write. And a commit that was
                // not answered may have happened: callers repeat what they can, by idempotency key and fencing token.
                Err(StoreError::Unavailable(why)) => {
                    for index in indexes {
                        answers[index] = Some(Err(StoreError::Unavailable(why.clone())));
                    }
                    away = self.is_away.then_some(why);
                }
                Err(error) if single => return Err(error),
                // Others of the batch are committed: these writes are tried alone, here and now.
                Err(_) => {
                    for index in indexes {
                        let alone = self.transact(organization, &[&writes[index]]).await;
                        answers[index] = Some(alone.and_then(|mut answers| {
                            answers.pop().unwrap_or_else(|| Err(StoreError::Unavailable("no answer".to_owned())))
                        }));
                    }
                }
            }
        }
        // The store closes: what came beside it is written, and nothing comes after it.
        if writes.iter().any(closes)
            && let Some(connection) = self.connection.take()
        {
            // What the database does not hear of it finds out by itself.
            let _ = connection.close().await;
        }
        Ok(answers.into_iter().map(|answer| answer.expect("every write was carried out")).collect())
    }
}

/// Whether the writes need no transaction around them: what they do is one statement, or several that need not be one.
fn is_one_statement(writes: &[&Write]) -> bool {
    writes.iter().all(|write| match write {
        Write::Create(create) => create.key.is_none(),
        Write::Claim(_) | Write::Transition(_) => true,
        _ => false,
    }) && complete::is_plain(&events(writes))
}

/// The transitions, one after the other.
fn events<'w>(writes: &[&'w Write]) -> Vec<&'w (LeaseRef, Event)> {
    let transitions = writes.iter().filter_map(|write| match write {
        Write::Transition(events) => Some(events),
        _ => None,
    });
    transitions.flatten().collect()
}

/// What holds for all writes of a transaction.
#[derive(Clone, Copy)]
struct Settings<'s> {
    now: Timestamp,
    retain_for_ms: Option<i64>,
    admission: &'s Admission,
}

async fn perform(
    connection: &mut PgConnection,
    settings: Settings<'_>,
    organization: &str,
    writes: &[&Write],
    in_transaction: bool,
) -> Result<Vec<Answered>, StoreError> {
    let Settings { now, retain_for_ms, admission } = settings;
    let mut answers: Vec<Option<Answered>> = writes.iter().map(|_| None).collect();
    // First, so that the transaction has no number yet (see `changes`).
    let transitions: Vec<(usize, &Vec<(LeaseRef, Event)>)> = indexed(writes, |write| match write {
        Write::Transition(events) => Some(events),
        _ => None,
    });
    if !transitions.is_empty() {
        let events = events(writes);
        let results = if complete::is_plain(&events) {
            complete_or_decide(connection, now, organization, retain_for_ms, &events, in_transaction).await?
        } else {
            transition::apply(connection, now, organization, retain_for_ms, &events).await?
        };
        let mut results = results.into_iter();
        for (index, events) in &transitions {
            answers[*index] = Some(Ok(Answer::Transitions(results.by_ref().take(events.len()).collect())));
        }
    }
    let creates: Vec<(usize, &Create)> = indexed(writes, |write| match write {
        Write::Create(create) => Some(create),
        _ => None,
    });
    if !creates.is_empty() {
        let requests: Vec<&Create> = creates.iter().map(|(_, create)| *create).collect();
        let results = create::create(connection, now, admission, organization, &requests, in_transaction).await?;
        for ((index, _), result) in creates.iter().zip(results) {
            answers[*index] = Some(result.map(|created| Answer::Created(Box::new(created))));
        }
    }
    // After the creations, so that a claim of the same batch can have them.
    let claims: Vec<(usize, &ClaimRequest)> = indexed(writes, |write| match write {
        Write::Claim(request) => Some(request),
        _ => None,
    });
    if !claims.is_empty() {
        let requests: Vec<&ClaimRequest> = claims.iter().map(|(_, request)| *request).collect();
        let results = claim::claim(connection, now, organization, &requests).await?;
        for ((index, _), claimed) in claims.iter().zip(results) {
            answers[*index] = Some(Ok(Answer::Claimed(claimed)));
        }
    }
    for (index, write) in writes.iter().enumerate() {
        let answer = match write {
            Write::Create(_) | Write::Transition(_) | Write::Claim(_) => continue,
            Write::Heartbeat(beats, lease) => {
                let beats: Vec<_> = beats.iter().collect();
                Answer::Leases(heartbeat::heartbeat(connection, now, organization, &beats, now.after(*lease)).await?)
            }
            Write::Command(access, id, command) => Answer::CommandOutcome(Box::new(
                command::command(connection, now, retain_for_ms, access, *id, *command).await?,
            )),
            Write::Purge(organization, limit) => {
                Answer::Count(purge::purge(connection, now, organization, *limit).await?)
            }
            Write::ForgetIdempotencyKeys(limit) => Answer::Count(create::forget_keys(connection, now, *limit).await?),
            Write::Pause(what, pause) => Answer::Count(pause::set(connection, now, what, *pause).await?),
            Write::CreateToken(token) => Answer::Token(Box::new(admin::create_token(connection, now, token).await?)),
            Write::RevokeToken(id) => Answer::Count(admin::revoke_token(connection, now, id).await?),
            Write::TouchTokens(ids) => Answer::Count(admin::touch_tokens(connection, now, ids).await?),
            Write::PutEvidence(organization, record) => {
                Answer::Count(admin::put_evidence(connection, now, organization, record).await?)
            }
            Write::Ping => Answer::Count(admin::write_nothing(connection).await?),
            // Of no batcher here: see `PostgresStore::forget_changes` and `delete_part`.
            Write::Feed(_) | Write::Delete(..) | Write::Disconnect => Answer::Count(0),
        };
        answers[index] = Some(Ok(answer));
    }
    Ok(answers.into_iter().map(|answer| answer.expect("every write was carried out")).collect())
}

/// Carries plain transitions out by one statement, and looks again at those that it refused: it cannot see what changed
/// while it waited.
async fn complete_or_decide(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    retain_for_ms: Option<i64>,
    events: &[&(LeaseRef, Event)],
    in_transaction: bool,
) -> Result<Vec<Result<Status, Refusal>>, StoreError> {
    let mut results = complete::complete(connection, organization, retain_for_ms, events).await?;
    let refused: Vec<usize> = (0..results.len()).filter(|index| results[*index].is_err()).collect();
    if refused.is_empty() {
        return Ok(results);
    }
    let again: Vec<&(LeaseRef, Event)> = refused.iter().map(|index| events[*index]).collect();
    let decided = if in_transaction {
        transition::apply(connection, now, organization, retain_for_ms, &again).await?
    } else {
        // What was completed stays so, and must not be tried again with the rest.
        decide(connection, now, organization, retain_for_ms, &again).await.map_err(StoreError::or_unavailable)?
    };
    for (index, result) in refused.into_iter().zip(decided) {
        results[index] = result;
    }
    Ok(results)
}

/// [`transition::apply`] in a transaction of its own, again when it lost against another one.
async fn decide(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    retain_for_ms: Option<i64>,
    events: &[&(LeaseRef, Event)],
) -> Result<Vec<Result<Status, Refusal>>, StoreError> {
    let mut tries = 0;
    loop {
        tries += 1;
        connection.execute("BEGIN").await?;
        match transition::apply(connection, now, organization, retain_for_ms, events).await {
            Err(error) if tries < TRIES && error.lost_against_another() => connection.execute("ROLLBACK").await?,
            result => {
                let decided = result?;
                connection.execute("COMMIT").await?;
                return Ok(decided);
            }
        };
    }
}

/// As a database's error: the transaction may succeed when it is tried again (40001, a serialisation failure).
#[derive(Debug, thiserror::Error)]
#[error("another transaction was faster")]
pub(super) struct Overtaken;

impl sqlx::error::DatabaseError for Overtaken {
    fn message(&self) -> &str {
        "another transaction was faster"
    }

    fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
        Some("40001".into())
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> sqlx::error::ErrorKind {
        sqlx::error::ErrorKind::Other
    }
}

/// Every error on the way to the database means that it is away.
pub(super) fn unavailable(error: sqlx::Error) -> StoreError {
    tracing::warn!(error = &error as &dyn std::error::Error, "the database cannot be reached");
    StoreError::Unavailable(format!("the database cannot be reached: {}", cause(&error)))
}

/// Notes which organizations have deltas, for the task that folds them, and were written to, for reads from a standby.
#[derive(Clone)]
pub(super) struct Folds {
    dirty: Arc<Mutex<BTreeSet<String>>>,
    /// `None` without a standby.
    written: Option<Written>,
}

impl Folds {
    /// Starts the folding task; it ends when the last handle is dropped, or the store closes.
    pub(super) fn start(
        pool: Connections,
        written: Option<Written>,
        health: &Health,
        closing: &CancellationToken,
    ) -> Folds {
        let folds = Folds { dirty: Arc::default(), written };
        let weak = Arc::downgrade(&folds.dirty);
        let (health, closing) = (health.clone(), closing.clone());
        tokio::spawn(async move {
            let rounds = AtomicU32::new(0);
            run_periodic(&health, Schedule::every("counter_folds", FOLD_EVERY), &closing, || async {
                let Some(dirty) = weak.upgrade() else { return Ok(Next::Never) };
                if rounds.load(Ordering::Relaxed).is_multiple_of(SWEEP_EVERY) {
                    let found = counters::unfolded(&pool).await?;
                    lock(&dirty).extend(found);
                }
                rounds.fetch_add(1, Ordering::Relaxed);
                let organizations = lock(&dirty).clone();
                for organization in organizations {
                    // Taken out before: what is written meanwhile is noted anew.
                    lock(&dirty).remove(&organization);
                    if let Err(error) = counters::fold(&pool, &organization).await {
                        lock(&dirty).insert(organization);
                        return Err(error);
                    }
                }
                Ok::<_, StoreError>(Next::AfterPeriod)
            })
            .await;
        });
        folds
    }

    /// Notes that something of an organization was seen, so that a standby that lacks it is not read.
    pub(super) fn seen(&self, organization: &str) {
        if let Some(written) = &self.written {
            written.note(organization);
        }
    }

    /// Notes that the organization has deltas. To be called after the commit and before the answer.
    pub(super) fn note(&self, organization: &str) {
        self.seen(organization);
        let mut dirty = lock(&self.dirty);
        if !dirty.contains(organization) {
            dirty.insert(organization.to_owned());
        }
    }
}

/// Nothing that holds the lock can panic between two changes.
fn lock(dirty: &Mutex<BTreeSet<String>>) -> MutexGuard<'_, BTreeSet<String>> {
    dirty.lock().unwrap_or_else(PoisonError::into_inner)
}
