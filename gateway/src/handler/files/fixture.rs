//! Real directories and requests for tests.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use http_body::Body;
use http_body_util::BodyExt;

use super::{
    FileBody, FileServer,
    open::{Resolution, Root},
};
use crate::config::Files;

/// A fresh directory, removed with everything in it on drop.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        loop {
            let path =
                std::env::temp_dir().join(format!("portunus-files-{:016x}", fastrand::u64(..)));
            match fs::create_dir(&path) {
                Ok(()) => return Self(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, making the directories above it.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub(super) fn config(&self) -> Files {
        Files {
            root: self.0.clone(),
            index: vec!["index.html".to_owned()],
            fallback: None,
            precompressed: false,
            dotfiles: false,
        }
    }

    pub(super) fn server(&self) -> FileServer {
        FileServer::new(&self.config()).unwrap()
    }
}

impl AsRef<Path> for Directory {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// One server for each way to open files that works here. Each request looks at the root anew.
pub(super) fn servers(config: &Files) -> Vec<FileServer> {
    let open = || Root::open(&config.root).unwrap();
    let ways: &[_] = match open().resolution {
        Resolution::Cached => &[Resolution::Cached, Resolution::Beneath, Resolution::Walk],
        Resolution::Beneath => &[Resolution::Beneath, Resolution::Walk],
        Resolution::Walk => &[Resolution::Walk],
    };
    ways.iter()
        .map(|way| {
            let mut root = open();
            root.resolution = *way;
            FileServer::with_root(config, root, Duration::ZERO).unwrap()
        })
        .collect()
}

/// A whole response.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub(super) async fn get(server: &FileServer, path: &str, fields: &[(&str, &str)]) -> Answer {
    request(server, Method::GET, path, fields).await
}

pub(super) async fn request(
    server: &FileServer,
    method: Method,
    target: &str,
    fields: &[(&str, &str)],
) -> Answer {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    whole(server.serve(&method, path, query, &headers).await).await
}

/// Reads the body and holds every answer to what it promised.
async fn whole(response: Response<FileBody>) -> Answer {
    let (head, mut body) = response.into_parts();
    let promised = body.size_hint().exact().unwrap();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
        assert_eq!(
            body.size_hint().exact(),
            Some(promised - bytes.len() as u64)
        );
    }
    assert!(body.is_end_stream());
    assert_eq!(bytes.len() as u64, promised);
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: bytes,
    }
}
