//! `/_health`: is anybody there.

use std::sync::Arc;

use axum::{Json, Router, extract, routing::get};
use serde::Serialize;

use super::State;

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new().route("/_health", get(health))
}

/// In the form that clients of the original tunnel server know.
#[derive(Serialize)]
struct Health {
    status: &'static str,
    active_connections: usize,
}

async fn health(extract::State(state): extract::State<Arc<State>>) -> Json<Health> {
    Json(Health {
        status: "healthy",
        active_connections: state
            .tunnels
            .as_ref()
            .map_or(0, |tunnels| tunnels.connected()),
    })
}
