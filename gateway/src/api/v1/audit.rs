//! `/api/v1/audit`: who did what.

use std::sync::Arc;

use auth::{
    audit::{self, ActorKind, Chain, Export, Query as Wanted},
    permit::Resource,
    scope::{Kind, Verb},
};
use axum::{
    body::Body,
    extract,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::list::{Cursor, List, Number};
use crate::api::{
    State,
    caller::Asking,
    extract::{Json, Query},
    problem::Problem,
};

/// Rows of a page if the client does not say, and at most.
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;

pub(super) fn routes() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(verify))
        .routes(routes!(export))
}

/// Something that happened.
#[derive(Serialize, ToSchema)]
struct Entry {
    /// The first is 1, and none is left out.
    id: u64,
    #[schema(format = DateTime)]
    time: String,
    /// What happened, such as `key.create`.
    event: String,
    actor: Actor,
    /// What it was done to.
    resource: Option<Thing>,
    /// Details.
    #[schema(value_type = Object)]
    payload: Map<String, Value>,
    /// About the person; null if there was nothing, or it was erased.
    personal: Option<Personal>,
    /// SHA-256 of the row and all rows before it.
    hash: String,
    /// The hash of the row before.
    prev: String,
}

/// Who did something.
#[derive(Serialize, ToSchema)]
struct Actor {
    /// `user`, `key`, `agent`, `system` or `anonymous`.
    kind: ActorName,
    /// The user's number, or another id of that kind.
    id: String,
}

#[derive(Serialize, ToSchema)]
#[schema(value_type = String)]
struct ActorName(ActorKind);

/// What something was done to.
#[derive(Serialize, ToSchema)]
struct Thing {
    kind: String,
    id: String,
}

/// Who it was, as people can tell.
#[derive(Serialize, ToSchema)]
struct Personal {
    name: Option<String>,
    ip: Option<String>,
    user_agent: Option<String>,
}

impl From<audit::Entry> for Entry {
    fn from(entry: audit::Entry) -> Self {
        let row = entry.row;
        Self {
            id: row.id.0,
            time: row.time,
            event: row.event,
            actor: Actor {
                kind: ActorName(row.actor.kind),
                id: row.actor.id,
            },
            resource: row.resource.map(|resource| Thing {
                kind: resource.kind,
                id: resource.id,
            }),
            payload: row.payload,
            personal: entry.personal.map(|personal| Personal {
                name: personal.name,
                ip: personal.ip.map(|ip| ip.to_string()),
                user_agent: personal.user_agent,
            }),
            hash: entry.hash,
            prev: row.prev,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// What `next` of the page before was.
    #[param(inline)]
    cursor: Option<Cursor>,
    /// Rows of a page.
    #[serde(default = "default_limit", deserialize_with = "limit")]
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: usize,
    /// Only what this user did.
    #[param(inline)]
    actor: Option<Number>,
    /// Only this event; one that ends with a dot is all that begin with it, such as `key.`.
    #[serde(default, deserialize_with = "super::list::text")]
    #[param(max_length = 256)]
    event: Option<String>,
    /// Only what was done to the thing with this id.
    #[serde(default, deserialize_with = "super::list::text")]
    #[param(max_length = 256)]
    resource: Option<String>,
    /// Only what happened at this time or later.
    #[serde(default, deserialize_with = "moment")]
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<OffsetDateTime>,
    /// Only what happened before this time.
    #[serde(default, deserialize_with = "moment")]
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<OffsetDateTime>,
}

fn default_limit() -> usize {
    DEFAULT_LIMIT
}

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let limit = usize::deserialize(deserializer)?;
    match (1..=MAX_LIMIT).contains(&limit) {
        true => Ok(limit),
        false => Err(serde::de::Error::custom("the limit is from 1 to 200")),
    }
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OffsetDateTime>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = OffsetDateTime::parse(&text, &Rfc3339);
    parsed.map(Some).map_err(|_| {
        serde::de::Error::custom("a time is written as RFC 3339 says, 2026-04-15T12:00:00Z")
    })
}

/// The audit trail
///
/// For administrators, newest first. With a filter a page may be empty and not the last.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    tag = "audit",
    operation_id = "listAudit",
    params(Which),
    responses((status = 200, description = "A page of the trail", body = List<Entry>)),
)]
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    asking: Asking,
    Query(which): Query<Which>,
) -> Result<Json<List<Entry>>, Problem> {
    let chain = permitted(&state, &asking)?;
    let mut wanted = Wanted::new().limit(which.limit);
    if let Some(cursor) = which.cursor {
        wanted = wanted.before(audit::Id(cursor.number()));
    }
    if let Some(actor) = which.actor {
        wanted = wanted.by(audit::Actor::user(actor.0.to_string()));
    }
    if let Some(event) = which.event {
        wanted = wanted.event(event);
    }
    if let Some(resource) = which.resource {
        wanted = wanted.on(resource);
    }
    if let Some(from) = which.from {
        wanted = wanted.from(from.into());
    }
    if let Some(until) = which.until {
        wanted = wanted.until(until.into());
    }
    let found = chain.reader().query(&wanted).await?;
    Ok(Json(List {
        items: found.entries.into_iter().map(Entry::from).collect(),
        next: found.next.map(|id| Cursor::from_number(id.0).into_text()),
    }))
}

/// What verification found.
#[derive(Serialize, ToSchema)]
struct Report {
    valid: bool,
    /// How many rows are whole, up to the end or to where the trail is broken.
    entries: u64,
    /// The first row that is not as it was written, or not there.
    #[serde(rename = "brokenAt", skip_serializing_if = "Option::is_none")]
    broken_at: Option<u64>,
    /// Why, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// How many rows had personal columns that were erased, as later rows say.
    erased: u64,
    /// How many signed checkpoints agree.
    checkpoints: u64,
}

impl From<audit::Report> for Report {
    fn from(report: audit::Report) -> Self {
        Self {
            valid: report.valid,
            entries: report.entries,
            broken_at: report.broken_at.map(|id| id.0),
            reason: report.reason.map(|reason| reason.to_string()),
            erased: report.erased,
            checkpoints: report.checkpoints,
        }
    }
}

/// Verify the audit trail
///
/// Reads all of it: whether each row is as it was written, and the end the one that was signed.
#[utoipa::path(
    get,
    path = "/api/v1/audit/verify",
    tag = "audit",
    operation_id = "verifyAudit",
    responses((status = 200, description = "Whether it is whole", body = Report)),
)]
async fn verify(
    extract::State(state): extract::State<Arc<State>>,
    asking: Asking,
) -> Result<Json<Report>, Problem> {
    let chain = permitted(&state, &asking)?;
    Ok(Json(chain.reader().verify(&[]).await?.into()))
}

/// The whole audit trail
///
/// One JSON object per line, oldest first, each row exactly as it was hashed.
#[utoipa::path(
    get,
    path = "/api/v1/audit/export",
    tag = "audit",
    operation_id = "exportAudit",
    responses((status = 200, description = "Lines of JSON", body = String, content_type = "application/x-ndjson")),
)]
async fn export(
    extract::State(state): extract::State<Arc<State>>,
    asking: Asking,
) -> Result<Response, Problem> {
    let export = permitted(&state, &asking)?.reader().export(audit::Id(1));
    let lines = HeaderValue::from_static("application/x-ndjson");
    let body = Body::from_stream(stream::unfold(Some(export), next_lines));
    Ok(([(header::CONTENT_TYPE, lines)], body).into_response())
}

/// A failure ends the body early, which the client sees as one.
async fn next_lines(
    export: Option<Export>,
) -> Option<(Result<Bytes, audit::AuditError>, Option<Export>)> {
    let mut export = export?;
    match export.next().await {
        Ok(None) => None,
        Ok(Some(lines)) => Some((Ok(lines), Some(export))),
        Err(error) => {
            tracing::error!(%error, "the audit trail cannot be exported");
            Some((Err(error), None))
        }
    }
}

fn permitted<'a>(state: &'a State, asking: &Asking) -> Result<&'a Chain, Problem> {
    asking.may(Verb::Read, &Resource::common(Kind::Audit, ""))?;
    state.audit()
}
