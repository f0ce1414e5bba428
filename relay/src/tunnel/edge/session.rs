//! One run of an agent: its carriers, as a source of streams.

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::tunnel::{
    OpenError, Stream,
    carrier::Carrier,
    protocol::{Kind, SessionId},
};

/// Orders the sessions of a gateway: greater for each than for all before.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Epoch(u64);

impl Epoch {
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// An agent that is connected, over one carrier or several.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    epoch: Epoch,
    carriers: ArcSwap<Vec<Carrier>>,
    /// Cancelled when another session took the name, the key was revoked, or nothing is left.
    ended: CancellationToken,
}

impl Session {
    pub(super) fn new(id: SessionId, epoch: Epoch) -> Self {
        Self {
            id,
            epoch,
            carriers: ArcSwap::default(),
            ended: CancellationToken::new(),
        }
    }

    /// What the agent calls it.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Its place among all sessions of this gateway.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Opens a stream on the carrier that has the fewest. One that takes no more, since its agent
    /// drains it, is passed over for the next.
    pub async fn open(&self, kind: Kind) -> Result<Stream, OpenError> {
        let mut usable: Vec<Carrier> = {
            let carriers = self.carriers.load();
            let usable = carriers.iter().filter(|carrier| !carrier.is_ended());
            usable.cloned().collect()
        };
        usable.sort_by_key(Carrier::load);
        for carrier in usable {
            if let Ok(stream) = carrier.open(kind).await {
                return Ok(stream);
            }
        }
        Err(OpenError::Carrier)
    }

    /// Open streams of all carriers.
    pub fn load(&self) -> usize {
        self.carriers.load().iter().map(Carrier::load).sum()
    }

    /// Carriers that can take streams.
    pub fn carriers(&self) -> usize {
        let carriers = self.carriers.load();
        carriers
            .iter()
            .filter(|carrier| !carrier.is_ended())
            .count()
    }

    /// Ends it with all its carriers and streams.
    pub fn end(&self) {
        self.ended.cancel();
        for carrier in self.carriers.load().iter() {
            carrier.cut();
        }
    }

    /// Whether it has ended.
    pub fn is_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Waits for its end.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    pub(super) fn add(&self, carrier: &Carrier) {
        self.carriers.rcu(|carriers| {
            let live = carriers.iter().filter(|carrier| !carrier.is_ended());
            let mut carriers: Vec<_> = live.cloned().collect();
            carriers.push(carrier.clone());
            carriers
        });
    }

    /// Forgets carriers that have ended. Whether any is left.
    pub(super) fn prune(&self) -> bool {
        let carriers = self.carriers.rcu(|carriers| {
            let live = carriers.iter().filter(|carrier| !carrier.is_ended());
            live.cloned().collect::<Vec<_>>()
        });
        drop(carriers);
        self.carriers() > 0
    }
}
