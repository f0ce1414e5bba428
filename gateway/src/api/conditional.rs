//! Entity tags and the conditions on them (RFC 9110 §13).
//!
//! The tag of a record is the revision of the store it was written in. What is shown of a record
//! and kept beside it has a number of its own, after a hyphen: a new use of a key is another
//! representation, and no reason to refuse a change of the key.

use auth::store::Revision;
use axum::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use serde::Serialize;

use super::{extract::Json, problem::Problem};

/// A representation and its tag.
pub(super) struct Tagged<T> {
    pub(super) body: T,
    pub(super) tag: Tag,
}

/// What an entity tag is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) revision: Revision,
    /// Of what is kept beside the record.
    pub(super) beside: Option<u128>,
}

impl From<Revision> for Tag {
    fn from(revision: Revision) -> Self {
        Self {
            revision,
            beside: None,
        }
    }
}

impl Tag {
    fn text(self) -> String {
        match self.beside {
            None => format!("\"{}\"", self.revision),
            Some(beside) => format!("\"{}-{beside}\"", self.revision),
        }
    }

    fn header(self) -> HeaderValue {
        HeaderValue::try_from(self.text()).expect("digits and quotes are fit for a header")
    }
}

impl<T: Serialize> Tagged<T> {
    /// The representation, or that it is the one the client has.
    pub(super) fn answer(self, conditions: &Conditions) -> Response {
        if conditions.has(self.tag) {
            return (StatusCode::NOT_MODIFIED, tag_headers(self.tag)).into_response();
        }
        self.into_response()
    }
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        (tag_headers(self.tag), Json(self.body)).into_response()
    }
}

fn tag_headers(tag: Tag) -> [(HeaderName, HeaderValue); 2] {
    let private = HeaderValue::from_static("private, no-cache");
    [
        (header::ETAG, tag.header()),
        (header::CACHE_CONTROL, private),
    ]
}

/// `If-Match` and `If-None-Match`.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    if_match: Option<Vec<String>>,
    if_none_match: Option<Vec<String>>,
}

impl Conditions {
    /// Whether the client has this already.
    fn has(&self, tag: Tag) -> bool {
        let text = tag.text();
        self.if_none_match.as_ref().is_some_and(|tags| {
            tags.iter()
                .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == text)
        })
    }

    /// The revision a change is to be made to, if the client says; `current` is the one there is.
    /// A weak tag never matches (RFC 9110 §13.1.1).
    pub(super) fn revision(&self, current: Revision) -> Result<Option<Revision>, Problem> {
        let Some(tags) = &self.if_match else {
            return Ok(None);
        };
        let current_text = current.to_string();
        let matches = tags.iter().any(|tag| {
            let inner = tag
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'));
            let revision = inner.and_then(|inner| inner.split('-').next());
            tag == "*" || revision == Some(current_text.as_str())
        });
        match matches {
            true => Ok(Some(current)),
            false => Err(Problem::precondition_failed()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Conditions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self {
            if_match: tags(&parts.headers, &header::IF_MATCH)?,
            if_none_match: tags(&parts.headers, &header::IF_NONE_MATCH)?,
        })
    }
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Vec<String>>, Problem> {
    let mut found = None;
    for value in headers.get_all(name) {
        let text = value
            .to_str()
            .map_err(|_| Problem::bad_request(format!("the header {name} is not text")))?;
        let tags = text
            .split(',')
            .map(|tag| tag.trim().to_owned())
            .filter(|tag| !tag.is_empty());
        found.get_or_insert_with(Vec::new).extend(tags);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(name: &HeaderName, value: &str) -> Conditions {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::try_from(value).unwrap());
        Conditions {
            if_match: tags(&headers, &header::IF_MATCH).unwrap(),
            if_none_match: tags(&headers, &header::IF_NONE_MATCH).unwrap(),
        }
    }

    #[test]
    fn a_client_has_what_one_of_its_tags_says() {
        let tag = Tag {
            revision: 7.into(),
            beside: Some(5),
        };
        for (value, has) in [
            ("\"7-5\"", true),
            ("W/\"7-5\"", true),
            ("\"1\", \"7-5\"", true),
            ("*", true),
            ("\"7\"", false),
            ("7-5", false),
            ("", false),
        ] {
            let conditions = conditions(&header::IF_NONE_MATCH, value);
            assert_eq!(conditions.has(tag), has, "{value}");
        }
        assert!(!Conditions::default().has(tag));
    }

    #[test]
    fn a_change_is_made_to_what_the_client_read() {
        let current = Revision::from(7);
        for (value, sound) in [
            ("\"7\"", true),
            ("\"7-5\"", true),
            ("\"6\", \"7\"", true),
            ("*", true),
            ("W/\"7\"", false),
            ("\"77\"", false),
            ("7", false),
            ("", false),
        ] {
            let revision = conditions(&header::IF_MATCH, value).revision(current);
            assert_eq!(revision.is_ok(), sound, "{value}");
        }
        let none = Conditions::default().revision(current);
        assert_eq!(none.unwrap(), None);
    }
}
