//! Who may allocate: static users, and credentials that name the date they end.
//!
//! In go a username, the time and a way to try a key on a request, out comes who it is. The
//! username of a timed credential is `expiry` or `expiry:user`, its password the base64 of an HMAC
//! of the username under a secret that the server shares with whoever hands them out. The HMAC is
//! SHA-1 by convention; SHA-256 is accepted too.

use std::{collections::HashMap, fmt};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::integrity::{Key, PasswordAlgorithm};

/// A timed credential that ends later than this from now, in seconds, is refused: who signs such
/// has given up that they end.
const FARTHEST: u64 = 48 * 60 * 60;

/// A secret or a password. Does not show itself.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into().into_boxed_slice())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A credential made by [`Credentials::mint`].
#[derive(Clone, Eq, PartialEq)]
pub struct Minted {
    pub username: String,
    pub password: String,
    /// Seconds since 1970.
    pub expires: u64,
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Minted(expires {})", self.expires)
    }
}

/// All credentials of one realm.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// What REALM says. Part of every key.
    pub realm: String,
    /// Long-term users and their passwords.
    pub users: HashMap<String, Secret>,
    /// Secrets of timed credentials. The first signs, all verify, so that they can be rotated.
    pub secrets: Vec<Secret>,
    /// Ask again whether a credential has ended when its allocation is refreshed, and end it.
    pub strict_expiry: bool,
}

impl Credentials {
    /// A timed credential for `user`, signed with the first secret. None if there is no secret.
    /// It ends `ttl` seconds after `unix`, at most 48 hours.
    pub fn mint(&self, user: &str, ttl: u64, unix: u64) -> Option<Minted> {
        let secret = self.secrets.first()?;
        let expires = unix.saturating_add(ttl.min(FARTHEST));
        let username = format!("{expires}:{user}");
        let password = password(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret, &username);
        Some(Minted {
            username,
            password,
            expires,
        })
    }

    /// Who `username` is, if `matches` holds for a key that belongs to the name now.
    pub(crate) fn identify(
        &self,
        username: &str,
        algorithm: PasswordAlgorithm,
        unix: u64,
        matches: impl Fn(&Key) -> bool,
    ) -> Option<Identity> {
        let key = |password: &[u8]| Key::new(algorithm, username, &self.realm, password);
        if let Some(password) = self.users.get(username) {
            let key = key(&password.0);
            return matches(&key).then(|| Identity {
                key,
                user: username.into(),
                expires: None,
            });
        }
        let (expires, user) = timed(username)?;
        if !is_current(expires, unix) {
            return None;
        }
        let hashes = [hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, hmac::HMAC_SHA256];
        self.secrets
            .iter()
            .flat_map(|secret| hashes.map(|hash| password(hash, secret, username)))
            .map(|password| key(password.as_bytes()))
            .find(|key| matches(key))
            .map(|key| Identity {
                key,
                user: user.into(),
                expires: Some(expires),
            })
    }
}

/// Somebody who has proven to be who they say.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) key: Key,
    /// For quotas and accounting: without the expiry, so that a new credential is the same user.
    pub(crate) user: Box<str>,
    /// Seconds since 1970, of a timed credential.
    pub(crate) expires: Option<u64>,
}

/// Whether a credential with this expiry may be used.
pub(crate) fn is_current(expires: u64, unix: u64) -> bool {
    expires > unix && expires - unix <= FARTHEST
}

/// The expiry and the user of a timed credential's name. Without a user part the name itself is
/// the user: two of them are not known to be the same.
fn timed(username: &str) -> Option<(u64, &str)> {
    let (expires, user) = match username.split_once(':') {
        Some((expires, user)) => (expires, user),
        None => (username, username),
    };
    let digits = !expires.is_empty() && expires.bytes().all(|byte| byte.is_ascii_digit());
    Some((expires.parse().ok().filter(|_| digits)?, user))
}

fn password(hash: hmac::Algorithm, secret: &Secret, username: &str) -> String {
    let key = hmac::Key::new(hash, &secret.0);
    STANDARD.encode(hmac::sign(&key, username.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn credentials() -> Credentials {
        Credentials {
            realm: "example.com".into(),
            users: [("mesh".to_owned(), Secret::new("open sesame"))].into(),
            secrets: vec![Secret::new("new"), Secret::new("old")],
            strict_expiry: false,
        }
    }

    /// Whether the server would take this name and password.
    fn accepts(credentials: &Credentials, username: &str, password: &str, unix: u64) -> bool {
        let sent = Key::new(
            PasswordAlgorithm::Md5,
            username,
            "example.com",
            password.as_bytes(),
        );
        let mut tag = [0; 20];
        sent.sign(
            crate::turn::integrity::Integrity::Sha1,
            [b"message", b""],
            &mut tag,
        );
        let matches = |key: &Key| {
            key.verify(
                crate::turn::integrity::Integrity::Sha1,
                [b"message", b""],
                &tag,
            )
        };
        credentials
            .identify(username, PasswordAlgorithm::Md5, unix, matches)
            .is_some()
    }

    /// Made with `openssl dgst -sha1 -hmac s3cret -binary | base64`.
    #[test]
    fn passwords_are_those_of_the_convention() {
        let secret = Secret::new("s3cret");
        let sha1 = password(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &secret, "1000000000:a");
        assert_eq!(sha1, OPENSSL_SHA1);
        let sha256 = password(hmac::HMAC_SHA256, &secret, "1000000000:a");
        assert_eq!(sha256, OPENSSL_SHA256);
    }
    const OPENSSL_SHA1: &str = "V0PjWkpgH926mhUq/S84TzGCrmI=";
    const OPENSSL_SHA256: &str = "NeVifw/LLo4eaM8M+yUY5zfT68GUUOPlnM4CbC1VjZA=";

    #[test]
    fn what_is_minted_is_accepted_until_it_ends() {
        let credentials = credentials();
        let minted = credentials.mint("alice", 60, NOW).unwrap();
        assert_eq!(minted.username, format!("{}:alice", NOW + 60));
        assert!(accepts(
            &credentials,
            &minted.username,
            &minted.password,
            NOW + 59
        ));
        assert!(!accepts(
            &credentials,
            &minted.username,
            &minted.password,
            NOW + 60
        ));
        assert!(!accepts(&credentials, &minted.username, "guess", NOW));
    }

    #[test]
    fn every_secret_verifies_with_either_hash() {
        let credentials = credentials();
        let username = format!("{}:bob", NOW + 60);
        for secret in &credentials.secrets {
            for hash in [hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, hmac::HMAC_SHA256] {
                let password = password(hash, secret, &username);
                assert!(accepts(&credentials, &username, &password, NOW));
            }
        }
        let retired = password(hmac::HMAC_SHA256, &Secret::new("retired"), &username);
        assert!(!accepts(&credentials, &username, &retired, NOW));
    }

    #[test]
    fn nothing_is_accepted_more_than_48_hours_ahead() {
        let credentials = credentials();
        for (expires, accepted) in [(NOW + FARTHEST, true), (NOW + FARTHEST + 1, false)] {
            let username = format!("{expires}:bob");
            let hash = hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;
            let password = password(hash, &credentials.secrets[0], &username);
            assert_eq!(accepts(&credentials, &username, &password, NOW), accepted);
        }
        assert_eq!(
            credentials.mint("a", u64::MAX, NOW).unwrap().expires,
            NOW + FARTHEST
        );
    }

    #[test]
    fn static_users_need_their_password() {
        let credentials = credentials();
        assert!(accepts(&credentials, "mesh", "open sesame", NOW));
        assert!(!accepts(&credentials, "mesh", "", NOW));
        assert!(!accepts(&credentials, "nobody", "", NOW));
    }

    #[test]
    fn the_user_of_a_timed_name_is_what_follows_the_date() {
        assert_eq!(timed("12:alice"), Some((12, "alice")));
        assert_eq!(timed("12:a:b"), Some((12, "a:b")));
        assert_eq!(timed("12"), Some((12, "12")));
        for none in [
            "",
            ":",
            ":alice",
            "+12:a",
            "-1:a",
            " 12:a",
            "12a:b",
            "99999999999999999999:a",
        ] {
            assert_eq!(timed(none), None, "{none:?}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?} {:?}", credentials(), credentials().mint("a", 1, NOW));
        assert!(!shown.contains("sesame") && !shown.contains("new") && !shown.contains("old"));
    }
}
