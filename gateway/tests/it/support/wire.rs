//! One HTTP/1.1 connection, byte for byte, seen from the client's or the server's side.

use std::{io, net::SocketAddr, path::Path, sync::Arc};

use bytes::{Buf, BytesMut};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::within;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection and what was read ahead from it.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    ahead: BytesMut,
}

/// The head of a request or response.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Request line or status line.
    pub(crate) line: String,
    /// As they were on the wire, in their order.
    pub(crate) fields: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// A message that ended before its end.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) got: Vec<u8>,
}

impl Head {
    pub(crate) fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        Self {
            line: lines.next().unwrap_or_default().to_owned(),
            fields: lines
                .take_while(|line| !line.is_empty())
                .map(|line| {
                    let (name, value) = line.split_once(':').unwrap();
                    (name.to_owned(), value.trim().to_owned())
                })
                .collect(),
        }
    }

    /// Every value of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The value of a field that is there at most once.
    #[track_caller]
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} is there several times: {self:?}");
        all.first().copied()
    }

    pub(crate) fn status(&self) -> u16 {
        let code = self.line.split(' ').nth(1).unwrap();
        code.parse().unwrap()
    }

    /// The target of a request line.
    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    fn is_chunked(&self) -> bool {
        self.one("transfer-encoding") == Some("chunked")
    }

    fn length(&self) -> Option<usize> {
        self.one("content-length").map(|text| text.parse().unwrap())
    }
}

impl Response {
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.one(name)
    }

    /// The request that [`super::Origin::echo`] got.
    #[track_caller]
    pub(crate) fn echoed(&self) -> Head {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.header("x-origin"), Some("echo"), "{self:?}");
        Head::parse(self.text())
    }
}

impl Wire {
    pub(crate) fn new(stream: impl Stream + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            ahead: BytesMut::new(),
        }
    }

    pub(crate) async fn tcp(address: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::new(stream)
    }

    pub(crate) async fn unix(path: &Path) -> Self {
        Self::new(within(UnixStream::connect(path)).await.unwrap())
    }

    /// A TLS connection that offers `http/1.1` only.
    pub(crate) async fn tls(address: SocketAddr, config: ClientConfig, name: &str) -> Self {
        Self::new(connect_tls(address, config, name).await.unwrap())
    }

    /// The stream for another protocol. Nothing may have been read ahead.
    pub(crate) fn into_stream(self) -> Box<dyn Stream> {
        assert!(self.ahead.is_empty(), "{:?} was read ahead", self.ahead);
        self.stream
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within(async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        })
        .await
    }

    /// Ends this side.
    pub(crate) async fn shutdown(&mut self) {
        self.try_shutdown().await.unwrap();
    }

    pub(crate) async fn try_shutdown(&mut self) -> io::Result<()> {
        within(self.stream.shutdown()).await
    }

    /// `GET` and its response.
    pub(crate) async fn get(&mut self, host: &str, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        self.response().await
    }

    /// A request without a body, given by its lines.
    pub(crate) async fn ask(&mut self, lines: &[&str]) -> Response {
        self.send(format!("{}\r\n\r\n", lines.join("\r\n"))).await;
        self.response().await
    }

    /// The response to anything but HEAD, interim responses skipped.
    #[track_caller]
    pub(crate) fn response(&mut self) -> impl Future<Output = Response> {
        let caller = std::panic::Location::caller();
        async move {
            match self.try_response().await {
                Ok(response) => response,
                Err(cut) => panic!("no whole response, {cut} at {caller}"),
            }
        }
    }

    pub(crate) async fn try_response(&mut self) -> Result<Response, Cut> {
        let mut head = self.try_head().await?;
        while head.status() < 200 && head.status() != 101 {
            head = self.try_head().await?;
        }
        let status = head.status();
        let body = match status {
            101 | 204 | 304 => Vec::new(),
            _ => self.body(&head).await?,
        };
        Ok(Response { status, head, body })
    }

    /// The next head; the test fails if the connection ends first.
    #[track_caller]
    pub(crate) fn head(&mut self) -> impl Future<Output = Head> {
        let caller = std::panic::Location::caller();
        async move {
            match self.try_head().await {
                Ok(head) => head,
                Err(cut) => panic!("no head, {cut} at {caller}"),
            }
        }
    }

    pub(crate) async fn try_head(&mut self) -> Result<Head, Cut> {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n\r\n") {
                let text = self.ahead.split_to(end + 4);
                return Ok(Head::parse(&String::from_utf8_lossy(&text)));
            }
            if self.fill().await == 0 {
                return Err(Cut {
                    got: self.ahead.split().to_vec(),
                });
            }
        }
    }

    /// The body that follows a head: by its length, chunked, or for a response without either up
    /// to the end of the connection.
    pub(crate) async fn body(&mut self, head: &Head) -> Result<Vec<u8>, Cut> {
        if head.is_chunked() {
            let mut body = Vec::new();
            while let Some(chunk) = self.chunk(&mut body).await? {
                body.extend(chunk);
            }
            return Ok(body);
        }
        match head.length() {
            Some(length) => self.exactly(length).await,
            None if head.line.starts_with("HTTP/") => Ok(self.rest().await),
            None => Ok(Vec::new()),
        }
    }

    /// One chunk; `None` for the last one, whose trailer is skipped. `so_far` goes into the error.
    pub(crate) async fn chunk(&mut self, so_far: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Cut> {
        let cut = |wire: &mut Self, so_far: &mut Vec<u8>| {
            so_far.extend_from_slice(&wire.ahead.split());
            Cut {
                got: std::mem::take(so_far),
            }
        };
        let Some(line) = self.line().await else {
            return Err(cut(self, so_far));
        };
        let length = usize::from_str_radix(line.trim(), 16).unwrap();
        if length == 0 {
            while self.line().await.is_some_and(|line| !line.is_empty()) {}
            return Ok(None);
        }
        while self.ahead.len() < length + 2 {
            if self.fill().await == 0 {
                return Err(cut(self, so_far));
            }
        }
        let chunk = self.ahead.split_to(length).to_vec();
        self.ahead.advance(2);
        Ok(Some(chunk))
    }

    /// A line without its end; `None` when the connection ends first.
    pub(crate) async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n") {
                let line = self.ahead.split_to(end);
                self.ahead.advance(2);
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            if self.fill().await == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Cut> {
        while self.ahead.len() < length {
            if self.fill().await == 0 {
                return Err(Cut {
                    got: self.ahead.split().to_vec(),
                });
            }
        }
        Ok(self.ahead.split_to(length).to_vec())
    }

    /// Everything up to the end of the connection, orderly or not.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await != 0 {}
        self.ahead.split().to_vec()
    }

    /// Waits for the end of the connection; the test fails if anything else comes.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let rest = self.rest().await;
            let text = String::from_utf8_lossy(&rest);
            assert!(rest.is_empty(), "instead of the end at {caller}: {text}");
        }
    }

    /// A request's head and body, as a server reads it.
    pub(crate) async fn request(&mut self) -> (Head, Vec<u8>) {
        let head = self.head().await;
        let body = self.body(&head).await.unwrap();
        (head, body)
    }

    /// 200 with a length.
    pub(crate) async fn answer(&mut self, body: &str) {
        self.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    }

    /// Reads more; 0 at the end, which a reset is as well.
    pub(crate) async fn fill(&mut self) -> usize {
        self.ahead.reserve(16 * 1024);
        within(self.stream.read_buf(&mut self.ahead))
            .await
            .unwrap_or(0)
    }

    /// What has been read and not used.
    pub(crate) fn buffered(&mut self) -> Vec<u8> {
        self.ahead.split().to_vec()
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = &self.got[..self.got.len().min(500)];
        write!(
            f,
            "but {} bytes: {}",
            self.got.len(),
            String::from_utf8_lossy(start)
        )
    }
}

/// A TLS connection. The ALPN of `config` is used as it is, `http/1.1` if there is none.
pub(crate) async fn connect_tls(
    address: SocketAddr,
    mut config: ClientConfig,
    name: &str,
) -> io::Result<TlsStream<TcpStream>> {
    if config.alpn_protocols.is_empty() {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    let tcp = within(TcpStream::connect(address)).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    within(TlsConnector::from(Arc::new(config)).connect(name, tcp)).await
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes
        .windows(pattern.len())
        .position(|window| window == pattern)
}
