//! Streams over one carrier.

use std::{io, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use relay::tunnel::{
    OpenError,
    carrier::{self, Ended, Timing},
    protocol::Kind,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{Joined, echo, nobody, one, pair, round_trip, within};

#[tokio::test]
async fn bytes_go_both_ways_unchanged() {
    let joined = Joined::to(&echo().await.to_string()).await;
    let mut random = fastrand::Rng::with_seed(1);
    for length in [0, 1, 1000, 65_535, 65_536, 65_537, 5_000_000] {
        let mut bytes = vec![0; length];
        random.fill(&mut bytes);
        let stream = joined.carrier.open(Kind::Tcp).await.unwrap();
        let got = within(round_trip(stream, &bytes)).await.unwrap();
        assert!(got == bytes, "{length} bytes came back changed");
    }
}

#[tokio::test]
async fn many_streams_at_once_do_not_mix() {
    let joined = Joined::to(&echo().await.to_string()).await;
    let trips = (0..100u8).map(|number| {
        let carrier = joined.carrier.clone();
        async move {
            let bytes = vec![number; 50_000];
            let stream = carrier.open(Kind::Tcp).await.unwrap();
            assert!(within(round_trip(stream, &bytes)).await.unwrap() == bytes);
        }
    });
    futures_util::future::join_all(trips).await;
    assert_eq!(joined.carrier.load(), 0);
}

/// The gateway's own way: hyper keeps the virtual connection alive.
#[tokio::test]
async fn http_connections_are_kept_alive_through_a_stream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let answer =
            hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(body)))
            });
        let served = hyper::server::conn::http1::Builder::new();
        let _ = served.serve_connection(TokioIo::new(stream), answer).await;
    });
    let joined = Joined::to(&address.to_string()).await;
    let stream = joined.carrier.open(Kind::Http1).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    for length in [1, 100_000, 3_000_000] {
        let body = Bytes::from(vec![b'x'; length]);
        let request = Request::post("/").body(Full::new(body.clone())).unwrap();
        sender.ready().await.unwrap();
        let answer = within(sender.send_request(request)).await.unwrap();
        let got = within(answer.into_body().collect())
            .await
            .unwrap()
            .to_bytes();
        assert!(got == body);
    }
}

#[tokio::test]
async fn a_service_that_is_down_is_told_with_its_reason() {
    let address = nobody().await.to_string();
    let joined = Joined::to(&address).await;
    let mut stream = joined.carrier.open(Kind::Http1).await.unwrap();
    let error = within(stream.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let reason = error.get_ref().and_then(|inner| inner.downcast_ref());
    match reason {
        Some(OpenError::Service { reason }) => {
            assert!(reason.contains(&address), "{reason}");
            assert!(reason.contains("refused"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!joined.carrier.is_ended());
}

#[tokio::test]
async fn a_stream_given_up_closes_the_local_connection() {
    let (address, accepted) = one().await;
    let joined = Joined::to(&address.to_string()).await;
    let mut stream = joined.carrier.open(Kind::Tcp).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut local = within(accepted).await.unwrap();
    let mut hello = [0; 5];
    within(local.read_exact(&mut hello)).await.unwrap();
    drop(stream);
    // Either a reset or the end: nothing more comes, and it comes soon.
    assert!(matches!(
        within(local.read(&mut hello)).await,
        Ok(0) | Err(_)
    ));
    let written = async {
        while local.write_all(&[0; 1024]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within(written).await;
}

#[tokio::test]
async fn one_direction_may_end_before_the_other() {
    let (address, accepted) = one().await;
    let joined = Joined::to(&address.to_string()).await;
    let mut stream = joined.carrier.open(Kind::Tcp).await.unwrap();
    stream.write_all(b"question").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut local = within(accepted).await.unwrap();
    let mut question = Vec::new();
    within(local.read_to_end(&mut question)).await.unwrap();
    assert_eq!(question, b"question");
    local.write_all(b"answer").await.unwrap();
    drop(local);
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"answer");
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_body_arrives() {
    let (address, accepted) = one().await;
    let joined = Joined::to(&address.to_string()).await;
    let stream = joined.carrier.open(Kind::Tcp).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let upload = tokio::spawn(async move {
        // More than any buffer on the way holds.
        while write.write_all(&[0; 65_536]).await.is_ok() {}
    });
    let mut local = within(accepted).await.unwrap();
    local.write_all(b"413").await.unwrap();
    local.shutdown().await.unwrap();
    let mut answer = Vec::new();
    within(read.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"413");
    drop((read, local));
    upload.abort();
}

#[tokio::test]
async fn stalled_readers_hold_up_nobody() {
    let endless = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = endless.local_addr().unwrap();
    // Sends without end to whoever asks with `f`, and back what it got to whoever else.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = endless.accept().await {
            tokio::spawn(async move {
                let flood = matches!(stream.read_u8().await, Ok(b'f'));
                while flood && stream.write_all(&[0; 65_536]).await.is_ok() {}
                let _ = stream.write_all(b"small").await;
            });
        }
    });
    let joined = Joined::to(&address.to_string()).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut stream = joined.carrier.open(Kind::Tcp).await.unwrap();
        stream.write_all(b"f").await.unwrap();
        within(stream.read_u8()).await.unwrap();
        stalled.push(stream);
    }
    for _ in 0..50 {
        let mut stream = joined.carrier.open(Kind::Tcp).await.unwrap();
        stream.write_all(b"s").await.unwrap();
        let mut small = Vec::new();
        within(stream.read_to_end(&mut small)).await.unwrap();
        assert_eq!(small, b"small");
    }
    assert_eq!(joined.carrier.load(), stalled.len());
}

#[tokio::test]
async fn a_draining_agent_finishes_what_is_open() {
    let (address, accepted) = one().await;
    let joined = Joined::to(&address.to_string()).await;
    let mut stream = joined.carrier.open(Kind::Tcp).await.unwrap();
    stream.write_all(b"a").await.unwrap();
    let mut local = within(accepted).await.unwrap();
    assert_eq!(within(local.read_u8()).await.unwrap(), b'a');
    joined.drain.cancel();
    local.write_all(b"b").await.unwrap();
    drop(local);
    assert_eq!(within(stream.read_u8()).await.unwrap(), b'b');
    drop(stream);
    assert!(matches!(within(joined.agent).await.unwrap(), Ended::Closed));
    assert!(matches!(within(joined.edge).await.unwrap(), Ended::Closed));
    assert!(joined.carrier.is_ended());
    assert_eq!(
        joined.carrier.open(Kind::Tcp).await.unwrap_err(),
        OpenError::Carrier
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_is_dead_within_fifteen_seconds() {
    let (edge, agent) = tokio::io::duplex(65_536);
    let (to_agent, mut agent) = (edge, agent);
    // A peer that takes part in the handshake and then only reads.
    let silent = tokio::spawn(async move {
        let empty_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        agent.write_all(&empty_settings).await.unwrap();
        let mut rest = Vec::new();
        let _ = agent.read_to_end(&mut rest).await;
    });
    let began = tokio::time::Instant::now();
    let (carrier, run) = carrier::client(to_agent, Timing::default()).await.unwrap();
    let ended = run.await;
    assert!(matches!(ended, Ended::Dead(_)), "{ended:?}");
    assert!(began.elapsed() <= Duration::from_secs(16));
    assert!(carrier.is_ended());
    silent.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_carrier_lives() {
    let (edge, agent) = tokio::io::duplex(65_536);
    let service = relay::tunnel::agent::Service {
        address: "127.0.0.1:9".into(),
    };
    let agent = tokio::spawn(async move {
        relay::tunnel::agent::serve(agent, &service, Timing::default(), Default::default()).await
    });
    let (carrier, run) = carrier::client(edge, Timing::default()).await.unwrap();
    let run = tokio::spawn(run);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(!carrier.is_ended() && !run.is_finished() && !agent.is_finished());
}

#[tokio::test]
async fn garbage_instead_of_http2_ends_the_carrier() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..50 {
        let (edge, mut agent) = pair().await;
        let mut garbage = vec![0; random.usize(1..3000)];
        random.fill(&mut garbage);
        agent.write_all(&garbage).await.unwrap();
        drop(agent);
        match within(carrier::client(edge, Timing::default())).await {
            Ok((_, run)) => drop(within(run).await),
            Err(error) => drop(error),
        }
    }
}

#[tokio::test]
async fn a_carrier_that_is_cut_takes_its_streams_along() {
    let (address, accepted) = one().await;
    let joined = Joined::to(&address.to_string()).await;
    let mut stream = joined.carrier.open(Kind::Tcp).await.unwrap();
    stream.write_all(b"a").await.unwrap();
    let mut local = within(accepted).await.unwrap();
    assert_eq!(within(local.read_u8()).await.unwrap(), b'a');
    joined.carrier.cut();
    assert!(within(stream.read_u8()).await.is_err());
    assert!(within(local.read_u8()).await.is_err());
    within(joined.carrier.ended()).await;
}
