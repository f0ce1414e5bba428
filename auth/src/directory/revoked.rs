//! Telling who asks what was revoked.

use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};

use crate::key::KeyId;
use crate::session::SessionId;
use crate::tunnel::TunnelId;
use crate::user::UserId;

/// Revocations that are kept for a subscriber that does not look; then it is told `Everything`.
const KEPT: usize = 1024;

/// Something is good no longer. Expiry is not told: who holds a connection open asks
/// [`Directory::still_good`](super::Directory::still_good) or waits for
/// [`Directory::ended`](super::Directory::ended).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Revoked {
    Key(KeyId),
    Session(SessionId),
    /// Disabled, deleted, or no longer of the same role.
    User(UserId),
    /// Deleted, or of another name or owner.
    Tunnel(TunnelId),
    /// More than was kept: check everything again.
    Everything,
}

pub(super) fn channel() -> Sender<Revoked> {
    Sender::new(KEPT)
}

/// What was revoked, in order. Missing some shows as [`Revoked::Everything`].
#[derive(Debug)]
pub struct Revocations(Receiver<Revoked>);

impl Revocations {
    pub(super) fn new(receiver: Receiver<Revoked>) -> Self {
        Self(receiver)
    }

    /// Waits for the next one; `None` says that the directory is gone. Dropping the future loses
    /// nothing.
    pub async fn next(&mut self) -> Option<Revoked> {
        match self.0.recv().await {
            Ok(revoked) => Some(revoked),
            Err(RecvError::Lagged(_)) => Some(Revoked::Everything),
            Err(RecvError::Closed) => None,
        }
    }
}
