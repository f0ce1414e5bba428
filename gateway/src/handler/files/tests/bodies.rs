//! The bytes of an answer, whatever happens to the file.

use std::{
    fs::{self, File},
    io,
};

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body::Body;
use http_body_util::BodyExt;
use rustix::fs::{Advice, fadvise};

use super::{
    super::{
        FileBody,
        fixture::{Directory, get, servers},
    },
    content,
};

#[tokio::test]
async fn sizes_around_every_border_arrive_whole() {
    let directory = Directory::new();
    let servers = servers(&directory.config());
    for length in [0, 1, 65_535, 65_536, 65_537, 131_072, 131_073, 1_000_003] {
        let content = content(length);
        directory.write("file.bin", &content);
        for server in &servers {
            let answer = get(server, "/file.bin", &[]).await;
            assert_eq!(answer.status, 200);
            assert!(answer.body == content, "{length}");
            assert_eq!(answer.header("content-length"), Some(&*length.to_string()));
        }
    }
}

#[tokio::test]
async fn a_cold_cache_changes_nothing() {
    let directory = Directory::new();
    let server = directory.server();
    for length in [5_000, 3_000_000] {
        let content = content(length);
        let file = File::open(directory.write("cold.bin", &content)).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        assert!(
            get(&server, "/cold.bin", &[]).await.body == content,
            "{length}"
        );
    }
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_sent_ends_in_an_error() {
    let directory = Directory::new();
    let path = directory.write("log.bin", &content(1_000_000));
    let server = directory.server();
    let response = server
        .serve(&Method::GET, "/log.bin", None, &HeaderMap::new())
        .await;
    let mut body = response.into_body();
    assert_eq!(body.size_hint().exact(), Some(1_000_000));
    let mut received = body
        .frame()
        .await
        .unwrap()
        .unwrap()
        .into_data()
        .unwrap()
        .len();
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(500_000)
        .unwrap();
    let error = loop {
        match body
            .frame()
            .await
            .expect("the promised length is not reached")
        {
            Ok(frame) => received += frame.into_data().unwrap().len(),
            Err(error) => break error,
        }
    };
    assert_eq!(
        (error.kind(), received),
        (io::ErrorKind::UnexpectedEof, 500_000)
    );
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_file_that_grows_while_it_is_sent_keeps_its_promised_length() {
    let directory = Directory::new();
    let before = content(200_000);
    let path = directory.write("log.bin", &before);
    let server = directory.server();
    let response = server
        .serve(&Method::GET, "/log.bin", None, &HeaderMap::new())
        .await;
    fs::write(path, [&before[..], b"more"].concat()).unwrap();
    let mut body = response.into_body();
    let mut received = Vec::new();
    while let Some(frame) = body.frame().await {
        received.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    assert!(received == before);
}

#[tokio::test]
async fn chunks_are_bounded_and_their_memory_is_used_again() {
    let directory = Directory::new();
    directory.write("a.bin", &content(1_000_000));
    let server = directory.server();
    let mut body = server
        .serve(&Method::GET, "/a.bin", None, &HeaderMap::new())
        .await
        .into_body();
    while let Some(frame) = body.frame().await {
        assert!(frame.unwrap().into_data().unwrap().len() <= 128 << 10);
        assert_eq!(server.pool.free(), 1);
    }
}

#[tokio::test]
async fn a_body_dropped_while_it_waits_gives_its_memory_back() {
    let directory = Directory::new();
    let file = File::open(directory.write("a.bin", &content(3_000_000))).unwrap();
    let server = directory.server();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    let response = server
        .serve(&Method::GET, "/a.bin", None, &HeaderMap::new())
        .await;
    let mut body = response.into_body();
    // One poll: a chunk, or a read under way on another thread.
    std::future::poll_fn(|cx| {
        let _ = std::pin::Pin::new(&mut body).poll_frame(cx);
        std::task::Poll::Ready(())
    })
    .await;
    drop(body);
    while server.pool.free() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.pool.free(), 1);
}

#[test]
fn bodies_and_answers_cross_threads() {
    fn is_body<T: Body<Data = Bytes, Error = io::Error> + Send + Sync + Unpin + 'static>() {}
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    is_body::<FileBody>();
    let directory = Directory::new();
    let (server, headers) = (directory.server(), HeaderMap::new());
    drop(is_send(server.serve(&Method::GET, "/", None, &headers)));
}
