//! The command line.

use std::path::PathBuf;

use clap::Parser;
use url::Url;

#[derive(Debug, Parser)]
#[command(
    name = "portunus-agent",
    version,
    about = "Gives a service behind NAT a public name on a Portunus gateway",
    after_help = "Examples:\n  \
        portunus-agent http 3000 --server https://gw.example.com --key ptn_…\n  \
        PORTUNUS_SERVER=https://gw.example.com PORTUNUS_KEY=ptn_… portunus-agent http localhost:3000"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Expose a local web service
    #[command(after_help = "Examples:\n  \
        portunus-agent http 3000 --server https://gw.example.com --key ptn_…\n  \
        portunus-agent http 192.168.1.7:8080 --name happy-panda-dancing\n  \
        portunus-agent http http://localhost:3000 --ca root.pem\n\n\
        HTTPS_PROXY, ALL_PROXY (http://, socks5://, socks5h://) and NO_PROXY are honoured.\n\
        Ctrl-C finishes what is open; a second one ends at once.")]
    Http(Tunnel),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Tunnel {
    /// The service: a port, host:port or URL
    #[arg(value_name = "TARGET")]
    pub(crate) target: String,
    /// The gateway
    #[arg(long, env = "PORTUNUS_SERVER", value_name = "URL")]
    pub(crate) server: String,
    /// An API key that may connect tunnels
    #[arg(long, env = "PORTUNUS_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) key: String,
    /// The tunnel's name [default: the one the key is for]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Trust this root certificate (PEM) instead of the system's; SSL_CERT_FILE adds to those
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Connections to the gateway; it may allow fewer
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = carriers)]
    pub(crate) carriers: usize,
    /// What is logged on standard error: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub(crate) log: String,
}

fn carriers(text: &str) -> Result<usize, String> {
    let most = relay::tunnel::protocol::MAX_CARRIERS;
    match text.parse() {
        Ok(count) if (1..=most).contains(&count) => Ok(count),
        _ => Err(format!("between 1 and {most}")),
    }
}

/// `host:port` of what the user called the service.
pub(crate) fn target(text: &str) -> Result<String, String> {
    let unclear = || format!("`{text}` is no service; give a port, host:port or http://host:port");
    // A number alone would be an IPv4 address to a URL.
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.parse::<u16>() {
            Ok(port @ 1..) => Ok(format!("localhost:{port}")),
            _ => Err(unclear()),
        };
    }
    let url = match text.split_once("://") {
        Some(("http", _)) => Url::parse(text),
        Some(("https", _)) => {
            return Err(format!(
                "`{text}`: services that speak TLS are not reached yet; use http"
            ));
        }
        Some(_) => return Err(unclear()),
        None => Url::parse(&format!("http://{text}")),
    };
    let url = url.map_err(|_| unclear())?;
    let bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty();
    match (url.host_str(), url.port_or_known_default()) {
        (Some(host), Some(port @ 1..)) if bare => Ok(format!("{host}:{port}")),
        _ => Err(unclear()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_a_port_or_an_address() {
        for (text, address) in [
            ("3000", "localhost:3000"),
            ("localhost:3000", "localhost:3000"),
            ("http://localhost:3000/", "localhost:3000"),
            ("http://app", "app:80"),
            ("192.168.1.7:8080", "192.168.1.7:8080"),
            ("[::1]:8080", "[::1]:8080"),
            ("http://[::1]", "[::1]:80"),
        ] {
            assert_eq!(target(text).as_deref(), Ok(address));
        }
        for text in [
            "",
            "0",
            "70000",
            ":80",
            "a:b",
            "http://",
            "http://a/b",
            "ftp://a",
            "a b",
            "a:0",
        ] {
            assert!(target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
