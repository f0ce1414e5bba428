//! Connections to the database: a bounded pool, a limit on every wait, errors that say where.
//!
//! A connection on which something went wrong, or that did not answer in time, is closed and not
//! used again, so what was under way on it never mixes with the next request.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Connect, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod,
    Runtime, TimeoutType,
};
use rustls::CertificateError;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Connection, Error, Row, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::StoreError;
use super::address::Address;
use super::tls;

/// Connections of one process, besides the one that listens.
const CONNECTIONS: usize = 8;
/// For a connection: to become free, and to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// For the answer to a request.
pub(super) const REQUEST: Duration = Duration::from_secs(10);
/// For the answer to a probe.
const PROBE: Duration = Duration::from_secs(2);

/// What holds for every connection. The server gives up before this side does, so that the reason is
/// known, and gives the lock of a gateway free that vanished in the middle of a commit. A commit is
/// answered when it is on disk, whatever the server's own setting is.
pub(super) const SESSION: &str = "SET statement_timeout = '8s'; SET lock_timeout = '6s'; \
    SET idle_in_transaction_session_timeout = '5s'; \
    SELECT set_config('synchronous_commit', 'on', false) \
    WHERE current_setting('synchronous_commit') = 'off'";

/// The way to one database.
pub(super) struct Database {
    pool: Pool,
    connector: Connector,
    config: Config,
    place: String,
}

impl Database {
    /// Nothing is connected yet.
    pub(super) async fn new(address: Address) -> Result<Self, StoreError> {
        let connector = Connector(tls::connector(&address.roots).await?);
        let Address { config, place, .. } = address;
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_connect(config.clone(), connector.clone(), recycling);
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(CONNECT))
            .create_timeout(Some(CONNECT))
            .recycle_timeout(Some(CONNECT))
            .build();
        let pool = pool.expect("timeouts are given together with a runtime");
        Ok(Self {
            pool,
            connector,
            config,
            place,
        })
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// The rows that `statement` answers. It only reads: it is sent again if the connection was dead.
    pub(super) async fn rows(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        self.rows_within(REQUEST, statement, parameters).await
    }

    /// Whether the server answers.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        let probe = timeout(PROBE, self.rows_within(PROBE, "SELECT 1", &[]));
        match probe.await {
            Ok(outcome) => outcome.map(drop),
            Err(_) => Err(self.explain(&Fault::Late)),
        }
    }

    async fn rows_within(
        &self,
        limit: Duration,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let mut tried_again = false;
        loop {
            let session = self.session().await?;
            let query = async {
                let statement = session.prepare_cached(statement).await?;
                session.query(&statement, parameters).await
            };
            match within(limit, query).await {
                Ok(rows) => {
                    session.give_back();
                    return Ok(rows);
                }
                Err(fault) if fault.is_lost(&session) && !tried_again => tried_again = true,
                Err(fault) => return Err(self.explain(&fault)),
            }
        }
    }

    /// A connection for one piece of work.
    pub(super) async fn session(&self) -> Result<Session, StoreError> {
        match self.pool.get().await {
            Ok(object) => Ok(Session(Some(object))),
            Err(PoolError::Backend(error)) => Err(self.explain(&Fault::Library(error))),
            Err(PoolError::Timeout(TimeoutType::Wait)) => Err(self.unreachable(&format!(
                "all {CONNECTIONS} connections were busy for {} s",
                CONNECT.as_secs()
            ))),
            Err(_) => {
                Err(self.unreachable(&format!("no connection within {} s", CONNECT.as_secs())))
            }
        }
    }

    /// A connection of its own, to be driven by the caller.
    pub(super) async fn connect(&self) -> Result<(Client, Driver), StoreError> {
        let connected = within(CONNECT, self.config.connect(self.connector.0.clone()));
        connected.await.map_err(|fault| self.explain(&fault))
    }

    /// What went wrong, for people. The server's message is passed on, not its details: those
    /// repeat data.
    pub(super) fn explain(&self, fault: &Fault) -> StoreError {
        let error = match fault {
            Fault::Library(error) => error,
            Fault::Late => return self.unreachable("it does not answer in time"),
        };
        let Some(refusal) = error.as_db_error() else {
            let hint = if is_of_unknown_issuer(error) {
                "; sslrootcert in the URL names the file with the authority's certificate"
            } else {
                ""
            };
            return self.unreachable(&format!("{}{hint}", with_causes(error)));
        };
        let message = refusal.message();
        let (class, code) = (&refusal.code().code()[..2], refusal.code());
        match class {
            "3D" => self.unreachable(&format!(
                "{message}; create it, owned by the role of the URL"
            )),
            // Connections, credentials, a server that is full, starting or going down.
            "08" | "28" | "53" | "57" if *code != SqlState::DISK_FULL => self.unreachable(message),
            _ if *code == SqlState::LOCK_NOT_AVAILABLE => {
                self.unreachable("somebody else keeps its tables locked")
            }
            _ => StoreError::Refused {
                place: self.place.clone(),
                detail: match *code {
                    SqlState::READ_ONLY_SQL_TRANSACTION => format!(
                        "{message}; the address has to be that of the primary, and the database writable"
                    ),
                    SqlState::INSUFFICIENT_PRIVILEGE => format!(
                        "{message}; the role of the URL has to own the database, or the schema portunus in it"
                    ),
                    _ => message.to_owned(),
                },
            },
        }
    }

    fn unreachable(&self, detail: &str) -> StoreError {
        StoreError::Unreachable {
            detail: format!("{}: {detail}", self.place),
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.place).finish()
    }
}

/// A connection with nothing under way. Dropped without [`give_back`](Self::give_back), it is closed.
pub(super) struct Session(Option<Object>);

impl Session {
    /// Lets others use the connection: all requests on it were answered, no transaction is open.
    pub(super) fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Deref for Session {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        self.0.as_ref().expect("given back only by value")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

/// A request that was not done.
#[derive(Debug)]
pub(super) enum Fault {
    Library(Error),
    /// There was no answer in time.
    Late,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl Fault {
    /// Whether the connection was gone, so that another one may fare better.
    pub(super) fn is_lost(&self, session: &Session) -> bool {
        match self {
            Self::Library(error) => {
                error.is_closed() || session.is_closed() || self.ends_connection()
            }
            Self::Late => false,
        }
    }

    /// Whether the server said that it closes the connection.
    fn ends_connection(&self) -> bool {
        let Self::Library(error) = self else {
            return false;
        };
        let ends = [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ];
        error.code().is_some_and(|code| ends.contains(code))
    }

    /// Whether the server rolled the transaction back because of another one.
    pub(super) fn is_collision(&self) -> bool {
        let collisions = [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
        ];
        match self {
            Self::Library(error) => error.code().is_some_and(|code| collisions.contains(code)),
            Self::Late => false,
        }
    }
}

/// Waits for an answer, but not longer than `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Fault> {
    match timeout(limit, answer).await {
        Ok(outcome) => outcome.map_err(Fault::Library),
        Err(_) => Err(Fault::Late),
    }
}

/// What carries a connection's bytes; polled, it does.
pub(super) type Driver = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// Makes the pool's connections, on the runtime that asks for one.
#[derive(Clone)]
struct Connector(MakeRustlsConnect);

impl Connect for Connector {
    fn connect(&self, config: &Config) -> Connecting<'_> {
        let config = config.clone();
        Box::pin(async move {
            let (client, driver) = config.connect(self.0.clone()).await?;
            let driver = tokio::spawn(async move {
                if let Err(error) = driver.await {
                    tracing::debug!(
                        error = with_causes(&error),
                        "a connection to the store ended"
                    );
                }
            });
            client.batch_execute(SESSION).await?;
            Ok((client, driver))
        })
    }
}

type Connecting<'a> =
    Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + 'a>>;

/// The library's errors say what they are about, their causes what it is.
fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Whether nobody who is trusted vouches for the server's certificate.
fn is_of_unknown_issuer(error: &Error) -> bool {
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>());
    let cause = cause.and_then(io::Error::get_ref);
    let cause = cause.and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
    cause.is_some_and(|cause| *cause == unknown)
}
