//! The behaviour of the whole server.

use std::{
    fs::{self, File, FileTimes},
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    time::{Duration, UNIX_EPOCH},
};

use http::{HeaderMap, Method};
use http_body::Body;
use http_body_util::BodyExt;
use rustix::fs::{Advice, CWD, FileType, Mode, fadvise, mknodat};

use super::{
    FileServer, FilesError,
    fixture::{Answer, Directory, get, request, servers},
    open::Resolution,
};

/// Compressible nonsense in which every stretch differs.
fn content(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| ((at / 7) ^ (at >> 11)) as u8)
        .collect()
}

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
async fn no_path_leaves_the_root() {
    let outside = Directory::new();
    outside.write("secret.txt", b"secret");
    let directory = Directory::new();
    directory.write("a/inside.txt", b"inside");
    directory.write(".git/config", b"secret");
    directory.write(".env", b"secret");
    symlink("/etc", directory.path("etc")).unwrap();
    symlink("/etc/passwd", directory.path("passwd")).unwrap();
    symlink(outside.path("secret.txt"), directory.path("absolute.txt")).unwrap();
    let name = outside.as_ref().file_name().unwrap().to_str().unwrap();
    symlink(
        format!("../{name}/secret.txt"),
        directory.path("relative.txt"),
    )
    .unwrap();
    symlink(format!("../../{name}"), directory.path("a/up")).unwrap();
    symlink("/proc/self/root", directory.path("magic")).unwrap();
    symlink("circle", directory.path("circle")).unwrap();
    let paths = [
        "/../../../../etc/passwd",
        "/a/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/a/%2E%2E/a/inside.txt",
        "/%c0%ae%c0%ae/etc/passwd",
        "/%e0%80%ae%e0%80%ae/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/a%2finside.txt",
        "/a%5cinside.txt",
        "/..%5c..%5cetc",
        "/a\\inside.txt",
        "/a/inside.txt%00",
        "/a/inside.txt%00.png",
        "//etc/passwd",
        "/a//inside.txt",
        "/./a/inside.txt",
        "/etc/passwd",
        "/etc/",
        "/etc",
        "/passwd",
        "/absolute.txt",
        "/relative.txt",
        "/a/up/secret.txt",
        "/magic/etc/passwd",
        "/circle",
        "/circle/x",
        "/.git/config",
        "/.env",
        "/%2eenv",
        "/a/inside.txt/",
        "/a/inside.txt/x",
        "etc/passwd",
        "",
        "*",
    ];
    for server in servers(&directory.config()) {
        for path in paths {
            let answer = get(&server, path, &[]).await;
            assert_eq!(
                (answer.status, answer.text()),
                (404, "404 Not Found\n"),
                "{path}"
            );
        }
        assert_eq!(get(&server, "/a/inside.txt", &[]).await.text(), "inside");
    }
}

#[tokio::test]
async fn links_inside_the_root_are_followed_where_the_kernel_confines_them() {
    let directory = Directory::new();
    directory.write("releases/1/app.js", b"app");
    symlink("releases/1", directory.path("current")).unwrap();
    symlink("../releases/1/app.js", directory.path("releases/latest.js")).unwrap();
    for server in servers(&directory.config()) {
        let expected = if server.site.root().resolution == Resolution::Walk {
            404
        } else {
            200
        };
        for path in ["/current/app.js", "/releases/latest.js"] {
            assert_eq!(get(&server, path, &[]).await.status, expected, "{path}");
        }
    }
}

#[tokio::test]
async fn only_regular_files_are_served_and_nothing_hangs() {
    let directory = Directory::new();
    mknodat(
        CWD,
        directory.path("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    let _listener = UnixListener::bind(directory.path("socket")).unwrap();
    // Needs privileges; without them the name is merely missing.
    let _ = mknodat(
        CWD,
        directory.path("null"),
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        0x103,
    );
    for server in servers(&directory.config()) {
        for path in ["/fifo", "/socket", "/null"] {
            assert_eq!(get(&server, path, &[]).await.status, 404, "{path}");
        }
    }
}

#[tokio::test]
async fn an_unreadable_file_looks_missing() {
    let directory = Directory::new();
    let path = directory.write("private", b"x");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
    // Root reads everything.
    let expected = if File::open(&path).is_ok() { 200 } else { 404 };
    assert_eq!(
        get(&directory.server(), "/private", &[]).await.status,
        expected
    );
}

#[tokio::test]
async fn a_name_too_long_for_the_disk_is_missing() {
    let directory = Directory::new();
    for server in servers(&directory.config()) {
        for path in [format!("/{}", "x".repeat(300)), "/x".repeat(5_000)] {
            assert_eq!(get(&server, &path, &[]).await.status, 404);
        }
    }
}

#[tokio::test]
async fn dotfiles_need_permission_except_well_known_ones() {
    let directory = Directory::new();
    directory.write(".well-known/security.txt", b"mail us");
    directory.write(".hidden", b"hidden");
    let answer = get(&directory.server(), "/.well-known/security.txt", &[]).await;
    assert_eq!(answer.text(), "mail us");
    let open = FileServer::new(&crate::config::Files {
        dotfiles: true,
        ..directory.config()
    })
    .unwrap();
    assert_eq!(get(&open, "/.hidden", &[]).await.text(), "hidden");
}

#[tokio::test]
async fn a_directory_is_its_first_index() {
    let directory = Directory::new();
    directory.write("index.htm", b"root");
    directory.write("docs/index.html", b"docs");
    fs::create_dir_all(directory.path("odd/index.html")).unwrap();
    directory.write("odd/index.htm", b"odd");
    let mut config = directory.config();
    config.index.push("index.htm".to_owned());
    for server in servers(&config) {
        for (path, text) in [("/", "root"), ("/docs/", "docs"), ("/odd/", "odd")] {
            let answer = get(&server, path, &[]).await;
            assert_eq!((answer.status, answer.text()), (200, text), "{path}");
            assert_eq!(
                answer.header("content-type"),
                Some("text/html; charset=utf-8")
            );
        }
    }
}

#[tokio::test]
async fn a_directory_without_its_slash_is_redirected() {
    let directory = Directory::new();
    directory.write("docs/index.html", b"docs");
    directory.write("a b:c/d/index.html", b"d");
    directory.write("assets/app.js", b"app");
    for server in servers(&directory.config()) {
        for (path, location) in [
            ("/docs", "./docs/"),
            ("/docs?", "./docs/?"),
            ("/docs?a=%2f&b=//x", "./docs/?a=%2f&b=//x"),
            ("/a%20b:c/d", "./d/"),
        ] {
            let answer = get(&server, path, &[]).await;
            assert_eq!(
                (answer.status, answer.header("location")),
                (308, Some(location)),
                "{path}"
            );
        }
        // Without an index there is nothing to be redirected to, and nothing is listed.
        assert_eq!(get(&server, "/assets", &[]).await.status, 404);
        assert_eq!(get(&server, "/assets/", &[]).await.status, 404);
        assert_eq!(get(&server, "/", &[]).await.status, 404);
    }
}

#[tokio::test]
async fn the_fallback_answers_for_paths_that_name_no_file() {
    let directory = Directory::new();
    directory.write("index.html", b"<app>");
    directory.write("app.js", b"app");
    directory.write("assets/logo.svg", b"<svg/>");
    directory.write(".env", b"secret");
    symlink("/etc/passwd", directory.path("passwd")).unwrap();
    let mut config = directory.config();
    config.fallback = Some("/index.html".to_owned());
    for server in servers(&config) {
        let long = format!("/login/{}", "x".repeat(400));
        for path in [
            "/users/42",
            "/app.js/x",
            "/assets",
            "/assets/",
            "/users/",
            &*long,
        ] {
            let answer = get(&server, path, &[]).await;
            assert_eq!((answer.status, answer.text()), (200, "<app>"), "{path}");
            assert_eq!(answer.header("cache-control"), Some("no-cache"));
            assert_eq!(
                answer.header("content-type"),
                Some("text/html; charset=utf-8")
            );
            let tag = answer.header("etag").unwrap();
            let again = get(&server, path, &[("if-none-match", tag)]).await;
            assert_eq!(
                (again.status, again.header("cache-control")),
                (304, Some("no-cache"))
            );
        }
        assert_eq!(
            get(&server, "/index.html", &[])
                .await
                .header("cache-control"),
            None
        );
        for refused in ["/.env", "/.git/config", "/a%2Fb", "/../x", "/passwd"] {
            assert_eq!(get(&server, refused, &[]).await.status, 404, "{refused}");
        }
        assert_eq!(
            request(&server, Method::POST, "/users/42", &[])
                .await
                .status,
            405
        );
    }
}

#[tokio::test]
async fn a_missing_fallback_is_404() {
    let directory = Directory::new();
    let mut config = directory.config();
    config.fallback = Some("index.html".to_owned());
    assert_eq!(
        get(&FileServer::new(&config).unwrap(), "/x", &[])
            .await
            .status,
        404
    );
    fs::create_dir(directory.path("index.html")).unwrap();
    assert_eq!(
        get(&FileServer::new(&config).unwrap(), "/x", &[])
            .await
            .status,
        404
    );
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
    let config = crate::config::Files {
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
    let config = crate::config::Files {
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
        (std::io::ErrorKind::UnexpectedEof, 500_000)
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
async fn a_replaced_root_is_followed() {
    let directory = Directory::new();
    directory.write("releases/1/index.html", b"one");
    directory.write("releases/2/index.html", b"two");
    symlink("releases/1", directory.path("current")).unwrap();
    let config = crate::config::Files {
        root: directory.path("current"),
        ..directory.config()
    };
    for server in servers(&config) {
        assert_eq!(get(&server, "/", &[]).await.text(), "one");

        symlink("releases/2", directory.path("next")).unwrap();
        fs::rename(directory.path("next"), directory.path("current")).unwrap();
        assert_eq!(get(&server, "/", &[]).await.text(), "two");

        // Gone for a moment: the last directory stays.
        fs::remove_file(directory.path("current")).unwrap();
        assert_eq!(get(&server, "/", &[]).await.text(), "two");
        symlink("releases/1", directory.path("current")).unwrap();
        assert_eq!(get(&server, "/", &[]).await.text(), "one");
    }
}

#[test]
fn a_root_that_cannot_be_opened_is_an_error_that_names_it() {
    let directory = Directory::new();
    directory.write("file", b"");
    for name in ["missing", "file"] {
        let config = crate::config::Files {
            root: directory.path(name),
            ..directory.config()
        };
        let error = FileServer::new(&config).unwrap_err();
        assert!(matches!(error, FilesError::Root { .. }));
        assert!(
            error.to_string().contains(config.root.to_str().unwrap()),
            "{error}"
        );
    }
}

#[test]
fn configured_names_stay_below_the_root() {
    let directory = Directory::new();
    for name in ["", "/", "../x", "a/../../x", "a//b", "./a", "a\0b"] {
        let fallback = crate::config::Files {
            fallback: Some(name.to_owned()),
            ..directory.config()
        };
        let index = crate::config::Files {
            index: vec![name.to_owned()],
            ..directory.config()
        };
        for config in [fallback, index] {
            assert!(
                matches!(FileServer::new(&config), Err(FilesError::Name { .. })),
                "{name:?}"
            );
        }
    }
}
