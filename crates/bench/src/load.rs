//! Clients that put a side under load: as fast as they are answered, or at a fixed rate.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use operations::{Access, NewOperation, Outcome, Resource};
use store::{ClaimRequest, Settlement, Store};

use super::plain::Plain;
use super::report::Times;

/// The organization that the operations belong to.
pub const ORGANIZATION: &str = "bench";
const KIND: &str = "bench";
/// The output of each operation.
pub const OUTPUT: &str = r#"{"status":"passed"}"#;

/// The operation that is created over and over.
pub fn operation() -> NewOperation {
    NewOperation {
        resource: Some(Resource { resource_type: "evidence".to_owned(), resource_id: "image-1".to_owned() }),
        project_id: "project-01".to_owned(),
        input: r#"{"digest":"sha256:00"}"#.to_owned(),
        ..NewOperation::of_kind(KIND)
    }
}

/// The side that is put under load.
#[derive(Clone)]
pub enum Side {
    /// The store, for an organization, with calls for this many operations.
    Longrun(Arc<dyn Store>, Arc<str>, u32),
    /// The plain table, one operation per transaction.
    Plain(Plain),
}

impl Side {
    /// Lifecycles of one [`Side::step`].
    pub fn lifecycles(&self) -> u64 {
        match self {
            Side::Longrun(_, _, batch) => (*batch).into(),
            Side::Plain(_) => 1,
        }
    }

    /// Creates operations, then claims and settles as many, not necessarily the same ones. Each is durable when it is
    /// answered.
    pub async fn step(&self) -> anyhow::Result<()> {
        match self {
            Side::Longrun(store, organization, batch) => {
                store.create(organization, vec![operation(); *batch as usize], None).await?;
                let mut open = *batch;
                while open > 0 {
                    // Every client has created as many as it claims: missing ones are held by other clients for a
                    // moment.
                    let claimed = store.claim(claim_request(organization, open)).await?;
                    open -= u32::try_from(claimed.len())?;
                    let settlements: Vec<_> = claimed.into_iter().map(|claimed| completed(claimed.lease)).collect();
                    if settlements.is_empty() {
                        tokio::task::yield_now().await;
                        continue;
                    }
                    for settled in store.settle(settlements).await? {
                        settled.map_err(|refusal| anyhow::anyhow!("a settlement was refused: {refusal:?}"))?;
                    }
                }
            }
            Side::Plain(plain) => {
                plain.create().await?;
                loop {
                    if let Some(taken) = plain.claim().await? {
                        break plain.complete(taken).await?;
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
        Ok(())
    }
}

/// A claim for at most `limit` of them.
pub fn claim_request(organization: &str, limit: u32) -> ClaimRequest {
    ClaimRequest {
        kinds: vec![KIND.to_owned()],
        access: Some(Access::organization(organization)),
        among: None,
        limit,
        worker: "bench".to_owned(),
        lease: Duration::from_secs(600),
    }
}

/// Completes one operation.
pub fn completed(lease: store::LeaseRef) -> Settlement {
    Settlement { lease, outcome: Outcome::Completed { output: OUTPUT.to_owned() }, retry_after: Duration::ZERO }
}

/// When clients stop.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// When the time is over.
    Time(Duration),
    /// When they have done this much.
    Done(u64),
}

/// The measurements of the clients.
#[derive(Debug)]
pub struct Seen {
    /// How long each call took, in nanoseconds.
    pub histogram: Histogram<u64>,
    /// What was done, per second of the run.
    pub seconds: Vec<u64>,
    /// What was done in total.
    pub done: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Seen {
    /// What was done per second.
    pub fn per_second(&self) -> f64 {
        self.done as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// A summary.
    pub fn times(&self) -> Times {
        Times::at(&self.histogram, self.per_second())
    }
}

/// The longest run that is reported second by second.
const SECONDS: usize = 4 * 3600;

/// Runs clients, each calling what `client` creates for it repeatedly, as soon as the last call is answered. A call
/// does `each`.
///
/// # Errors
/// The first error of a call; the other clients are stopped.
pub async fn press<C, F>(clients: u32, until: Until, each: u64, client: impl Fn(u32) -> C) -> anyhow::Result<Seen>
where
    C: FnMut() -> F + Send + 'static,
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let done = Arc::new(AtomicU64::new(0));
    let seconds: Arc<Vec<AtomicU64>> = Arc::new((0..SECONDS).map(|_| AtomicU64::new(0)).collect());
    let begin = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..clients {
        let (done, seconds, mut call) = (Arc::clone(&done), Arc::clone(&seconds), client(number));
        tasks.spawn(async move {
            let mut histogram = Histogram::<u64>::new(3)?;
            loop {
                let is_over = match until {
                    Until::Time(time) => begin.elapsed() >= time,
                    Until::Done(enough) => done.load(Ordering::Relaxed) >= enough,
                };
                if is_over {
                    return anyhow::Ok(histogram);
                }
                let start = Instant::now();
                call().await?;
                histogram.record(u64::try_from(start.elapsed().as_nanos())?)?;
                done.fetch_add(each, Ordering::Relaxed);
                let second = usize::try_from(begin.elapsed().as_secs())?.min(SECONDS - 1);
                seconds[second].fetch_add(each, Ordering::Relaxed);
            }
        });
    }
    let histogram = merged(tasks).await?;
    let elapsed = begin.elapsed();
    let whole = usize::try_from(elapsed.as_secs())?.min(SECONDS);
    let seconds = seconds[..whole].iter().map(|n| n.load(Ordering::Relaxed)).collect();
    Ok(Seen { histogram, seconds, done: done.load(Ordering::Relaxed), elapsed })
}

/// Runs clients that together make `rate` calls per second, whether the last call was answered or not; a call that is
/// late because the one before was slow is timed from when it should have started.
///
/// # Errors
/// The first error of a call; the other clients are stopped.
pub async fn pace(clients: u32, rate: f64, time: Duration, side: &Side) -> anyhow::Result<Seen> {
    let begin = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    let period = Duration::from_secs_f64(f64::from(clients) / rate.max(0.1));
    for number in 0..clients {
        let side = side.clone();
        tasks.spawn(async move {
            let mut histogram = Histogram::<u64>::new(3)?;
            let mut due = begin + period.mul_f64(f64::from(number) / f64::from(clients));
            while due < begin + time {
                // A sleep ends up to a millisecond late; that is due to the timer and not to the store.
                let start = if Instant::now() < due {
                    tokio::time::sleep_until(due.into()).await;
                    Instant::now()
                } else {
                    due
                };
                side.step().await?;
                histogram.record(u64::try_from(start.elapsed().as_nanos())?)?;
                due += period;
            }
            anyhow::Ok(histogram)
        });
    }
    let histogram = merged(tasks).await?;
    let done = histogram.len() * side.lifecycles();
    Ok(Seen { histogram, seconds: Vec::new(), done, elapsed: begin.elapsed() })
}

async fn merged(mut tasks: tokio::task::JoinSet<anyhow::Result<Histogram<u64>>>) -> anyhow::Result<Histogram<u64>> {
    let mut all = Histogram::<u64>::new(3)?;
    while let Some(histogram) = tasks.join_next().await {
        all.add(histogram??)?;
    }
    Ok(all)
}
