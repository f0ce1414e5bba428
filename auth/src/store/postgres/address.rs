//! The address of the database: what a URL says, without repeating its password to anybody.
//!
//! tokio-postgres reads the URL, after what it does not know has been taken out: `sslmode` in the
//! sense of this program, and `sslrootcert`. Its own messages are not passed on, because a URL that
//! is written wrongly can have a piece of the password anywhere.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::StoreError;

/// A peer that is gone is noticed after about three times this.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Data that the peer does not acknowledge for so long ends the connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// Where the database is and how to get there.
pub(super) struct Address {
    pub(super) config: Config,
    /// For messages: host and database, no credentials.
    pub(super) place: String,
    pub(super) roots: Roots,
}

/// Who may vouch for the server.
pub(super) enum Roots {
    /// The authorities that browsers trust.
    Public,
    /// Those in this file.
    File(PathBuf),
}

impl Address {
    /// Reads `postgres://user:password@host:port/database?parameter=value`.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .ok_or_else(|| unusable("it does not begin with postgres://"))?;
        let credentials = rest.find('@').map_or(0, |at| at + 1);
        let query = rest[credentials..].find('?').map(|at| credentials + at);
        let (base, query) = match query {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, ""),
        };
        let Query {
            passed_on,
            tls,
            roots,
        } = Query::parse(query)?;
        let mut config: Config =
            format!("postgres://{base}?{passed_on}")
                .parse()
                .map_err(|_| {
                    unusable(
                        "expected postgres://user:password@host:port/database?parameter=value; \
                     characters such as @ : / ? # % have to be percent-encoded in the password",
                    )
                })?;
        check_hosts(config.get_hosts())?;
        check_database(config.get_dbname())?;
        let near = config.get_hosts().iter().all(is_near);
        config.ssl_mode(match tls {
            Some(mode) => mode,
            None if near => SslMode::Disable,
            None => SslMode::Require,
        });
        set_defaults(&mut config);
        Ok(Self {
            place: place(&config),
            config,
            roots,
        })
    }
}

/// The parameters after the question mark.
struct Query {
    passed_on: String,
    tls: Option<SslMode>,
    roots: Roots,
}

impl Query {
    fn parse(query: &str) -> Result<Self, StoreError> {
        let mut passed_on = Vec::new();
        let (mut tls, mut roots) = (None, Roots::Public);
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", mode)) => tls = Some(tls_mode(mode)?),
                Some(("sslrootcert", "system")) => {}
                Some(("sslrootcert", path)) => {
                    let mut pair = url::form_urlencoded::parse(parameter.as_bytes());
                    let path = pair.next().map_or(path.into(), |(_, path)| path);
                    roots = Roots::File(PathBuf::from(&*path));
                }
                _ => passed_on.push(parameter),
            }
        }
        Ok(Self {
            passed_on: passed_on.join("&"),
            tls,
            roots,
        })
    }
}

fn tls_mode(mode: &str) -> Result<SslMode, StoreError> {
    match mode {
        "disable" => Ok(SslMode::Disable),
        "require" | "verify-full" => Ok(SslMode::Require),
        "allow" | "prefer" => Err(unusable(
            "sslmode allow or prefer would take an unencrypted connection whenever somebody in \
             between wants it; write require, or disable where the network can be trusted",
        )),
        "verify-ca" => Err(unusable(
            "sslmode verify-ca takes the certificate of any host; write verify-full, which checks \
             the name as well",
        )),
        _ => Err(unusable("sslmode is disable, require or verify-full")),
    }
}

/// A host with other characters is a piece of the password, after an @ that was not encoded.
fn check_hosts(hosts: &[Host]) -> Result<(), StoreError> {
    if hosts.is_empty() {
        return Err(unusable("it names no host"));
    }
    let is_of_a_name =
        |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte) || !byte.is_ascii();
    let fits = hosts.iter().all(|host| match host {
        Host::Tcp(name) => !name.is_empty() && name.bytes().all(is_of_a_name),
        Host::Unix(path) => !path.as_os_str().as_encoded_bytes().contains(&b'@'),
    });
    if fits {
        return Ok(());
    }
    Err(unusable(
        "the host has characters that no host's name has; an @ in the password is written %40",
    ))
}

/// The same: what follows an @ and a slash of the password looks like a database.
fn check_database(name: Option<&str>) -> Result<(), StoreError> {
    match name {
        Some(name) if name.contains(['@', '/', ':']) => Err(unusable(
            "the database's name has an @, / or :; in the password they are written %40, %2F, %3A",
        )),
        _ => Ok(()),
    }
}

/// Whether what is said to the host stays on this machine.
fn is_near(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
    }
}

fn set_defaults(config: &mut Config) {
    if config.get_application_name().is_none() {
        config.application_name("portunus");
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(UNACKNOWLEDGED);
    }
    config
        .keepalives_idle(KEEPALIVE)
        .keepalives_interval(KEEPALIVE)
        .keepalives_retries(2);
}

fn place(config: &Config) -> String {
    let ports = config.get_ports();
    let port_of = |number: usize| ports.get(number).or(ports.first()).copied();
    let hosts = config.get_hosts().iter().enumerate();
    let hosts: Vec<_> = hosts
        .map(|(number, host)| match host {
            Host::Tcp(name) => format!("{name}:{}", port_of(number).unwrap_or(5432)),
            Host::Unix(path) => path.display().to_string(),
        })
        .collect();
    let hosts = hosts.join(",");
    match config.get_dbname() {
        Some(database) => format!("PostgreSQL at {hosts}, database '{database}'"),
        None => format!("PostgreSQL at {hosts}"),
    }
}

fn unusable(detail: &str) -> StoreError {
    StoreError::Address {
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> SslMode {
        Address::parse(url).unwrap().config.get_ssl_mode()
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted_unless_told_otherwise() {
        assert_eq!(mode("postgres://u@db.example.com/x"), SslMode::Require);
        assert_eq!(mode("postgres://u@192.0.2.1/x"), SslMode::Require);
        assert_eq!(mode("postgres://u@127.0.0.1,db/x"), SslMode::Require);
        assert_eq!(mode("postgres://u@db/x?sslmode=disable"), SslMode::Disable);
        for near in ["localhost", "127.0.0.1", "[::1]", "%2Frun%2Fpostgresql"] {
            assert_eq!(mode(&format!("postgres://u@{near}/x")), SslMode::Disable);
            let url = format!("postgres://u@{near}/x?sslmode=verify-full");
            assert_eq!(mode(&url), SslMode::Require);
        }
    }

    #[test]
    fn a_mode_that_only_looks_safe_is_refused() {
        for mode in ["prefer", "allow", "verify-ca", "", "on"] {
            let url = format!("postgres://u@db/x?sslmode={mode}");
            let error = Address::parse(&url).err().unwrap();
            assert!(error.to_string().contains("sslmode"), "{error}");
        }
    }

    #[test]
    fn roots_are_those_of_the_file_that_is_named() {
        let roots = |url| Address::parse(url).unwrap().roots;
        let named = roots("postgres://u@db/x?sslrootcert=%2Fetc%2Fdb%20ca.pem&connect_timeout=3");
        assert!(matches!(named, Roots::File(path) if path.as_os_str() == "/etc/db ca.pem"));
        let public = roots("postgres://u@db/x?sslrootcert=system");
        assert!(matches!(public, Roots::Public));
    }

    #[test]
    fn a_place_names_hosts_and_database_alone() {
        let place = |url| Address::parse(url).unwrap().place;
        assert_eq!(
            place("postgresql://u:secret@db.example.com:5433/x?sslmode=require"),
            "PostgreSQL at db.example.com:5433, database 'x'"
        );
        assert_eq!(
            place("postgres://u:secret@a,b:5433/x"),
            "PostgreSQL at a:5432,b:5433, database 'x'"
        );
        assert_eq!(
            place("postgres:///x?host=/run/postgresql&user=u&password=secret"),
            "PostgreSQL at /run/postgresql, database 'x'"
        );
    }

    #[test]
    fn no_error_repeats_a_piece_of_the_address() {
        for url in [
            "mysql://u:secret@db/x",
            "u:secret@db/x",
            "postgres://u:pa@secret@db/x",
            "postgres://u:pa@secret?x=y@db/x",
            "postgres://u:pa?secret=1@db/x?secret=2",
            "postgres://u:pa/secret",
            "postgres://u:pa@x/secret@db/x",
            "postgres://u:pa@%2Fsecret@db/x",
            "postgres://u:pa@db:secret/x",
            "postgres://u:%ff@db:1:secret/x",
            "postgres://u@db/x?secret",
            "postgres://u@db/x?secret=secret",
            "postgres://u@db/x?port=secret",
            "postgres:///x?password=secret",
        ] {
            let error = Address::parse(url).err();
            let error = error.unwrap_or_else(|| panic!("{url} was taken"));
            assert!(!error.to_string().contains("secret"), "{url}: {error}");
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        let pieces = [
            "postgres://",
            "u",
            ":",
            "@",
            "/",
            "?",
            "&",
            "=",
            "%",
            "%2F",
            "%ff",
            "[",
            "]",
            ",",
            "host",
            "port",
            "sslmode",
            "sslrootcert",
            "options",
            "ü",
            "\0",
            " ",
            "'",
        ];
        for _ in 0..20_000 {
            let mut url = "postgres://".to_owned();
            for _ in 0..fastrand::usize(..16) {
                url.push_str(pieces[fastrand::usize(..pieces.len())]);
            }
            let _ = Address::parse(&url);
        }
    }
}
