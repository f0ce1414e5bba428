//! `/control/backup`: what only the command line asks for, over the control socket.
//!
//! On other doors these paths do not exist.

use std::{io, path::Path, sync::Arc};

use auth::store::RedbStore;
use axum::{
    Router,
    body::Body,
    extract::{Request, State as Shared},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};
use tokio::{fs::File, io::AsyncReadExt};

use super::{Origin, State, problem::Problem};

/// Read and sent at a time.
const CHUNK: usize = 64 * 1024;

/// Where backups are made from.
#[derive(Debug)]
pub struct Backups {
    /// `None` if the store is not the embedded one.
    pub store: Option<Arc<RedbStore>>,
    pub data_dir: std::path::PathBuf,
}

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new().route("/control/backup", get(backup))
}

/// A copy of the store as of this moment, while others read and write.
async fn backup(Shared(state): Shared<Arc<State>>, request: Request) -> Response {
    if !Origin::of(request.extensions()).operator {
        return Problem::not_found().into_response();
    }
    let Some(backups) = &state.backups else {
        return Problem::not_found().into_response();
    };
    let Some(store) = &backups.store else {
        let problem = Problem::new(
            StatusCode::CONFLICT,
            "not_embedded",
            "the store is a PostgreSQL database; back it up with its own tools, such as pg_dump",
        );
        return problem.into_response();
    };
    match copy(store, &backups.data_dir).await {
        Ok((file, length)) => {
            let body = Body::from_stream(stream::try_unfold(file, next_chunk));
            let octets = HeaderValue::from_static("application/octet-stream");
            let headers = [
                (header::CONTENT_TYPE, octets),
                (header::CONTENT_LENGTH, length.into()),
            ];
            (headers, body).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// Makes the copy beside the store and opens it. Its name is gone before it is sent, so that
/// whatever happens nothing is left behind.
async fn copy(store: &RedbStore, data_dir: &Path) -> Result<(File, u64), Problem> {
    let path = data_dir.join(format!("backup-{:016x}.tmp", fastrand::u64(..)));
    store.backup(&path).await?;
    let opened = async {
        let file = File::open(&path).await?;
        let length = file.metadata().await?.len();
        io::Result::Ok((file, length))
    };
    let opened = opened.await;
    let removed = tokio::fs::remove_file(&path).await;
    match (opened, removed) {
        (Ok(opened), Ok(())) => Ok(opened),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(path = %path.display(), %error, "a backup was made and cannot be sent");
            Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the backup cannot be read; the gateway's log says why",
            ))
        }
    }
}

async fn next_chunk(mut file: File) -> io::Result<Option<(Bytes, File)>> {
    let mut chunk = vec![0; CHUNK];
    let length = file.read(&mut chunk).await?;
    chunk.truncate(length);
    Ok((length > 0).then(|| (chunk.into(), file)))
}
