//! Answering an agent that asks for a carrier.

use std::{net::IpAddr, sync::Arc};

use auth::{
    directory::{Caller, Refused, TunnelEntry},
    identity::{Context, IdentityError},
    permit::{Actor, Resource, may},
    scope::{Kind, Verb},
    tunnel::Tunnel,
};
use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use relay::tunnel::{
    agent::{Carriage, Granted},
    carrier::Timing,
    edge::{Admission, handshake},
    protocol::{BadHello, Hello},
};

use super::Tunnels;
use crate::http::Body;

/// Why an agent gets no carrier, as it reads it.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("this address is for portunus-agent; see `portunus-agent --help`")]
    NotAnAgent,
    #[error("{0}")]
    Hello(#[from] BadHello),
    #[error("there is no API key; give one with --key or PORTUNUS_KEY")]
    NoKey,
    #[error("the API key is not good: {0}")]
    Key(Refused),
    #[error("the key may not connect the tunnel '{0}', or there is no such tunnel of yours")]
    NotYours(String),
    #[error("the key may not connect any tunnel; it needs the scope tunnel:connect")]
    NoneYours,
    #[error("the key's owner has several tunnels; choose one with --name: {0}")]
    Several(String),
    #[error("another agent is connected as '{0}' and keeps the name; stop it to connect this one")]
    Taken(String),
    #[error("{0}")]
    Identity(IdentityError),
    #[error("the gateway is shutting down")]
    ShuttingDown,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotAnAgent | Self::Hello(_) => StatusCode::BAD_REQUEST,
            Self::NoKey | Self::Key(_) => StatusCode::UNAUTHORIZED,
            Self::NotYours(_) | Self::NoneYours | Self::Several(_) => StatusCode::FORBIDDEN,
            Self::Taken(_) => StatusCode::CONFLICT,
            Self::Identity(IdentityError::TooMany { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Self::Identity(IdentityError::InvalidName(_) | IdentityError::NameTaken(_)) => {
                StatusCode::CONFLICT
            }
            Self::Identity(_) | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// What an agent was found to be allowed.
struct Agent {
    hello: Hello,
    carriage: Carriage,
    caller: Arc<Caller>,
    tunnel: Arc<TunnelEntry>,
}

/// Answers a request for a carrier. Must run within the runtime that serves requests, since the
/// carrier stays there.
pub(crate) async fn answer(
    tunnels: &Arc<Tunnels>,
    ip: Option<IpAddr>,
    mut request: Request<Incoming>,
) -> Response<Body> {
    match admit(tunnels, ip, request.headers()).await {
        Ok(agent) => {
            let granted = Granted {
                url: tunnels.url(&agent.tunnel.name),
                tunnel: agent.tunnel.name.to_string(),
                carriers: tunnels.config.carriers,
            };
            let response = handshake::granted(agent.carriage, request.headers(), &granted);
            let upgrade = hyper::upgrade::on(&mut request);
            let carry = carry(Arc::clone(tunnels), agent, upgrade);
            tunnels.carriers.spawn(carry);
            response.map(|()| Body::Empty)
        }
        Err(refusal) => {
            tracing::debug!(%refusal, "agent refused");
            let status = refusal.status();
            let again = status == StatusCode::SERVICE_UNAVAILABLE
                || status == StatusCode::TOO_MANY_REQUESTS;
            let pause = match &refusal {
                Refusal::Identity(IdentityError::TooMany { retry_after }) => *retry_after,
                _ => std::time::Duration::from_secs(1),
            };
            handshake::refused(status, &refusal.to_string(), again.then_some(pause)).map(Body::from)
        }
    }
}

async fn admit(
    tunnels: &Tunnels,
    ip: Option<IpAddr>,
    headers: &HeaderMap,
) -> Result<Agent, Refusal> {
    if tunnels.stop.is_cancelled() {
        return Err(Refusal::ShuttingDown);
    }
    let carriage = handshake::asked(headers).ok_or(Refusal::NotAnAgent)?;
    let hello = Hello::read(headers)?;
    let key = bearer(headers).ok_or(Refusal::NoKey)?;
    let identity = &tunnels.identity;
    let now = identity.clock().now();
    let caller = identity
        .directory()
        .by_key(key, now)
        .map_err(Refusal::Key)?;
    let actor = Actor::User(Arc::clone(&caller));
    let context = Context::new(actor.clone(), ip, Some(&hello.agent));
    if let Some(key) = caller.key() {
        identity.used(key, &context);
    }
    let name = match &hello.tunnel {
        Some(name) => name.clone(),
        None => own_tunnel(tunnels, &caller, &context).await?,
    };
    let tunnel = identity
        .directory()
        .may_use_tunnel(&actor, Verb::Connect, &name);
    let Some(tunnel) = tunnel else {
        return Err(Refusal::NotYours(name));
    };
    let policy = tunnels.config.on_conflict;
    if !tunnels.registry.would_take(&name, hello.session, policy) {
        return Err(Refusal::Taken(name));
    }
    Ok(Agent {
        hello,
        carriage,
        caller,
        tunnel,
    })
}

/// The tunnel of a key that names none: the one it is bound to, or its owner's only one, or a new
/// one if there is none.
async fn own_tunnel(
    tunnels: &Tunnels,
    caller: &Caller,
    context: &Context,
) -> Result<String, Refusal> {
    let identity = &tunnels.identity;
    if let Some(bound) = caller.tunnel
        && let Some(tunnel) = identity.directory().tunnel(bound)
    {
        return Ok(tunnel.name.to_string());
    }
    let owner = caller.user.id;
    let actor = Actor::User(Arc::new(caller.clone()));
    let page = auth::identity::Page {
        cursor: None,
        limit: 20,
    };
    let listing = identity
        .tunnels(Some(owner), &page)
        .await
        .map_err(Refusal::Identity)?;
    let names: Vec<&str> = listing
        .items
        .iter()
        .map(|item| item.name.as_str())
        // Others are none of the key's business.
        .filter(|name| {
            let may = identity
                .directory()
                .may_use_tunnel(&actor, Verb::Connect, name);
            listing.items.len() == 1 || may.is_some()
        })
        .collect();
    match names.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => {
            // What a key may not connect it has no use for, nor may it make it.
            let any = Resource::of(owner, Kind::Tunnel, "");
            if !listing.items.is_empty() || may(&actor, Verb::Connect, &any).is_err() {
                return Err(Refusal::NoneYours);
            }
            let made = identity.create_tunnel(owner, None, context).await;
            let tunnel: Tunnel = match made {
                Ok(tunnel) => {
                    // The agent's next carrier must find it.
                    identity.directory().caught_up(tunnel.revision).await;
                    tunnel.record
                }
                Err(IdentityError::Exists(tunnel)) => *tunnel,
                Err(error) => return Err(Refusal::Identity(error)),
            };
            Ok(tunnel.name)
        }
        several => Err(Refusal::Several(several.join(", "))),
    }
}

/// Runs one carrier until it ends, its key is no longer good for the tunnel, or the gateway stops.
async fn carry(tunnels: Arc<Tunnels>, agent: Agent, upgrade: OnUpgrade) {
    let Agent {
        hello,
        carriage,
        caller,
        tunnel: entry,
    } = agent;
    let tunnel = &*entry.name;
    let Ok(upgraded) = upgrade.await else { return };
    let io = TokioIo::new(upgraded);
    let (carrier, run) = match handshake::carry(io, carriage, Timing::default()).await {
        Ok(carried) => carried,
        Err(error) => {
            tracing::debug!(%tunnel, %error, "carrier did not start");
            return;
        }
    };
    let admitted = tunnels.registry.admit(
        tunnel,
        hello.session,
        carrier,
        tunnels.config.on_conflict,
        tunnels.config.carriers,
    );
    let Admission::Admitted(membership) = admitted else {
        tracing::debug!(%tunnel, ?admitted, "carrier not admitted");
        return;
    };
    tracing::info!(%tunnel, session = %hello.session, agent = %hello.agent, "agent connected");
    // Made after the place was taken: what was revoked before it ends it at once.
    let ended = tunnels
        .identity
        .directory()
        .connection_ended(&caller, &entry);
    tokio::select! {
        ended = run => tracing::info!(%tunnel, %ended, "agent disconnected"),
        () = ended => {
            tracing::info!(%tunnel, "agent disconnected: its key is no longer good for the tunnel");
            membership.session().end();
        }
        () = tunnels.stop.cancelled() => {}
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
