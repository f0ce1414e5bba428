//! Addresses: where to listen, where upstreams are, which networks are meant.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use http::uri::PathAndQuery;
use ipnet::IpNet;

use super::{
    super::{ListenAddress, UpstreamAddress, UpstreamUrl},
    context::Fault,
    host,
    text::{Text, absolute},
};

/// `"0.0.0.0:443"`, `"[::1]:443"` or `"unix:/run/portunus.sock"`
pub(super) fn listen(text: &Text<'_>) -> Result<ListenAddress, Fault> {
    if let Some(path) = text.value.strip_prefix("unix:") {
        return unix(path, text).map(ListenAddress::Unix);
    }
    if let Ok(address) = text.value.parse::<SocketAddr>() {
        return Ok(ListenAddress::Tcp(address));
    }
    let example = "an address has an IP and a port: `0.0.0.0:8443`";
    let port = text.value.strip_prefix(':').unwrap_or(&text.value);
    if !text.injected && port.parse::<u16>().is_ok() {
        return Err(Fault::hint(
            format!("`{text}` has no IP address"),
            format!("`0.0.0.0:{port}`"),
        ));
    }
    Err(match text.value.rsplit_once(':') {
        Some((ip, port)) if bare(ip).parse::<IpAddr>().is_ok() && port.parse::<u16>().is_err() => {
            Fault::hint(format!("`{text}` has no port from 0 to 65535"), example)
        }
        _ if text.value.contains("://") => Fault::hint(
            format!("`{text}` is a URL"),
            "leave out the scheme: `0.0.0.0:8443`",
        ),
        _ if text.value.parse::<IpAddr>().is_ok() => {
            Fault::hint(format!("`{text}` has no port"), example)
        }
        Some((_, port)) if port.parse::<u16>().is_ok() => Fault::hint(
            format!("`{text}` is not an IP address and a port"),
            "names are not looked up here: write `127.0.0.1` for this machine, `0.0.0.0` for every interface",
        ),
        _ => Fault::hint(format!("`{text}` is not an address to listen on"), example),
    })
}

/// `"http://app:8000"`, `"http://127.0.0.1:8000"` or `"unix:/run/app.sock"`
pub(super) fn upstream(text: &Text<'_>) -> Result<UpstreamUrl, Fault> {
    if let Some(path) = text.value.strip_prefix("unix:") {
        return unix(path, text).map(|path| UpstreamUrl {
            address: UpstreamAddress::Unix(path),
        });
    }
    if let Some(name) = text.value.strip_prefix("tunnel:") {
        return auth::tunnel::check_name(name)
            .map(|()| UpstreamUrl {
                address: UpstreamAddress::Tunnel(name.to_owned()),
            })
            .map_err(|error| Fault::new(error.to_string()));
    }
    let Some((scheme, rest)) = text.value.split_once("://") else {
        let hint = if text.value.contains(':') && !text.injected {
            format!("write `http://{text}`")
        } else {
            "write `http://host:port` or `unix:/path/to.sock`".into()
        };
        return Err(Fault::hint(
            format!("`{text}` is not the URL of an upstream"),
            hint,
        ));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" => {}
        "https" => {
            return Err(Fault::hint(
                "upstream TLS is not available in this version",
                "reach the upstream by `http://` on a network you trust",
            ));
        }
        _ => {
            return Err(Fault::hint(
                format!("`{text}` has a scheme that upstreams cannot have"),
                "write `http://`; WebSockets and HTTP/2 clients are served by it too",
            ));
        }
    }
    if rest.contains('@') {
        return Err(Fault::hint(
            "the URL of an upstream holds no user or password",
            "set an `authorization` header with `request_headers`",
        ));
    }
    if rest.contains(['/', '?', '#']) {
        return Err(Fault::hint(
            format!("`{text}` has a path"),
            "an upstream is a host and a port; `strip_prefix` and `rewrite` change the path",
        ));
    }
    authority(rest, text).map(|address| UpstreamUrl { address })
}

/// `"http://authelia:9091/api/authz"`: a service and what is asked of it.
pub(super) fn service(text: &Text<'_>) -> Result<(UpstreamUrl, String), Fault> {
    let fault = |what| {
        Fault::hint(
            format!("`{text}` {what}"),
            "such as `http://authelia:9091/api/authz/forward-auth`",
        )
    };
    let (scheme, rest) = text.value.split_once("://").unwrap_or_default();
    if scheme.eq_ignore_ascii_case("https") {
        return Err(Fault::hint(
            "upstream TLS is not available in this version",
            "reach the service by `http://` on a network you trust",
        ));
    }
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(fault("is not the URL of a service"));
    }
    if rest.contains(['@', '#']) {
        return Err(fault("has a user or a fragment, which are never sent"));
    }
    let (host, target) = match rest.find(['/', '?']) {
        Some(at) if rest[at..].starts_with('?') => (&rest[..at], format!("/{}", &rest[at..])),
        Some(at) => (&rest[..at], rest[at..].to_owned()),
        None => (rest, "/".to_owned()),
    };
    if target.parse::<PathAndQuery>().is_err() {
        return Err(fault("has no valid path"));
    }
    let address = authority(host, text)?;
    Ok((UpstreamUrl { address }, target))
}

/// `host[:port]`, the port being 80 when there is none.
fn authority(authority: &str, text: &Text<'_>) -> Result<UpstreamAddress, Fault> {
    let fault = |what| {
        Fault::hint(
            format!("`{text}` {what}"),
            "such as `http://app:8000` or `http://[::1]:8000`",
        )
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(0)),
        _ => (authority, 80),
    };
    if host.is_empty() {
        return Err(fault("has no host"));
    }
    if host.contains(':') && !host.starts_with('[') {
        return Err(fault("has an IPv6 address without brackets"));
    }
    if port == 0 {
        return Err(fault("has no port from 1 to 65535"));
    }
    if let Ok(ip) = bare(host).parse::<IpAddr>() {
        return Ok(UpstreamAddress::Socket(SocketAddr::new(ip, port)));
    }
    if host.contains(':') {
        return Err(fault("has no valid address in its brackets"));
    }
    Ok(UpstreamAddress::Name {
        host: host::exact(host, text)?,
        port,
    })
}

/// A network in CIDR form, or one address.
pub(super) fn network(text: &Text<'_>) -> Result<IpNet, Fault> {
    let fault = || {
        Fault::hint(
            format!("`{text}` is not a network"),
            "write an address or a range: `10.0.0.0/8`, `192.0.2.1`, `2001:db8::/32`",
        )
    };
    if let Ok(address) = text.value.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network = text.value.parse::<IpNet>().map_err(|_| fault())?;
    if network.trunc() != network {
        text.place.warn(
            format!("`{text}` sets bits that its prefix length leaves out"),
            if text.injected {
                "the network is meant".into()
            } else {
                format!("`{}` is meant", network.trunc())
            },
        );
    }
    Ok(network.trunc())
}

fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// The kernel's room for the path of a socket, less the final NUL.
const SOCKET_PATH: usize = 107;

fn unix(path: &str, text: &Text<'_>) -> Result<PathBuf, Fault> {
    if path.is_empty() || path.contains('\0') {
        return Err(Fault::hint(
            format!("`{text}` names no socket"),
            "such as `unix:/run/portunus.sock`",
        ));
    }
    let path = absolute(&text.place.source.directory().join(path));
    if path.as_os_str().len() > SOCKET_PATH {
        return Err(Fault::hint(
            format!("the path of this socket is longer than {SOCKET_PATH} bytes"),
            "choose a shorter directory, such as `/run`",
        ));
    }
    Ok(path)
}
