//! Where to begin: places that a process remembers, so that it does not walk past dead rows.
//!
//! Rows that are deleted or overwritten stay in tables and indexes for as long as any snapshot may see them, and a
//! forgotten session can hold one for hours. A claim that begins at the beginning of the queue then walks past
//! everything that was claimed since, and a statement that looks up an organization's row walks past all its versions.
//! So a process remembers where the queue of each kind begins, and where the row lies.
//!
//! **Operations in order**, which most of the queue is, come in by their numbers: none can come in before the one that
//! was the first of them in any snapshot, whichever process creates it (see `in_order` in migration 0011). So the
//! number of that first one is a *floor*, which holds until the database is another one, as after a failover: a writer
//! that connects finds out ([`Heads::are_of`]).
//!
//! **The rest**, operations that have a priority, were delayed, were released or are retried, may come in anywhere,
//! here or in another process. The places remembered of them are hints, so their queue is scanned from its beginning
//! again and again: by every claim while that is cheap ([`CHEAP`]), and otherwise so often that it costs a thirtieth of
//! the time ([`SHARE`]), or, before a claim returns less than was requested, a tenth ([`SHARE_WHEN_SHORT`]).
//! That is the bound on how long they may be out of order, and on how long one of them may stay unseen. The same goes
//! for operations that are due later, whose dead rows lie before a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use operations::Timestamp;
use sqlx::postgres::PgConnection;

use super::connections::Connections;
use crate::StoreError;

/// Scans from the beginning that take no longer than this are not avoided.
const CHEAP: Duration = Duration::from_micros(400);
/// This many operations are taken before a scan finds out where the queue begins: those that were taken are walked
/// past.
const TAKEN: i64 = 1_000;
/// The least time between two scans from the beginning that are not cheap.
const PAUSE: Duration = Duration::from_millis(50);
/// A scan from the beginning is made after this many times the duration of the last one.
const SHARE: u32 = 30;
/// The same for a claim that would return less than was requested.
const SHARE_WHEN_SHORT: u32 = 10;
/// No operation is put into the queue that was due longer ago than this: no transaction takes as long.
const LATE: Duration = Duration::from_secs(60);
/// A row that was not where it lay, since another process has written it, is looked up by its key this many times.
const MOVED: u32 = 200;
/// This many places are remembered; then all are forgotten, which costs a scan each.
const PLACES: usize = 10_000;
/// The number of organizations whose places a search for organizations uses.
const KNOWN: usize = 200;

/// The first operation in order of each of the kinds $2 in the queue of an organization, from the numbers $3 on. Served
/// by queue_in_order.
const FIRST_IN_ORDER: &str = "
    SELECT k.kind, q.seq FROM unnest($2::text[], $3::bigint[]) AS k (kind, floor) CROSS JOIN LATERAL (
        SELECT seq FROM queue WHERE organization_id = $1 AND kind = k.kind AND in_order AND seq >= k.floor
        ORDER BY seq LIMIT 1) AS q";

/// The first of the rest, of each of the kinds $2, only for its place. Served by queue_ready.
const FIRST_OF_REST: &str = "
    SELECT k.kind, q.rank, q.seq FROM unnest($2::text[]) AS k (kind) CROSS JOIN LATERAL (
        SELECT -priority AS rank, seq FROM queue
        WHERE organization_id = $1 AND kind = k.kind AND due_at IS NULL AND NOT in_order
        ORDER BY -priority, seq LIMIT 1) AS q";

/// A place in the queue of a kind: the priority, negative, and the number.
pub(super) type Place = (i16, i64);
/// Before all places.
const BEGINNING: Place = (i16::MIN, 0);

/// Where scans of the queue of an organization begin, as columns by kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Begin {
    pub(super) kinds: Vec<String>,
    /// For operations in order: the number.
    pub(super) floors: Vec<i64>,
    /// For the rest: the place.
    pub(super) ranks: Vec<i16>,
    pub(super) seqs: Vec<i64>,
    /// The time after which the operations that are due later begin.
    pub(super) due: i64,
}

/// The same for several organizations: [`Begin::kinds`] and so on, each with its organization, and due times
/// separately.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) organizations: Vec<String>,
    pub(super) of: Vec<String>,
    pub(super) begin: Begin,
    pub(super) dues: Vec<i64>,
}

/// The places remembered for a kind in an organization's queue.
#[derive(Debug)]
struct Head {
    /// Operations that are in order and have a smaller number are gone.
    floor: i64,
    /// The greatest number that was taken of the operations in order.
    newest: i64,
    rest: Rest,
}

/// The place remembered for operations that are not in order.
#[derive(Debug)]
struct Rest {
    /// The place after the last that was taken, or where one was found since.
    place: Place,
    /// Whether claims begin there.
    is_used: bool,
    /// The number taken since the last scan from the beginning.
    taken: i64,
    look: Look,
}

/// A scan from the beginning.
#[derive(Debug)]
struct Look {
    at: Instant,
    cost: Duration,
}

impl Look {
    fn now(cost: Duration) -> Look {
        Look { at: Instant::now(), cost }
    }

    fn is_due(&self, share: u32, pause: Duration) -> bool {
        self.at.elapsed() >= pause.max(self.cost * share)
    }
}

impl Head {
    fn new() -> Head {
        let rest = Rest { place: BEGINNING, is_used: false, taken: 0, look: Look::now(Duration::ZERO) };
        Head { floor: 0, newest: 0, rest }
    }

    /// Whether many operations in order are gone since the last search for where they begin.
    fn is_far(&self) -> bool {
        self.newest - self.floor >= TAKEN
    }

    fn place(&self) -> Place {
        if self.rest.is_used { self.rest.place } else { BEGINNING }
    }
}

impl Rest {
    fn is_look_due(&self) -> bool {
        if self.is_used { self.look.is_due(SHARE, PAUSE) } else { self.taken >= TAKEN }
    }
}

/// The places remembered for an organization's queue.
#[derive(Debug)]
struct Queue {
    kinds: HashMap<String, Head>,
    /// The time up to which due operations are gone, and the last scan of all of them.
    due: i64,
    due_look: Look,
}

impl Queue {
    fn new() -> Queue {
        Queue { kinds: HashMap::new(), due: i64::MIN, due_look: Look::now(Duration::ZERO) }
    }

    /// Whether there is anything to walk past.
    fn is_worn(&self) -> bool {
        self.kinds.values().any(|head| head.floor > 0 || head.rest.is_used)
    }

    fn begin<'k>(&self, kinds: impl Iterator<Item = &'k String>) -> Begin {
        let mut begin = Begin { due: self.due, ..Begin::default() };
        for kind in kinds {
            let head = self.kinds.get(kind);
            let (rank, seq) = head.map_or(BEGINNING, Head::place);
            begin.kinds.push(kind.clone());
            begin.floors.push(head.map_or(0, |head| head.floor));
            begin.ranks.push(rank);
            begin.seqs.push(seq);
        }
        begin
    }
}

/// Shared by the batchers of a store.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    /// The database server that all this was learned from.
    server: String,
    queues: BTreeMap<String, Queue>,
    /// The number of kinds in all queues.
    heads: usize,
    /// Where the row of an organization lies, and how many more times to look it up by its key instead.
    rows: HashMap<String, (String, u32)>,
    /// Organizations and kinds that were at their limit of running operations when a claim last checked.
    full: BTreeSet<(String, String)>,
}

impl Heads {
    fn places(&self) -> MutexGuard<'_, Places> {
        // Nothing that holds the lock can panic between two changes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all unless it was learned from this database server.
    pub(super) fn are_of(&self, server: &str) {
        let mut places = self.places();
        if places.server != server {
            *places = Places { server: server.to_owned(), ..Places::default() };
        }
    }

    /// Makes the scans that are due, for statements that read all organizations.
    pub(super) async fn look(&self, pool: &Connections, kinds: &[String]) -> Result<(), StoreError> {
        let is_due = |queue: &Queue| {
            kinds.iter().filter_map(|kind| queue.kinds.get(kind)).any(|head| head.is_far() || head.rest.is_look_due())
        };
        let due: Vec<String> = {
            let places = self.places();
            places.queues.iter().filter(|(_, queue)| is_due(queue)).map(|(of, _)| of.clone()).take(KNOWN).collect()
        };
        if due.is_empty() {
            return Ok(());
        }
        let mut connection = pool.acquire().await?;
        for organization in due {
            self.look_in_order(&mut connection, &organization, kinds).await?;
            self.look_at_rest(&mut connection, &organization, kinds, Rest::is_look_due).await?;
        }
        connection.release();
        Ok(())
    }

    /// Where a claim of an organization begins, for each kind.
    pub(super) async fn begin(
        &self,
        connection: &mut PgConnection,
        organization: &str,
        kinds: &[String],
    ) -> Result<Begin, StoreError> {
        self.look_in_order(connection, organization, kinds).await?;
        self.look_at_rest(connection, organization, kinds, Rest::is_look_due).await?;
        let mut begin = self.peek(organization, kinds.iter());
        if self.places().queues.get(organization).is_some_and(|queue| queue.due_look.is_due(SHARE, PAUSE)) {
            begin.due = i64::MIN;
        }
        Ok(begin)
    }

    /// Where a claim begins, as far as is known without a scan.
    pub(super) fn peek<'k>(&self, organization: &str, kinds: impl Iterator<Item = &'k String>) -> Begin {
        match self.places().queues.get(organization) {
            Some(queue) => queue.begin(kinds),
            None => Queue::new().begin(kinds),
        }
    }

    /// Where the queues begin that have something to walk past, as far as is known without a scan.
    pub(super) fn known(&self, kinds: &[String]) -> Known {
        let places = self.places();
        let mut known = Known::default();
        for (organization, queue) in places.queues.iter().filter(|(_, queue)| queue.is_worn()).take(KNOWN) {
            let begin = queue.begin(kinds.iter().filter(|kind| queue.kinds.contains_key(*kind)));
            known.organizations.push(organization.clone());
            known.dues.push(begin.due);
            known.of.extend(std::iter::repeat_n(organization.clone(), begin.kinds.len()));
            known.begin.kinds.extend(begin.kinds);
            known.begin.floors.extend(begin.floors);
            known.begin.ranks.extend(begin.ranks);
            known.begin.seqs.extend(begin.seqs);
        }
        known
    }

    /// Scans the rest from its beginning on behalf of a claim that found less than was requested; answers whether
    /// it did.
    pub(super) async fn look_again(
        &self,
        connection: &mut PgConnection,
        organization: &str,
        kinds: &[String],
    ) -> Result<bool, StoreError> {
        let is_due = |rest: &Rest| rest.is_used && rest.look.is_due(SHARE_WHEN_SHORT, Duration::ZERO);
        self.look_at_rest(connection, organization, kinds, is_due).await
    }

    /// Learns where operations in order begin, for kinds for which that may be far.
    async fn look_in_order(
        &self,
        connection: &mut PgConnection,
        organization: &str,
        kinds: &[String],
    ) -> Result<(), StoreError> {
        let far = |(kind, head): (&String, &Head)| {
            (head.is_far() && kinds.contains(kind)).then(|| (kind.clone(), head.floor))
        };
        let (looked, floors): (Vec<String>, Vec<i64>) = match self.places().queues.get(organization) {
            Some(queue) => queue.kinds.iter().filter_map(far).unzip(),
            None => return Ok(()),
        };
        if looked.is_empty() {
            return Ok(());
        }
        // Taken before, so that it is below every number that is not seen.
        let newest = |queue: &Queue, kind: &String| queue.kinds.get(kind).map_or(0, |head| head.newest);
        let newest: Vec<i64> = {
            let places = self.places();
            looked.iter().map(|kind| places.queues.get(organization).map_or(0, |queue| newest(queue, kind))).collect()
        };
        let found: HashMap<String, i64> = sqlx::query_as(FIRST_IN_ORDER)
            .bind(organization)
            .bind(&looked)
            .bind(floors)
            .fetch_all(connection)
            .await?
            .into_iter()
            .collect();
        if let Some(queue) = self.places().queues.get_mut(organization) {
            for (kind, newest) in looked.iter().zip(newest) {
                if let Some(head) = queue.kinds.get_mut(kind) {
                    // Where there is nothing, the next operation has a greater number than all that were ever seen.
                    head.floor = head.floor.max(found.get(kind).copied().unwrap_or(newest + 1));
                }
            }
        }
        Ok(())
    }

    /// Scans from the beginning the operations that are not in order, of the kinds for which that `is_due`; answers
    /// whether there were any such kinds.
    async fn look_at_rest(
        &self,
        connection: &mut PgConnection,
        organization: &str,
        kinds: &[String],
        is_due: impl Fn(&Rest) -> bool,
    ) -> Result<bool, StoreError> {
        let looked: Vec<String> = match self.places().queues.get(organization) {
            Some(queue) => {
                let is_due = |kind: &&String| queue.kinds.get(*kind).is_some_and(|head| is_due(&head.rest));
                kinds.iter().filter(is_due).cloned().collect()
            }
            None => return Ok(false),
        };
        if looked.is_empty() {
            return Ok(false);
        }
        let begin = Instant::now();
        let found: Vec<(String, i16, i64)> =
            sqlx::query_as(FIRST_OF_REST).bind(organization).bind(&looked).fetch_all(connection).await?;
        let cost = begin.elapsed();
        let mut places = self.places();
        let Some(queue) = places.queues.get_mut(organization) else { return Ok(true) };
        for kind in &looked {
            if let Some(Head { rest, .. }) = queue.kinds.get_mut(kind) {
                (rest.taken, rest.look, rest.is_used) = (0, Look::now(cost), cost > CHEAP);
            }
        }
        // In a kind that has nothing, the next operation comes after the one that was taken last.
        for (kind, rank, seq) in found {
            if let Some(head) = queue.kinds.get_mut(&kind) {
                head.rest.place = (rank, seq);
            }
        }
        Ok(true)
    }

    /// Notes which operations a claim took: their kinds and places, and whether they were in order.
    pub(super) fn took<'t>(&self, organization: &str, taken: impl Iterator<Item = (&'t str, Place, bool)>) {
        let mut places = self.places();
        if places.heads >= PLACES {
            (places.heads, places.queues) = (0, BTreeMap::new());
        }
        let mut made = 0;
        let queue = places.queues.entry(organization.to_owned()).or_insert_with(Queue::new);
        for (kind, place, in_order) in taken {
            if !queue.kinds.contains_key(kind) {
                made += 1;
                queue.kinds.insert(kind.to_owned(), Head::new());
            }
            let Some(head) = queue.kinds.get_mut(kind) else { continue };
            if in_order {
                head.newest = head.newest.max(place.1);
            } else {
                head.rest.taken += 1;
                head.rest.place = head.rest.place.max(place);
            }
        }
        places.heads += made;
    }

    /// Notes the kinds, priorities (negative) and numbers of operations that came in and are not in order.
    pub(super) fn came(&self, organization: &str, came: &[(String, i16, i64)]) {
        if let Some(queue) = self.places().queues.get_mut(organization) {
            for (kind, rank, seq) in came {
                if let Some(head) = queue.kinds.get_mut(kind) {
                    head.rest.place = head.rest.place.min((*rank, *seq));
                }
            }
        }
    }

    /// Notes what a claim found: when the next operation after the time `from` becomes due, and how long it took.
    pub(super) fn due(&self, organization: &str, now: Timestamp, from: i64, next: Option<Timestamp>, cost: Duration) {
        let mut places = self.places();
        let Some(queue) = places.queues.get_mut(organization) else { return };
        let until = now.before(LATE).as_millis().min(next.map_or(i64::MAX, |next| next.as_millis() - 1));
        if from == i64::MIN {
            (queue.due, queue.due_look) = (until, Look::now(cost));
        } else {
            queue.due = queue.due.max(until);
        }
    }

    /// Notes whether as many operations of a kind run as may.
    pub(super) fn note_full(&self, organization: &str, kind: &str, is_full: bool) {
        let mut places = self.places();
        let of = (organization.to_owned(), kind.to_owned());
        if !is_full {
            places.full.remove(&of);
        } else if places.full.len() < PLACES {
            places.full.insert(of);
        }
    }

    /// Organizations and kinds that were at their limit of running operations when a claim last checked: to be checked
    /// again.
    pub(super) fn full(&self) -> Vec<(String, String)> {
        self.places().full.iter().cloned().collect()
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
