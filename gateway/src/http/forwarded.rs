//! Who the client is, and the `X-Forwarded-*` headers an upstream may believe.
//!
//! What a client sends about itself is dropped. Only when the peer is a trusted proxy is its
//! `X-Forwarded-For` walked from the right: the first address that is no trusted proxy is the
//! client, and what stands left of it is whatever that client made up.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The client of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// `None` when it came over a Unix socket and no proxy named it.
    pub ip: Option<IpAddr>,
    /// Whether the client itself spoke HTTPS.
    pub https: bool,
    /// `X-Forwarded-For` for the upstream.
    forwarded_for: Option<HeaderValue>,
}

impl Client {
    /// `peer_header` is the peer's address as a header value, made once per connection. A peer on
    /// a Unix socket (`None`) is trusted: the file system decided who may connect.
    pub fn of(
        peer: Option<IpAddr>,
        peer_header: Option<&HeaderValue>,
        https: bool,
        headers: &HeaderMap,
        trusted: &[IpNet],
    ) -> Self {
        if !is_trusted(peer, trusted) {
            return Self {
                ip: peer,
                https,
                forwarded_for: peer_header.cloned(),
            };
        }
        let mut chain = Vec::new();
        let hops = headers.get_all(X_FORWARDED_FOR);
        for hop in hops
            .iter()
            .rev()
            .flat_map(|value| value.to_str().unwrap_or_default().rsplit(','))
        {
            // An entry that is no address ends what can be believed.
            let Some(address) = parse_hop(hop) else { break };
            chain.push(address);
            if !is_trusted(Some(address), trusted) {
                break;
            }
        }
        let ip = chain.last().copied().or(peer);
        chain.reverse();
        chain.extend(peer);
        let proto = headers.get(X_FORWARDED_PROTO).map(HeaderValue::as_bytes);
        Self {
            ip,
            https: match proto {
                Some(proto) => proto.eq_ignore_ascii_case(b"https"),
                None => https,
            },
            forwarded_for: join(&chain),
        }
    }

    /// Replaces what the request says about its way here with what is known.
    pub fn write(&self, headers: &mut HeaderMap, host: Option<&HeaderValue>) {
        headers.remove(header::FORWARDED);
        headers.remove(X_REAL_IP);
        headers.remove(X_FORWARDED_PORT);
        match &self.forwarded_for {
            Some(value) => headers.insert(X_FORWARDED_FOR, value.clone()),
            None => headers.remove(X_FORWARDED_FOR),
        };
        let proto = if self.https { "https" } else { "http" };
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
        match host {
            Some(host) => headers.insert(X_FORWARDED_HOST, host.clone()),
            None => headers.remove(X_FORWARDED_HOST),
        };
    }
}

fn is_trusted(peer: Option<IpAddr>, trusted: &[IpNet]) -> bool {
    match peer {
        Some(peer) => trusted.iter().any(|network| network.contains(&peer)),
        None => true,
    }
}

/// An address, possibly with a port or in brackets, as proxies write them.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    if let Ok(address) = hop.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(socket) = hop.parse::<std::net::SocketAddr>() {
        return Some(socket.ip().to_canonical());
    }
    let bracketed = hop.strip_prefix('[')?.strip_suffix(']')?;
    bracketed.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

fn join(chain: &[IpAddr]) -> Option<HeaderValue> {
    let text = chain
        .iter()
        .map(IpAddr::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    HeaderValue::try_from(text)
        .ok()
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> (Option<IpAddr>, String) {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let peer: IpAddr = peer.parse().unwrap();
        let header = HeaderValue::try_from(peer.to_string()).unwrap();
        let client = Client::of(Some(peer), Some(&header), true, &headers, &trusted);
        client.write(&mut headers, None);
        let sent = headers[X_FORWARDED_FOR].to_str().unwrap().to_owned();
        assert_eq!(headers.get_all(X_FORWARDED_FOR).iter().count(), 1);
        (client.ip, sent)
    }

    #[test]
    fn a_forged_header_is_replaced() {
        let (ip, sent) = client("192.0.2.9", &["10.0.0.1", "203.0.113.7"], &[]);
        assert_eq!(ip, "192.0.2.9".parse().ok());
        assert_eq!(sent, "192.0.2.9");
    }

    #[test]
    fn a_trusted_proxy_names_the_client_and_what_is_left_of_it_is_dropped() {
        let (ip, sent) = client(
            "10.0.0.1",
            &["6.6.6.6, 203.0.113.7, 10.0.0.2"],
            &["10.0.0.0/8"],
        );
        assert_eq!(ip, "203.0.113.7".parse().ok());
        assert_eq!(sent, "203.0.113.7, 10.0.0.2, 10.0.0.1");
    }

    #[test]
    fn several_lines_are_one_list() {
        let (ip, _) = client("10.0.0.1", &["203.0.113.7", "10.0.0.3"], &["10.0.0.0/8"]);
        assert_eq!(ip, "203.0.113.7".parse().ok());
    }

    #[test]
    fn garbage_from_a_trusted_proxy_ends_the_walk() {
        let (ip, sent) = client("10.0.0.1", &["203.0.113.7, <script>"], &["10.0.0.0/8"]);
        assert_eq!(ip, "10.0.0.1".parse().ok());
        assert_eq!(sent, "10.0.0.1");
    }

    #[test]
    fn hops_with_ports_and_brackets_are_read() {
        let (ip, _) = client("10.0.0.1", &["[2001:db8::5]:4711"], &["10.0.0.0/8"]);
        assert_eq!(ip, "2001:db8::5".parse().ok());
        let (ip, _) = client("10.0.0.1", &["203.0.113.7:80"], &["10.0.0.0/8"]);
        assert_eq!(ip, "203.0.113.7".parse().ok());
    }
}
