//! A new TLS connection for every request: TCP connect, full handshake, one request, close.

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::{Instant, timeout};

use super::{
    GRACE, Outcome, Target,
    client::{Tls, get},
};
use crate::error::{Doing, Error, Result};

/// `workers` connections at a time. A latency is from connect to the end of the answer.
pub async fn connect(target: &Target<'_>, workers: usize, duration: Duration) -> Result<Outcome> {
    let tls = Tls::new(target.workspace)?;
    let started = Instant::now();
    let end = started + duration;
    let work = try_join_all((0..workers).map(|_| worker(&tls, target, end)));
    let Ok(latencies) = timeout(duration + GRACE, work).await else {
        return Err(Error::Load(format!(
            "a request to {} got stuck",
            target.url()
        )));
    };
    Outcome::from_latencies(latencies?.concat(), started.elapsed())
        .ok_or_else(|| Error::Load(format!("no connection to {} in time", target.url())))
}

/// One connection after the other until `end`; returns the microseconds of each.
async fn worker(tls: &Tls, target: &Target<'_>, end: Instant) -> Result<Vec<u64>> {
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let started = Instant::now();
        let stream = tls.connect(target.address).await;
        let mut stream = stream.doing(|| format!("connect to {}", target.url()))?;
        get(&mut stream, target, true).await?;
        latencies.push(started.elapsed().as_micros() as u64);
    }
    Ok(latencies)
}
