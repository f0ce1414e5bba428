//! What a key may be used for: scopes, `resource:verb` or `resource:verb:pattern`.
//!
//! `tunnel:connect` lets a key connect any tunnel of its owner, `tunnel:connect:happy-*` those whose
//! name begins so, `*:read` lets it read everything its owner can. In a pattern `*` stands for any
//! characters but `/`; a pattern that is `*` alone is any name. A resource or verb that is `*` is
//! every one. Several scopes stand with commas or white space between them.
//!
//! `tunnel:create`, which keys of other gateways have, implies `tunnel:connect`.
//!
//! A scope never gives anything: it only keeps part of what the owner of the key may do.

mod pattern;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::pattern::Pattern;

/// The most scopes of a key.
pub const MAX_SCOPES: usize = 32;

/// What is done to a resource.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verb {
    Read,
    Create,
    Update,
    Delete,
    /// Dial in as the agent of a tunnel.
    Connect,
    /// Send requests through a route.
    Access,
}

impl Verb {
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::Create,
        Self::Update,
        Self::Delete,
        Self::Connect,
        Self::Access,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Connect => "connect",
            Self::Access => "access",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The kinds of resources.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    User,
    Tunnel,
    Key,
    Session,
    /// A JSON Web Token about its owner; its name is the audience.
    Token,
    Audit,
    Route,
    Certificate,
    Relay,
    Config,
    Store,
}

impl Kind {
    pub const ALL: [Self; 11] = [
        Self::User,
        Self::Tunnel,
        Self::Key,
        Self::Session,
        Self::Token,
        Self::Audit,
        Self::Route,
        Self::Certificate,
        Self::Relay,
        Self::Config,
        Self::Store,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Tunnel => "tunnel",
            Self::Key => "key",
            Self::Session => "session",
            Self::Token => "token",
            Self::Audit => "audit",
            Self::Route => "route",
            Self::Certificate => "certificate",
            Self::Relay => "relay",
            Self::Config => "config",
            Self::Store => "store",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One scope.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scope {
    /// `None` is every kind.
    kind: Option<Kind>,
    /// `None` is every verb.
    verb: Option<Verb>,
    /// `None` is any name.
    pattern: Option<Pattern>,
}

impl Scope {
    /// Whether the scope covers doing `verb` to the `kind` called `name`.
    pub fn allows(&self, verb: Verb, kind: Kind, name: &str) -> bool {
        self.kind.is_none_or(|own| own == kind)
            && self.covers_verb(verb, kind)
            && self.pattern.as_ref().is_none_or(|own| own.matches(name))
    }

    fn covers_verb(&self, verb: Verb, kind: Kind) -> bool {
        let implied = (kind, verb, self.verb) == (Kind::Tunnel, Verb::Connect, Some(Verb::Create));
        implied || self.verb.is_none_or(|own| own == verb)
    }

    /// Whether everything `other` allows is allowed by this one too. Some that are may be denied.
    fn covers(&self, other: &Self) -> bool {
        let kinds = self.kind.is_none() || self.kind == other.kind;
        let verbs = match (other.verb, other.kind) {
            (None, _) => self.verb.is_none(),
            (Some(verb), Some(kind)) => self.covers_verb(verb, kind),
            (Some(verb), None) => self.verb.is_none_or(|own| own == verb),
        };
        let names = match (&self.pattern, &other.pattern) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => own.covers(other),
        };
        kinds && verbs && names && self.covers_implied(other)
    }

    /// `tunnel:create` inside `*:create` is more than that: it implies connecting.
    fn covers_implied(&self, other: &Self) -> bool {
        let implies =
            other.verb == Some(Verb::Create) && other.kind.is_none_or(|kind| kind == Kind::Tunnel);
        !implies || self.covers_verb(Verb::Connect, Kind::Tunnel)
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let error = |problem| ScopeError {
            scope: crate::record::cut(text, 100).into_owned(),
            problem,
        };
        let mut parts = text.splitn(3, ':');
        let kind = parts.next().unwrap_or_default();
        let verb = parts.next().ok_or_else(|| error(Problem::Form))?;
        let kind = match kind {
            "*" => None,
            word => Some(find(&Kind::ALL, word, Kind::word).ok_or_else(|| error(Problem::Kind))?),
        };
        let verb = match verb {
            "*" => None,
            word => Some(find(&Verb::ALL, word, Verb::word).ok_or_else(|| error(Problem::Verb))?),
        };
        let pattern = match parts.next() {
            None | Some("*") => None,
            Some(pattern) => Some(Pattern::parse(pattern).ok_or_else(|| error(Problem::Pattern))?),
        };
        Ok(Self {
            kind,
            verb,
            pattern,
        })
    }
}

fn find<T: Copy>(all: &[T], word: &str, name: fn(T) -> &'static str) -> Option<T> {
    all.iter().copied().find(|&one| name(one) == word)
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.map_or("*", Kind::word);
        let verb = self.verb.map_or("*", Verb::word);
        write!(f, "{kind}:{verb}")?;
        match &self.pattern {
            Some(pattern) => write!(f, ":{}", pattern.as_str()),
            None => Ok(()),
        }
    }
}

/// The scopes of a key. A clone costs nothing: what they are is shared.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scopes(Arc<[Scope]>);

impl Scopes {
    /// What a key has if nobody says otherwise: `tunnel:connect`.
    pub fn least() -> Self {
        Self(
            [Scope {
                kind: Some(Kind::Tunnel),
                verb: Some(Verb::Connect),
                pattern: None,
            }]
            .into(),
        )
    }

    /// Everything the owner may do: `*:*`. Sessions have it.
    pub fn all() -> Self {
        Self(
            [Scope {
                kind: None,
                verb: None,
                pattern: None,
            }]
            .into(),
        )
    }

    /// Whether one of the scopes covers doing `verb` to the `kind` called `name`.
    pub fn allows(&self, verb: Verb, kind: Kind, name: &str) -> bool {
        self.0.iter().any(|scope| scope.allows(verb, kind, name))
    }

    /// Whether everything `other` allows is allowed by these too, so that a key may make one with
    /// `other`. Where patterns make it hard to tell, the answer is no.
    pub fn covers(&self, other: &Self) -> bool {
        let covered = |wanted: &Scope| self.0.iter().any(|own| own.covers(wanted));
        other.0.iter().all(covered)
    }

    /// The scopes one by one.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// Whether nobody else shares what these are.
    pub(crate) fn is_unshared(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl FromStr for Scopes {
    type Err = ScopesError;

    fn from_str(text: &str) -> Result<Self, ScopesError> {
        let words = text
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|word| !word.is_empty());
        let (mut scopes, mut problems) = (Vec::new(), Vec::new());
        for word in words {
            match word.parse::<Scope>() {
                Ok(scope) if scopes.contains(&scope) => {}
                Ok(scope) => scopes.push(scope),
                Err(error) => problems.push(error),
            }
            if scopes.len() + problems.len() > MAX_SCOPES {
                return Err(ScopesError::TooMany);
            }
        }
        match (problems.is_empty(), scopes.is_empty()) {
            (false, _) => Err(ScopesError::Wrong(problems)),
            (true, true) => Err(ScopesError::Empty),
            (true, false) => Ok(Self(scopes.into())),
        }
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, scope) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{scope}")?;
        }
        Ok(())
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that is no scope.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("'{scope}': {problem}")]
pub struct ScopeError {
    scope: String,
    problem: Problem,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum Problem {
    #[error("a scope is resource:verb or resource:verb:pattern, such as tunnel:connect:happy-*")]
    Form,
    #[error(
        "the resource is one of user, tunnel, key, session, audit, route, certificate, relay, config, store, or *"
    )]
    Kind,
    #[error("the verb is one of read, create, update, delete, connect, access, or *")]
    Verb,
    #[error("the pattern has 1 to 128 of the characters a-z A-Z 0-9 - _ . / and *")]
    Pattern,
}

/// A text that is no list of scopes: every problem it has.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ScopesError {
    #[error("a key has at least one scope, such as tunnel:connect")]
    Empty,
    #[error("a key has at most {MAX_SCOPES} scopes")]
    TooMany,
    #[error("{}", join(.0))]
    Wrong(Vec<ScopeError>),
}

fn join(errors: &[ScopeError]) -> String {
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

#[cfg(test)]
mod tests;
