//! What ties the end of a sign-in to its beginning.
//!
//! The `state` parameter is sealed under the master key and holds the provider, the time, an id, the
//! hash of the browser's nonce and where to return to. The nonce itself is only in that browser's
//! cookie. A state that somebody else began is no use in a victim's browser (RFC 6749 §10.12), nor is
//! one that leaked from a victim's address bar in another.
//!
//! The PKCE verifier is derived from nonce and id, so neither the URL nor the store has it.
//!
//! A state that came back is marked as used under `oauth/used/`, its end and its id. Ends come first
//! so that a sweep reads only what it removes.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use oauth2::PkceCodeVerifier;

use super::{Kind, LoginError};
use crate::redirect::Target;
use crate::seal::{MasterKey, SealError};
use crate::store::{Batch, Range, Store, StoreError};

/// How long a person may take to sign in at the provider.
pub const STATE_TTL: Duration = Duration::from_secs(10 * 60);
/// How far the clocks of two gateways may be apart.
const SKEW: Duration = Duration::from_secs(60);
/// How long a used state is remembered after it began: until no gateway takes it for good, twice.
const REMEMBERED: Duration = Duration::from_secs(20 * 60);
/// Longer than any state this gateway makes.
const MAX_LEN: usize = 2048;

const CONTEXT: &[u8] = b"oauth state";
const USED: &[u8] = b"oauth/used/";
const VERSION: u8 = 1;
const NONCE_LEN: usize = 32;
const ID_LEN: usize = 16;
const HASH_LEN: usize = 32;

/// What a browser has to bring back beside the state: 256 random bits, for a cookie.
#[derive(Clone)]
pub struct BrowserNonce([u8; NONCE_LEN]);

impl BrowserNonce {
    pub(super) fn mint() -> Result<Self, LoginError> {
        random().map(Self)
    }

    /// The nonce of a cookie. None if the cookie was not made here.
    pub fn parse(cookie: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cookie).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// The value for the cookie: 43 characters of `A-Z a-z 0-9 - _`.
    pub fn cookie(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }

    fn hash(&self) -> [u8; HASH_LEN] {
        hash(b"portunus browser ", &self.0, &[])
    }
}

impl fmt::Debug for BrowserNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BrowserNonce(***)")
    }
}

/// A sign-in between its beginning and its end.
#[derive(Debug)]
pub(super) struct Pending {
    kind: Kind,
    /// Since 1970, in whole seconds.
    created: Duration,
    id: [u8; ID_LEN],
    browser: [u8; HASH_LEN],
    return_to: String,
}

impl Pending {
    pub(super) fn new(
        kind: Kind,
        return_to: &Target,
        browser: &BrowserNonce,
        now: Duration,
    ) -> Result<Self, LoginError> {
        Ok(Self {
            kind,
            created: Duration::from_secs(now.as_secs()),
            id: random()?,
            browser: browser.hash(),
            return_to: return_to.as_str().to_owned(),
        })
    }

    /// The `state` parameter.
    pub(super) fn seal(&self, key: &MasterKey) -> Result<String, SealError> {
        let sealed = key.seal(CONTEXT, &self.encode())?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode(sealed))
    }

    /// The sign-in that `text` was made for, if this browser began it with this provider, and not
    /// too long ago.
    pub(super) fn open(
        text: &str,
        key: &MasterKey,
        kind: Kind,
        browser: &BrowserNonce,
        now: Duration,
    ) -> Result<Self, StateError> {
        if text.len() > MAX_LEN {
            return Err(StateError::Invalid);
        }
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(text);
        let sealed = sealed.map_err(|_| StateError::Invalid)?;
        let opened = key.open(CONTEXT, &sealed);
        let opened = opened.map_err(|_| StateError::Invalid)?;
        let pending = Self::decode(&opened).ok_or(StateError::Invalid)?;
        if pending.kind != kind || pending.created > now + SKEW {
            return Err(StateError::Invalid);
        }
        if verify_slices_are_equal(&pending.browser, &browser.hash()).is_err() {
            return Err(StateError::OtherBrowser);
        }
        if now > pending.created + STATE_TTL {
            return Err(StateError::Expired);
        }
        Ok(pending)
    }

    /// Uses the state up. Only one request ever can.
    pub(super) async fn claim(&self, store: &dyn Store) -> Result<(), LoginError> {
        let mut key = marks_before(self.created + REMEMBERED);
        key.extend(self.id);
        let key = Bytes::from(key);
        let mark = Batch::new().if_absent(key.clone()).put(key, Bytes::new());
        match store.commit(mark).await {
            Ok(_) => Ok(()),
            Err(StoreError::Conflict { .. }) => Err(StateError::Replayed.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// 43 characters of 256 bits (RFC 7636 §4.1).
    pub(super) fn verifier(&self, browser: &BrowserNonce) -> PkceCodeVerifier {
        let hash = hash(b"portunus pkce ", &browser.0, &self.id);
        PkceCodeVerifier::new(BASE64_URL_SAFE_NO_PAD.encode(hash))
    }

    pub(super) fn return_to(&self) -> &str {
        &self.return_to
    }

    fn encode(&self) -> Vec<u8> {
        let created = self.created.as_secs().to_be_bytes();
        let return_to = self.return_to.as_bytes();
        let head = [VERSION, self.kind.code()];
        [&head[..], &created, &self.id, &self.browser, return_to].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let ([VERSION, kind], rest) = bytes.split_first_chunk()? else {
            return None;
        };
        let (created, rest) = rest.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (browser, return_to) = rest.split_first_chunk()?;
        Some(Self {
            kind: Kind::from_code(*kind)?,
            created: Duration::from_secs(u64::from_be_bytes(*created)),
            id: *id,
            browser: *browser,
            return_to: String::from_utf8(return_to.to_vec()).ok()?,
        })
    }
}

/// Removes the marks of states that are expired everywhere; how many.
pub(super) async fn sweep(store: &dyn Store, now: Duration) -> Result<usize, StoreError> {
    let old = Range::between(USED, marks_before(now));
    let mut removed = 0;
    loop {
        // Always the first page: what was on the one before is gone.
        let page = store.range(old.clone()).await?;
        if page.entries.is_empty() {
            return Ok(removed);
        }
        removed += page.entries.len();
        let keys = page.entries.into_iter().map(|entry| entry.key);
        store.commit(keys.fold(Batch::new(), Batch::delete)).await?;
    }
}

fn marks_before(end: Duration) -> Vec<u8> {
    [USED, &end.as_secs().to_be_bytes()].concat()
}

fn hash(purpose: &[u8], first: &[u8; NONCE_LEN], second: &[u8]) -> [u8; HASH_LEN] {
    let mut hash = [0; HASH_LEN];
    let digest = digest(&SHA256, &[purpose, first, second].concat());
    hash.copy_from_slice(digest.as_ref());
    hash
}

fn random<const N: usize>() -> Result<[u8; N], LoginError> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| LoginError::NoRandom).map(|()| bytes)
}

/// Why a state does not complete a sign-in. In every case the way out is to begin again.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StateError {
    #[error("the sign-in came back without its state")]
    Missing,
    #[error("the state of the sign-in was not made here, or was changed on its way")]
    Invalid,
    #[error("the sign-in was begun in another browser, or this one lost its cookie")]
    OtherBrowser,
    #[error("the sign-in took longer than {} minutes", STATE_TTL.as_secs() / 60)]
    Expired,
    #[error("the sign-in was completed already")]
    Replayed,
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "8f1c6d0e3ba94752d1f0a6c85e7b2394c0de51b7a8926f3d4e1b70c95a2f8d63";
    const OTHER: &str = "1d94b6f3027ac8e55b3f60d97e21c48af6830b5dc9e7a2146b8d50f3c71e9a28";
    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn key() -> MasterKey {
        MasterKey::parse(KEY).unwrap()
    }

    fn begin(browser: &BrowserNonce) -> Pending {
        Pending::new(Kind::GitLab, &Target::home(), browser, NOW).unwrap()
    }

    fn open(text: &str, browser: &BrowserNonce, now: Duration) -> Result<Pending, StateError> {
        Pending::open(text, &key(), Kind::GitLab, browser, now)
    }

    #[test]
    fn what_was_begun_is_what_comes_back() {
        let browser = BrowserNonce::mint().unwrap();
        let begun = begin(&browser);
        let state = begun.seal(&key()).unwrap();
        let browser = BrowserNonce::parse(&browser.cookie()).unwrap();
        let back = open(&state, &browser, NOW).unwrap();
        assert_eq!(
            (back.id, back.created, back.return_to()),
            (begun.id, NOW, "/")
        );
        assert_eq!(
            back.verifier(&browser).secret(),
            begun.verifier(&browser).secret()
        );
        assert_eq!(back.verifier(&browser).secret().len(), 43);
    }

    #[test]
    fn neither_state_nor_cookie_holds_the_verifier() {
        let browser = BrowserNonce::mint().unwrap();
        let (first, second) = (begin(&browser), begin(&browser));
        let verifier = first.verifier(&browser);
        assert_ne!(verifier.secret(), second.verifier(&browser).secret());
        assert_ne!(*verifier.secret(), browser.cookie());
        assert!(
            !first
                .seal(&key())
                .unwrap()
                .contains(verifier.secret().as_str())
        );
    }

    #[test]
    fn clocks_may_be_a_minute_apart() {
        let browser = BrowserNonce::mint().unwrap();
        let state = begin(&browser).seal(&key()).unwrap();
        assert!(open(&state, &browser, NOW - SKEW).is_ok());
        let early = NOW - SKEW - Duration::from_secs(1);
        assert_eq!(
            open(&state, &browser, early).unwrap_err(),
            StateError::Invalid
        );
        assert!(open(&state, &browser, NOW + STATE_TTL).is_ok());
        let late = NOW + STATE_TTL + Duration::from_secs(1);
        assert_eq!(
            open(&state, &browser, late).unwrap_err(),
            StateError::Expired
        );
    }

    #[test]
    fn a_state_of_another_master_key_or_context_is_none() {
        let browser = BrowserNonce::mint().unwrap();
        let other = MasterKey::parse(OTHER).unwrap();
        let foreign = begin(&browser).seal(&other).unwrap();
        assert_eq!(
            open(&foreign, &browser, NOW).unwrap_err(),
            StateError::Invalid
        );
        let elsewhere = key().seal(b"users/1", &begin(&browser).encode()).unwrap();
        let elsewhere = BASE64_URL_SAFE_NO_PAD.encode(elsewhere);
        assert_eq!(
            open(&elsewhere, &browser, NOW).unwrap_err(),
            StateError::Invalid
        );
    }

    #[test]
    fn whatever_was_sealed_is_read_without_a_panic() {
        let browser = BrowserNonce::mint().unwrap();
        let whole = begin(&browser).encode();
        for length in 0..whole.len() - 1 {
            assert!(Pending::decode(&whole[..length]).is_none(), "{length}");
        }
        let mut random = fastrand::Rng::with_seed(13);
        for _ in 0..5000 {
            let mut bytes = vec![0; random.usize(0..120)];
            random.fill(&mut bytes);
            drop(Pending::decode(&bytes));
            let sealed = BASE64_URL_SAFE_NO_PAD.encode(key().seal(CONTEXT, &bytes).unwrap());
            assert!(open(&sealed, &browser, NOW).is_err());
            let noise: String = bytes.iter().map(|&byte| char::from(byte)).collect();
            assert!(open(&noise, &browser, NOW).is_err());
            assert!(BrowserNonce::parse(&noise).is_none());
        }
    }
}
