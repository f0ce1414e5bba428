//! Content codings of precompressed siblings.
//!
//! In: the request's `Accept-Encoding` fields. Out: the codings to look for, best first (RFC 9110
//! §12.5.3). The work is bounded by the size of the header, nothing is allocated, and a member
//! that does not parse counts as not there.

use http::{HeaderMap, HeaderValue, header::ACCEPT_ENCODING};

/// A coding a sibling file may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

impl Coding {
    /// At equal weight the first wins: zstd decodes fastest, brotli is smaller than gzip.
    const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// What is appended to the name of the file.
    pub(super) fn suffix(self) -> &'static [u8] {
        match self {
            Self::Zstd => b".zst",
            Self::Brotli => b".br",
            Self::Gzip => b".gz",
        }
    }

    /// The value of `Content-Encoding`.
    pub(super) fn token(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        })
    }
}

/// Codings the client prefers over the plain file, best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted([Option<Coding>; 3]);

impl Accepted {
    /// Codings the client takes, by weight. One it weighs below `identity` is left out.
    pub(super) fn parse(headers: &HeaderMap) -> Self {
        let mut weights = Weights::default();
        for field in headers.get_all(ACCEPT_ENCODING) {
            field
                .as_bytes()
                .split(|byte| *byte == b',')
                .for_each(|member| weights.add(member));
        }
        weights.rank()
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Coding> {
        self.0.into_iter().flatten()
    }
}

/// Weights in thousandths; `None` where the client said nothing.
#[derive(Default)]
struct Weights {
    codings: [Option<u16>; 3],
    identity: Option<u16>,
    any: Option<u16>,
}

impl Weights {
    fn add(&mut self, member: &[u8]) {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let Some(weight) = parts.next().map_or(Some(1000), parse_weight) else {
            return;
        };
        if parts.next().is_some() {
            return;
        }
        let slot = match name {
            b"*" => &mut self.any,
            _ if name.eq_ignore_ascii_case(b"zstd") => &mut self.codings[0],
            _ if name.eq_ignore_ascii_case(b"br") => &mut self.codings[1],
            // RFC 9110 §8.4.1.3: x-gzip is the same coding.
            _ if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") => {
                &mut self.codings[2]
            }
            _ if name.eq_ignore_ascii_case(b"identity") => &mut self.identity,
            _ => return,
        };
        *slot = Some(weight);
    }

    fn rank(&self) -> Accepted {
        let identity = self.identity.unwrap_or(0);
        let mut ranked = [(0, None); 3];
        for (slot, (coding, weight)) in ranked
            .iter_mut()
            .zip(Coding::ALL.into_iter().zip(self.codings))
        {
            let weight = weight.or(self.any).unwrap_or(0);
            if weight > 0 && weight >= identity {
                *slot = (weight, Some(coding));
            }
        }
        // Stable, so equal weights keep the order of preference.
        ranked.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        Accepted(ranked.map(|(_, coding)| coding))
    }
}

/// `q=0.5` in thousandths: at most three digits after the point, at most one (RFC 9110 §12.4.2).
fn parse_weight(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', value @ ..] = parameter else {
        return None;
    };
    let (whole, fraction) = match value {
        [whole] => (*whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (*whole, fraction),
        _ => return None,
    };
    let mut weight = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return None,
    };
    for (digit, unit) in fraction.iter().zip([100, 10, 1]) {
        if !digit.is_ascii_digit() {
            return None;
        }
        weight += u16::from(digit - b'0') * unit;
    }
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(fields: &[&str]) -> Vec<Coding> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(
                ACCEPT_ENCODING,
                HeaderValue::from_bytes(field.as_bytes()).unwrap(),
            );
        }
        Accepted::parse(&headers).iter().collect()
    }

    use Coding::{Brotli, Gzip, Zstd};

    #[test]
    fn equal_weights_follow_the_preference() {
        assert_eq!(accepted(&["gzip, deflate, br, zstd"]), [Zstd, Brotli, Gzip]);
        assert_eq!(accepted(&["gzip", "br"]), [Brotli, Gzip]);
        assert_eq!(accepted(&["GZIP"]), [Gzip]);
        assert_eq!(accepted(&["x-gzip"]), [Gzip]);
    }

    #[test]
    fn weights_order_and_refuse() {
        assert_eq!(
            accepted(&["gzip;q=1.0, br;q=0.5, zstd;q=0"]),
            [Gzip, Brotli]
        );
        assert_eq!(accepted(&["zstd;q=0.001 , gzip ; q=0.002"]), [Gzip, Zstd]);
        assert_eq!(accepted(&["br;q=0.000"]), []);
    }

    #[test]
    fn a_star_stands_for_what_is_not_named() {
        assert_eq!(accepted(&["*"]), [Zstd, Brotli, Gzip]);
        assert_eq!(accepted(&["*;q=0"]), []);
        assert_eq!(accepted(&["br;q=0, *;q=0.3"]), [Zstd, Gzip]);
        assert_eq!(accepted(&["gzip, *;q=0"]), [Gzip]);
    }

    #[test]
    fn identity_may_be_preferred() {
        assert_eq!(accepted(&["identity, gzip;q=0.5"]), []);
        assert_eq!(accepted(&["identity;q=0.5, gzip;q=0.5"]), [Gzip]);
        assert_eq!(accepted(&["identity;q=0, br"]), [Brotli]);
    }

    #[test]
    fn nothing_said_accepts_nothing() {
        assert_eq!(accepted(&[]), []);
        assert_eq!(accepted(&[""]), []);
        assert_eq!(accepted(&["deflate, compress"]), []);
    }

    #[test]
    fn a_malformed_member_counts_as_absent() {
        for field in [
            "gzip;q=",
            "gzip;q=2",
            "gzip;q=1.001",
            "gzip;q=0.1234",
            "gzip;q=-1",
            "gzip;level=1",
            "gzip;q=0.5;x=1",
            "gzip;q=.5",
            "gzip;",
            ";q=1",
            "gz ip",
            "gzip;q=0x1",
        ] {
            let found = accepted(&[field]);
            assert!(found.is_empty(), "{field}: {found:?}");
        }
        assert_eq!(accepted(&[",, ,gzip,,"]), [Gzip]);
        assert_eq!(accepted(&["br;q=x, gzip"]), [Gzip]);
    }

    #[test]
    fn garbage_never_panics_and_never_repeats_a_coding() {
        let pieces: [&[u8]; 14] = [
            b"gzip",
            b"br",
            b"zstd",
            b"*",
            b"identity",
            b",",
            b";",
            b"q=",
            b"0.",
            b"1",
            b"999",
            b" ",
            b"\xff",
            b"\t",
        ];
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..20_000 {
            let field: Vec<u8> = (0..random.usize(0..12))
                .flat_map(|_| pieces[random.usize(0..pieces.len())].to_vec())
                .collect();
            let mut headers = HeaderMap::new();
            headers.append(ACCEPT_ENCODING, HeaderValue::from_bytes(&field).unwrap());
            let found: Vec<_> = Accepted::parse(&headers).iter().collect();
            for (at, coding) in found.iter().enumerate() {
                assert!(
                    !found[at + 1..].contains(coding),
                    "{}",
                    field.escape_ascii()
                );
            }
        }
    }
}
