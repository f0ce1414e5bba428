//! Single looks at the files, with the time given, and the task around them.

use std::{
    fs,
    os::unix::fs::symlink,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio_util::sync::CancellationToken;

use super::fixture::{
    DAY, Dir, Outcome, TestCa, client, client_at, connect, connect_to, exact, files, internal,
    start_internal,
};
use crate::{
    config::{self, CertificateFiles},
    tls::{
        Tls,
        watch::{Notice, Watcher},
    },
};

/// A gateway with one pair for `a.test`, and its watcher.
struct Setup {
    dir: Dir,
    ca: TestCa,
    pair: CertificateFiles,
    tls: Arc<Tls>,
    watcher: Watcher,
}

impl Setup {
    fn new() -> Self {
        let (dir, ca) = (Dir::new(), TestCa::new());
        let pair = dir.write_pair("pair", &ca.pair(&["a.test", "old.test"]));
        let tls = Tls::start(&files(vec![pair.clone()]), &[], dir.path()).unwrap();
        Self {
            dir,
            ca,
            pair,
            tls,
            watcher: Watcher::default(),
        }
    }

    fn poll(&mut self) -> Vec<Notice> {
        self.watcher.poll_once(&self.tls, SystemTime::now())
    }

    fn serves(&self, name: &str) -> bool {
        self.tls.recognises(Some(name), None)
    }
}

#[test]
fn nothing_happens_while_nothing_changes() {
    let mut setup = Setup::new();
    assert!(setup.poll().is_empty());
    assert!(setup.poll().is_empty());
    assert!(setup.serves("old.test"));
}

#[tokio::test]
async fn a_changed_pair_is_served_and_open_connections_go_on() {
    let mut setup = Setup::new();
    let mut before = connect(&setup.tls, client(&[&setup.ca.pem]), "a.test").await;
    setup
        .dir
        .write_pair("pair", &setup.ca.pair(&["a.test", "new.test"]));
    let notices = setup.poll();
    assert!(matches!(&notices[..], [Notice::Loaded(_)]), "{notices:?}");
    before.ping().await;
    let after = connect(&setup.tls, client(&[&setup.ca.pem]), "a.test").await;
    assert_eq!(after.names(), ["DNSName(a.test)", "DNSName(new.test)"]);
    assert!(!setup.serves("old.test"));
}

#[test]
fn half_a_replacement_is_waited_for_in_silence() {
    let mut setup = Setup::new();
    let new = setup.ca.pair(&["a.test", "new.test"]);
    fs::write(&setup.pair.cert, &new.cert).unwrap();
    assert!(setup.poll().is_empty());
    assert!(setup.serves("old.test"));
    fs::write(&setup.pair.key, &new.key).unwrap();
    let notices = setup.poll();
    assert!(matches!(&notices[..], [Notice::Loaded(_)]), "{notices:?}");
    assert!(setup.serves("new.test"));
}

#[test]
fn a_broken_pair_is_reported_once_and_the_old_one_stays() {
    let mut setup = Setup::new();
    for content in ["", "-----BEGIN CERTIFICATE-----\n"] {
        fs::write(&setup.pair.cert, content).unwrap();
        assert!(setup.poll().is_empty());
        let notices = setup.poll();
        let [Notice::Broken(error)] = &notices[..] else {
            panic!("{notices:?}");
        };
        assert!(error.to_string().contains("pair.pem"), "{error}");
        assert!(setup.poll().is_empty());
        assert!(setup.poll().is_empty());
        assert!(setup.serves("old.test"));
    }
    setup
        .dir
        .write_pair("pair", &setup.ca.pair(&["a.test", "new.test"]));
    let notices = setup.poll();
    assert!(matches!(&notices[..], [Notice::Loaded(_)]), "{notices:?}");
    assert!(setup.serves("new.test"));
}

#[test]
fn a_removed_pair_is_reported_once_and_stays_in_use() {
    let mut setup = Setup::new();
    fs::remove_file(&setup.pair.cert).unwrap();
    fs::remove_file(&setup.pair.key).unwrap();
    assert!(setup.poll().is_empty());
    assert!(matches!(&setup.poll()[..], [Notice::Broken(_)]));
    assert!(setup.poll().is_empty());
    assert!(setup.serves("old.test"));
}

#[test]
fn the_old_pair_put_back_is_fine_again() {
    let mut setup = Setup::new();
    let cert = fs::read(&setup.pair.cert).unwrap();
    fs::write(&setup.pair.cert, "broken").unwrap();
    setup.poll();
    assert_eq!(setup.poll().len(), 1);
    fs::write(&setup.pair.cert, cert).unwrap();
    assert!(setup.poll().is_empty());
    assert!(setup.serves("old.test"));
    fs::write(&setup.pair.cert, "broken").unwrap();
    setup.poll();
    assert_eq!(setup.poll().len(), 1, "a new breakage is a new report");
}

#[test]
fn the_link_of_a_kubernetes_secret_is_followed() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let version = |name: &str, pair| {
        fs::create_dir(dir.join(name)).unwrap();
        dir.write_pair(&format!("{name}/tls"), &pair);
    };
    version("v1", ca.pair(&["a.test"]));
    symlink("v1", dir.join("..data")).unwrap();
    symlink("..data/tls.pem", dir.join("tls.pem")).unwrap();
    symlink("..data/tls.key", dir.join("tls.key")).unwrap();
    let pair = CertificateFiles {
        cert: dir.join("tls.pem"),
        key: dir.join("tls.key"),
    };
    let tls = Tls::start(&files(vec![pair]), &[], dir.path()).unwrap();

    version("v2", ca.pair(&["b.test"]));
    symlink("v2", dir.join("..data_tmp")).unwrap();
    fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();

    let notices = Watcher::default().poll_once(&tls, SystemTime::now());
    assert!(matches!(&notices[..], [Notice::Loaded(_)]), "{notices:?}");
    assert!(tls.recognises(Some("b.test"), None));
}

#[test]
fn one_broken_pair_does_not_hold_up_another() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let one = dir.write_pair("one", &ca.pair(&["one.test"]));
    let two = dir.write_pair("two", &ca.pair(&["two.test"]));
    let tls = Tls::start(&files(vec![one.clone(), two]), &[], dir.path()).unwrap();
    fs::write(&one.key, "broken").unwrap();
    dir.write_pair("two", &ca.pair(&["new.test"]));
    Watcher::default().poll_once(&tls, SystemTime::now());
    assert!(tls.recognises(Some("one.test"), None));
    assert!(tls.recognises(Some("new.test"), None));
}

#[tokio::test]
async fn a_certificate_that_becomes_valid_takes_over() {
    let (dir, ca) = (Dir::new(), TestCa::new());
    let now = SystemTime::now();
    let old = ca.pair_valid(&["a.test", "old.test"], now - DAY, now + 10 * DAY);
    let new = ca.pair_valid(&["a.test", "new.test"], now + DAY, now + 20 * DAY);
    let pairs = vec![dir.write_pair("old", &old), dir.write_pair("new", &new)];
    let tls = Tls::start(&files(pairs), &[], dir.path()).unwrap();
    let mut watcher = Watcher::default();
    for (now, expected) in [
        (now, "DNSName(old.test)"),
        (now + DAY / 2, "DNSName(old.test)"),
        (now + 2 * DAY, "DNSName(new.test)"),
    ] {
        watcher.poll_once(&tls, now);
        let outcome = connect(&tls, client_at(&[&ca.pem], now), "a.test").await;
        assert_eq!(outcome.names()[1], expected);
    }
}

fn leaf(outcome: &Outcome) -> Vec<u8> {
    let (_, connection) = outcome.client.as_ref().unwrap().get_ref();
    connection.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn an_issued_certificate_is_renewed_in_its_last_third() {
    let dir = Dir::new();
    let (tls, root) = start_internal(&dir, &[exact("a.test")]);
    let now = SystemTime::now();
    let mut watcher = Watcher::default();
    let served = async || leaf(&connect(&tls, client(&[&root]), "a.test").await);
    let first = served().await;
    watcher.poll_once(&tls, now + 4 * DAY);
    assert_eq!(served().await, first);
    watcher.poll_once(&tls, now + 5 * DAY);
    let config = client_at(&[&root], now + 5 * DAY);
    let renewed = leaf(&connect(&tls, config, "a.test").await);
    assert_ne!(renewed, first);
}

#[tokio::test]
async fn a_clock_that_goes_back_has_certificates_issued_again() {
    let dir = Dir::new();
    let now = SystemTime::now();
    let ahead = now + 3 * DAY;
    let tls = Tls::start_at(&internal(), &[exact("a.test")], dir.path(), ahead).unwrap();
    let root = crate::tls::InternalCa::open(dir.path()).unwrap();
    // The root is younger than the clock now says, so the client's clock stays ahead.
    let config = Arc::new(client_at(&[root.root_pem()], ahead));
    let served = async || {
        let outcome = connect_to(&tls, &config, "a.test", None).await;
        leaf(&outcome)
    };
    let first = served().await;
    Watcher::default().poll_once(&tls, now);
    let (_, parsed) = x509_parser::parse_x509_certificate(&first).unwrap();
    let second = served().await;
    let (_, again) = x509_parser::parse_x509_certificate(&second).unwrap();
    assert!(again.validity().not_before < parsed.validity().not_before);
}

#[test]
fn a_reload_during_a_look_is_not_undone() {
    let mut setup = Setup::new();
    let other = setup.dir.write_pair("other", &setup.ca.pair(&["b.test"]));
    let config = config::Tls {
        files: vec![other],
        ..files(Vec::new())
    };
    let before = setup.tls.resolver.0.load_full();
    let stale = before
        .next(before.pairs.clone(), SystemTime::now())
        .unwrap();
    let prepared = setup.tls.prepare(&config, &[], setup.dir.path()).unwrap();
    setup.tls.commit(prepared);
    setup.tls.replace(&before, stale);
    assert!(setup.serves("b.test"));
    assert!(!setup.serves("a.test"));
    assert!(setup.poll().is_empty());
}

#[tokio::test]
async fn the_task_notices_a_change_and_stops_when_told() {
    let setup = Setup::new();
    let stop = CancellationToken::new();
    let interval = Duration::from_millis(10);
    let task = tokio::spawn(Arc::clone(&setup.tls).watch(interval, stop.clone()));
    setup
        .dir
        .write_pair("pair", &setup.ca.pair(&["a.test", "new.test"]));
    let noticed = async {
        while !setup.serves("new.test") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noticed)
        .await
        .expect("the change is noticed");
    stop.cancel();
    task.await.unwrap();
}
