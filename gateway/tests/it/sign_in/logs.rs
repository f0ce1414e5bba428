//! No secret in any log, at any level.

use super::{Browser, StandIn, config, local_config, program::Program};

/// Names and values of what must not be in `output`.
fn assert_silent(output: &str, secrets: &[(&str, String)]) {
    for (name, secret) in secrets {
        assert!(
            secret.len() >= 8,
            "{name} is too short to be looked for: {secret}"
        );
        let found = output.lines().find(|line| line.contains(secret));
        assert!(found.is_none(), "{name} is in {found:?}");
    }
}

fn parameter(url: &str, name: &str) -> String {
    let (_, query) = url.split_once('?').unwrap();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs
        .find(|(found, _)| found == name)
        .unwrap()
        .1
        .into_owned()
}

#[tokio::test]
async fn nothing_that_was_secret_is_logged_while_people_sign_in() {
    let stand_in = StandIn::start().await;
    let toml = config(&stand_in, "[log]\nlevel = \"trace\"\naccess = \"combined\"");
    let mut program = Program::start(&toml).await;
    let mut secrets = vec![("the client's secret", "stand-in-secret".to_owned())];
    for provider in ["github", "gitlab"] {
        let mut browser = Browser::to(program.connect().await, program.https().port());
        let callback = browser.callback(&stand_in, provider, "alice").await;
        secrets.push(("the code", parameter(&callback, "code")));
        secrets.push(("the state", parameter(&callback, "state")));
        secrets.extend(
            browser
                .cookies
                .values()
                .map(|value| ("a cookie", value.clone())),
        );
        browser.get(&callback).await;
        secrets.extend(
            browser
                .cookies
                .values()
                .map(|value| ("a cookie", value.clone())),
        );
        // A replay, a bad form, a good one.
        browser.get(&callback).await;
        let csrf = browser.get("/").await.field("csrf");
        browser
            .post("/auth/logout", &[("csrf", "not the token")])
            .await;
        browser.post("/auth/logout", &[("csrf", &csrf)]).await;
        secrets.push(("the session's token for forms", csrf));

        browser
            .sign_in_local("nobody", "a password that is wrong")
            .await;
        secrets.push(("the password", "a password that is wrong".to_owned()));
        secrets.push((
            "the password, encoded",
            "a+password+that+is+wrong".to_owned(),
        ));
        secrets.extend(
            browser
                .cookies
                .values()
                .map(|value| ("a cookie", value.clone())),
        );
    }
    assert!(program.stop().await.success());
    assert!(secrets.len() > 12);
    let output = program.output();
    assert!(output.contains("\"level\":\"TRACE\""), "nothing is traced");
    assert_silent(&output, &secrets);
}

#[tokio::test]
async fn the_set_up_link_is_printed_once_and_its_token_never_logged() {
    let toml = local_config().replacen("[[site]]", "[log]\nlevel = \"trace\"\n[[site]]", 1);
    let mut program = Program::start(&toml).await;
    let link = program.printed("set-up:").unwrap();
    let mut browser = Browser::to(program.connect().await, program.https().port());
    let page = browser
        .get(link.strip_prefix(&browser.origin).unwrap())
        .await;
    assert_eq!(page.status, 200, "{}", page.text);
    let (csrf, token) = (page.field("csrf"), page.field("token"));
    let password = "correct horse battery";
    let fields = [
        ("csrf", &*csrf),
        ("token", &*token),
        ("username", "root"),
        ("password", password),
        ("again", password),
    ];
    assert_eq!(browser.post("/auth/setup", &fields).await.status, 303);
    let session = browser.cookies.values().next().unwrap().clone();
    assert!(program.stop().await.success());
    let output = program.output();
    assert_eq!(output.matches(&token).count(), 1);
    let rest = output.replace(&link, "");
    let secrets = [
        ("the set-up token", token),
        ("the form's token", csrf),
        ("the session", session),
        ("the password", password.to_owned()),
        ("the password, encoded", password.replace(' ', "+")),
    ];
    assert_silent(&rest, &secrets);
}
