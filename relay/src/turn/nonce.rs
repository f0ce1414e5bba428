//! Nonces that carry their own proof, so that nothing is kept for who asks for one.
//!
//! A nonce is the cookie of RFC 8489 §9.2 with its feature bits, and then the time it was made and
//! an HMAC of that time and the client's address. In goes a nonce, out comes whether we made it
//! for this address lately.

use std::{fmt, net::IpAddr};

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::entropy::Entropy;

/// "obMatJos2" and the bit for password algorithms, which is the first of 24 in base64.
const COOKIE: &[u8; 13] = b"obMatJos2gAAA";
const MAC: usize = 8;

/// The length of every nonce.
pub(crate) const LENGTH: usize = COOKIE.len() + (4 + MAC) / 3 * 4;

/// What makes nonces ours. Shards share it; a restart makes a new one, and clients get 438 once.
pub(crate) struct NonceKey(hmac::Key);

impl NonceKey {
    pub(crate) fn new(entropy: &mut dyn Entropy) -> Self {
        let mut bytes = [0; 32];
        entropy.fill(&mut bytes);
        Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }

    /// A nonce for this address.
    pub(crate) fn issue(&self, client: IpAddr, unix: u64) -> [u8; LENGTH] {
        let time = seconds(unix);
        let mut raw = [0; 4 + MAC];
        raw[..4].copy_from_slice(&time.to_be_bytes());
        raw[4..].copy_from_slice(&self.mac(client, time));
        let mut nonce = [0; LENGTH];
        nonce[..COOKIE.len()].copy_from_slice(COOKIE);
        URL_SAFE_NO_PAD
            .encode_slice(raw, &mut nonce[COOKIE.len()..])
            .expect("twelve bytes are sixteen letters");
        nonce
    }

    /// Whether [`issue`](Self::issue) made the nonce for this address, at most `lifetime` seconds
    /// ago.
    pub(crate) fn is_fresh(&self, nonce: &[u8], client: IpAddr, unix: u64, lifetime: u32) -> bool {
        let Some(encoded) = nonce.strip_prefix(COOKIE) else {
            return false;
        };
        let mut raw = [0; 4 + MAC];
        if encoded.len() != LENGTH - COOKIE.len()
            || !matches!(URL_SAFE_NO_PAD.decode_slice(encoded, &mut raw), Ok(length) if length == raw.len())
        {
            return false;
        }
        let time = u32::from_be_bytes([raw[0], raw[1], raw[2], raw[3]]);
        // One that is from the future was made before the clock was set back.
        seconds(unix).wrapping_sub(time) <= lifetime
            && constant_time::verify_slices_are_equal(&raw[4..], &self.mac(client, time)).is_ok()
    }

    fn mac(&self, client: IpAddr, time: u32) -> [u8; MAC] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&time.to_be_bytes());
        match client {
            IpAddr::V4(ip) => context.update(&ip.octets()),
            IpAddr::V6(ip) => context.update(&ip.octets()),
        }
        let tag = context.sign();
        let mut mac = [0; MAC];
        mac.copy_from_slice(&tag.as_ref()[..MAC]);
        mac
    }
}

impl fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceKey(***)")
    }
}

/// The low 32 bits: differences are what counts.
fn seconds(unix: u64) -> u32 {
    u32::try_from(unix & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::entropy::tests::Seeded;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn a_nonce_is_fresh_for_its_lifetime_and_its_address() {
        let key = NonceKey::new(&mut Seeded::new(1));
        let nonce = key.issue(HERE, 1000);
        assert!(nonce.starts_with(COOKIE) && nonce.is_ascii());
        assert!(key.is_fresh(&nonce, HERE, 1000, 600));
        assert!(key.is_fresh(&nonce, HERE, 1600, 600));
        assert!(!key.is_fresh(&nonce, HERE, 1601, 600));
        assert!(!key.is_fresh(&nonce, HERE, 999, 600));
        assert!(!key.is_fresh(&nonce, THERE, 1000, 600));
    }

    #[test]
    fn nonces_of_another_key_and_changed_ones_are_stale() {
        let key = NonceKey::new(&mut Seeded::new(1));
        let other = NonceKey::new(&mut Seeded::new(2));
        let nonce = key.issue(HERE, 1000);
        assert!(!other.is_fresh(&nonce, HERE, 1000, 600));
        for at in 0..nonce.len() {
            let mut changed = nonce;
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(!key.is_fresh(&changed, HERE, 1000, 600), "at {at}");
        }
        assert!(!key.is_fresh(&nonce[..LENGTH - 1], HERE, 1000, 600));
        assert!(!key.is_fresh(b"", HERE, 1000, 600));
    }
}
