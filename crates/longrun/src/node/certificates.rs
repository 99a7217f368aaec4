//! Looks for a renewed certificate: every few seconds, and when SIGHUP asks for it.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use server::http::{Tls, TlsError};
use tasks::{Health, Next, Schedule, run_periodic};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Between two looks at the files. A look is two calls of the system.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The signal that asks for a look at once. Without a certificate nobody listens to it, and it ends the process.
///
/// # Errors
/// When signals cannot be received.
pub fn hangup() -> anyhow::Result<Signal> {
    signal(SignalKind::hangup()).context("cannot receive SIGHUP")
}

/// Keeps the certificate what its files are. Goes on until it is dropped: connections are made until the very end.
pub async fn keep_fresh(tls: Tls, mut hangup: Signal, health: Health) {
    let (asked, is_asked) = (Notify::new(), AtomicBool::new(false));
    let listening = async {
        while hangup.recv().await.is_some() {
            is_asked.store(true, Ordering::Relaxed);
            asked.notify_one();
        }
    };
    let schedule = Schedule::every("tls_renewal", LOOK_EVERY).woken_by(&asked);
    let never = CancellationToken::new();
    let looking = run_periodic(&health, schedule, &never, || async {
        look(tls.clone(), is_asked.swap(false, Ordering::Relaxed)).await;
        Ok::<_, Infallible>(Next::AfterPeriod)
    });
    tokio::join!(listening, looking);
}

/// A certificate that cannot be used is for the log only: the server goes on with what it has.
async fn look(tls: Tls, anyway: bool) {
    let looked = tokio::task::spawn_blocking(move || tls.renew(anyway)).await;
    match looked {
        Ok(Ok(true)) => tracing::info!("the TLS certificate was read again; new connections get it"),
        Ok(Ok(false)) => {}
        Ok(Err(error)) => refused(&error),
        Err(error) => tracing::error!(%error, "looking for a renewed TLS certificate broke off"),
    }
}

fn refused(error: &TlsError) {
    tracing::error!(%error, "the renewed TLS certificate cannot be used; the one before stays in use");
}
