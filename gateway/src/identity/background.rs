//! A runtime of its own for what is not on the path of a request.

use std::{io, time::Duration};

use tokio::runtime::{Builder, Handle, Runtime};

/// How long the end of the process waits for work that blocks.
const GOODBYE: Duration = Duration::from_secs(5);

/// A runtime with one worker.
#[derive(Debug)]
pub struct Background(Runtime);

impl Background {
    /// Starts it.
    pub fn start() -> io::Result<Self> {
        Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("portunus-background")
            .enable_all()
            .build()
            .map(Self)
    }

    /// Where tasks can be given to it.
    pub fn handle(&self) -> &Handle {
        self.0.handle()
    }

    /// Waits for `task` to be done on it.
    pub fn run<T>(&self, task: impl Future<Output = T>) -> T {
        self.0.block_on(task)
    }

    /// Ends it, and waits a moment for what cannot be interrupted.
    pub fn stop(self) {
        self.0.shutdown_timeout(GOODBYE);
    }
}
