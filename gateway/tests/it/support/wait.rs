//! Waiting for events, bounded.

use std::{future::Future, time::Duration};

/// Longer than anything takes on a busy machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that cannot be waited for.
const GLANCE: Duration = Duration::from_millis(5);

/// Waits for an event; fails the test when it does not come.
#[track_caller]
pub(crate) fn within<F: Future>(event: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    // Boxed: what tests wait for may be large, and none of them is in a hurry.
    let event = Box::pin(event);
    async move {
        match tokio::time::timeout(PATIENCE, event).await {
            Ok(output) => output,
            Err(_) => panic!("waited {PATIENCE:?} in vain at {caller}"),
        }
    }
}

/// Looks again and again until it is so; fails the test when it never is.
#[track_caller]
pub(crate) fn eventually(mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    within(async move {
        let mut glances = tokio::time::interval(GLANCE);
        while !holds() {
            glances.tick().await;
        }
    })
}
