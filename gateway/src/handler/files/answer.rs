//! The response to a request, once its file is known.
//!
//! In: the open file and the request's conditional and range fields. Out: status, headers and
//! body. Conditions come first, then the range (RFC 9110 §13.2.2, §14.2).

use std::{io, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{
        ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
        CONTENT_TYPE, ETAG, LAST_MODIFIED, LOCATION, VARY, X_CONTENT_TYPE_OPTIONS,
    },
};

use super::{
    body::{FileBody, Pool},
    conditional::{Validators, Verdict},
    find::Hit,
    range::{Selection, select},
};

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What about a request shapes the answer besides its path.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) head: bool,
    pub(super) headers: &'a HeaderMap,
    /// The server has precompressed files, so `Accept-Encoding` mattered.
    pub(super) negotiated: bool,
}

/// # Errors
/// Reading a small file failed; nothing has been sent.
pub(super) async fn file(
    request: Request<'_>,
    hit: Hit,
    pool: &Arc<Pool>,
) -> io::Result<Response<FileBody>> {
    let validators = Validators::new(&hit.file, SystemTime::now());
    match validators.evaluate(request.headers) {
        Verdict::Send => {}
        Verdict::NotModified => return Ok(not_modified(request, &hit, &validators)),
        Verdict::Failed => return Ok(status(StatusCode::PRECONDITION_FAILED, request.head)),
    }
    let len = hit.file.len;
    // §14.2: ranges are defined for GET only.
    let selection = if request.head || !validators.range_applies(request.headers) {
        Selection::Whole
    } else {
        select(request.headers, len)
    };
    let mut response = Response::new(FileBody::empty());
    let (offset, length) = match selection {
        Selection::Whole => (0, len),
        Selection::Part { offset, length } => {
            let range = format!("bytes {offset}-{}/{len}", offset + length - 1);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            response
                .headers_mut()
                .insert(CONTENT_RANGE, digits_and_slashes(&range));
            (offset, length)
        }
        Selection::Unsatisfiable => return Ok(unsatisfiable(len)),
    };
    describe(response.headers_mut(), request, &hit, &validators);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hit.content_type);
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    if let Some(coding) = hit.coding {
        headers.insert(CONTENT_ENCODING, coding.token());
    }
    if !request.head {
        *response.body_mut() = FileBody::file(hit.file, offset, length, pool).await?;
    }
    Ok(response)
}

/// An error in words.
pub(super) fn status(status: StatusCode, head: bool) -> Response<FileBody> {
    let reason = status.canonical_reason().unwrap_or("Error");
    let text = Bytes::from(format!("{} {reason}\n", status.as_str()));
    let length = text.len();
    let mut response = Response::new(if head {
        FileBody::empty()
    } else {
        FileBody::memory(text)
    });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, PLAIN_TEXT);
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    response
}

pub(super) fn method_not_allowed() -> Response<FileBody> {
    let mut response = status(StatusCode::METHOD_NOT_ALLOWED, false);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// Points to the same path with a slash at its end. The location names only the last segment
/// (`./docs/`): it is right whatever prefix was stripped on the way here, and it cannot be read as
/// another host.
pub(super) fn add_slash(path: &str, query: Option<&str>, head: bool) -> Response<FileBody> {
    let segment = path.rsplit('/').next().unwrap_or_default();
    let location = match query {
        Some(query) => format!("./{segment}/?{query}"),
        None => format!("./{segment}/"),
    };
    let Ok(location) = HeaderValue::try_from(location) else {
        return status(StatusCode::NOT_FOUND, head);
    };
    let mut response = status(StatusCode::PERMANENT_REDIRECT, head);
    response.headers_mut().insert(LOCATION, location);
    response
}

fn not_modified(request: Request<'_>, hit: &Hit, validators: &Validators) -> Response<FileBody> {
    let mut response = Response::new(FileBody::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    describe(response.headers_mut(), request, hit, validators);
    response
}

/// The fields a cache needs, which 304 carries too (§15.4.5).
fn describe(headers: &mut HeaderMap, request: Request<'_>, hit: &Hit, validators: &Validators) {
    headers.reserve(8);
    headers.insert(ETAG, validators.etag());
    headers.insert(LAST_MODIFIED, validators.last_modified());
    if request.negotiated {
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    if hit.revalidate {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
}

fn unsatisfiable(len: u64) -> Response<FileBody> {
    let mut response = status(StatusCode::RANGE_NOT_SATISFIABLE, false);
    response
        .headers_mut()
        .insert(CONTENT_RANGE, digits_and_slashes(&format!("bytes */{len}")));
    response
}

fn digits_and_slashes(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("a content range is visible ASCII")
}
