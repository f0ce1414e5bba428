//! A session of the gateway's own domain, handed over to the host of a site.
//!
//! A cookie is for one host, so a browser that signed in at the domain has nothing to show at a
//! site. The domain mints a code ([`Handover::mint`]) for the host that asked, the browser carries
//! it there, and the host exchanges it ([`Handover::redeem`]) for a cookie of its own. A code is
//! sealed, good for 60 seconds, once, on its host, and only in the browser that asked for it, which
//! proves that by the nonce of which the code has the hash: otherwise a link with somebody else's
//! code would sign its reader in as somebody else.
//!
//! The site's cookie is the session's token, sealed for the host ([`Handover::open`]): whoever gets
//! hold of it has no session at the domain or another host, and it ends with the session. Nothing is
//! in the store but the numbers of codes that were used, until they would be too old anyway.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use crate::seal::{MasterKey, SealError};
use crate::store::{Batch, Clock, Range, Store, StoreError};

/// From the redirect that carries the code to the request with it.
pub const CODE_LIFETIME: Duration = Duration::from_secs(60);
/// The longest address to go back to, in bytes; longer ones go to `/`.
pub const MAX_RETURN: usize = 2048;
/// The longest code or cookie that is looked at, in bytes.
const MAX_SEALED: usize = 8 * 1024;
/// Random bytes of a nonce and of a code's number.
const RANDOM: usize = 32;

const USED: &str = "handover/used/";

/// Mints and redeems codes, and opens the cookies that come of them.
#[derive(Clone, Debug)]
pub struct Handover {
    store: Arc<dyn Store>,
    seal: Arc<MasterKey>,
    clock: Arc<dyn Clock>,
}

/// What a browser keeps from before it leaves a site until it comes back.
#[derive(Clone)]
pub struct Nonce(String);

impl Nonce {
    /// Makes one.
    pub fn mint() -> Result<Self, HandoverError> {
        Ok(Self(BASE64.encode(random()?)))
    }

    /// One that a browser shows; whatever it is, only the right one fits a code.
    pub fn presented(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The nonce itself, for a cookie of the site's host.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What may travel in a URL.
    pub fn hash(&self) -> String {
        BASE64.encode(digest(&SHA256, self.0.as_bytes()))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(***)")
    }
}

/// What a code was redeemed for.
#[derive(Debug)]
pub struct Redeemed {
    pub cookie: SiteCookie,
    /// A path of the site's host, with its query; begins with one `/`.
    pub return_to: String,
}

/// The value of a cookie for one host.
#[derive(Clone)]
pub struct SiteCookie(String);

impl SiteCookie {
    /// The value itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SiteCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SiteCookie(***)")
    }
}

/// The token of a session, out of a site's cookie.
pub struct OpenedToken(String);

impl OpenedToken {
    /// The token itself, as the directory takes it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for OpenedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenedToken(***)")
    }
}

/// Why there is no code or no cookie. None says which of the secrets was wrong.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    #[error("the code is none of this gateway for this host, or was changed")]
    Unknown,
    #[error("the code is older than {} seconds", CODE_LIFETIME.as_secs())]
    Expired,
    #[error("the code was used before")]
    Used,
    #[error("the code was asked for by another browser")]
    OtherBrowser,
    #[error("the system gave no random bytes to make a code from")]
    Random,
    #[error(transparent)]
    Seal(SealError),
    #[error(transparent)]
    Store(StoreError),
}

#[derive(Deserialize, Serialize)]
struct Code {
    v: u32,
    number: String,
    /// Milliseconds since 1970.
    expires: u64,
    nonce_hash: String,
    token: String,
    return_to: String,
}

impl Handover {
    pub fn new(store: Arc<dyn Store>, seal: Arc<MasterKey>, clock: Arc<dyn Clock>) -> Self {
        Self { store, seal, clock }
    }

    /// A code that lets `host` have the session whose cookie at the domain is `token`. `nonce_hash`
    /// is what the browser brought from the host. The caller has checked that the session is good
    /// and that the host is one of its own.
    pub fn mint(
        &self,
        host: &str,
        nonce_hash: &str,
        token: &str,
        return_to: &str,
    ) -> Result<String, HandoverError> {
        let code = Code {
            v: 1,
            number: BASE64.encode(random()?),
            expires: millis(self.clock.now() + CODE_LIFETIME),
            nonce_hash: nonce_hash.to_owned(),
            token: token.to_owned(),
            return_to: local(return_to).to_owned(),
        };
        let code = serde_json::to_vec(&code).map_err(|_| HandoverError::Unknown)?;
        let sealed = self.seal.seal(&context("code", host), &code);
        Ok(BASE64.encode(sealed.map_err(HandoverError::Seal)?))
    }

    /// Exchanges a code that the browser with `nonce` brought to `host`.
    pub async fn redeem(
        &self,
        host: &str,
        nonce: &Nonce,
        code: &str,
    ) -> Result<Redeemed, HandoverError> {
        let code = self
            .unseal("code", host, code)
            .ok_or(HandoverError::Unknown)?;
        let code: Code = serde_json::from_slice(&code).map_err(|_| HandoverError::Unknown)?;
        let same = verify_slices_are_equal(nonce.hash().as_bytes(), code.nonce_hash.as_bytes());
        same.map_err(|_| HandoverError::OtherBrowser)?;
        let now = millis(self.clock.now());
        if now >= code.expires {
            return Err(HandoverError::Expired);
        }
        self.use_up(&code, now).await?;
        let sealed = self
            .seal
            .seal(&context("cookie", host), code.token.as_bytes())
            .map_err(HandoverError::Seal)?;
        Ok(Redeemed {
            cookie: SiteCookie(BASE64.encode(sealed)),
            return_to: code.return_to,
        })
    }

    /// The token in a cookie that `host` was given; none if it was made for another host, or by
    /// nobody. Whether the session is good, the directory has to say.
    pub fn open(&self, host: &str, cookie: &str) -> Option<OpenedToken> {
        let token = self.unseal("cookie", host, cookie)?;
        String::from_utf8(token).ok().map(OpenedToken)
    }

    fn unseal(&self, what: &str, host: &str, text: &str) -> Option<Vec<u8>> {
        if text.len() > MAX_SEALED {
            return None;
        }
        let blob = BASE64.decode(text).ok()?;
        self.seal.open(&context(what, host), &blob).ok()
    }

    /// Notes that the code was used, unless it was, and forgets those that are too old to be.
    async fn use_up(&self, code: &Code, now: u64) -> Result<(), HandoverError> {
        let key = |expires: u64, number: &str| format!("{USED}{expires:016x}/{number}");
        let old = Range::between(USED.as_bytes().to_vec(), key(now, "").into_bytes()).limit(100);
        let old = self.store.range(old).await.map_err(HandoverError::Store)?;
        let own = key(code.expires, &code.number);
        let mut batch = Batch::new()
            .if_absent(own.clone())
            .put(own, b"{\"v\":1}".to_vec());
        for entry in old.entries {
            batch = batch.delete(entry.key);
        }
        match self.store.commit(batch).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_conflict() => Err(HandoverError::Used),
            Err(error) => Err(HandoverError::Store(error)),
        }
    }
}

/// A path of the same host, or `/`. Browsers take `//` and `/\` for the beginning of a host.
fn local(return_to: &str) -> &str {
    let bytes = return_to.as_bytes();
    let second = bytes.get(1).copied();
    let sound = bytes.first() == Some(&b'/')
        && !matches!(second, Some(b'/' | b'\\'))
        && bytes.len() <= MAX_RETURN
        && bytes.iter().all(u8::is_ascii_graphic);
    if sound { return_to } else { "/" }
}

fn context(what: &str, host: &str) -> Vec<u8> {
    format!("handover/{what}/{host}").into_bytes()
}

fn random() -> Result<[u8; RANDOM], HandoverError> {
    let mut bytes = [0; RANDOM];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| HandoverError::Random)?;
    Ok(bytes)
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis().try_into().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{ManualClock, MemoryStore};

    const KEY: &str = "8f1c6d0e3ba94752d1f0a6c85e7b2394c0de51b7a8926f3d4e1b70c95a2f8d63";

    fn fixture() -> (Handover, ManualClock) {
        let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let handover = Handover::new(
            Arc::new(MemoryStore::new(Arc::new(clock.clone()))),
            Arc::new(MasterKey::parse(KEY).unwrap()),
            Arc::new(clock.clone()),
        );
        (handover, clock)
    }

    #[tokio::test]
    async fn a_code_becomes_a_cookie_of_its_host_once() {
        let (handover, _) = fixture();
        let nonce = Nonce::mint().unwrap();
        let code = handover.mint("a.test", &nonce.hash(), "token", "/x?y=1");
        let code = code.unwrap();
        let redeemed = handover.redeem("a.test", &nonce, &code).await.unwrap();
        assert_eq!(redeemed.return_to, "/x?y=1");
        let cookie = redeemed.cookie.reveal();
        let token = handover.open("a.test", cookie).unwrap();
        assert_eq!(token.expose(), "token");
        assert!(handover.open("b.test", cookie).is_none());
        assert!(handover.open("a.test", &code).is_none());
        assert!(handover.open("a.test", "token").is_none());
        let again = handover.redeem("a.test", &nonce, &code).await;
        assert!(matches!(again, Err(HandoverError::Used)), "{again:?}");
    }

    #[tokio::test]
    async fn another_host_or_browser_gets_nothing_and_uses_nothing_up() {
        let (handover, _) = fixture();
        let nonce = Nonce::mint().unwrap();
        let code = handover
            .mint("a.test", &nonce.hash(), "token", "/")
            .unwrap();
        let elsewhere = handover.redeem("b.test", &nonce, &code).await;
        assert!(matches!(elsewhere, Err(HandoverError::Unknown)));
        let other = Nonce::mint().unwrap();
        let stolen = handover.redeem("a.test", &other, &code).await;
        assert!(matches!(stolen, Err(HandoverError::OtherBrowser)));
        let presented = Nonce::presented(nonce.reveal());
        assert!(handover.redeem("a.test", &presented, &code).await.is_ok());
    }

    #[tokio::test]
    async fn a_code_is_good_for_a_minute_and_its_number_kept_no_longer() {
        let (handover, clock) = fixture();
        let nonce = Nonce::mint().unwrap();
        let mint = || {
            handover
                .mint("a.test", &nonce.hash(), "token", "/")
                .unwrap()
        };
        let (first, second) = (mint(), mint());
        clock.advance(CODE_LIFETIME - Duration::from_millis(1));
        assert!(handover.redeem("a.test", &nonce, &first).await.is_ok());
        clock.advance(Duration::from_millis(1));
        let late = handover.redeem("a.test", &nonce, &second).await;
        assert!(matches!(late, Err(HandoverError::Expired)));
        clock.advance(Duration::from_millis(1));
        assert!(handover.redeem("a.test", &nonce, &mint()).await.is_ok());
        let kept = handover.store.range(Range::prefix(USED)).await.unwrap();
        assert_eq!(kept.entries.len(), 1);
    }

    #[tokio::test]
    async fn one_of_many_at_once_redeems() {
        let (handover, _) = fixture();
        let nonce = Nonce::mint().unwrap();
        let code = handover
            .mint("a.test", &nonce.hash(), "token", "/")
            .unwrap();
        let mut attempts = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (handover, nonce, code) = (handover.clone(), nonce.clone(), code.clone());
            attempts.spawn(async move { handover.redeem("a.test", &nonce, &code).await.is_ok() });
        }
        let redeemed = attempts.join_all().await;
        assert_eq!(redeemed.into_iter().filter(|good| *good).count(), 1);
    }

    #[test]
    fn nobody_is_sent_to_another_host() {
        let long = format!("/{}", "a".repeat(MAX_RETURN));
        for (asked, gone) in [
            ("/a?b=//c", "/a?b=//c"),
            ("/", "/"),
            ("", "/"),
            ("//evil.test", "/"),
            ("/\\evil.test", "/"),
            ("https://evil.test", "/"),
            ("/a\r\nset-cookie: b", "/"),
            ("/\tb", "/"),
            (&long, "/"),
        ] {
            assert_eq!(local(asked), gone);
        }
    }

    #[tokio::test]
    async fn garbage_is_no_code_and_no_cookie() {
        let (handover, _) = fixture();
        let nonce = Nonce::mint().unwrap();
        let good = handover
            .mint("a.test", &nonce.hash(), "token", "/")
            .unwrap();
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..500 {
            let mut bytes = good.clone().into_bytes();
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes.truncate(at),
                1 => bytes[at] = random.u8(b'!'..b'~'),
                _ => bytes = (0..at).map(|_| random.u8(b' '..127)).collect(),
            }
            let text = String::from_utf8(bytes).unwrap();
            if text == good {
                continue;
            }
            assert!(handover.open("a.test", &text).is_none());
            let redeemed = handover.redeem("a.test", &nonce, &text).await;
            assert!(matches!(redeemed, Err(HandoverError::Unknown)), "{text}");
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let (handover, _) = fixture();
        let nonce = Nonce::presented("hidden");
        let cookie = SiteCookie("hidden".into());
        let token = OpenedToken("hidden".into());
        let printed = format!("{nonce:?} {cookie:?} {token:?} {handover:?}");
        assert!(!printed.contains("hidden") && !printed.contains(KEY));
    }
}
