//! Watches for a renewed certificate: every few seconds, and when SIGHUP is received.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use server::http::{Tls, TlsError};
use tasks::{Health, Next, Schedule, run_periodic};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The time between two checks of the files. A check takes two system calls.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The signal that requests a check at once. Without a certificate, nothing handles it, and it ends the process.
///
/// # Errors
/// When signals cannot be received.
pub fn hangup() -> anyhow::Result<Signal> {
    signal(SignalKind::hangup()).context("cannot receive SIGHUP")
}

/// Keeps the certificate up to date with its files. Runs until it is dropped: connections are accepted until the very
/// end.
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

/// A certificate that cannot be used is only logged: the server continues with the one it has.
async fn look(tls: Tls, anyway: bool) {
    let looked = tokio::task::spawn_blocking(move || tls.renew(anyway)).await;
    match looked {
        Ok(Ok(true)) => tracing::info!("the TLS certificate was reloaded; new connections use it"),
        Ok(Ok(false)) => {}
        Ok(Err(error)) => refused(&error),
        Err(error) => tracing::error!(%error, "checking for a renewed TLS certificate was aborted"),
    }
}

fn refused(error: &TlsError) {
    tracing::error!(%error, "the renewed TLS certificate cannot be used; the previous one stays in use");
}
