//! Static files.
//!
//! In: a method, a normalised path and the request's headers. Out: always a response. A request
//! runs through these files in this order: `target` decodes the path and refuses what must never
//! be served; `encoding` reads which precompressed forms the client takes; `find` opens the
//! file through `open`, which cannot leave the root that `site` keeps current; `answer`
//! applies conditions and ranges and writes the head; `body` sends the bytes.
//!
//! The first try never waits for a disk. When a name or a byte is not in memory the work moves to
//! a thread that may wait, so a cold cache does not slow other connections.

mod answer;
mod body;
mod conditional;
mod content_type;
mod encoding;
mod find;
#[cfg(test)]
mod fixture;
mod open;
mod range;
mod read;
mod site;
mod target;
#[cfg(test)]
mod tests;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderMap, Method, Response, StatusCode};
use tokio::task::spawn_blocking;

pub use self::body::FileBody;
use self::{
    answer::Request,
    body::Pool,
    encoding::Accepted,
    find::{Found, Names},
    open::{OpenError, Root, Wait},
    site::{RECHECK, Site},
    target::Target,
};
use crate::config::Files;

/// Serves the files below one directory.
#[derive(Debug)]
pub struct FileServer {
    site: Arc<Site>,
    pool: Arc<Pool>,
    precompressed: bool,
    dotfiles: bool,
}

/// Why a directory cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("cannot open the directory {}: {source}; check that it exists and that the gateway's user may enter it", path.display())]
    Root { path: PathBuf, source: io::Error },
    #[error("`{key}` of the files in {} is {name:?}; it must name a file below that directory, without `.` or `..`", root.display())]
    Name {
        key: &'static str,
        name: String,
        root: PathBuf,
    },
}

/// How often a file that shrinks while it is read is opened again before giving up.
const ATTEMPTS: usize = 3;

impl FileServer {
    /// Opens the root.
    ///
    /// # Errors
    /// The root is not a directory that can be opened, or `index` or `fallback` leave it.
    pub fn new(config: &Files) -> Result<Self, FilesError> {
        let root = Root::open(&config.root).map_err(|errno| FilesError::Root {
            path: config.root.clone(),
            source: errno.into(),
        })?;
        Self::with_root(config, root, RECHECK)
    }

    fn with_root(config: &Files, root: Root, recheck: Duration) -> Result<Self, FilesError> {
        let name = |key, name: &String| relative(key, name, config);
        let names = Names {
            index: config
                .index
                .iter()
                .map(|index| name("index", index))
                .collect::<Result<_, _>>()?,
            fallback: config
                .fallback
                .as_ref()
                .map(|page| name("fallback", page))
                .transpose()?,
        };
        Ok(Self {
            site: Arc::new(Site::new(config.root.clone(), root, names, recheck)),
            pool: Pool::new(),
            precompressed: config.precompressed,
            dotfiles: config.dotfiles,
        })
    }

    /// Answers one request. `path` is in the gateway's normal form; anything else is safe and ends
    /// as 404. Ranges: one per request, several get the whole file. Needs a tokio runtime.
    pub async fn serve(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Response<FileBody> {
        let head = method == Method::HEAD;
        if !head && method != Method::GET {
            return answer::method_not_allowed();
        }
        let Some(target) = Target::parse(path, self.dotfiles) else {
            return answer::status(StatusCode::NOT_FOUND, head);
        };
        let accepted = if self.precompressed {
            Accepted::parse(headers)
        } else {
            Accepted::default()
        };
        let request = Request {
            head,
            headers,
            negotiated: self.precompressed,
        };
        for _ in 0..ATTEMPTS {
            let hit = match self.find(&target, accepted).await {
                Ok(Found::File(hit)) => hit,
                Ok(Found::NeedsSlash) => return answer::add_slash(path, query, head),
                Err(error) => return answer::status(status_of(error), head),
            };
            match answer::file(request, hit, &self.pool).await {
                Ok(response) => return response,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => {
                    tracing::error!(path, %error, "cannot read a file, answered 500");
                    return answer::status(StatusCode::INTERNAL_SERVER_ERROR, head);
                }
            }
        }
        tracing::warn!(
            path,
            "a file kept shrinking while it was read, answered 503"
        );
        answer::status(StatusCode::SERVICE_UNAVAILABLE, head)
    }

    async fn find(&self, target: &Target<'_>, accepted: Accepted) -> Result<Found, OpenError> {
        let site = &self.site;
        if site.recheck_due() {
            let site = Arc::clone(site);
            // Fails only when the runtime is shutting down; then the old root will do.
            let _ = spawn_blocking(move || site.follow()).await;
        }
        match site.names.find(&site.root(), target, accepted, Wait::Never) {
            Err(OpenError::WouldBlock) => {}
            done => return done,
        }
        let (site, target) = (Arc::clone(site), target.to_owned());
        spawn_blocking(move || {
            site.names
                .find(&site.root(), &target, accepted, Wait::Allowed)
        })
        .await
        // The runtime is shutting down.
        .unwrap_or(Err(OpenError::Busy))
    }
}

fn relative(key: &'static str, name: &str, config: &Files) -> Result<Vec<u8>, FilesError> {
    let inside = name.strip_prefix('/').unwrap_or(name);
    if inside
        .split('/')
        .any(|segment| matches!(segment, "" | "." | ".."))
        || inside.contains('\0')
    {
        return Err(FilesError::Name {
            key,
            name: name.to_owned(),
            root: config.root.clone(),
        });
    }
    Ok(inside.as_bytes().to_vec())
}

fn status_of(error: OpenError) -> StatusCode {
    match error {
        OpenError::Missing | OpenError::Refused => StatusCode::NOT_FOUND,
        OpenError::Busy | OpenError::WouldBlock => StatusCode::SERVICE_UNAVAILABLE,
        OpenError::Broken => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
