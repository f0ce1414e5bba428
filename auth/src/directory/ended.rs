//! Waiting for one caller's end.
//!
//! Who waits is found by user: whatever happens to a key, session, tunnel or the user wakes the few
//! that wait for callers of that user, and they look again. Expiry is waited for with a timer, in
//! steps, because the clock of the machine may be set.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Caller, Directory, TunnelEntry};
use crate::user::UserId;

/// The longest a waiter sleeps before it looks at the clock again.
const STEP: Duration = Duration::from_secs(60);
/// The shortest, for a clock that stands still.
const LEAST: Duration = Duration::from_millis(1);

/// A future that resolves when a caller is let in no longer. Made by [`Directory::ended`] and
/// [`Directory::connection_ended`].
pub struct Ended(Pin<Box<dyn Future<Output = ()> + Send + Sync>>);

impl Ended {
    pub(super) fn new(directory: Directory, caller: Arc<Caller>) -> Self {
        let bell = directory.0.waiting.bell(caller.user.id);
        Self(Box::pin(async move {
            loop {
                let mut rung = std::pin::pin!(bell.notified());
                rung.as_mut().enable();
                let now = directory.0.clock.now();
                let Ok(until) = directory.good_until(&caller, now) else {
                    return;
                };
                let left = until.map(|until| until.duration_since(now).unwrap_or_default());
                let sleep = left.map_or(STEP, |left| left.clamp(LEAST, STEP));
                tokio::select! {
                    () = rung => {}
                    () = tokio::time::sleep(sleep), if left.is_some() => {}
                }
            }
        }))
    }
}

impl Ended {
    /// Resolves when `caller` may no longer connect `tunnel` under the name it has, as well.
    pub(super) fn of_connection(
        directory: Directory,
        caller: Arc<Caller>,
        tunnel: Arc<TunnelEntry>,
    ) -> Self {
        // Whatever happens to the tunnel rings for its owner, who need not be the caller.
        let bells = [caller.user.id, tunnel.owner].map(|user| directory.0.waiting.bell(user));
        let let_in = Self::new(directory.clone(), Arc::clone(&caller));
        Self(Box::pin(async move {
            let replaced = async {
                loop {
                    let [one, other] = &bells;
                    let (mut one, mut other) = (
                        std::pin::pin!(one.notified()),
                        std::pin::pin!(other.notified()),
                    );
                    one.as_mut().enable();
                    other.as_mut().enable();
                    if !directory.may_still_connect(&caller, &tunnel) {
                        return;
                    }
                    tokio::select! {
                        () = one => {}
                        () = other => {}
                    }
                }
            };
            tokio::select! {
                () = let_in => {}
                () = replaced => {}
            }
        }))
    }
}

impl Future for Ended {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl std::fmt::Debug for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ended")
    }
}

/// A bell per user somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Bells>);

#[derive(Debug, Default)]
struct Bells {
    by_user: HashMap<UserId, Weak<Notify>>,
    /// When there are so many, those nobody waits for any more are cleared away.
    clear_at: usize,
}

impl Waiting {
    fn bell(&self, user: UserId) -> Arc<Notify> {
        let mut bells = self.0.lock();
        if let Some(bell) = bells.by_user.get(&user).and_then(Weak::upgrade) {
            return bell;
        }
        if bells.by_user.len() >= bells.clear_at {
            bells.by_user.retain(|_, bell| bell.strong_count() > 0);
            bells.clear_at = (bells.by_user.len() * 2).max(64);
        }
        let bell = Arc::new(Notify::new());
        bells.by_user.insert(user, Arc::downgrade(&bell));
        bell
    }

    pub(super) fn ring(&self, user: UserId) {
        if let Some(bell) = self.0.lock().by_user.get(&user).and_then(Weak::upgrade) {
            bell.notify_waiters();
        }
    }

    pub(super) fn ring_all(&self) {
        for bell in self.0.lock().by_user.values().filter_map(Weak::upgrade) {
            bell.notify_waiters();
        }
    }
}
