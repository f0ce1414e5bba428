//! No secret reaches a log or an error, whatever goes wrong.

use std::io;
use std::sync::Arc;

use auth::Secret;
use auth::oauth::{Callback, LoginError};
use parking_lot::Mutex;
use serde_json::json;
use tracing_subscriber::filter::LevelFilter;

use crate::stand_in::{
    BOTH, CLIENT_ID, CLIENT_SECRET, Ground, StandIn, gateway, press, query_after, sign_in,
};

/// Everything that was written, by logs and by errors.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn errors(&self, error: &LoginError) {
        let visitor = error.for_visitor();
        let text = format!("{error}\n{error:?}\n{error:#?}\n{visitor}\n");
        self.0.lock().extend_from_slice(text.as_bytes());
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

#[tokio::test]
async fn no_secret_is_written_anywhere() {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    let mut secrets = vec![CLIENT_SECRET.to_owned(), "gho_brokenoff".to_owned()];
    for kind in BOTH {
        let begun = logins.begin(kind, None, None).unwrap();
        let cookie = begun.browser.cookie();
        let query = query_after(&begun, "alice").await;
        let callback = Callback::parse(&query);
        let done = logins
            .complete(kind, &callback, Some(&cookie))
            .await
            .unwrap();
        let replayed = logins
            .complete(kind, &callback, Some(&cookie))
            .await
            .unwrap_err();
        written.errors(&replayed);
        let debugged = format!("{begun:?} {callback:?} {done:?} {logins:?}");
        written.0.lock().extend_from_slice(debugged.as_bytes());
        secrets.push(cookie);
        secrets.extend(
            query
                .split('&')
                .map(|pair| pair.split_once('=').unwrap().1.to_owned()),
        );

        let token = stand_in.token(kind, "alice", CLIENT_ID).await;
        logins.exchange(kind, &token).await.unwrap();
        for step in ["token", "user", "emails", "audience"] {
            for fault in [
                "500",
                "401",
                "403",
                "404",
                "garbage",
                "html",
                "empty",
                "huge",
                "closed",
                "redirect",
                "rate_limited",
                "invalid_grant",
                "invalid_client",
            ] {
                let begun = logins.begin(kind, None, None).unwrap();
                let callback = press(&begun, "alice").await;
                stand_in.break_steps(&json!({ step: fault })).await;
                let cookie = begun.browser.cookie();
                if let Err(error) = logins.complete(kind, &callback, Some(&cookie)).await {
                    written.errors(&error);
                }
                if let Err(error) = logins.exchange(kind, &token).await {
                    written.errors(&error);
                }
                stand_in.break_steps(&json!({})).await;
            }
        }
        let odd = Secret::new("odd\u{7}token-value");
        written.errors(&logins.exchange(kind, &odd).await.unwrap_err());
    }
    secrets.push("token-value".to_owned());
    secrets.extend(stand_in.get("/_issued").await);
    written.errors(&sign_in(&logins, BOTH[0], "deny").await.unwrap_err());

    let text = written.text();
    assert!(
        text.contains("the provider answered"),
        "nothing was captured"
    );
    assert!(secrets.len() > 150, "only {} secrets", secrets.len());
    for secret in &secrets {
        assert!(secret.len() > 8, "{secret} is found by chance");
        if let Some(place) = text.find(secret.as_str()) {
            let from = text[..place].rfind('\n').unwrap_or_default();
            panic!(
                "{secret} was written: {}",
                &text[from..place + secret.len()]
            );
        }
    }
}
