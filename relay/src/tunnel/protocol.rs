//! What the two ends say to each other before and beside the bytes.
//!
//! An agent asks for a carrier with `GET /.portunus/tunnel` and `Upgrade: portunus-tunnel/1`
//! (RFC 9110 §7.8), its key in `Authorization`, and a [`Hello`] in header fields. On 101 the
//! connection is the carrier; any other status says why not, with `Retry-After` if it makes sense
//! to try again. On a WebSocket the same fields are on the WebSocket's own handshake (RFC 6455),
//! and binary messages carry the bytes.
//!
//! On a carrier the gateway sends CONNECT to open a stream ([`connect`]) and the agent answers 200
//! once the service was reached, or 502 with the reason in words.

use h2::RecvStream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};

use super::OpenError;

/// The protocol in TLS's ALPN (RFC 7301). A connection with it is for nothing else.
pub const ALPN: &[u8] = b"portunus-tunnel/1";
/// The token of `Upgrade`.
pub const UPGRADE: &str = "portunus-tunnel/1";
/// Where carriers are asked for, on the gateway's own domain.
pub const PATH: &str = "/.portunus/tunnel";

/// The tunnel that is asked for, and in the answer the one that was given.
pub const TUNNEL: HeaderName = HeaderName::from_static("portunus-tunnel");
/// The session that a carrier belongs to.
pub const SESSION: HeaderName = HeaderName::from_static("portunus-session");
/// What is shown to people about the agent.
pub const AGENT: HeaderName = HeaderName::from_static("portunus-agent");
/// In the answer: where the service can be reached now.
pub const URL: HeaderName = HeaderName::from_static("portunus-url");
/// In the answer: how many carriers the session may have.
pub const CARRIERS: HeaderName = HeaderName::from_static("portunus-carriers");
/// On an answer other than 101: it is the gateway's own, and its body is the reason in words.
pub const REFUSAL: HeaderName = HeaderName::from_static("portunus-refusal");
/// The most carriers of a session, whatever is asked for.
pub const MAX_CARRIERS: usize = 8;
/// On a CONNECT: what the bytes are; see [`Kind`].
const KIND: HeaderName = HeaderName::from_static("portunus-kind");
/// On an answer to CONNECT: why the service was not reached.
const REASON: HeaderName = HeaderName::from_static("portunus-reason");
/// Characters of a reason that are believed.
const MAX_REASON: usize = 200;

/// What an agent says of itself when it asks for a carrier.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    /// The name it wants; `None` takes the one its key is for.
    pub tunnel: Option<String>,
    /// All carriers of one run of an agent have the same.
    pub session: SessionId,
    /// Name and version of the program.
    pub agent: String,
}

/// Tells the runs of agents apart: 128 random bits, as 32 hexadecimal digits on the wire.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SessionId(u128);

/// What the bytes of a stream are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Kind {
    /// HTTP/1.1, which the gateway speaks with the service.
    #[default]
    Http1,
    /// HTTP/2 without TLS.
    Http2,
    /// Anything.
    Tcp,
}

/// A request for a carrier that is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the header {header} of the tunnel request is {problem}")]
pub struct BadHello {
    pub header: HeaderName,
    pub problem: &'static str,
}

impl SessionId {
    /// A new one.
    pub fn random() -> Self {
        Self(fastrand::u128(..))
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = u128::from_str_radix(text, 16).ok().filter(|_| digits)?;
        Some(Self(id))
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Hello {
    /// Reads what an agent says of itself.
    ///
    /// # Errors
    ///
    /// A header that is missing, repeated or malformed. A tunnel's name is any DNS label here;
    /// whether it may be had is for others to say.
    pub fn read(headers: &HeaderMap) -> Result<Self, BadHello> {
        let session = one(headers, &SESSION)?.ok_or(bad(SESSION, "missing"))?;
        let tunnel = one(headers, &TUNNEL)?;
        if tunnel.is_some_and(|name| !is_label(name)) {
            return Err(bad(TUNNEL, "no DNS label"));
        }
        Ok(Self {
            tunnel: tunnel.map(str::to_ascii_lowercase),
            session: SessionId::parse(session).ok_or(bad(SESSION, "not 32 hexadecimal digits"))?,
            agent: one(headers, &AGENT)?
                .unwrap_or_default()
                .chars()
                .take(100)
                .collect(),
        })
    }

    /// Writes it into the headers of a request.
    pub fn write(&self, headers: &mut HeaderMap) {
        let mut insert = |name, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        if let Some(tunnel) = &self.tunnel {
            insert(TUNNEL, tunnel);
        }
        insert(SESSION, &self.session.to_string());
        insert(AGENT, &self.agent);
    }
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2c",
            Self::Tcp => "tcp",
        }
    }

    /// What a CONNECT says its bytes are. What this version does not know is passed as bytes.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let known = [Self::Http1, Self::Http2, Self::Tcp];
        let text = headers.get(KIND).and_then(|kind| kind.to_str().ok());
        known
            .into_iter()
            .find(|kind| Some(kind.text()) == text)
            .unwrap_or(Self::Tcp)
    }
}

/// The request that opens a stream. Its authority says nothing: an agent has one service.
pub(super) fn connect(kind: Kind) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = Uri::from_static("service");
    let kind = HeaderValue::from_static(kind.text());
    request.headers_mut().insert(KIND, kind);
    request
}

/// The answer when the service was not reached.
pub(super) fn unreachable(reason: &str) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    let printable: String = reason
        .chars()
        .map(|character| {
            if character.is_ascii_graphic() || character == ' ' {
                character
            } else {
                '?'
            }
        })
        .take(MAX_REASON)
        .collect();
    if let Ok(reason) = HeaderValue::from_str(&printable) {
        response.headers_mut().insert(REASON, reason);
    }
    response
}

/// What the answer to a CONNECT means.
pub(super) fn opened(response: Response<RecvStream>) -> Result<RecvStream, OpenError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response.into_body());
    }
    let reason = response.headers().get(REASON);
    match reason.and_then(|reason| reason.to_str().ok()) {
        Some(reason) => Err(OpenError::Service {
            reason: reason.chars().take(MAX_REASON).collect(),
        }),
        None => Err(OpenError::Refused { status }),
    }
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, BadHello> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(bad(name.clone(), "repeated"));
    }
    let text = value.to_str().map_err(|_| bad(name.clone(), "not text"))?;
    Ok(Some(text))
}

fn bad(header: HeaderName, problem: &'static str) -> BadHello {
    BadHello { header, problem }
}

/// Letters, digits and hyphens, 1 to 63, no hyphen at either end (RFC 1123 §2.1).
fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_says_is_read_as_it_was_written() {
        for tunnel in [None, Some("happy-panda".to_owned())] {
            let hello = Hello {
                tunnel,
                session: SessionId::random(),
                agent: "portunus-agent/0.1.0".into(),
            };
            let mut headers = HeaderMap::new();
            hello.write(&mut headers);
            assert_eq!(Hello::read(&headers), Ok(hello));
        }
    }

    #[test]
    fn a_malformed_hello_names_the_header() {
        let read = |fields: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_str(value).unwrap());
            }
            Hello::read(&headers).map_err(|bad| (bad.header, bad.problem))
        };
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(read(&[]), Err((SESSION, "missing")));
        for session in ["", "12", "+123456789abcdef0123456789abcdef", &id[1..]] {
            let problem = read(&[("portunus-session", session)]).unwrap_err();
            assert_eq!(problem.0, SESSION);
        }
        let twice = [("portunus-session", id), ("portunus-session", id)];
        assert_eq!(read(&twice), Err((SESSION, "repeated")));
        for name in ["", "-a", "a-", "a.b", "a b", "ä", &"a".repeat(64)] {
            let problem = read(&[("portunus-session", id), ("portunus-tunnel", name)]);
            assert_eq!(problem.unwrap_err().0, TUNNEL, "{name}");
        }
        let hello = read(&[("portunus-session", id), ("portunus-tunnel", "Happy")]).unwrap();
        assert_eq!(hello.tunnel.as_deref(), Some("happy"));
    }

    #[test]
    fn a_reason_is_one_printable_line() {
        let response = unreachable("refused\r\nset-cookie: a=b \u{1f41f}");
        let reason = response.headers()[REASON].to_str().unwrap();
        assert_eq!(reason, "refused??set-cookie: a=b ?");
        let response = unreachable(&"x".repeat(1000));
        assert_eq!(response.headers()[REASON].len(), MAX_REASON);
    }

    #[test]
    fn kinds_survive_the_wire_and_unknown_ones_are_bytes() {
        for kind in [Kind::Http1, Kind::Http2, Kind::Tcp] {
            assert_eq!(Kind::of(connect(kind).headers()), kind);
        }
        let mut headers = HeaderMap::new();
        headers.insert(KIND, HeaderValue::from_static("carrier-pigeon"));
        assert_eq!(Kind::of(&headers), Kind::Tcp);
    }
}
