//! The description of `/api/v1`: OpenAPI 3.1, made from the operations themselves.

use std::sync::Arc;

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{HeaderValue, header};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response,
        ResponseBuilder, SecurityRequirement,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::api::{State, caller::SESSION_COOKIE, problem::ProblemBody};

/// The name of the answer that all failures share.
const FAILURE: &str = "Failure";

const ABOUT: &str = "Users, tunnels, API keys, sessions and the audit trail of a Portunus gateway.\n\n\
    Send an API key as `Authorization: Bearer ptn_…`. Browsers that are signed in send their cookie; \
    to change something they need `X-CSRF-Token` as well, which `/api/v1/me` tells. A key in a query \
    string is refused. What belongs to somebody else answers 404.\n\n\
    Failures are problems (RFC 9457). Records have an `ETag`; send it as `If-Match` to change only \
    what was read (412 otherwise), as `If-None-Match` to be told 304 when nothing changed. Lists go \
    on at `cursor`, the `next` of the page before. Times are UTC (RFC 3339), durations seconds.";

/// A failure, for descriptions.
pub(super) type ProblemRef = ProblemBody<'static>;

/// What is said before any operation.
pub(super) fn frame() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Portunus")
        .version("1")
        .description(Some(ABOUT))
        .build();
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("ptn_…")
        .build();
    let session = ApiKey::Cookie(ApiKeyValue::new(SESSION_COOKIE));
    let mut components = Components::new();
    components.add_security_scheme("key", SecurityScheme::Http(key));
    components.add_security_scheme("session", SecurityScheme::ApiKey(session));
    components
        .responses
        .insert(FAILURE.to_owned(), RefOr::T(failure()));
    components
        .schemas
        .insert("Problem".to_owned(), ProblemRef::schema());
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .security(Some([
            SecurityRequirement::new("key", [] as [&str; 0]),
            SecurityRequirement::new("session", [] as [&str; 0]),
        ]))
        .build()
}

fn failure() -> Response {
    let problem = Ref::from_schema_name(ProblemRef::name());
    let content = ContentBuilder::new().schema(Some(problem)).build();
    ResponseBuilder::new()
        .description("What went wrong")
        .content("application/problem+json", content)
        .build()
}

/// The description, with what holds for every operation.
pub(super) fn finish(mut description: OpenApi) -> OpenApi {
    for path in description.paths.paths.values_mut() {
        let operations = [
            &mut path.get,
            &mut path.put,
            &mut path.post,
            &mut path.patch,
            &mut path.delete,
        ];
        for operation in operations.into_iter().flatten() {
            let failure = Ref::from_response_name(FAILURE);
            operation
                .responses
                .responses
                .insert("default".to_owned(), RefOr::Ref(failure));
        }
    }
    description
}

/// Serves it.
pub(super) fn routes(description: OpenApi) -> Router<Arc<State>> {
    let text = finish(description).to_pretty_json().unwrap_or_default();
    let text = Bytes::from(text + "\n");
    let answer = move || {
        let text = text.clone();
        async move {
            let json = HeaderValue::from_static("application/json");
            let public = HeaderValue::from_static("public, max-age=300");
            (
                [
                    (header::CONTENT_TYPE, json),
                    (header::CACHE_CONTROL, public),
                ],
                text,
            )
        }
    };
    Router::new().route("/api/v1/openapi.json", get(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a change that is wanted: `UPDATE_GOLDEN=1 cargo nextest run -p gateway openapi`.
    #[test]
    fn the_description_is_the_one_that_is_published() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        let (_, description) = super::super::operations().split_for_parts();
        let text = finish(description).to_pretty_json().unwrap() + "\n";
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), text);
    }
}
