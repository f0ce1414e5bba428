//! Which file answers, and which never does.

use std::{
    fs::{self, File},
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
};

use http::Method;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::super::{
    FileServer, FilesError,
    fixture::{Directory, get, request, servers},
    open::Resolution,
};
use crate::config::Files;

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
    let open = FileServer::new(&Files {
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
        for (path, expected) in [
            ("/", Some("no-cache")),
            ("/index.html", Some("no-cache")),
            ("/app.js", None),
        ] {
            assert_eq!(
                get(&server, path, &[]).await.header("cache-control"),
                expected,
                "{path}"
            );
        }
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
async fn a_replaced_root_is_followed() {
    let directory = Directory::new();
    directory.write("releases/1/index.html", b"one");
    directory.write("releases/2/index.html", b"two");
    symlink("releases/1", directory.path("current")).unwrap();
    let config = Files {
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
        let config = Files {
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
        let fallback = Files {
            fallback: Some(name.to_owned()),
            ..directory.config()
        };
        let index = Files {
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

#[tokio::test]
async fn no_mixture_of_tricks_reveals_a_secret() {
    let outside = Directory::new();
    outside.write("secret", b"secret");
    let directory = Directory::new();
    directory.write("a/b", b"public");
    directory.write("index.html", b"public");
    directory.write(".git/secret", b"secret");
    symlink(outside.as_ref(), directory.path("a/out")).unwrap();
    let name = outside.as_ref().file_name().unwrap().to_str().unwrap();
    let pieces = [
        "/",
        "/",
        "/",
        "%2F",
        "%5C",
        "..",
        "%2e%2E",
        ".",
        "%00",
        "a",
        "b",
        "out",
        "secret",
        ".git",
        "%2Egit",
        name,
        "%C0%AE",
        "index.html",
        "%",
    ];
    let mut random = fastrand::Rng::with_seed(17);
    let servers = servers(&directory.config());
    let mut served = 0;
    for _ in 0..4_000 {
        let path: String = (0..random.usize(1..9))
            .map(|_| pieces[random.usize(0..pieces.len())])
            .collect();
        let path = format!("/{path}");
        let server = &servers[random.usize(0..servers.len())];
        let answer = get(server, &path, &[]).await;
        match answer.status {
            200 => assert_eq!(answer.text(), "public", "{path}"),
            status => assert_eq!(status, 404, "{path}"),
        }
        served += usize::from(answer.status == 200);
    }
    assert!(served > 0);
}
