//! Who may use a route.
//!
//! A [`Gate`] is made of a route's `access` when the route is built; a request goes in as
//! [`Asked`], and a [`Verdict`] or a [`Failure`] comes out. First everything goes that the client
//! says about its own identity ([`strip`]), then the address must be right, and then one of the
//! other kinds must let the request pass: `Authorization` ([`basic`], a key, [`jwt`]), a
//! [`session`], or another service ([`forward_auth`]). Credentials that are wrong are refused and
//! not passed over. Whoever is a user is vouched for to the upstream if the route says so
//! ([`assertion`]). Keys and sessions are looked up in memory; neither a lock nor the store is on
//! this path.

mod asked;
mod assertion;
mod attempts;
mod basic;
mod forward_auth;
mod jwt;
pub mod session;
mod strip;
mod verify;
mod who;

use std::{net::IpAddr, sync::Arc};

use auth::{
    apikey::ApiKey,
    directory::Caller,
    fetch::{Fetch, FetchSettings, PlainHttp},
    handover::Handover,
    identity::{Context, Identity},
    password::{Cost, Passwords},
    permit::{Actor, Resource, may},
    scope::{Kind, Verb},
    store::Clock,
};
use http::{HeaderMap, HeaderValue, header};
use url::Url;

pub use self::{
    asked::{Asked, Passed, Until, Verdict},
    verify::{VERIFY, verify},
};
use self::{
    assertion::Assertions, attempts::Attempts, basic::Users, forward_auth::ForwardAuth, jwt::Jwt,
    jwt::Rejected, strip::IdentityHeaders,
};
use crate::{
    config::{self, Config, access::SessionAccess},
    http::Failure,
    identity::Issuing,
    upstream::Pools,
};

/// Passwords of `basic` that are checked at the same time.
const AT_ONCE: usize = 2;
const KEY_BRAND: &str = "ptn_";

/// What the gates of all routes share.
#[derive(Debug)]
pub struct Shared {
    domain: Option<String>,
    /// Hosts that are served by others, which ask [`verify`] and may have sessions.
    elsewhere: Vec<String>,
    identity: Option<Identity>,
    handover: Option<Handover>,
    clock: Arc<dyn Clock>,
    attempts: Attempts,
    known: Option<basic::Known>,
    fetch: Option<Fetch>,
    assertions: Option<Assertions>,
}

/// What [`Shared`] is made of, beside the configuration.
#[derive(Debug)]
pub struct Rests {
    /// Without it nobody has a key or a session.
    pub identity: Option<Identity>,
    /// Signs what upstreams are told of a caller.
    pub issuing: Option<Arc<Issuing>>,
    pub clock: Arc<dyn Clock>,
}

impl Shared {
    /// For all routes of a gateway.
    pub fn new(config: &Config, rests: Rests) -> Self {
        let Rests {
            identity,
            issuing,
            clock,
        } = rests;
        let handover = identity.as_ref().map(|identity| {
            let (store, seal) = (Arc::clone(identity.store()), Arc::clone(identity.seal()));
            Handover::new(store, seal, Arc::clone(&clock))
        });
        let passwords = Passwords::new(Cost::default(), AT_ONCE).ok();
        let settings = FetchSettings {
            // The configuration has warned about it.
            plain_http: PlainHttp::Anywhere,
            ..FetchSettings::default()
        };
        let redirects = config.auth.redirects.iter();
        let elsewhere = redirects.filter_map(|origin| Url::parse(origin).ok());
        Self {
            domain: config.domain.clone(),
            elsewhere: elsewhere
                .filter_map(|url| url.host_str().map(str::to_owned))
                .collect(),
            identity,
            handover,
            clock,
            attempts: Attempts::new(),
            known: passwords.and_then(basic::Known::new),
            fetch: Fetch::new(&settings).ok(),
            assertions: issuing.map(Assertions::new),
        }
    }

    /// Whether a host that is no site of this gateway may have sessions of its people.
    pub fn is_elsewhere(&self, host: &str) -> bool {
        self.elsewhere.iter().any(|known| known == host)
    }

    /// Who the cookie of a site's host belongs to.
    fn session(&self, asked: &Asked<'_>) -> Option<Arc<Caller>> {
        let (identity, handover) = (self.identity.as_ref()?, self.handover.as_ref()?);
        let cookie = asked.cookie(session::COOKIE)?;
        let token = handover.open(asked.host, cookie)?;
        let now = self.clock.now();
        identity.directory().by_session(token.expose(), now).ok()
    }

    /// Whoever `caller` is, by what they showed.
    fn passed(&self, caller: Arc<Caller>, asked: &Asked<'_>) -> Passed {
        let mut passed = Passed {
            headers: who::headers(&caller),
            ..Passed::default()
        };
        if let Some(identity) = &self.identity {
            let actor = Actor::User(Arc::clone(&caller));
            let context = Context::new(actor, asked.client.ip, asked.agent());
            match (caller.key(), caller.session()) {
                (Some(key), _) => identity.used(key, &context),
                (None, Some(session)) => identity.touch(session, &context),
                (None, None) => {}
            }
            passed.until = Until::Ended(identity.clone(), caller);
        }
        passed
    }
}

/// The `access` of one route.
#[derive(Debug)]
pub struct Gate {
    shared: Arc<Shared>,
    headers: IdentityHeaders,
    ip: Vec<ipnet::IpNet>,
    asks_who: bool,
    basic: Option<Users>,
    /// What a key must be allowed to access.
    key: Option<String>,
    session: Option<SessionAccess>,
    jwt: Option<Jwt>,
    forward_auth: Option<ForwardAuth>,
    /// The upstream is told who it is by a token as well.
    asserts: bool,
    challenges: Vec<HeaderValue>,
}

impl Gate {
    /// `label` is the route's, `site/route`.
    pub fn new(
        config: &config::Access,
        label: &str,
        shared: &Arc<Shared>,
        pools: &mut Pools,
    ) -> Self {
        let claims = config.jwt.iter().flat_map(|jwt| &jwt.claims);
        let claims = claims.map(|(_, name)| name.clone());
        let copied = config.forward_auth.iter();
        let copied = copied.flat_map(|auth| auth.copy_headers.iter().cloned());
        let key = config.key.as_ref();
        let key = key.map(|key| key.name.clone().unwrap_or_else(|| label.to_owned()));
        let jwt = config.jwt.as_ref().and_then(|jwt| {
            let fetch = shared.fetch.clone()?;
            Some(Jwt::new(jwt, fetch, Arc::clone(&shared.clock)))
        });
        let forward_auth = config.forward_auth.as_ref();
        Self {
            headers: IdentityHeaders::new(claims.chain(copied)),
            ip: config.ip.clone(),
            asks_who: config.asks_who(),
            basic: config.basic.as_ref().map(Users::new),
            key,
            session: config.session.clone(),
            jwt,
            forward_auth: forward_auth.map(|auth| ForwardAuth::new(auth, pools)),
            asserts: config.assertion,
            challenges: challenges(config, shared.domain.as_deref()),
            shared: Arc::clone(shared),
        }
    }

    /// Whether the request may go on, and as whom. The client's claims about its identity are
    /// gone from `asked` afterwards, and so are credentials that were meant for the gateway.
    pub async fn check(&self, asked: &mut Asked<'_>) -> Result<Verdict, Failure> {
        self.headers.strip(asked.headers);
        self.address(asked.client.ip)?;
        if !self.asks_who {
            return Ok(Verdict::Pass(Passed::default()));
        }
        if self.key.is_some() && names_a_key(asked.uri.query().unwrap_or_default()) {
            return Err(Failure::KeyInQuery);
        }
        if let Some(passed) = self.by_authorization(asked).await? {
            return Ok(Verdict::Pass(passed));
        }
        let caller = match &self.session {
            Some(_) => self.shared.session(asked),
            None => None,
        };
        let known = caller.is_some();
        if let (Some(allowed), Some(caller)) = (&self.session, caller)
            && who::is_among(allowed, &caller.user)
        {
            return Ok(Verdict::Pass(self.passed(caller, asked)));
        }
        if let Some(service) = &self.forward_auth {
            return service.ask(asked).await;
        }
        if known {
            return Err(Failure::Forbidden { challenges: vec![] });
        }
        self.refuse(asked)
    }

    /// Whoever `caller` is, as the upstream of this route is told.
    fn passed(&self, caller: Arc<Caller>, asked: &Asked<'_>) -> Passed {
        let assertions = self.shared.assertions.as_ref().filter(|_| self.asserts);
        let assertion = assertions.and_then(|made| made.of(&caller, asked.host));
        let mut passed = self.shared.passed(caller, asked);
        let assertion = assertion.map(|value| (assertion::HEADER, value));
        passed.headers.extend(assertion);
        passed
    }

    fn address(&self, client: Option<IpAddr>) -> Result<(), Failure> {
        let within = |ip: IpAddr| self.ip.iter().any(|network| network.contains(&ip));
        // An address that is not known, as behind a proxy that passes on what it cannot read, is in
        // no network.
        match self.ip.is_empty() || client.is_some_and(within) {
            true => Ok(()),
            false => Err(Failure::Forbidden { challenges: vec![] }),
        }
    }

    fn refuse(&self, asked: &Asked<'_>) -> Result<Verdict, Failure> {
        if let (Some(_), Some(domain)) = (&self.session, &self.shared.domain)
            && self.shared.handover.is_some()
            && asked.is_navigation()
        {
            return session::to_sign_in(asked, domain).map(Verdict::Answer);
        }
        Err(self.unauthenticated())
    }

    fn unauthenticated(&self) -> Failure {
        Failure::Unauthenticated {
            challenges: self.challenges.clone(),
        }
    }

    /// Whoever `Authorization` names; none if it is not meant for the gateway.
    async fn by_authorization(&self, asked: &mut Asked<'_>) -> Result<Option<Passed>, Failure> {
        if self.basic.is_none() && self.key.is_none() && self.jwt.is_none() {
            return Ok(None);
        }
        let mut fields = asked.headers.get_all(header::AUTHORIZATION).iter();
        let Some(field) = fields.next() else {
            return Ok(None);
        };
        if fields.next().is_some() {
            // Which of them is believed here and which behind is anybody's guess.
            return Err(self.unauthenticated());
        }
        let field = field.to_str().unwrap_or_default().to_owned();
        let (scheme, credentials) = field.split_once(' ').unwrap_or((&field, ""));
        let credentials = credentials.trim();
        if scheme.eq_ignore_ascii_case("basic") {
            return self.by_password(credentials, asked).await;
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Ok(None);
        }
        if let (Some(name), true) = (&self.key, credentials.starts_with(KEY_BRAND)) {
            return self.by_key(name, credentials, asked).map(Some);
        }
        match &self.jwt {
            Some(jwt) => self.by_token(jwt, credentials).await.map(Some),
            None if credentials.is_empty() => Err(self.unauthenticated()),
            None => Ok(None),
        }
    }

    async fn by_password(
        &self,
        credentials: &str,
        asked: &mut Asked<'_>,
    ) -> Result<Option<Passed>, Failure> {
        let (Some(users), Some(known)) = (&self.basic, &self.shared.known) else {
            return Ok(None);
        };
        let client = asked.client.ip;
        let admit = || self.shared.attempts.admit(client);
        let Some(name) = users.check(credentials, known, admit).await? else {
            return Err(self.wrong(client));
        };
        asked.headers.remove(header::AUTHORIZATION);
        let mut passed = Passed::default();
        let name = who::value(&format!("basic:{name}"));
        passed.headers.extend(name.map(|name| (who::USER, name)));
        Ok(Some(passed))
    }

    fn by_key(&self, name: &str, key: &str, asked: &mut Asked<'_>) -> Result<Passed, Failure> {
        let identity = self.shared.identity.as_ref().ok_or(Failure::NoIdentity)?;
        let found = identity.directory().by_key(key, self.shared.clock.now());
        let caller = found.map_err(|_| self.wrong(asked.client.ip))?;
        let actor = Actor::User(Arc::clone(&caller));
        if may(&actor, Verb::Access, &Resource::common(Kind::Route, name)).is_err() {
            let needed = format!(
                "Bearer realm=\"api keys\", error=\"insufficient_scope\", scope=\"route:access:{name}\""
            );
            return Err(Failure::Forbidden {
                challenges: who::value(&needed).into_iter().collect(),
            });
        }
        asked.headers.remove(header::AUTHORIZATION);
        Ok(self.passed(caller, asked))
    }

    async fn by_token(&self, jwt: &Jwt, token: &str) -> Result<Passed, Failure> {
        jwt.check(token).await.map_err(|rejected| match rejected {
            Rejected::NoKeys => Failure::NoKeys,
            Rejected::Token(reason) => {
                // Nobody guesses a signature, and a page with an old token asks often: not counted.
                tracing::debug!(%reason, "a token was refused");
                self.invalid()
            }
        })
    }

    /// Counts a failed attempt. What is right passes all the same: it is trying that is limited.
    fn wrong(&self, client: Option<IpAddr>) -> Failure {
        match self.shared.attempts.failed(client) {
            Ok(()) => self.invalid(),
            Err(too_often) => too_often,
        }
    }

    /// The same whatever was wrong, so that nobody learns which part was right.
    fn invalid(&self) -> Failure {
        let mut challenges = self.challenges.clone();
        for challenge in &mut challenges {
            if challenge.as_bytes().starts_with(b"Bearer") {
                let text = String::from_utf8_lossy(challenge.as_bytes());
                let said = format!("{text}, error=\"invalid_token\"");
                *challenge = who::value(&said).unwrap_or_else(|| challenge.clone());
            }
        }
        Failure::Unauthenticated { challenges }
    }
}

/// Whether there is an API key in a query.
fn names_a_key(query: &str) -> bool {
    query.contains(KEY_BRAND)
        && query
            .split(['&', '=', ';'])
            .any(|part| ApiKey::parse(part).is_ok())
}

/// Takes the assertion out that a client made up, or was given a token for, on a route that is not
/// asked about who may use it.
pub fn strip_assertion(headers: &mut HeaderMap) {
    strip::spelled(headers, &assertion::HEADER);
}

/// Takes the cookies of the gateway's own out of a request: the service behind a site has no
/// business with them.
pub fn strip_cookies(headers: &mut HeaderMap) {
    strip::cookie(headers, session::COOKIE);
    strip::cookie(headers, session::NONCE_COOKIE);
}

/// What `WWW-Authenticate` says of a route (RFC 9110 §11.6.1).
fn challenges(config: &config::Access, domain: Option<&str>) -> Vec<HeaderValue> {
    let mut challenges = Vec::new();
    if let Some(basic) = &config.basic {
        challenges.push(format!(
            "Basic realm=\"{}\", charset=\"UTF-8\"",
            basic.realm
        ));
    }
    if config.key.is_some() {
        challenges.push("Bearer realm=\"api keys\"".to_owned());
    } else if config.jwt.is_some() {
        challenges.push("Bearer realm=\"tokens\"".to_owned());
    }
    if let (Some(_), Some(domain)) = (&config.session, domain) {
        // No registered scheme is for cookies; an answer with 401 must have a challenge.
        challenges.push(format!("Session realm=\"{domain}\""));
    }
    challenges
        .iter()
        .filter_map(|text| who::value(text))
        .collect()
}
