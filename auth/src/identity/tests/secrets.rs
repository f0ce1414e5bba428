//! What a thief of the store or of the logs gets.

use std::io;

use parking_lot::Mutex;
use tracing::instrument::WithSubscriber;

use super::*;
use crate::store::Range;

/// Does about everything; returns every secret that came up.
async fn live(f: &Fixture) -> Vec<String> {
    let operator = Context::operator();
    let link = f.identity.setup_link().await.unwrap().unwrap();
    let password = "vtrlp 7731 hqzmw";
    let setup = f
        .identity
        .finish_setup(link.expose(), "root", password, &somebody())
        .await;
    let (_, admin) = setup.unwrap();
    let wrong = "zzkqx 9902 wrbnm";
    assert!(
        f.identity
            .sign_in_local("root", wrong, &somebody())
            .await
            .is_err()
    );
    let (_, local) = f
        .identity
        .sign_in_local("root", password, &somebody())
        .await
        .unwrap();
    let (user, session) = f.user("alice").await;
    let (key, first) = f.key(user.id).await;
    let rotated = f
        .identity
        .rotate_key(key.id, DAY, &operator)
        .await
        .unwrap()
        .1;
    f.identity.used(key.id, &f.as_key(&first));
    f.identity.touch(
        f.by_session(&session).unwrap().session().unwrap(),
        &somebody(),
    );
    f.identity.flush().await.unwrap();
    assert!(
        f.identity
            .revoke_presented(first.reveal(), &somebody())
            .await
            .unwrap()
            .is_some()
    );
    let csrf = f
        .identity
        .csrf_token(f.by_session(&local).unwrap().session().unwrap());
    vec![
        link.expose().to_owned(),
        password.to_owned(),
        wrong.to_owned(),
        admin.reveal().to_owned(),
        local.reveal().to_owned(),
        session.reveal().to_owned(),
        first.reveal().to_owned(),
        rotated.reveal().to_owned(),
        csrf,
    ]
}

#[tokio::test]
async fn a_dump_of_the_store_has_nothing_that_opens_a_door() {
    let mut f = Fixture::new().await;
    let (store, clock) = (Arc::clone(&f.parts.store), Arc::clone(&f.parts.clock));
    let chain = crate::audit::Chain::open(store, &f.parts.seal, clock, "main");
    f.parts.audit = Arc::new(chain.await.unwrap());
    f.identity = f.neighbour().await;
    let secrets = live(&f).await;
    let mut dump = Vec::new();
    let mut range = Range::all();
    loop {
        let page = f.parts.store.range(range).await.unwrap();
        for entry in &page.entries {
            dump.extend_from_slice(&entry.key);
            dump.push(b'\n');
            dump.extend_from_slice(&entry.value);
            dump.push(b'\n');
        }
        match page.next {
            Some(next) => range = Range::all().after(next),
            None => break,
        }
    }
    assert!(dump.len() > 1000);
    for secret in &secrets {
        assert!(!contains(&dump, secret), "{secret}");
        // A prefix is kept of keys, to know them by; a thief has to guess the rest.
        assert!(
            !contains(&dump, &secret[9.min(secret.len() - 1)..]),
            "{secret}"
        );
    }
    for digits in String::from_utf8_lossy(&dump).split(|c: char| !c.is_ascii_alphanumeric()) {
        let presented = [
            format!("ptn_{digits}"),
            format!("ptns_{digits}"),
            digits.to_owned(),
        ];
        for text in presented {
            assert!(f.identity.directory().by_key(&text, f.now()).is_err());
            assert!(f.identity.directory().by_session(&text, f.now()).is_err());
        }
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_logged_or_printed() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let (secrets, printed) = async {
        tracing::trace!("the log is on");
        let f = Fixture::new().await;
        let secrets = live(&f).await;
        let (user, session) = f.user("alice").await;
        let (key, secret) = f.key(user.id).await;
        let caller = f.by_key(&secret).unwrap();
        let context = f.as_session(&session);
        let printed = format!(
            "{:?} {session:?} {key:?} {secret:?} {caller:?} {context:?} {:?}",
            f.identity,
            f.events.all(),
        );
        let mut secrets = secrets;
        secrets.push(session.reveal().to_owned());
        secrets.push(secret.reveal().to_owned());
        (secrets, printed)
    }
    .with_subscriber(subscriber)
    .await;
    let log = log.0.lock().clone();
    assert!(contains(&log, "the log is on"));
    for secret in &secrets {
        assert!(!contains(&log, secret), "{secret}");
        assert!(!printed.contains(&**secret), "{secret}");
    }
}

fn contains(text: &[u8], part: &str) -> bool {
    text.windows(part.len())
        .any(|window| window == part.as_bytes())
}
