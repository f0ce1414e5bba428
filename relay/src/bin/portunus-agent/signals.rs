//! The first SIGINT or SIGTERM drains, the second one ends at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of a process that a signal ended, as shells count (128 + SIGINT).
const INTERRUPTED: i32 = 130;

/// Cancelled by the first signal.
pub(crate) fn stop() -> CancellationToken {
    let stop = CancellationToken::new();
    let first = stop.clone();
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt()),
        listen(SignalKind::terminate()),
    );
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = next(&mut interrupt) => {}
                () = next(&mut terminate) => {}
            }
            if first.is_cancelled() {
                std::process::exit(INTERRUPTED);
            }
            eprintln!("finishing what is open; a second signal ends at once");
            first.cancel();
        }
    });
    stop
}

/// A signal that cannot be listened for is one that never comes.
fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind).ok()
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
