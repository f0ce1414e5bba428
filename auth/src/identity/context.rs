//! Who does something, and from where.

use std::net::IpAddr;

use crate::permit::Actor;
use crate::record::cut;
use crate::scope::Scopes;
use crate::tunnel::TunnelId;
use crate::user::Role;

/// The most characters that are kept of a `User-Agent`.
const MAX_AGENT: usize = 200;

/// Who does something and from where, for the rules that depend on it and for the audit row.
#[derive(Clone, Debug)]
pub struct Context {
    pub actor: Actor,
    pub ip: Option<IpAddr>,
    pub user_agent: Option<String>,
}

impl Context {
    /// Somebody at `ip`.
    pub fn new(actor: Actor, ip: Option<IpAddr>, user_agent: Option<&str>) -> Self {
        Self {
            actor,
            ip,
            user_agent: user_agent.map(|agent| cut(agent, MAX_AGENT).into_owned()),
        }
    }

    /// The shell of the machine.
    pub fn operator() -> Self {
        Self::new(Actor::Operator, None, None)
    }

    /// Somebody not known yet, at `ip`.
    pub fn anonymous(ip: Option<IpAddr>, user_agent: Option<&str>) -> Self {
        Self::new(Actor::Anonymous, ip, user_agent)
    }

    /// At most 200 characters of the `User-Agent`.
    pub(crate) fn agent(&self) -> Option<String> {
        let agent = self.user_agent.as_deref()?;
        Some(cut(agent, MAX_AGENT).into_owned())
    }

    pub(crate) fn is_admin(&self) -> bool {
        match &self.actor {
            Actor::Operator => true,
            Actor::User(caller) => caller.user.role == Role::Admin,
            Actor::Anonymous => false,
        }
    }

    /// Whether the actor may hand on a key with `scopes`, for `tunnel` alone or for any: a key makes
    /// no key that reaches further than itself.
    pub(crate) fn may_give(&self, scopes: &Scopes, tunnel: Option<TunnelId>) -> bool {
        match &self.actor {
            Actor::User(caller) => {
                let bound = caller.tunnel.is_some() && caller.tunnel != tunnel;
                !bound && caller.scopes.covers(scopes)
            }
            Actor::Operator => true,
            Actor::Anonymous => false,
        }
    }

    /// Whether the actor may make an administrator: who may do everything, which no key does that
    /// is for some things only.
    pub(crate) fn may_make_admin(&self) -> bool {
        self.may_give(&Scopes::all(), None)
    }
}
