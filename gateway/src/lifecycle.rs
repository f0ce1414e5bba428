//! Running a gateway as a service of pingora's `Server`, from start to exit.
//!
//! pingora owns the runtime and the process's life cycle. What it does not do, the signals here
//! do: SIGHUP reloads; SIGTERM and SIGINT drain and end the process as soon as nothing is left,
//! not after a fixed time; a second one ends it at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::{
    server::{
        ListenFds, RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
        configuration::ServerConf,
    },
    services::Service,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{app::App, reload::Reloader};

/// Serves until a signal ends it. Returns whether everything that was begun was finished. Calls
/// `ready` once signals are listened for: whoever is told so may send one at once.
pub fn run(app: App, threads: usize, ready: impl FnOnce() + Send + 'static) -> bool {
    let gateway_stop = app.gateway.stop.clone();
    let reloader = app.reloader();
    let finished = Arc::new(Finished::default());
    let conf = ServerConf {
        threads,
        // One worker has nobody to steal from; a runtime of one thread spares it the bookkeeping.
        work_stealing: threads > 1,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    server.add_service(FrontDoor {
        app: Some(app),
        finished: Arc::clone(&finished),
    });
    server.run(RunArgs {
        shutdown_signal: Box::new(Signals {
            gateway_stop,
            reloader,
            finished: Arc::clone(&finished),
            ready: Mutex::new(Some(Box::new(ready))),
        }),
    });
    finished.clean.load(Ordering::Acquire)
}

/// The gateway as pingora sees it.
struct FrontDoor {
    app: Option<App>,
    finished: Arc<Finished>,
}

#[async_trait]
impl Service for FrontDoor {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        let Some(app) = self.app.take() else { return };
        let clean = app.run().await;
        self.finished.clean.store(clean, Ordering::Release);
        self.finished.done.cancel();
    }

    fn name(&self) -> &str {
        "front-door"
    }
}

#[derive(Default)]
struct Finished {
    done: CancellationToken,
    clean: AtomicBool,
}

/// Turns signals into reloads and a drain. pingora is told to shut down only when the drain is
/// over, because it would sleep through its whole grace period first.
struct Signals {
    gateway_stop: CancellationToken,
    reloader: Arc<Reloader>,
    finished: Arc<Finished>,
    ready: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let mut terminate = listen(SignalKind::terminate());
        let mut interrupt = listen(SignalKind::interrupt());
        let mut hangup = listen(SignalKind::hangup());
        let ready = self.ready.lock().take();
        if let Some(ready) = ready {
            ready();
        }
        loop {
            tokio::select! {
                () = self.finished.done.cancelled() => return ShutdownSignal::FastShutdown,
                () = next(&mut hangup) => self.reload(),
                () = next(&mut terminate) => if self.drain() { return ShutdownSignal::FastShutdown },
                () = next(&mut interrupt) => if self.drain() { return ShutdownSignal::FastShutdown },
            }
        }
    }
}

impl Signals {
    fn reload(&self) {
        let reloader = Arc::clone(&self.reloader);
        // Its result is logged and counted where it happens.
        tokio::task::spawn_blocking(move || drop(reloader.reload()));
    }

    /// Begins the drain; true when it had already begun and the operator is out of patience.
    fn drain(&self) -> bool {
        if self.gateway_stop.is_cancelled() {
            tracing::warn!("second signal: ending now");
            return true;
        }
        tracing::info!("draining; a second signal ends at once");
        self.gateway_stop.cancel();
        false
    }
}

/// A signal that cannot be listened for is one that never comes.
fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind)
        .inspect_err(|error| tracing::error!(?kind, %error, "cannot listen for a signal"))
        .ok()
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
