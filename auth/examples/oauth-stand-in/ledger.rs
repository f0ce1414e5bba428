//! Who there is, which codes and tokens were given out, and to which application.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

/// Both providers let a code live for ten minutes.
const CODE_TTL: Duration = Duration::from_secs(10 * 60);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Brand {
    GitHub,
    GitLab,
}

/// Somebody with an account at both providers, under different ids.
pub(crate) struct Person {
    pub(crate) login: &'static str,
    pub(crate) name: Option<&'static str>,
    pub(crate) email: &'static str,
    /// Whether the primary address is verified.
    pub(crate) verified: bool,
    /// Whether the account is not blocked.
    pub(crate) active: bool,
}

pub(crate) const PEOPLE: &[Person] = &[
    Person {
        login: "alice",
        name: Some("Alice Example"),
        email: "alice@example.com",
        verified: true,
        active: true,
    },
    Person {
        login: "bob",
        name: None,
        email: "bob@example.com",
        verified: false,
        active: true,
    },
    Person {
        login: "carol",
        name: Some("Carol Example"),
        email: "carol@example.com",
        verified: true,
        active: true,
    },
    Person {
        login: "blocked",
        name: Some("Blocked Example"),
        email: "blocked@example.com",
        verified: true,
        active: false,
    },
];

impl Person {
    pub(crate) fn find(login: &str) -> Option<&'static Self> {
        PEOPLE.iter().find(|person| person.login == login)
    }

    pub(crate) fn id(&self, brand: Brand) -> usize {
        let place = PEOPLE.iter().position(|person| person.login == self.login);
        let first = match brand {
            Brand::GitHub => 1001,
            Brand::GitLab => 2001,
        };
        first + place.unwrap_or_default()
    }
}

/// The application as it is registered at both providers.
pub(crate) struct Registration {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    /// Redirects go to this address and below it. None: anywhere.
    pub(crate) callback: Option<String>,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            client_id: "stand-in-client".to_owned(),
            client_secret: "stand-in-secret".to_owned(),
            callback: None,
        }
    }
}

impl Registration {
    pub(crate) fn takes_redirect(&self, uri: &str) -> bool {
        self.callback
            .as_ref()
            .is_none_or(|callback| uri.starts_with(callback.as_str()))
    }

    pub(crate) fn authenticates(&self, id: Option<&String>, secret: Option<&String>) -> bool {
        id == Some(&self.client_id) && secret == Some(&self.client_secret)
    }
}

/// What a person agreed to.
#[derive(Clone)]
pub(crate) struct Grant {
    pub(crate) brand: Brand,
    pub(crate) client_id: String,
    pub(crate) login: String,
    pub(crate) scope: String,
    pub(crate) redirect_uri: String,
    /// `code_challenge` of S256, if there was one.
    pub(crate) challenge: Option<String>,
    pub(crate) given: Instant,
}

pub(crate) struct Ledger {
    pub(crate) registration: Registration,
    codes: HashMap<String, Grant>,
    tokens: HashMap<String, Grant>,
    /// Codes given before this are too old.
    expired: Option<Instant>,
    /// Every code and token there ever was.
    issued: Vec<String>,
}

impl Ledger {
    pub(crate) fn new(registration: Registration) -> Self {
        Self {
            registration,
            codes: HashMap::new(),
            tokens: HashMap::new(),
            expired: None,
            issued: Vec::new(),
        }
    }

    pub(crate) fn give_code(&mut self, grant: Grant) -> String {
        let code = random("", 20);
        self.codes.insert(code.clone(), grant);
        self.issued.push(code.clone());
        code
    }

    /// The grant behind a code of this provider, once, if verifier and redirect address are those it
    /// was given for.
    pub(crate) fn redeem(
        &mut self,
        brand: Brand,
        parameters: &HashMap<String, String>,
    ) -> Result<Grant, Mismatch> {
        let grant = parameters
            .get("code")
            .and_then(|code| self.codes.remove(code));
        let grant = grant.ok_or(Mismatch::Code)?;
        let old = grant.given.elapsed() > CODE_TTL
            || self.expired.is_some_and(|moment| grant.given <= moment);
        if old || grant.brand != brand {
            return Err(Mismatch::Code);
        }
        if parameters.get("redirect_uri") != Some(&grant.redirect_uri) {
            return Err(Mismatch::Redirect);
        }
        let verifier = parameters.get("code_verifier");
        match (&grant.challenge, verifier) {
            (None, _) => Ok(grant),
            (Some(challenge), Some(verifier)) if *challenge == s256(verifier) => Ok(grant),
            _ => Err(Mismatch::Code),
        }
    }

    pub(crate) fn give_token(&mut self, grant: Grant) -> String {
        let token = match grant.brand {
            Brand::GitHub => random("gho_", 27),
            Brand::GitLab => random("", 32),
        };
        self.tokens.insert(token.clone(), grant);
        self.issued.push(token.clone());
        token
    }

    pub(crate) fn token(&self, brand: Brand, token: Option<&str>) -> Option<&Grant> {
        self.tokens.get(token?).filter(|grant| grant.brand == brand)
    }

    /// A token that nobody had to agree to.
    pub(crate) fn issue(&mut self, body: &Value) -> Option<String> {
        let field = |name: &str| body.get(name).and_then(Value::as_str);
        let (brand, scope) = match field("provider")? {
            "github" => (Brand::GitHub, "read:user,user:email"),
            "gitlab" => (Brand::GitLab, "read_user"),
            _ => return None,
        };
        let client_id = field("client_id").unwrap_or(&self.registration.client_id);
        let grant = Grant {
            brand,
            client_id: client_id.to_owned(),
            login: Person::find(field("login")?)?.login.to_owned(),
            scope: field("scope").unwrap_or(scope).to_owned(),
            redirect_uri: String::new(),
            challenge: None,
            given: Instant::now(),
        };
        Some(self.give_token(grant))
    }

    pub(crate) fn issued(&self) -> &[String] {
        &self.issued
    }

    pub(crate) fn expire_codes(&mut self) {
        self.expired = Some(Instant::now());
    }
}

/// Why a code is not redeemed.
#[derive(Clone, Copy)]
pub(crate) enum Mismatch {
    Code,
    Redirect,
}

fn s256(verifier: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(digest)
}

fn random(prefix: &str, length: usize) -> String {
    let letters = std::iter::repeat_with(fastrand::alphanumeric).take(length);
    prefix.chars().chain(letters).collect()
}
