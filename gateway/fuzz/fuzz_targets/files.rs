//! Any path and headers at a directory of files: never an error of ours, never a byte from outside
//! the directory. The first line is the path, the others are headers.
#![no_main]

use std::{fs, sync::LazyLock};

use gateway::{config, handler::FileServer};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;

const OUTSIDE: &[u8] = b"not to be served";

struct Served {
    runtime: Runtime,
    files: FileServer,
}

static SERVED: LazyLock<Served> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join(format!("portunus-fuzz-{}", std::process::id()));
    let root = directory.join("root");
    fs::create_dir_all(root.join("a")).expect("the temporary directory can be written");
    for (name, content) in [
        ("secret", OUTSIDE),
        ("root/.hidden", OUTSIDE),
        ("root/index.html", b"<!doctype html>".as_slice()),
        ("root/app.js", b"let a = 1;"),
        ("root/app.js.br", b"br"),
        ("root/app.js.gz", b"gz"),
        ("root/a/index.html", b"a"),
    ] {
        fs::write(directory.join(name), content).expect("the temporary directory can be written");
    }
    let config = config::Files {
        root,
        index: vec!["index.html".to_owned()],
        fallback: None,
        precompressed: true,
        dotfiles: false,
    };
    Served {
        runtime: tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime of one thread"),
        files: FileServer::new(&config).expect("the root is there"),
    }
});

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|byte| *byte == b'\n');
    let Ok(path) = std::str::from_utf8(lines.next().unwrap_or_default()) else {
        return;
    };
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&line[colon + 1..])) {
            headers.append(name, value);
        }
    }
    let Served { runtime, files } = &*SERVED;
    let (status, body) = runtime.block_on(async {
        let response = files.serve(&Method::GET, path, None, &headers).await;
        let status = response.status();
        let body = response.into_body().collect().await;
        (status, body.expect("the files stay as they are").to_bytes())
    });
    assert!(!status.is_server_error(), "{status}");
    assert!(!body.windows(OUTSIDE.len()).any(|window| window == OUTSIDE));
});
