//! Where to look first: places that a process remembers, so that it does not walk past what is dead.
//!
//! What is deleted or overwritten stays in tables and indexes for as long as any snapshot may see it, and a forgotten
//! session can hold one for hours. Who begins at the beginning of the queue then walks past all that was claimed since,
//! and who looks an organization's row up past all its versions. So a process remembers where the queue began when it
//! last looked, and where the row lay.
//!
//! Memory is a hint, never the truth: before the place that a claim begins at, something may be put by whoever creates
//! with a higher priority, gives back or retries, here or in another process. So the queue is looked at from its
//! beginning again and again: by every claim while that is cheap ([`CHEAP`]), and else as often as it may cost a
//! thirtieth of the time ([`SHARE`]), and before a claim answers with less than it was asked for a tenth
//! ([`SHARE_WHEN_SHORT`]). That is the bound on how long priority and age may be out of order, and on how long something
//! may lie unseen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use operations::Projects;
use sqlx::postgres::PgConnection;

use crate::StoreError;

/// Looks from the beginning that take no longer are not saved.
const CHEAP: Duration = Duration::from_micros(400);
/// So many operations are claimed before it is found out what a look from the beginning takes: what was claimed is what
/// it may walk past.
const TAKEN: usize = 1_000;
/// Between two looks from the beginning that are not cheap, at least.
const PAUSE: Duration = Duration::from_millis(50);
/// A look from the beginning is made after so many times what the last one took.
const SHARE: u32 = 30;
/// The same for a claim that would answer with less than it was asked for.
const SHARE_WHEN_SHORT: u32 = 10;
/// A row that was not where it lay, since another process has written it, is looked for by its key so many times.
const MOVED: u32 = 200;
/// So many places are remembered; then all are forgotten, which costs a look each.
const PLACES: usize = 10_000;

/// The first of each of the kinds $2 in the queue of an organization, for nothing but its place. Served by queue_ready.
const LOOK: &str = "
    SELECT k.place, q.rank, q.seq FROM unnest($2::text[]) WITH ORDINALITY AS k (kind, place) CROSS JOIN LATERAL (
        SELECT -priority AS rank, seq FROM queue
        WHERE organization_id = $1 AND kind = k.kind AND due_at IS NULL ORDER BY -priority, seq LIMIT 1) AS q";

/// A place in the queue of a kind: the priority, negative, and the number.
pub(super) type Place = (i16, i64);
/// Before all places.
pub(super) const BEGINNING: Place = (i16::MIN, 0);

/// Claims that may take the same: of an organization, for the same projects and kinds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Queue {
    pub(super) organization: String,
    pub(super) projects: Projects,
    pub(super) kinds: Vec<String>,
}

/// What is remembered of a queue.
#[derive(Debug)]
struct Head {
    /// After the last operation that was taken of each kind, or where one was found since.
    places: Vec<Place>,
    /// Whether claims begin there.
    is_used: bool,
    /// Operations that were taken since the last look from the beginning.
    taken: usize,
    looked: Instant,
    /// What the last look took.
    cost: Duration,
}

/// Shared by the batchers of a store.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    queues: HashMap<Queue, Head>,
    /// Where the row of an organization lies, and how often it is not to be looked for there.
    rows: HashMap<String, (String, u32)>,
}

impl Heads {
    fn places(&self) -> MutexGuard<'_, Places> {
        // Nothing that holds the lock can panic between two changes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a claim begins, for each kind.
    pub(super) async fn begin(&self, connection: &mut PgConnection, queue: &Queue) -> Result<Vec<Place>, StoreError> {
        let is_look_due = {
            let places = self.places();
            match places.queues.get(queue) {
                Some(head) if head.is_used => head.looked.elapsed() >= PAUSE.max(head.cost * SHARE),
                Some(head) => head.taken >= TAKEN,
                None => false,
            }
        };
        if is_look_due {
            self.look(connection, queue).await?;
        }
        Ok(match self.places().queues.get(queue) {
            Some(head) if head.is_used => head.places.clone(),
            _ => vec![BEGINNING; queue.kinds.len()],
        })
    }

    /// Looks from the beginning on behalf of a claim that found less than it was asked for; whether it did.
    pub(super) async fn look_again(&self, connection: &mut PgConnection, queue: &Queue) -> Result<bool, StoreError> {
        let may_look = self
            .places()
            .queues
            .get(queue)
            .is_some_and(|head| head.is_used && head.looked.elapsed() >= head.cost * SHARE_WHEN_SHORT);
        if may_look {
            self.look(connection, queue).await?;
        }
        Ok(may_look)
    }

    async fn look(&self, connection: &mut PgConnection, queue: &Queue) -> Result<(), StoreError> {
        let begin = Instant::now();
        let found: Vec<(i64, i16, i64)> =
            sqlx::query_as(LOOK).bind(&queue.organization).bind(&queue.kinds).fetch_all(connection).await?;
        let cost = begin.elapsed();
        if let Some(head) = self.places().queues.get_mut(queue) {
            (head.taken, head.looked, head.cost) = (0, Instant::now(), cost);
            head.is_used = cost > CHEAP;
            // Of a kind that has nothing, what comes next comes after what was taken last.
            for (place, rank, seq) in found {
                if let Some(head) = usize::try_from(place - 1).ok().and_then(|place| head.places.get_mut(place)) {
                    *head = (rank, seq);
                }
            }
        }
        Ok(())
    }

    /// Notes which operations a claim took: their kinds and places.
    pub(super) fn took<'t>(&self, queue: &Queue, taken: impl Iterator<Item = (&'t str, Place)>) {
        let mut places = self.places();
        if places.queues.len() >= PLACES {
            places.queues.clear();
        }
        let head = places.queues.entry(queue.clone()).or_insert_with(|| Head {
            places: vec![BEGINNING; queue.kinds.len()],
            is_used: false,
            taken: 0,
            looked: Instant::now(),
            cost: Duration::ZERO,
        });
        for (kind, place) in taken {
            head.taken += 1;
            if let Some(index) = queue.kinds.iter().position(|other| other == kind) {
                head.places[index] = head.places[index].max(place);
            }
        }
    }

    /// Where the row of an organization lay when it was last written.
    pub(super) fn row(&self, organization: &str) -> Option<String> {
        let mut places = self.places();
        let (place, not_yet) = places.rows.get_mut(organization)?;
        if *not_yet == 0 {
            return Some(place.clone());
        }
        *not_yet -= 1;
        None
    }

    /// Notes where the row of an organization lies.
    pub(super) fn row_lies(&self, organization: &str, place: String) {
        let mut places = self.places();
        if places.rows.len() >= PLACES {
            places.rows.clear();
        }
        places.rows.entry(organization.to_owned()).or_default().0 = place;
    }

    /// Notes that the row of an organization was not where it lay.
    pub(super) fn row_moved(&self, organization: &str) {
        if let Some((_, not_yet)) = self.places().rows.get_mut(organization) {
            *not_yet = MOVED;
        }
    }
}
