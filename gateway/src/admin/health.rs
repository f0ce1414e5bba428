//! `/health` and `/health/ready`: is the process alive, and may it be sent requests.
//!
//! A store that does not answer makes the gateway not ready, but no less alive: what it serves from
//! memory it goes on serving, and a restart would help nobody. The store is asked every 30 seconds,
//! more often while it is down, and whenever somebody asks who was not told in the last second.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use auth::store::{Store, StoreError};
use http::StatusCode;
use prometheus::IntGauge;
use serde::Serialize;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// How often a store that answers is asked.
const EVERY: Duration = Duration::from_secs(30);
/// The first pause after a failure; it doubles up to [`EVERY`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const DOUBLINGS: u32 = 6;
/// What does not answer for as long is down.
const PATIENCE: Duration = Duration::from_secs(2);
/// For as long an answer is good for who asks.
const FRESH: Duration = Duration::from_secs(1);

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Set when the binary is built.
const GIT_SHA: &str = match option_env!("PORTUNUS_GIT_SHA") {
    Some(sha) => sha,
    None => "unknown",
};

/// How the gateway is.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    store: Option<Arc<dyn Store>>,
    /// What the store must have been migrated to.
    expected: Option<String>,
    up: AtomicBool,
    gauge: IntGauge,
    /// When the store was asked last.
    asked: Mutex<Option<Instant>>,
}

/// The answer to `/health`.
#[derive(Debug, PartialEq, Serialize)]
pub struct Alive {
    status: &'static str,
    db: &'static str,
    version: &'static str,
    #[serde(rename = "gitSha")]
    git_sha: &'static str,
    /// In whole seconds.
    uptime: u64,
}

/// The answer to `/health/ready`.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Readiness {
    Ready {
        status: &'static str,
        version: &'static str,
        #[serde(rename = "gitSha")]
        git_sha: &'static str,
        uptime: u64,
    },
    NotReady {
        status: &'static str,
        reason: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        expected: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
}

impl Readiness {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Ready { .. } => StatusCode::OK,
            Self::NotReady { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn not(reason: &'static str) -> Self {
        Self::NotReady {
            status: "not_ready",
            reason,
            expected: None,
            error: None,
        }
    }
}

impl Health {
    /// Of a gateway that starts now. `gauge` is 1 while the store answers.
    pub fn new(store: Option<Arc<dyn Store>>, expected: Option<String>, gauge: IntGauge) -> Self {
        gauge.set(1);
        Self {
            started: Instant::now(),
            store,
            expected,
            up: AtomicBool::new(true),
            gauge,
            asked: Mutex::new(None),
        }
    }

    /// Asks the store now and then until `stop`.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut failures = 0;
        loop {
            let pause = match self.probe().await {
                true => {
                    failures = 0;
                    EVERY
                }
                false => {
                    failures = u32::min(failures + 1, DOUBLINGS);
                    EVERY.min(FIRST_PAUSE * (1 << failures))
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Whether the process is alive; it says so itself.
    pub async fn alive(&self) -> Alive {
        let up = self.is_up().await;
        Alive {
            status: "ok",
            db: if up { "up" } else { "down" },
            version: VERSION,
            git_sha: GIT_SHA,
            uptime: self.uptime(),
        }
    }

    /// Whether the gateway may be sent requests.
    pub async fn ready(&self, stopping: bool) -> Readiness {
        if stopping {
            return Readiness::not("shutting_down");
        }
        if !self.is_up().await {
            return Readiness::not("db_down");
        }
        match self.is_migrated().await {
            Ok(true) => Readiness::Ready {
                status: "ready",
                version: VERSION,
                git_sha: GIT_SHA,
                uptime: self.uptime(),
            },
            Ok(false) => Readiness::NotReady {
                status: "not_ready",
                reason: "migration_missing",
                expected: self.expected.clone(),
                error: None,
            },
            Err(error) => Readiness::NotReady {
                status: "not_ready",
                reason: "readiness_check_error",
                expected: None,
                error: Some(error),
            },
        }
    }

    async fn is_migrated(&self) -> Result<bool, String> {
        let (Some(store), Some(expected)) = (&self.store, &self.expected) else {
            return Ok(true);
        };
        match timeout(PATIENCE, store.has_migration(expected)).await {
            Ok(Ok(migrated)) => Ok(migrated),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the store did not answer within {PATIENCE:?}")),
        }
    }

    /// As of a moment ago at most.
    async fn is_up(&self) -> bool {
        // Who comes while another asks is told what was known before.
        if let Ok(asked) = self.asked.try_lock() {
            let fresh = asked.is_some_and(|asked| asked.elapsed() < FRESH);
            drop(asked);
            if !fresh {
                return self.probe().await;
            }
        }
        self.up.load(Ordering::Relaxed)
    }

    async fn probe(&self) -> bool {
        let Some(store) = &self.store else {
            return true;
        };
        let mut asked = self.asked.lock().await;
        let result = timeout(PATIENCE, store.probe()).await;
        *asked = Some(Instant::now());
        let problem = match result {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(StoreError::Unreachable {
                detail: format!("it did not answer within {PATIENCE:?}"),
            }),
        };
        let up = problem.is_none();
        let before = self.up.swap(up, Ordering::Relaxed);
        self.gauge.set(i64::from(up));
        match problem {
            Some(error) if before => tracing::error!(%error, "the store does not answer"),
            None if !before => tracing::info!("the store answers again"),
            _ => {}
        }
        up
    }

    fn uptime(&self) -> u64 {
        self.started.elapsed().as_secs()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use async_trait::async_trait;
    use auth::store::{Batch, MemoryStore, Page, Range, Revision, Versioned, Watch};

    use super::*;

    /// A store that can be switched off.
    #[derive(Debug, Default)]
    struct Switched {
        inner: MemoryStore,
        down: AtomicBool,
        broken: AtomicBool,
    }

    impl Switched {
        fn check(&self) -> Result<(), StoreError> {
            match self.down.load(Ordering::Relaxed) {
                true => Err(StoreError::Unreachable {
                    detail: "switched off".into(),
                }),
                false => Ok(()),
            }
        }
    }

    #[async_trait]
    impl Store for Switched {
        async fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
            self.check()?;
            self.inner.get(key).await
        }

        async fn range(&self, range: Range) -> Result<Page, StoreError> {
            self.inner.range(range).await
        }

        async fn commit(&self, batch: Batch) -> Result<Revision, StoreError> {
            self.inner.commit(batch).await
        }

        async fn watch(&self, prefix: &[u8]) -> Result<Watch, StoreError> {
            self.inner.watch(prefix).await
        }

        async fn now(&self) -> Result<SystemTime, StoreError> {
            self.inner.now().await
        }

        async fn probe(&self) -> Result<(), StoreError> {
            self.check()
        }

        async fn has_migration(&self, name: &str) -> Result<bool, StoreError> {
            if self.broken.load(Ordering::Relaxed) {
                return Err(StoreError::Unreachable {
                    detail: "torn".into(),
                });
            }
            Ok(name == "records-1")
        }
    }

    fn health(expected: Option<&str>) -> (Arc<Switched>, Health) {
        let store = Arc::new(Switched::default());
        let gauge = IntGauge::new("up", "up").unwrap();
        let health = Health::new(
            Some(Arc::clone(&store) as Arc<dyn Store>),
            expected.map(str::to_owned),
            gauge,
        );
        (store, health)
    }

    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_down_makes_it_not_ready_but_no_less_alive() {
        let (store, health) = health(None);
        tokio::time::advance(Duration::from_millis(61_500)).await;
        assert_eq!(
            json(&health.alive().await),
            format!(
                r#"{{"status":"ok","db":"up","version":"{VERSION}","gitSha":"{GIT_SHA}","uptime":61}}"#
            )
        );
        assert_eq!(
            json(&health.ready(false).await),
            format!(
                r#"{{"status":"ready","version":"{VERSION}","gitSha":"{GIT_SHA}","uptime":61}}"#
            )
        );
        store.down.store(true, Ordering::Relaxed);
        tokio::time::advance(FRESH).await;
        let ready = health.ready(false).await;
        assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(json(&ready), r#"{"status":"not_ready","reason":"db_down"}"#);
        assert_eq!(health.alive().await.db, "down");
        assert_eq!(health.gauge.get(), 0);
        store.down.store(false, Ordering::Relaxed);
        tokio::time::advance(FRESH).await;
        assert_eq!(health.ready(false).await.status(), StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_migration_is_named() {
        let (store, health) = health(Some("records-9"));
        assert_eq!(
            json(&health.ready(false).await),
            r#"{"status":"not_ready","reason":"migration_missing","expected":"records-9"}"#
        );
        store.broken.store(true, Ordering::Relaxed);
        let text = json(&health.ready(false).await);
        assert!(
            text.starts_with(r#"{"status":"not_ready","reason":"readiness_check_error","error":""#),
            "{text}"
        );
        assert_eq!(
            json(&health.ready(true).await),
            r#"{"status":"not_ready","reason":"shutting_down"}"#
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_down_is_asked_more_often() {
        let (store, health) = health(None);
        let health = Arc::new(health);
        let stop = CancellationToken::new();
        let watching = tokio::spawn(Arc::clone(&health).watch(stop.clone()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        store.down.store(true, Ordering::Relaxed);
        tokio::time::sleep(EVERY).await;
        assert!(!health.up.load(Ordering::Relaxed));
        store.down.store(false, Ordering::Relaxed);
        tokio::time::sleep(FIRST_PAUSE * 2).await;
        assert!(health.up.load(Ordering::Relaxed));
        stop.cancel();
        watching.await.unwrap();
    }
}
