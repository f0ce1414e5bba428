//! The index of names, without a handshake around it.

use std::{sync::Arc, time::SystemTime};

use super::fixture::{DAY, Dir, TestCa};
use crate::tls::{
    certificates::{Certificate, Certificates},
    files::Pair,
};

fn load(dir: &Dir, ca: &TestCa, names: &[&str], days: u32) -> Arc<Certificate> {
    let now = SystemTime::now();
    let pair = ca.pair_valid(names, now - 40 * DAY, now - 20 * DAY + days * DAY);
    let name = format!("pair{:08x}", fastrand::u32(..));
    Pair::load(&dir.write_pair(&name, &pair))
        .unwrap()
        .certificate
}

fn index(certificates: &[&Arc<Certificate>]) -> Certificates {
    let mut index = Certificates::default();
    for certificate in certificates {
        index.add(certificate, SystemTime::now());
    }
    index
}

#[test]
fn an_exact_name_goes_before_a_wildcard() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let wildcard = load(&dir, &ca, &["*.a.test"], 100);
    let exact = load(&dir, &ca, &["b.a.test"], 50);
    for order in [[&wildcard, &exact], [&exact, &wildcard]] {
        let index = index(&order);
        assert!(Arc::ptr_eq(index.by_name("b.a.test").unwrap(), &exact.key));
        assert!(Arc::ptr_eq(
            index.by_name("c.a.test").unwrap(),
            &wildcard.key
        ));
    }
}

#[test]
fn a_wildcard_stands_for_exactly_one_label() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let index = index(&[&load(&dir, &ca, &["*.a.test"], 100)]);
    assert!(index.by_name("x.a.test").is_some());
    for name in [
        "a.test",
        "x.y.a.test",
        ".a.test",
        "*.test",
        "test",
        "",
        ".",
        "..",
    ] {
        assert!(index.by_name(name).is_none(), "{name:?}");
    }
}

#[test]
fn case_and_one_trailing_dot_do_not_matter() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let index = index(&[&load(&dir, &ca, &["Upper.test", "low.test"], 100)]);
    for name in ["upper.test", "UPPER.TEST", "upper.test.", "LOW.test."] {
        assert!(index.by_name(name).is_some(), "{name}");
    }
    assert!(index.by_name("low.test..").is_none());
}

#[test]
fn of_two_for_one_name_the_valid_one_that_expires_later_is_used() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let expired = load(&dir, &ca, &["a.test"], 10);
    let short = load(&dir, &ca, &["a.test"], 30);
    let long = load(&dir, &ca, &["a.test"], 60);
    for order in [
        [&expired, &short, &long],
        [&long, &expired, &short],
        [&short, &long, &expired],
    ] {
        let index = index(&order);
        assert!(Arc::ptr_eq(index.by_name("a.test").unwrap(), &long.key));
    }
    let only_expired = index(&[&expired]);
    assert!(only_expired.by_name("a.test").is_some());
}

#[test]
fn a_client_without_a_name_gets_the_certificate_of_the_address() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let four = load(&dir, &ca, &["203.0.113.7"], 100);
    let six = load(&dir, &ca, &["2001:db8::7"], 100);
    let both = index(&[&four, &six]);
    let by = |index: &Certificates, ip: &str| {
        index
            .by_address(Some(ip.parse().unwrap()))
            .map(|key| Arc::ptr_eq(key, &four.key))
    };
    assert_eq!(by(&both, "203.0.113.7"), Some(true));
    assert_eq!(by(&both, "::ffff:203.0.113.7"), Some(true));
    assert_eq!(by(&both, "2001:db8::7"), Some(false));
    assert_eq!(by(&both, "10.0.0.5"), None);
    assert!(both.by_address(None).is_none());
}

#[test]
fn behind_a_mapping_the_only_address_is_meant() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let one = index(&[&load(&dir, &ca, &["203.0.113.7", "a.test"], 100)]);
    for mapped in ["172.17.0.2", "10.0.0.5", "100.64.1.1", "fd00::2"] {
        assert!(
            one.by_address(Some(mapped.parse().unwrap())).is_some(),
            "{mapped}"
        );
    }
    assert!(one.by_address(None).is_some());
    for direct in ["203.0.113.8", "127.0.0.1", "::1", "2001:db8::1"] {
        assert!(
            one.by_address(Some(direct.parse().unwrap())).is_none(),
            "{direct}"
        );
    }
    let names_only = index(&[&load(&dir, &ca, &["a.test"], 100)]);
    assert!(names_only.by_address(Some([10, 0, 0, 5].into())).is_none());
}

#[test]
fn no_text_panics_and_only_covered_names_are_found() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let index = index(&[&load(&dir, &ca, &["a.test", "*.b.test"], 100)]);
    let mut random = fastrand::Rng::with_seed(7);
    let alphabet = ['a', 'b', '.', '*', 't', 'e', 's', 'A', 'é', '\0', '-'];
    for _ in 0..20_000 {
        let length = random.usize(..300);
        let mut name: String = (0..length).map(|_| alphabet[random.usize(..11)]).collect();
        if random.bool() {
            name.push_str(".b.test");
        }
        let lower = name.to_ascii_lowercase();
        let lower = lower.strip_suffix('.').unwrap_or(&lower);
        let covered = lower.len() <= 253
            && lower
                .strip_suffix(".b.test")
                .is_some_and(|label| !label.is_empty() && !label.contains('.'));
        assert_eq!(index.by_name(&name).is_some(), covered || lower == "a.test");
    }
}
