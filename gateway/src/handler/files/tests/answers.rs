//! What an answer says about its file.

use std::{
    fs::{self, File, FileTimes},
    time::{Duration, UNIX_EPOCH},
};

use http::Method;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{
    super::fixture::{Answer, Directory, get, request, servers},
    content,
};
use crate::config::Files;

#[tokio::test]
async fn a_file_is_served_whole() {
    let directory = Directory::new();
    directory.write("a b/hello.txt", b"hello\n");
    for server in servers(&directory.config()) {
        let answer = get(&server, "/a%20b/hello.txt", &[]).await;
        assert_eq!((answer.status, answer.text()), (200, "hello\n"));
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(answer.header("content-length"), Some("6"));
        assert_eq!(answer.header("accept-ranges"), Some("bytes"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("vary"), None);
        assert_eq!(answer.header("cache-control"), None);
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let directory = Directory::new();
    directory.write("small.css", b"a{}");
    directory.write("large.bin", &content(300_000));
    let server = directory.server();
    for path in ["/small.css", "/large.bin", "/missing"] {
        let (get, head) = (
            get(&server, path, &[]).await,
            request(&server, Method::HEAD, path, &[]).await,
        );
        assert_eq!(
            (head.status, &head.headers),
            (get.status, &get.headers),
            "{path}"
        );
        assert!(head.body.is_empty() && !get.body.is_empty());
    }
    // Ranges are defined for GET only.
    let head = request(
        &server,
        Method::HEAD,
        "/small.css",
        &[("range", "bytes=0-0")],
    )
    .await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("3"))
    );
}

#[tokio::test]
async fn other_methods_are_told_what_is_allowed() {
    let directory = Directory::new();
    directory.write("a", b"a");
    for method in [
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
    ] {
        let answer = request(&directory.server(), method, "/a", &[]).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some("GET, HEAD"))
        );
    }
}

#[tokio::test]
async fn errors_are_short_plain_text() {
    let directory = Directory::new();
    let answer = get(&directory.server(), "/missing", &[]).await;
    assert_eq!((answer.status, answer.text()), (404, "404 Not Found\n"));
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn what_the_client_has_is_not_sent_again() {
    let directory = Directory::new();
    let path = directory.write("a.txt", b"one");
    let old = UNIX_EPOCH + Duration::from_secs(784_111_777);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_times(FileTimes::new().set_modified(old))
        .unwrap();
    let server = directory.server();
    let first = get(&server, "/a.txt", &[]).await;
    let (tag, date) = (
        first.header("etag").unwrap(),
        first.header("last-modified").unwrap(),
    );
    assert_eq!(date, "Sun, 06 Nov 1994 08:49:37 GMT");
    for condition in [("if-none-match", tag), ("if-modified-since", date)] {
        let answer = get(&server, "/a.txt", &[condition, ("range", "bytes=0-0")]).await;
        assert_eq!((answer.status, answer.text()), (304, ""), "{condition:?}");
        assert_eq!(answer.header("etag"), Some(tag));
        assert_eq!(answer.header("last-modified"), Some(date));
        assert_eq!(answer.header("content-length"), None);
    }
    let failed = get(&server, "/a.txt", &[("if-match", "\"other\"")]).await;
    assert_eq!(
        (failed.status, failed.text()),
        (412, "412 Precondition Failed\n")
    );

    // Replaced by rename with the same size and time, as deployment tools do.
    let new = directory.write("new", b"two");
    File::options()
        .write(true)
        .open(&new)
        .unwrap()
        .set_times(FileTimes::new().set_modified(old))
        .unwrap();
    fs::rename(new, path).unwrap();
    let answer = get(&server, "/a.txt", &[("if-none-match", tag)]).await;
    assert_eq!((answer.status, answer.text()), (200, "two"));
}

#[tokio::test]
async fn one_range_is_sent_from_small_and_large_files() {
    let directory = Directory::new();
    for length in [1_000, 400_000] {
        let content = content(length);
        directory.write("file.bin", &content);
        let server = directory.server();
        for (range, expected) in [
            ("bytes=0-0", 0..1),
            ("bytes=10-19", 10..20),
            ("bytes=500-", 500..length),
            ("bytes=-7", length - 7..length),
            ("bytes=900-99999999999", 900..length),
        ] {
            let answer = get(&server, "/file.bin", &[("range", range)]).await;
            assert_eq!(answer.status, 206, "{range}");
            let described = format!("bytes {}-{}/{length}", expected.start, expected.end - 1);
            assert_eq!(answer.header("content-range"), Some(&*described));
            assert!(answer.body == content[expected], "{range}");
        }
        for range in ["bytes=5-2", "bytes=0-1,5-6", "lines=1-2", "bytes=x"] {
            let answer = get(&server, "/file.bin", &[("range", range)]).await;
            assert_eq!((answer.status, answer.body.len()), (200, length), "{range}");
            assert_eq!(answer.header("content-range"), None);
        }
        let answer = get(&server, "/file.bin", &[("range", "bytes=400000-")]).await;
        assert_eq!(
            answer.header("content-range"),
            Some(&*format!("bytes */{length}"))
        );
        assert_eq!(
            (answer.status, answer.text()),
            (416, "416 Range Not Satisfiable\n")
        );
    }
}

#[tokio::test]
async fn a_resumed_download_gets_the_rest_only_of_the_same_file() {
    let directory = Directory::new();
    directory.write("file.bin", b"0123456789");
    let server = directory.server();
    let first = get(&server, "/file.bin", &[]).await;
    let tag = first.header("etag").unwrap();
    let same = get(
        &server,
        "/file.bin",
        &[("range", "bytes=5-"), ("if-range", tag)],
    )
    .await;
    assert_eq!((same.status, same.text()), (206, "56789"));
    assert_eq!(same.header("etag"), Some(tag));
    for other in ["\"other\"", "W/\"x\"", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        let whole = get(
            &server,
            "/file.bin",
            &[("range", "bytes=50-"), ("if-range", other)],
        )
        .await;
        assert_eq!((whole.status, whole.text()), (200, "0123456789"), "{other}");
    }
}

#[tokio::test]
async fn precompressed_siblings_answer_for_the_plain_file() {
    let directory = Directory::new();
    directory.write("app.js", b"plain javascript");
    directory.write("app.js.gz", b"gzipped");
    directory.write("app.js.zst", b"zstandard");
    directory.write("plain.css", b"a{}");
    directory.write("index.html", b"page");
    directory.write("index.html.br", b"brotli");
    let config = Files {
        precompressed: true,
        fallback: Some("index.html".to_owned()),
        ..directory.config()
    };
    for server in servers(&config) {
        let with =
            async |path, accepted| get(&server, path, &[("accept-encoding", accepted)]).await;
        let shape = |answer: &Answer| {
            assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
            (
                answer.header("content-encoding").map(str::to_owned),
                answer.text().to_owned(),
            )
        };
        let coded = |coding: &str, text: &str| (Some(coding.to_owned()), text.to_owned());
        let plain = |text: &str| (None, text.to_owned());

        assert_eq!(
            shape(&with("/app.js", "gzip, deflate, br, zstd").await),
            coded("zstd", "zstandard")
        );
        assert_eq!(
            shape(&with("/app.js", "gzip, br").await),
            coded("gzip", "gzipped")
        );
        assert_eq!(
            shape(&with("/app.js", "gzip;q=1, zstd;q=0.9").await),
            coded("gzip", "gzipped")
        );
        assert_eq!(
            shape(&with("/app.js", "br").await),
            plain("plain javascript")
        );
        assert_eq!(
            shape(&with("/app.js", "gzip;q=0, zstd;q=0").await),
            plain("plain javascript")
        );
        assert_eq!(
            shape(&get(&server, "/app.js", &[]).await),
            plain("plain javascript")
        );
        assert_eq!(shape(&with("/plain.css", "gzip").await), plain("a{}"));
        assert_eq!(shape(&with("/", "br").await), coded("br", "brotli"));
        let fallback = with("/some/view", "br").await;
        assert_eq!(shape(&fallback), coded("br", "brotli"));
        assert_eq!(fallback.header("cache-control"), Some("no-cache"));

        let coded = with("/app.js", "gzip").await;
        assert_eq!(
            coded.header("content-type"),
            Some("text/javascript; charset=utf-8")
        );
        let tag = coded.header("etag").unwrap();
        assert_ne!(get(&server, "/app.js", &[]).await.header("etag"), Some(tag));
        let fields = [
            ("accept-encoding", "gzip"),
            ("range", "bytes=1-2"),
            ("if-range", tag),
        ];
        let part = get(&server, "/app.js", &fields).await;
        assert_eq!((part.status, part.text()), (206, "zi"));
        assert_eq!(part.header("content-range"), Some("bytes 1-2/7"));
        assert_eq!(part.header("content-encoding"), Some("gzip"));
        let same = get(
            &server,
            "/app.js",
            &[("accept-encoding", "gzip"), ("if-none-match", tag)],
        )
        .await;
        assert_eq!(
            (same.status, same.header("vary")),
            (304, Some("Accept-Encoding"))
        );
    }
}

#[tokio::test]
async fn a_compressed_file_alone_does_not_make_its_plain_name_exist() {
    let directory = Directory::new();
    directory.write("backup.gz", b"gz");
    fs::create_dir(directory.path("folder")).unwrap();
    directory.write("folder.gz", b"gz");
    directory.write("fifo.txt", b"plain");
    mknodat(
        CWD,
        directory.path("fifo.txt.gz"),
        FileType::Fifo,
        Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    let config = Files {
        precompressed: true,
        ..directory.config()
    };
    for server in servers(&config) {
        let gzip = [("accept-encoding", "gzip")];
        assert_eq!(get(&server, "/backup", &gzip).await.status, 404);
        assert_eq!(get(&server, "/folder", &gzip).await.status, 404);
        assert_eq!(get(&server, "/fifo.txt", &gzip).await.text(), "plain");
        let direct = get(&server, "/backup.gz", &gzip).await;
        assert_eq!(
            (direct.status, direct.header("content-encoding")),
            (200, None)
        );
        assert_eq!(direct.header("content-type"), Some("application/gzip"));
    }
}
