//! The one writer: carries a batch out as one transaction, with one fsync.
//!
//! Inside a batch the writes are grouped by what they do, so that fifty creations cost three statements and not 150.
//! The writes of a batch are concurrent (each caller still waits for its answer), so grouping cannot break an order that
//! a caller could know of.

use std::sync::Arc;

use async_trait::async_trait;
use operations::{Event, Timestamp};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::clock::{self, Clocks};
use super::{admin, claim, create, deletion, pause, purge, readers, steer, transition};
use crate::batch::{Answer, Answered, Commit, Create, Write, indexed};
use crate::quota::Admission;
use crate::retention::Retention;
use crate::rotation::Rotation;
use crate::{ClaimRequest, LeaseRef, StoreError};

/// Writes through a pool of one connection, which reconnects by itself.
pub(super) struct Writer {
    pub(super) connection: SqlitePool,
    pub(super) clocks: Arc<Clocks>,
    /// Whether the leases of a former life were bounded.
    pub(super) has_bounded_leases: bool,
    pub(super) retention: Retention,
    pub(super) admission: Admission,
    pub(super) rotation: Rotation,
}

#[async_trait]
impl Commit for Writer {
    async fn commit(&mut self, writes: &[Write]) -> Result<Vec<Answered>, StoreError> {
        let mut connection = self.connection.acquire().await?;
        let result = self.transact(&mut connection, writes).await;
        if result.is_err() {
            // When the disk is full or fails, SQLite ends the transaction by itself and the library does not see it: it would
            // begin no other one on this connection.
            if let Err(error) = connection.close().await {
                tracing::debug!(error = &error as &dyn std::error::Error, "the connection was not closed in order");
            }
        }
        result
    }
}

impl Writer {
    async fn transact(
        &mut self,
        connection: &mut SqliteConnection,
        writes: &[Write],
    ) -> Result<Vec<Answered>, StoreError> {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let Writer { clocks, retention, admission, rotation, has_bounded_leases, .. } = self;
        let (now, set_by) = (clocks.now(), clocks.set_by());
        if set_by != 0 {
            clock::move_leases(&mut transaction, set_by).await?;
        }
        // Who claims is the process that owns the store, and not a command beside it.
        let lease = writes.iter().filter_map(|write| match write {
            Write::Claim(request) => Some(request.lease),
            _ => None,
        });
        let lease = lease.max().filter(|_| !*has_bounded_leases);
        if let Some(lease) = lease {
            clock::bound_leases(&mut transaction, now.after(lease)).await?;
        }
        let answers = perform(&mut transaction, now, retention.millis(), admission, rotation, writes).await?;
        transaction.commit().await?;
        clocks.moved(set_by);
        *has_bounded_leases |= lease.is_some();
        Ok(answers)
    }
}

async fn perform(
    connection: &mut SqliteConnection,
    now: Timestamp,
    retain_for_ms: Option<i64>,
    admission: &Admission,
    rotation: &mut Rotation,
    writes: &[Write],
) -> Result<Vec<Answered>, StoreError> {
    let mut answers: Vec<Option<Answered>> = writes.iter().map(|_| None).collect();

    let creates: Vec<(usize, &Create)> = indexed(writes, |write| match write {
        Write::Create(create) => Some(create),
        _ => None,
    });
    if !creates.is_empty() {
        let requests: Vec<&Create> = creates.iter().map(|(_, create)| *create).collect();
        let results = create::create(connection, now, admission, &requests).await?;
        for ((index, _), result) in creates.iter().zip(results) {
            answers[*index] = Some(result.map(Answer::Operations));
        }
    }

    let transitions: Vec<(usize, &Vec<(LeaseRef, Event)>)> = indexed(writes, |write| match write {
        Write::Transition(events) => Some(events),
        _ => None,
    });
    if !transitions.is_empty() {
        let events: Vec<&(LeaseRef, Event)> = transitions.iter().flat_map(|(_, events)| events.iter()).collect();
        let mut results = transition::apply(connection, now, retain_for_ms, &events).await?.into_iter();
        for (index, events) in &transitions {
            answers[*index] = Some(Ok(Answer::Transitions(results.by_ref().take(events.len()).collect())));
        }
    }

    // After the creations, so that a claim of the same batch can have them.
    let claims: Vec<(usize, &ClaimRequest)> = indexed(writes, |write| match write {
        Write::Claim(request) => Some(request),
        _ => None,
    });
    if !claims.is_empty() {
        let requests: Vec<&ClaimRequest> = claims.iter().map(|(_, request)| *request).collect();
        let results = claim::claim(connection, now, &admission.quotas(), rotation, &requests).await?;
        for ((index, _), claimed) in claims.iter().zip(results) {
            answers[*index] = Some(Ok(Answer::Claimed(claimed)));
        }
    }

    for (index, write) in writes.iter().enumerate() {
        let answer = match write {
            Write::Create(_) | Write::Transition(_) | Write::Claim(_) => continue,
            Write::Heartbeat(beats, lease) => {
                Answer::Leases(transition::heartbeat(connection, now, beats, now.after(*lease)).await?)
            }
            Write::Steer(access, id, steering) => {
                Answer::Steered(Box::new(steer::steer(connection, now, retain_for_ms, access, *id, *steering).await?))
            }
            Write::Purge(organization, limit) => {
                Answer::Count(purge::purge(connection, now, organization, *limit).await?)
            }
            Write::ForgetIdempotencyKeys(limit) => Answer::Count(create::forget_keys(connection, now, *limit).await?),
            Write::Pause(what, pause) => Answer::Count(pause::set(connection, now, what, *pause).await?),
            Write::Delete(organization, step) => {
                Answer::Count(deletion::step(connection, now, organization, *step).await?)
            }
            Write::Feed(write) => Answer::Count(readers::write(connection, now, write).await?),
            Write::CreateToken(token) => Answer::Token(Box::new(admin::create_token(connection, now, token).await?)),
            Write::RevokeToken(id) => Answer::Count(admin::revoke_token(connection, now, id).await?),
            Write::TouchTokens(ids) => Answer::Count(admin::touch_tokens(connection, now, ids).await?),
            Write::PutEvidence(organization, record) => {
                Answer::Count(admin::put_evidence(connection, now, organization, record).await?)
            }
            Write::Ping => {
                // The smallest write: a field of the file's header that nothing else uses.
                sqlx::query("PRAGMA user_version = 1").execute(&mut *connection).await?;
                Answer::Count(0)
            }
            Write::Disconnect => Answer::Count(0),
        };
        answers[index] = Some(Ok(answer));
    }
    Ok(answers.into_iter().map(|answer| answer.expect("every write was carried out")).collect())
}
