//! The keys that tokens for others are signed with: opened, rotated, followed.

use std::{sync::Arc, time::Duration};

use auth::{
    seal::MasterKey,
    store::{Clock, Store},
    token::{Keys, Rotation, TokenError},
};

use tokio_util::sync::CancellationToken;

use crate::config::auth::{Signing, Tokens};

/// How often it is asked whether the signing key is old enough to be replaced.
const LOOK: Duration = Duration::from_secs(3600);

/// The keys, kept fresh on the runtime this is called on until `stop`; `None` if tokens are signed with a shared
/// secret, of which nothing is published.
pub(super) async fn open(
    config: &Tokens,
    store: &Arc<dyn Store>,
    seal: &Arc<MasterKey>,
    clock: &Arc<dyn Clock>,
    stop: &CancellationToken,
) -> Result<Option<Arc<Keys>>, TokenError> {
    if matches!(config.signing, Signing::Hs256(_)) {
        return Ok(None);
    }
    let rotation = Rotation {
        every: config.rotate,
        longest_token: config.lifetime.max(Rotation::default().longest_token),
    };
    let keys = Keys::open(
        Arc::clone(store),
        Arc::clone(seal),
        Arc::clone(clock),
        rotation,
    );
    let keys = Arc::new(keys.await?);
    let follow = follow(Arc::clone(&keys));
    tokio::spawn(stop.clone().run_until_cancelled_owned(follow));
    let rotate = rotate(Arc::clone(&keys));
    tokio::spawn(stop.clone().run_until_cancelled_owned(rotate));
    Ok(Some(keys))
}

async fn follow(keys: Arc<Keys>) {
    if let Err(error) = keys.follow().await {
        tracing::error!(%error, "the token keys are not followed");
    }
}

async fn rotate(keys: Arc<Keys>) {
    let mut every = tokio::time::interval(LOOK);
    loop {
        every.tick().await;
        match keys.rotate_if_due().await {
            Ok(true) => tracing::info!("tokens are signed with a new key from now on"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the token keys were not rotated; trying again"),
        }
    }
}
