//! Calls to small servers of this process, over real sockets.

use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;

fn fetch(change: impl FnOnce(&mut FetchSettings)) -> Fetch {
    let mut settings = FetchSettings::default();
    change(&mut settings);
    Fetch::new(&settings).unwrap()
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

/// A server that reads one request's head, sends `answer` and closes. The head comes back.
async fn server(answer: impl Into<Vec<u8>>) -> (String, JoinHandle<String>) {
    let (answer, listener) = (answer.into(), listener().await);
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        answer_once(stream, &answer).await
    });
    (url, task)
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn answer_once(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8]) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    // Whoever has read enough may be gone.
    drop(stream.write_all(answer).await);
    drop(stream.shutdown().await);
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn an_answer_comes_back_whole() {
    let (url, seen) = server("HTTP/1.1 418 no\r\ncontent-length: 3\r\nx-a: b\r\n\r\nyes").await;
    let answer = fetch(|_| ())
        .send(get(&format!("{url}/a?b=c")))
        .await
        .unwrap();
    assert_eq!(answer.status(), 418);
    assert_eq!(answer.headers()["x-a"], "b");
    assert_eq!(answer.body(), "yes");
    let head = seen.await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get /a?b=c http/1.1\r\n"), "{head}");
    let agent = format!("user-agent: portunus/{}\r\n", env!("CARGO_PKG_VERSION"));
    assert!(head.contains(&agent), "{head}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let elsewhere = listener().await;
    let target = elsewhere.local_addr().unwrap();
    let (url, _) = server(format!(
        "HTTP/1.1 307 go\r\nlocation: http://{target}/\r\ncontent-length: 0\r\n\r\n"
    ))
    .await;
    let answer = fetch(|_| ()).send(get(&url)).await.unwrap();
    assert_eq!(answer.status(), 307);
    let visited = elsewhere.into_std().unwrap().accept();
    assert!(visited.is_err(), "somebody followed the redirect");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let body = "x".repeat(1001);
    let announced = format!("HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n{body}");
    let until_closed = format!("HTTP/1.1 200 OK\r\n\r\n{body}");
    let chunked =
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n{body}\r\n0\r\n\r\n");
    for answer in [announced, until_closed, chunked] {
        let (url, _) = server(answer.clone()).await;
        let refused = fetch(|s| s.max_response = 1000).send(get(&url)).await;
        let expected = FetchError::TooLarge {
            host: "127.0.0.1".to_owned(),
            limit: 1000,
        };
        assert_eq!(refused.unwrap_err(), expected, "{answer}");
        let (url, _) = server(answer).await;
        let taken = fetch(|s| s.max_response = 1001)
            .send(get(&url))
            .await
            .unwrap();
        assert_eq!(taken.body().len(), 1001);
    }
}

#[tokio::test]
async fn silence_ends_with_the_timeout() {
    let silent = listener().await;
    let url = format!("http://{}", silent.local_addr().unwrap());
    let fetch = fetch(|s| s.timeout = Duration::from_millis(30));
    let error = fetch.send(get(&url)).await.unwrap_err();
    assert_eq!(error.to_string(), "127.0.0.1 did not answer within 0.03 s");
}

#[tokio::test]
async fn plain_http_goes_to_loopback_only() {
    for url in [
        "http://192.0.2.1/",
        "http://example.com/",
        "http://127.0.0.1.example.com/",
    ] {
        let error = fetch(|_| ()).send(get(url)).await.unwrap_err();
        assert!(
            matches!(error, FetchError::PlainHttp { .. }),
            "{url}: {error}"
        );
    }
    for host in ["127.0.0.1", "127.9.9.9", "[::1]", "LOCALHOST"] {
        assert!(is_loopback(host), "{host}");
    }
    let anywhere = fetch(|s| s.plain_http = PlainHttp::Anywhere);
    assert!(
        anywhere
            .admit(&"http://192.0.2.1/".parse().unwrap())
            .is_ok()
    );
    for url in ["/path", "ftp://127.0.0.1/"] {
        assert_eq!(
            fetch(|_| ()).send(get(url)).await.unwrap_err(),
            FetchError::BadUrl
        );
    }
}

#[tokio::test]
async fn each_stage_that_fails_has_its_error() {
    let closed = listener().await.local_addr().unwrap();
    let error = fetch(|_| ())
        .send(get(&format!("http://{closed}/")))
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Connect { .. }), "{error:?}");

    // RFC 6761 §6.4: this name never resolves.
    let error = fetch(|_| ())
        .send(get("https://provider.invalid/"))
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Dns { .. }), "{error:?}");

    for answer in [
        "nonsense",
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
    ] {
        let (url, _) = server(answer).await;
        let error = fetch(|_| ()).send(get(&url)).await.unwrap_err();
        assert!(
            matches!(error, FetchError::Broken { .. }),
            "{answer}: {error:?}"
        );
    }
}

#[tokio::test]
async fn random_bytes_are_an_error_and_no_panic() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..100 {
        let mut answer = vec![0; random.usize(1..200)];
        random.fill(&mut answer);
        let (url, _) = server(answer).await;
        assert!(fetch(|_| ()).send(get(&url)).await.is_err());
    }
}

#[tokio::test]
async fn a_private_root_is_trusted_only_when_it_is_given() {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
        .unwrap();
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(tls)), listener().await);
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            answer_once(
                stream,
                b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
            )
            .await;
        }
    });
    let request = || get(&format!("https://localhost:{port}/"));

    let error = fetch(|_| ()).send(request()).await.unwrap_err();
    assert!(matches!(error, FetchError::Tls { .. }), "{error:?}");
    let trusting = fetch(|s| s.extra_roots = Some(signed.cert.pem()));
    assert_eq!(trusting.send(request()).await.unwrap().body(), "ok");
    let by_address = get(&format!("https://127.0.0.1:{port}/"));
    let error = trusting.send(by_address).await.unwrap_err();
    assert!(matches!(error, FetchError::Tls { .. }), "{error:?}");
}

#[test]
fn roots_that_are_none_are_refused() {
    for pem in [
        "",
        "no pem",
        "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
    ] {
        let settings = FetchSettings {
            extra_roots: Some(pem.to_owned()),
            ..FetchSettings::default()
        };
        assert!(Fetch::new(&settings).is_err(), "{pem}");
    }
}
