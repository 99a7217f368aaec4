//! Carries out a batcher's batches: one transaction per organization.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use operations::{Event, NewOperation, Timestamp};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::connections::{ALIVE, Connections};
use super::error::unavailable;
use super::folds::Folds;
use super::heads::Heads;
use super::tx::{TRIES, Tx};
use super::unanswered::{Claims, Unanswered};
use super::{
    admin, audit, claim, command, complete, create, evidence, heartbeat, limits, pause, purge, schedules, sessions,
    transition, views, waivers,
};
use crate::audit::Record;
use crate::batch::{
    CommandRequest, Commit, Create, Created, Decisions, HeartbeatRequest, TokenChange, Transaction, Upkeep, Write,
    perform,
};
use crate::commits::News;
use crate::evidence::{EvidenceReply, EvidenceWrite};
use crate::quota::Admission;
use crate::retention::Retention;
use crate::schedules::{ScheduleReply, ScheduleWrite};
use crate::views::ViewChange;
use crate::waivers::WaiverWrite;
use crate::{
    ClaimRequest, Claimed, Clock, CommandOutcome, LeaseRef, LeaseStatus, NewToken, StoreError, Token, ViewOutcome,
    WaiverOutcome,
};

/// The result of writes that were to be carried out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carried {
    /// A transaction could not even be begun.
    NotBegun,
    /// They are durable.
    Out,
    /// They are durable, except those that were answered with an error: their connection is not to be used again.
    OutInPart,
}

/// Writes the batches of one batcher, over a connection of its own.
pub(super) struct Writer {
    pool: Connections,
    /// Taken out of the pool, which would check whether it is alive before and after every use; with the server that it
    /// is connected to.
    connection: Option<(PgConnection, Arc<str>)>,
    /// When it was used last.
    used: Instant,
    /// There was no connection, or it stopped answering: further writes would fail as well.
    is_away: bool,
    clock: Clock,
    retention: Retention,
    admission: Admission,
    heads: Heads,
    folds: Folds,
    /// Something may be claimed in the place of operations that ended in the last batch.
    frees: bool,
    claims: Claims,
    unanswered: Unanswered,
}

impl Writer {
    pub(super) fn new(
        pool: Connections,
        clock: Clock,
        retention: Retention,
        admission: Admission,
        heads: Heads,
        folds: Folds,
        unanswered: Unanswered,
    ) -> Writer {
        Writer {
            pool,
            connection: None,
            used: Instant::now(),
            is_away: false,
            clock,
            retention,
            admission,
            heads,
            folds,
            frees: false,
            claims: Claims::new(),
            unanswered,
        }
    }

    /// Carries out the writes of one organization in one transaction, again when it lost against another one.
    async fn transact(&mut self, organization: &str, writes: &mut [&mut Write]) -> Result<(), StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let pool = self.pool.clone();
            let attempt = pool.answered(self.attempt(organization, writes)).await;
            match attempt.unwrap_or_else(|| {
                self.is_away = true;
                Err(StoreError::Unavailable("the database does not answer".to_owned()))
            }) {
                Err(error) if tries < TRIES && error.lost_against_another() => {
                    writes.iter_mut().for_each(|write| write.clear());
                }
                result => {
                    let result = result.map_err(StoreError::or_unavailable);
                    self.note_unanswered(organization, writes, &result);
                    return result;
                }
            }
        }
    }

    /// Keeps the numbers of claims that may have been carried out although the writes failed, or some of them did.
    fn note_unanswered(&mut self, organization: &str, writes: &[&mut Write], result: &Result<(), StoreError>) {
        let sent = self.claims.take();
        // What failed for another reason was rolled back.
        let may_be_durable = matches!(result, Ok(()) | Err(StoreError::Unavailable(_)));
        if may_be_durable && !sent.is_empty() {
            self.unanswered.keep(organization, sent, writes);
        }
    }

    async fn attempt(&mut self, organization: &str, writes: &mut [&mut Write]) -> Result<(), StoreError> {
        // Put back only at the end: a connection whose transaction failed or was given up is not used again.
        let mut connection = match self.connection.take() {
            Some((mut kept, server)) => {
                let is_alive = server == self.pool.server()
                    && (self.used.elapsed() < ALIVE || self.pool.is_alive(&mut kept).await);
                if is_alive { (kept, server) } else { self.connect().await? }
            }
            None => self.connect().await?,
        };
        let mut carried = self.carry_out(&mut connection.0, organization, writes).await?;
        if carried == Carried::NotBegun {
            // It broke since its last use, perhaps when the database was restarted.
            connection = self.connect().await?;
            carried = self.carry_out(&mut connection.0, organization, writes).await?;
        }
        match carried {
            Carried::Out => {
                self.connection = Some(connection);
                self.used = Instant::now();
                Ok(())
            }
            Carried::OutInPart => Ok(()),
            Carried::NotBegun => Err(StoreError::Unavailable("the database does not begin a transaction".to_owned())),
        }
    }

    /// Carries out the writes and makes them durable.
    async fn carry_out(
        &mut self,
        connection: &mut PgConnection,
        organization: &str,
        writes: &mut [&mut Write],
    ) -> Result<Carried, StoreError> {
        let mut tx = Tx::new(connection);
        if !is_one_statement(writes) && tx.begin().await.is_err() {
            return Ok(Carried::NotBegun);
        }
        let mut whole = Whole {
            tx,
            now: (self.clock)(),
            retain_for_ms: self.retention.millis(),
            admission: &self.admission,
            heads: &self.heads,
            organization,
            frees: false,
            carried: Carried::Out,
            claims: &mut self.claims,
        };
        perform(&mut whole, writes).await?;
        let Whole { tx, frees, carried, claims, .. } = whole;
        tx.commit().await?;
        if carried == Carried::Out {
            claims.answered(0);
        }
        self.frees |= frees;
        Ok(carried)
    }

    async fn connect(&mut self) -> Result<(PgConnection, Arc<str>), StoreError> {
        let connect = async {
            let (mut connection, server) = self.pool.connect_to_server().await?;
            let sql = format!("SET lock_timeout = {}", self.pool.limits().lock.as_millis());
            connection.execute(AssertSqlSafe(sql)).await?;
            Ok::<_, sqlx::Error>((connection, server))
        };
        let connected = connect.await;
        self.is_away = connected.is_err();
        let connected = connected.map_err(unavailable)?;
        // A server that was a standby may lack the last commits, and so may one that was restored.
        self.heads.are_of(&connected.1);
        Ok(connected)
    }
}

/// The organization of a write; a write of no organization goes by itself.
fn organization(write: &Write) -> &str {
    match write {
        Write::Create(slot) => &slot.request.organization,
        Write::Transition(slot) => slot.request.first().map_or("", |(lease, _)| &lease.organization),
        Write::Heartbeat(slot) => slot.request.beats.first().map_or("", |beat| &beat.lease.organization),
        Write::Claim(slot) => slot.request.organization().unwrap_or(""),
        Write::Command(slot) => &slot.request.access.organization,
        Write::Schedule(slot) => slot.request.organization(),
        Write::Evidence(slot) => &slot.request.organization,
        Write::Waiver(slot) => slot.request.organization(),
        Write::View(slot) => match &slot.request {
            ViewChange::Create(organization, _) => organization,
            ViewChange::Update(reach, _) | ViewChange::Delete(reach, _) => &reach.organization,
        },
        Write::CreateToken(slot) => &slot.request.access.organization,
        Write::ChangeToken(slot) => match &slot.request {
            TokenChange::Revoke(..) => "",
            TokenChange::Replace(_, new, _) => &new.access.organization,
        },
        Write::Upkeep(slot) => match &slot.request {
            Upkeep::Purge(organization, _)
            | Upkeep::CreateOrganization(organization, _)
            | Upkeep::SetLimits(organization, _) => organization,
            Upkeep::Pause(what, _) => what.key().0,
            Upkeep::Session(change) => change.organization(),
            Upkeep::ForgetIdempotencyKeys(_)
            | Upkeep::ChangeLog(_)
            | Upkeep::Policies(_)
            | Upkeep::Delete(..)
            | Upkeep::Record(_)
            | Upkeep::ForgetAudit(..)
            | Upkeep::NoteTimes(_)
            | Upkeep::ReplaceTexts(_)
            | Upkeep::Statistics(_)
            | Upkeep::TouchTokens(_)
            | Upkeep::Bulk(_)
            | Upkeep::BeginBulk(..)
            | Upkeep::Ping
            | Upkeep::Disconnect => "",
        },
    }
}

/// Whether a write is a transaction by itself. A command locks in an order of its own; a removal must see what it
/// removes before its transaction has a number (see `changes`).
fn is_alone(write: &Write) -> bool {
    match write {
        // Schedules are locked before the organization's row.
        Write::Command(_) | Write::Schedule(_) => true,
        Write::Upkeep(slot) => matches!(slot.request, Upkeep::Purge(..)),
        _ => false,
    }
}

#[async_trait]
impl Commit for Writer {
    async fn commit(&mut self, writes: &mut Vec<Write>) -> Result<(), StoreError> {
        let closes = writes.iter().any(Write::is_disconnect);
        let mut by_organization: BTreeMap<(String, Option<usize>), Vec<&mut Write>> = BTreeMap::new();
        for (index, write) in writes.iter_mut().enumerate() {
            let alone = is_alone(write).then_some(index);
            by_organization.entry((organization(write).to_owned(), alone)).or_default().push(write);
        }
        let is_single = by_organization.len() == 1;
        self.is_away = false;
        let mut away: Option<String> = None;
        for ((organization, _), mut part) in by_organization {
            let fail = |part: &mut [&mut Write], why: &str| {
                part.iter_mut().for_each(|write| write.fail(StoreError::Unavailable(why.to_owned())));
            };
            if let Some(why) = &away {
                fail(&mut part, why);
                continue;
            }
            match self.transact(&organization, &mut part).await {
                Ok(()) => {
                    let (mut news, mut has_written) = (News::default(), false);
                    for write in &part {
                        let brought = News::of(write);
                        has_written |= brought != News::default() || !matches!(write, Write::Claim(_));
                        news |= brought;
                    }
                    // The change log says which writes change counts. A claim that found nothing changes
                    // nothing at all.
                    if news.changes {
                        self.folds.note(&organization);
                    } else if has_written {
                        self.folds.seen(&organization);
                    }
                }
                // The database is unavailable: trying them one by one would make every caller wait once per write. And
                // a commit that was not answered may have happened: callers repeat what they can, by idempotency key
                // and fencing token.
                Err(StoreError::Unavailable(why)) => {
                    fail(&mut part, &why);
                    away = self.is_away.then_some(why);
                }
                Err(error) if is_single => return Err(error),
                // Others of the batch are committed: these writes are tried alone, here and now.
                Err(_) => {
                    for write in part {
                        write.clear();
                        if let Err(error) = self.transact(&organization, &mut [&mut *write]).await {
                            write.fail(error);
                        }
                    }
                }
            }
        }
        // The store closes: the other writes of the batch are written, and nothing comes after it.
        if closes && let Some((connection, _)) = self.connection.take() {
            // If this does not reach the database, it finds out by itself.
            let _ = connection.close().await;
        }
        Ok(())
    }

    fn frees(&mut self) -> bool {
        std::mem::take(&mut self.frees)
    }
}

/// Whether the writes need no transaction around them: they are one statement, or several that need not be atomic.
fn is_one_statement(writes: &[&mut Write]) -> bool {
    writes.iter().all(|write| match &**write {
        Write::Create(slot) => {
            slot.request.key.is_none() && !slot.request.operations.iter().any(NewOperation::has_details)
        }
        Write::Transition(_) | Write::Claim(_) => true,
        Write::Upkeep(slot) => matches!(slot.request, Upkeep::Disconnect),
        _ => false,
    }) && complete::is_plain(&events(writes))
}

/// The transitions, one after the other.
fn events<'w>(writes: &'w [&mut Write]) -> Vec<&'w (LeaseRef, Event)> {
    let transitions = writes.iter().filter_map(|write| match &**write {
        Write::Transition(slot) => Some(&slot.request),
        _ => None,
    });
    transitions.flatten().collect()
}

/// The transaction of one organization's writes.
struct Whole<'w> {
    tx: Tx<'w>,
    now: Timestamp,
    retain_for_ms: Option<i64>,
    admission: &'w Admission,
    heads: &'w Heads,
    organization: &'w str,
    /// Something may be claimed in the place of operations that ended.
    frees: bool,
    carried: Carried,
    claims: &'w mut Claims,
}

impl Transaction for Whole<'_> {
    async fn transition(&mut self, events: &[&(LeaseRef, Event)]) -> Result<Decisions, StoreError> {
        if !complete::is_plain(events) {
            let results = self.decide(events).await?;
            self.frees |= self.admission.frees(&results);
            return Ok(results);
        }
        // By one statement; the events that it refused are checked again: it cannot see changes made while it waited.
        let mut results = complete::complete(&mut self.tx, self.organization, self.retain_for_ms, events).await?;
        let refused: Vec<usize> = (0..results.len()).filter(|index| results[*index].is_err()).collect();
        if !refused.is_empty() {
            let again: Vec<&(LeaseRef, Event)> = refused.iter().map(|index| events[*index]).collect();
            let decided = if self.tx.has_begun() {
                self.decide(&again).await?
            } else {
                // Operations that were completed stay so, and must not be tried again with the rest.
                self.decide_apart(&again).await.map_err(StoreError::or_unavailable)?
            };
            refused.into_iter().zip(decided).for_each(|(index, result)| results[index] = result);
        }
        self.frees |= self.admission.frees(&results);
        Ok(results)
    }

    async fn create(&mut self, creates: &[&Create]) -> Result<Vec<Result<Created, StoreError>>, StoreError> {
        let claim = creates.iter().any(|create| create.start.is_some()).then(|| self.claims.send());
        create::create(&mut self.tx, self.now, self.admission, self.heads, self.organization, claim, creates).await
    }

    async fn claim(&mut self, requests: &[&ClaimRequest]) -> Result<Vec<Result<Vec<Claimed>, StoreError>>, StoreError> {
        let (quotas, organization) = (self.admission.quotas(), self.organization);
        let claimed = requests.iter().map(|_| Vec::new()).collect();
        let mut answers = claim::Answers { claimed, claims: self.claims };
        let claim = claim::claim(&mut self.tx, self.now, self.heads, &quotas, organization, requests, &mut answers);
        let failed = claim.await.err();
        let claimed = answers.claimed;
        let Some(error) = failed else { return Ok(claimed.into_iter().map(Ok).collect()) };
        if self.tx.has_begun() || claimed.iter().all(Vec::is_empty) {
            return Err(error);
        }
        // Each step of a claim is committed by itself. Trying all of it again would leave the claimed operations to
        // nobody.
        tracing::warn!(error = &error as &dyn std::error::Error, "a claim failed after some of it was carried out");
        self.carried = Carried::OutInPart;
        let why = error.to_string();
        let answer = |claimed: Vec<Claimed>| {
            if claimed.is_empty() { Err(StoreError::Unavailable(why.clone())) } else { Ok(claimed) }
        };
        Ok(claimed.into_iter().map(answer).collect())
    }

    async fn heartbeat(&mut self, request: &HeartbeatRequest) -> Result<Vec<LeaseStatus>, StoreError> {
        let beats: Vec<_> = request.beats.iter().collect();
        let until = self.now.after(request.lease);
        heartbeat::heartbeat(&mut self.tx, self.now, self.organization, &beats, until).await
    }

    async fn command(&mut self, request: &CommandRequest) -> Result<CommandOutcome, StoreError> {
        command::command(&mut self.tx, self.now, self.retain_for_ms, request).await
    }

    async fn create_token(&mut self, token: &NewToken) -> Result<Token, StoreError> {
        admin::create_token(&mut self.tx, self.now, token).await
    }

    async fn change_token(&mut self, change: &TokenChange) -> Result<Option<Token>, StoreError> {
        admin::change_token(&mut self.tx, self.now, change).await
    }

    async fn change_view(&mut self, change: &ViewChange) -> Result<ViewOutcome, StoreError> {
        views::change(&mut self.tx, self.now, change).await
    }

    async fn change_waiver(&mut self, write: &WaiverWrite) -> Result<WaiverOutcome, StoreError> {
        waivers::write(&mut self.tx, self.now, write).await
    }

    async fn change_evidence(
        &mut self,
        write: &EvidenceWrite,
    ) -> Result<Result<EvidenceReply, StoreError>, StoreError> {
        evidence::write(&mut self.tx, self.now, self.admission, write).await
    }

    async fn schedule(&mut self, write: &ScheduleWrite) -> Result<Result<ScheduleReply, StoreError>, StoreError> {
        let Whole { tx, now, admission, heads, organization, .. } = self;
        let (now, admission) = (*now, *admission);
        schedules::carry_out(tx, now, admission, heads, organization, write).await
    }

    async fn record(&mut self, records: &[Record]) -> Result<(), StoreError> {
        audit::append(&mut self.tx, self.now, records).await
    }

    async fn upkeep(&mut self, upkeep: &Upkeep) -> Result<u64, StoreError> {
        let Whole { tx, now, .. } = self;
        match upkeep {
            Upkeep::Purge(organization, limit) => purge::purge(tx, *now, organization, *limit).await,
            Upkeep::ForgetIdempotencyKeys(limit) => create::forget_keys(tx, *now, *limit).await,
            Upkeep::Pause(what, pause) => pause::set(tx, *now, what, *pause).await,
            Upkeep::CreateOrganization(organization, wanted) => limits::create(tx, *now, organization, wanted).await,
            Upkeep::SetLimits(organization, wanted) => limits::set(tx, *now, organization, wanted).await,
            // Records are written at the end of the batch.
            Upkeep::Record(_) => Ok(0),
            Upkeep::Session(change) => sessions::change(tx, *now, change).await,
            Upkeep::TouchTokens(ids) => admin::touch_tokens(tx, *now, ids).await,
            Upkeep::Ping => admin::write_nothing(tx).await,
            // Not for a batcher here: see `PostgresStore::forget_changes`, `note_policies`, `delete_part`,
            // `forget_audit`, `note_times` and `replace_texts`.
            Upkeep::ChangeLog(_)
            | Upkeep::Policies(_)
            | Upkeep::Delete(..)
            | Upkeep::ForgetAudit(..)
            | Upkeep::NoteTimes(_)
            | Upkeep::ReplaceTexts(_)
            | Upkeep::Statistics(_)
            | Upkeep::Bulk(_)
            | Upkeep::BeginBulk(..)
            | Upkeep::Disconnect => Ok(0),
        }
    }
}

impl Whole<'_> {
    async fn decide(&mut self, events: &[&(LeaseRef, Event)]) -> Result<Decisions, StoreError> {
        let apply = transition::apply(&mut self.tx, self.now, self.organization, self.retain_for_ms, events);
        let (results, frees) = apply.await?;
        self.frees |= frees;
        Ok(results)
    }

    /// [`Whole::decide`] in a transaction that begins with it, again when it lost against another one.
    async fn decide_apart(&mut self, events: &[&(LeaseRef, Event)]) -> Result<Decisions, StoreError> {
        let mut tries = 1;
        self.tx.begin().await?;
        loop {
            match self.decide(events).await {
                Err(error) if tries < TRIES && error.lost_against_another() => self.tx.restart().await?,
                decided => return decided,
            }
            tries += 1;
        }
    }
}
