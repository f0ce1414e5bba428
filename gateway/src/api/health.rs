//! `/_health`: is anybody there.

use std::sync::Arc;

use axum::{Json, Router, routing::get};
use serde_json::{Value, json};

use super::State;

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new().route("/_health", get(health))
}

/// In the form that clients of the original tunnel server know.
async fn health() -> Json<Value> {
    Json(json!({ "status": "healthy", "active_connections": 0 }))
}
