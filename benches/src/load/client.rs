//! One HTTP/1.1 request over one connection, as much as the measurements need.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::Target;
use crate::{
    error::{Doing, Error, Result},
    workspace::{HOST, Workspace},
};

const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Asks once over a new connection; an error unless the answer is a 200 of the right length.
pub async fn check(target: &Target<'_>) -> Result<()> {
    let answer = async {
        if target.tls {
            let tls = Tls::new(target.workspace)?;
            let mut stream = tls.connect(target.address).await.doing(|| asking(target))?;
            get(&mut stream, target, false).await
        } else {
            let mut stream = TcpStream::connect(target.address)
                .await
                .doing(|| asking(target))?;
            get(&mut stream, target, false).await
        }
    };
    match timeout(REQUEST_LIMIT, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::Load(format!("no answer from {}", target.url()))),
    }
}

/// Full handshakes only, with the one suite and group that the other generators use too.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    pub(super) fn new(workspace: &Workspace) -> Result<Self> {
        let provider = CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        };
        let root = CertificateDer::from_pem_slice(workspace.root_pem.as_bytes())
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        roots.add(root)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(HOST)
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name,
        })
    }

    pub(super) async fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        self.connector.connect(self.name.clone(), stream).await
    }
}

/// One request; with `last` the server closes and the end of the stream is awaited.
pub(super) async fn get<S>(stream: &mut S, target: &Target<'_>, last: bool) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connection = if last { "close" } else { "keep-alive" };
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {HOST}:{}\r\nConnection: {connection}\r\n\r\n",
        target.path,
        target.address.port()
    );
    stream
        .write_all(request.as_bytes())
        .await
        .doing(|| asking(target))?;
    stream.flush().await.doing(|| asking(target))?;
    let length = read_answer(stream).await.doing(|| asking(target))?;
    if length != target.body {
        return Err(Error::Load(format!(
            "{length} bytes of body from {}",
            target.url()
        )));
    }
    if last {
        // Whether the server says close_notify first is its own business.
        if let Ok(1..) = stream.read(&mut [0; 1]).await {
            return Err(Error::Load(format!(
                "more than one answer from {}",
                target.url()
            )));
        }
    }
    Ok(())
}

fn asking(target: &Target<'_>) -> String {
    format!("ask {}", target.url())
}

/// Reads a 200 with a Content-Length; returns the length of the body that came.
async fn read_answer<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<u64> {
    const END: &[u8] = b"\r\n\r\n";
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    let head = loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        if let Some(at) = buffer[..filled]
            .windows(END.len())
            .position(|bytes| bytes == END)
        {
            break at + END.len();
        }
    };
    let length = content_length(&buffer[..head]).map_err(io::Error::other)?;
    let mut got = (filled - head) as u64;
    while got < length {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        got += read as u64;
    }
    Ok(got)
}

fn content_length(head: &[u8]) -> std::result::Result<u64, String> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200") {
        return Err(format!("the answer is {status:?}"));
    }
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    fields
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(|| format!("no Content-Length in {head:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_read_to_the_length_it_names() {
        let answer = b"HTTP/1.1 200 OK\r\nCONTENT-length: 5\r\n\r\nhello";
        assert_eq!(read_answer(&mut &answer[..]).await.unwrap(), 5);
        assert!(read_answer(&mut &answer[..answer.len() - 1]).await.is_err());
        assert!(read_answer(&mut &answer[..9]).await.is_err());
    }

    #[test]
    fn only_a_200_with_a_length_counts() {
        assert_eq!(
            content_length(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"),
            Ok(7)
        );
        for head in [
            &b"HTTP/1.1 308 Permanent Redirect\r\nContent-Length: 0\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: \xff\r\n\r\n",
            b"",
        ] {
            assert!(content_length(head).is_err(), "{head:?}");
        }
    }
}
