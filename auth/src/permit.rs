//! Who may do what: one table.
//!
//! In goes an [`Actor`], a [`Verb`] and a [`Resource`], out comes yes or [`Denied`]. The table says
//! what each kind of person may do to what is theirs, to what is another's, and to what is nobody's
//! in particular. A key may do what its owner may, as far as its scopes reach. What belongs to
//! somebody else answers as if it were not there.

use std::fmt;
use std::sync::Arc;

use crate::directory::Caller;
use crate::scope::{Kind, Verb};
use crate::user::{Role, UserId};

/// Who wants something.
#[derive(Clone, Debug)]
pub enum Actor {
    /// Nobody that is known.
    Anonymous,
    /// A user, by a session or a key.
    User(Arc<Caller>),
    /// Whoever has the shell of the machine, over the control socket.
    Operator,
}

/// What somebody wants something of.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    pub kind: Kind,
    /// Whose it is; `None` for what is nobody's in particular, such as a route or a list of all.
    pub owner: Option<UserId>,
    /// What the patterns of scopes are matched with. Empty for a list or something without a name.
    pub name: &'a str,
}

impl<'a> Resource<'a> {
    /// Something of nobody in particular.
    pub fn common(kind: Kind, name: &'a str) -> Self {
        Self {
            kind,
            owner: None,
            name,
        }
    }

    /// Something that belongs to `owner`.
    pub fn of(owner: UserId, kind: Kind, name: &'a str) -> Self {
        Self {
            kind,
            owner: Some(owner),
            name,
        }
    }
}

/// Why somebody may not.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Denied {
    #[error("sign in first, or send an API key")]
    Unauthenticated,
    /// It belongs to somebody else: answer as if it were not there.
    #[error("there is no such thing, or it is not yours")]
    NotYours,
    #[error("this needs {needs}")]
    Forbidden { needs: Needs },
}

/// What would have been enough.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Needs {
    Role(Role),
    Scope(Kind, Verb),
    Operator,
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(role) => write!(f, "the role {role}"),
            Self::Scope(kind, verb) => write!(f, "a key with the scope {kind}:{verb}"),
            Self::Operator => f.write_str("the shell of the machine the gateway runs on"),
        }
    }
}

/// Whether `actor` may do `verb` to `resource`.
pub fn may(actor: &Actor, verb: Verb, resource: &Resource<'_>) -> Result<(), Denied> {
    let caller = match actor {
        Actor::Operator => return Ok(()),
        Actor::Anonymous => return Err(Denied::Unauthenticated),
        Actor::User(caller) => caller,
    };
    let whose = match resource.owner {
        None => Whose::Common,
        Some(owner) if owner == caller.user.id => Whose::Own,
        Some(_) => Whose::Others,
    };
    let role = caller.user.role;
    if !in_table(role, verb, resource.kind, whose) {
        return Err(match whose {
            Whose::Others if role == Role::User => Denied::NotYours,
            _ => Denied::Forbidden {
                needs: least_role(verb, resource.kind, whose),
            },
        });
    }
    if !caller.scopes.allows(verb, resource.kind, resource.name) {
        let needs = Needs::Scope(resource.kind, verb);
        return Err(Denied::Forbidden { needs });
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Whose {
    Own,
    Others,
    Common,
}

struct Row {
    role: Role,
    kind: Kind,
    whose: &'static [Whose],
    verbs: &'static [Verb],
}

const ANY: &[Whose] = &[Whose::Own, Whose::Others, Whose::Common];
const OWN: &[Whose] = &[Whose::Own];
const EVERY: &[Verb] = &Verb::ALL;
const LOOK: &[Verb] = &[Verb::Read];
const MAKE: &[Verb] = &[Verb::Create];
const CHANGE: &[Verb] = &[Verb::Read, Verb::Create, Verb::Update, Verb::Delete];

/// What is not here is denied. An operator may do everything, somebody unknown nothing.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row { role: Role::User,  kind: Kind::User,        whose: OWN, verbs: LOOK },
    Row { role: Role::User,  kind: Kind::Tunnel,      whose: OWN, verbs: &[Verb::Read, Verb::Create, Verb::Update, Verb::Delete, Verb::Connect] },
    Row { role: Role::User,  kind: Kind::Key,         whose: OWN, verbs: CHANGE },
    Row { role: Role::User,  kind: Kind::Session,     whose: OWN, verbs: &[Verb::Read, Verb::Delete] },
    Row { role: Role::User,  kind: Kind::Token,       whose: OWN, verbs: MAKE },
    Row { role: Role::User,  kind: Kind::Route,       whose: &[Whose::Common], verbs: &[Verb::Access] },
    Row { role: Role::Admin, kind: Kind::User,        whose: ANY, verbs: CHANGE },
    Row { role: Role::Admin, kind: Kind::Tunnel,      whose: ANY, verbs: EVERY },
    Row { role: Role::Admin, kind: Kind::Key,         whose: ANY, verbs: CHANGE },
    Row { role: Role::Admin, kind: Kind::Session,     whose: ANY, verbs: &[Verb::Read, Verb::Delete] },
    Row { role: Role::Admin, kind: Kind::Token,       whose: OWN, verbs: MAKE },
    Row { role: Role::Admin, kind: Kind::Audit,       whose: ANY, verbs: LOOK },
    Row { role: Role::Admin, kind: Kind::Route,       whose: ANY, verbs: &[Verb::Read, Verb::Access] },
    Row { role: Role::Admin, kind: Kind::Certificate, whose: ANY, verbs: CHANGE },
    Row { role: Role::Admin, kind: Kind::Relay,       whose: ANY, verbs: CHANGE },
    Row { role: Role::Admin, kind: Kind::Config,      whose: ANY, verbs: &[Verb::Read, Verb::Update] },
    Row { role: Role::Admin, kind: Kind::Store,       whose: ANY, verbs: LOOK },
];

fn in_table(role: Role, verb: Verb, kind: Kind, whose: Whose) -> bool {
    TABLE.iter().any(|row| {
        row.role == role
            && row.kind == kind
            && row.whose.contains(&whose)
            && row.verbs.contains(&verb)
    })
}

fn least_role(verb: Verb, kind: Kind, whose: Whose) -> Needs {
    if in_table(Role::Admin, verb, kind, whose) {
        Needs::Role(Role::Admin)
    } else {
        Needs::Operator
    }
}

#[cfg(test)]
mod tests;
