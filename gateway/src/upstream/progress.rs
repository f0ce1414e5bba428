//! Whose turn it is while a request body travels upstream.

use std::{
    future::Future,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// Written by the request body, read by whoever waits for the response: the time an upstream has
/// for its answer must not run while a client is still sending.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    /// Milliseconds from `began` to the upstream's turn, or [`CLIENTS_TURN`].
    upstream_since: AtomicU64,
}

/// The next bytes have to come from the client; how long it may take is the body's business.
const CLIENTS_TURN: u64 = u64::MAX;

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            upstream_since: AtomicU64::new(0),
        }
    }

    /// The upstream has something to read or to answer.
    pub(super) fn upstreams_turn(&self) {
        let millis = self.began.elapsed().as_millis() as u64;
        self.upstream_since.store(millis, Ordering::Relaxed);
    }

    pub(super) fn clients_turn(&self) {
        self.upstream_since.store(CLIENTS_TURN, Ordering::Relaxed);
    }

    /// The answer, unless the upstream keeps its turn for longer than `limit` before.
    pub(super) async fn answer<F: Future>(&self, answer: F, limit: Duration) -> Option<F::Output> {
        let mut answer = pin!(answer);
        loop {
            let deadline = match self.upstream_since.load(Ordering::Relaxed) {
                CLIENTS_TURN => Instant::now() + limit,
                millis => self.began + Duration::from_millis(millis) + limit,
            };
            tokio::select! {
                biased;
                answer = &mut answer => return Some(answer),
                () = sleep_until(deadline) => {}
            }
            let since = self.upstream_since.load(Ordering::Relaxed);
            if since != CLIENTS_TURN
                && self.began + Duration::from_millis(since) + limit <= Instant::now()
            {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn the_limit_counts_from_the_upstreams_last_turn() {
        let progress = Progress::new();
        let start = Instant::now();
        let upload = async {
            for _ in 0..5 {
                sleep(Duration::from_secs(9)).await;
                progress.upstreams_turn();
            }
        };
        let (answer, ()) = tokio::join!(progress.answer(pending::<()>(), LIMIT), upload);
        assert_eq!(answer, None);
        assert_eq!(start.elapsed().as_secs(), 45 + 10);
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_run_while_the_client_is_to_send() {
        let progress = Progress::new();
        progress.clients_turn();
        let late = sleep(Duration::from_secs(3600));
        assert_eq!(progress.answer(late, LIMIT).await, Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_takes_nothing_runs_out_of_time() {
        let start = Instant::now();
        assert_eq!(Progress::new().answer(pending::<()>(), LIMIT).await, None);
        assert_eq!(start.elapsed(), LIMIT);
    }
}
