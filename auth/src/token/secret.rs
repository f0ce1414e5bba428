//! The shared secret of HS256, if it is one.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::TokenError;

/// RFC 7518 §3.2: a key as long as the hash at least.
const MIN_BYTES: usize = 32;
/// Of 32 random hexadecimal digits about 14 are different from each other.
const MIN_DIFFERENT: usize = 8;
/// What samples say where a secret belongs. In lower case, with nothing between the words.
const PLACEHOLDERS: [&str; 10] = [
    "changethis",
    "changeme",
    "changeit",
    "replacethis",
    "replaceme",
    "yoursecret",
    "supersecret",
    "placeholder",
    "development",
    "jwtsecret",
];

/// A secret that signs and checks tokens. Never printed.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes `text` for a secret: 32 bytes or more, and no text that was meant to be replaced.
    ///
    /// Errors contain nothing of it.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let secret = Self::for_development(text)?;
        if text.len() < MIN_BYTES {
            return Err(TokenError::ShortSecret(text.len()));
        }
        if is_placeholder(text) {
            return Err(TokenError::PlaceholderSecret);
        }
        Ok(secret)
    }

    /// Takes any text but an empty one. Only for a gateway that nobody else can reach: whoever
    /// guesses the secret makes tokens for anybody.
    pub fn for_development(text: &str) -> Result<Self, TokenError> {
        if text.trim().is_empty() {
            return Err(TokenError::ShortSecret(0));
        }
        Ok(Self(text.as_bytes().to_vec()))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Tells secrets apart. Says no more of one than any token that it signed.
    pub(super) fn id(&self) -> String {
        let hash = digest(
            &SHA256,
            &[b"portunus token secret id ", &self.0[..]].concat(),
        );
        URL_SAFE_NO_PAD.encode(&hash.as_ref()[..6])
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

fn is_placeholder(text: &str) -> bool {
    let plain: String = text
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    let mut different = text.as_bytes().to_vec();
    different.sort_unstable();
    different.dedup();
    let bytes = text.as_bytes();
    let repeats =
        (1..=bytes.len() / 2).any(|period| bytes[period..] == bytes[..bytes.len() - period]);
    let sample = PLACEHOLDERS.iter().any(|sample| plain.contains(sample));
    sample || repeats || different.len() < MIN_DIFFERENT
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "4f9c1e7ab2d8365091c4e7fa2b6d8035";

    #[test]
    fn a_random_text_is_taken_and_never_printed() {
        let secret = Secret::parse(GOOD).unwrap();
        assert_eq!(secret.as_bytes(), GOOD.as_bytes());
        assert_eq!(format!("{secret:?}"), "Secret(***)");
        assert_ne!(
            secret.id(),
            Secret::parse(&GOOD.to_uppercase()).unwrap().id()
        );
    }

    #[test]
    fn a_short_text_is_refused() {
        let short = Secret::parse(&GOOD[1..]);
        assert!(matches!(short, Err(TokenError::ShortSecret(31))));
        for empty in ["", " \n"] {
            assert!(matches!(
                Secret::parse(empty),
                Err(TokenError::ShortSecret(0))
            ));
            assert!(Secret::for_development(empty).is_err());
        }
    }

    #[test]
    fn a_text_that_was_meant_to_be_replaced_is_refused() {
        let samples = [
            "change-this-to-a-secure-random-string".to_owned(),
            "CHANGE_ME_CHANGE_ME_CHANGE_ME_0123456789".to_owned(),
            "your-secret-key-at-least-32-characters!".to_owned(),
            "jwt_secret_jwt_secret_0123456789".to_owned(),
            "0123456789abcdef".repeat(2),
            "a".repeat(64),
            "abcabcabcabcabcabcabcabcabcabcabcab".to_owned(),
        ];
        for text in samples {
            let refused = Secret::parse(&text).unwrap_err();
            assert!(matches!(refused, TokenError::PlaceholderSecret), "{text}");
            assert!(!format!("{refused} {refused:?}").contains(&text[..8]));
            Secret::for_development(&text).unwrap();
        }
    }
}
