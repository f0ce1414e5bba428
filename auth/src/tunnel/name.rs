//! The names people may choose for their tunnels.

/// The longest name, in characters: that of a DNS label (RFC 1035, 2.3.4).
pub const MAX_NAME: usize = 63;

/// Names that would pass for the gateway's own, or that programs look for by themselves.
const RESERVED: &[&str] = &[
    "account",
    "accounts",
    "acme",
    "admin",
    "administrator",
    "api",
    "app",
    "apps",
    "assets",
    "auth",
    "autoconfig",
    "autodiscover",
    "billing",
    "blog",
    "cdn",
    "console",
    "dashboard",
    "dev",
    "dns",
    "docs",
    "email",
    "ftp",
    "gateway",
    "git",
    "gw",
    "help",
    "hostmaster",
    "imap",
    "internal",
    "isatap",
    "local",
    "localdomain",
    "localhost",
    "login",
    "logout",
    "mail",
    "metrics",
    "mta-sts",
    "mx",
    "news",
    "noc",
    "ns",
    "ns0",
    "ns1",
    "ns2",
    "ns3",
    "ns4",
    "oauth",
    "openid",
    "pop",
    "pop3",
    "portunus",
    "postmaster",
    "proxy",
    "relay",
    "root",
    "secure",
    "security",
    "signin",
    "signup",
    "smtp",
    "sso",
    "ssh",
    "static",
    "status",
    "stun",
    "support",
    "system",
    "test",
    "tunnel",
    "tunnels",
    "turn",
    "usenet",
    "uucp",
    "vpn",
    "webmail",
    "webmaster",
    "wpad",
    "ws",
    "www",
];

/// Refuses what is no DNS label in lower case (RFC 1123, 2.1) or is kept for the gateway.
pub fn check_name(name: &str) -> Result<(), InvalidName> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(InvalidName::Length);
    }
    if !name.bytes().all(inner) {
        return Err(InvalidName::Characters);
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(InvalidName::Hyphen);
    }
    // `xn--` and its like are names in other scripts (RFC 5890), which can pass for another's.
    if name.as_bytes().get(2..4) == Some(b"--") {
        return Err(InvalidName::Encoded);
    }
    if RESERVED.contains(&name) {
        return Err(InvalidName::Reserved);
    }
    Ok(())
}

/// Why a name cannot be a tunnel's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidName {
    #[error("a tunnel's name has 1 to {MAX_NAME} characters")]
    Length,
    #[error("a tunnel's name has only the characters a-z, 0-9 and -")]
    Characters,
    #[error("a tunnel's name begins and ends with a letter or digit")]
    Hyphen,
    #[error("a tunnel's name has no -- as its third and fourth characters")]
    Encoded,
    #[error("this name is kept for the gateway itself; choose another")]
    Reserved,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_taken() {
        for name in ["a", "7", "happy-panda-dancing", "a--b", &"a".repeat(63)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn what_is_no_label_is_refused() {
        use InvalidName::*;
        let cases = [
            ("", Length),
            (&*"a".repeat(64), Length),
            ("Happy", Characters),
            ("a.b", Characters),
            ("a_b", Characters),
            ("a b", Characters),
            ("ä", Characters),
            ("a\0", Characters),
            ("-a", Hyphen),
            ("a-", Hyphen),
            ("xn--ls8h", Encoded),
            ("www", Reserved),
            ("mail", Reserved),
            ("api", Reserved),
        ];
        for (name, problem) in cases {
            assert_eq!(check_name(name), Err(problem), "{name}");
        }
    }

    #[test]
    fn every_reserved_name_could_be_chosen_otherwise() {
        for name in RESERVED {
            assert_eq!(check_name(name), Err(InvalidName::Reserved));
        }
    }
}
