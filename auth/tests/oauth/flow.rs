//! Sign-ins that go well, and those whose state is not what it should be.

use std::time::Duration;

use auth::Secret;
use auth::oauth::{
    Begun, Callback, Identity, Kind, LoginError, Problem, ProviderConfig, STATE_TTL, SettingsError,
    StateError,
};
use auth::redirect::Refused;
use auth::store::Range;
use bytes::Bytes;
use http::{Request, header};
use url::{Url, form_urlencoded};

use crate::stand_in::{
    BOTH, CLIENT_ID, Ground, StandIn, fetch, gateway, gateway_with, logins_of, press, query_after,
    sign_in,
};

/// What the sign-in says that it is not one.
fn state_error(error: LoginError) -> StateError {
    match error {
        LoginError::State(error) => error,
        other => panic!("{other:?}"),
    }
}

fn parameter(url: &Url, wanted: &str) -> String {
    let mut pairs = url.query_pairs();
    let (_, value) = pairs.find(|(name, _)| name == wanted).unwrap();
    value.into_owned()
}

#[tokio::test]
async fn a_person_signs_in_with_github() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let done = sign_in(&gateway(&stand_in, &ground), Kind::GitHub, "alice")
        .await
        .unwrap();
    let alice = Identity {
        provider: Kind::GitHub,
        subject: "1001".to_owned(),
        login: "alice".to_owned(),
        name: Some("Alice Example".to_owned()),
        email: Some("alice@example.com".to_owned()),
        avatar_url: Some("https://avatars.example.com/u/1001?v=4".to_owned()),
    };
    assert_eq!(done.identity, alice);
    assert_eq!(done.return_to.as_str(), "/tunnels");
    assert_eq!(
        stand_in.get("/_requests").await,
        [
            "GET /login/oauth/authorize",
            "POST /login/oauth/access_token",
            "GET /api/v3/user",
            "GET /api/v3/user/emails",
        ]
    );
}

#[tokio::test]
async fn a_person_signs_in_with_gitlab() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let done = sign_in(&gateway(&stand_in, &ground), Kind::GitLab, "alice")
        .await
        .unwrap();
    let alice = Identity {
        provider: Kind::GitLab,
        subject: "2001".to_owned(),
        login: "alice".to_owned(),
        name: Some("Alice Example".to_owned()),
        email: Some("alice@example.com".to_owned()),
        avatar_url: Some("https://gitlab.example.com/avatar/2001.png".to_owned()),
    };
    assert_eq!(done.identity, alice);
    assert_eq!(
        stand_in.get("/_requests").await,
        [
            "GET /oauth/authorize",
            "POST /oauth/token",
            "GET /api/v4/user"
        ]
    );
}

#[tokio::test]
async fn the_address_at_the_provider_has_all_it_needs() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    for (kind, scope) in [
        (Kind::GitHub, "read:user user:email"),
        (Kind::GitLab, "read_user"),
    ] {
        let url = logins.begin(kind, None, None).unwrap().authorize_url;
        assert_eq!(parameter(&url, "response_type"), "code");
        assert_eq!(parameter(&url, "client_id"), CLIENT_ID);
        assert_eq!(parameter(&url, "scope"), scope);
        assert_eq!(parameter(&url, "code_challenge_method"), "S256");
        assert_eq!(parameter(&url, "code_challenge").len(), 43);
        let callback = format!("https://gw.example.com{}", kind.callback_path());
        assert_eq!(parameter(&url, "redirect_uri"), callback);
        assert!(url.as_str().len() < 1000, "{}", url.as_str().len());
    }
}

#[tokio::test]
async fn a_person_agrees_on_the_page_itself() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    for kind in BOTH {
        let begun = logins.begin(kind, None, None).unwrap();
        let open = Request::get(begun.authorize_url.as_str()).body(Bytes::new());
        let browser = fetch(Duration::from_secs(10));
        let page = browser.send(open.unwrap()).await.unwrap();
        let page = String::from_utf8(page.body().to_vec()).unwrap();
        assert!(
            page.contains("value=\"carol\">Approve as carol</button>"),
            "{page}"
        );

        let mut form = form_urlencoded::Serializer::new(String::new());
        for input in page.split("<input type=\"hidden\" name=\"").skip(1) {
            let mut parts = input.split('"');
            let (name, value) = (parts.next().unwrap(), parts.nth(1).unwrap());
            form.append_pair(name, value);
        }
        form.append_pair("as", "carol");
        let action = stand_in.url.join(begun.authorize_url.path()).unwrap();
        let submit = Request::post(action.as_str()).body(Bytes::from(form.finish()));
        let answer = browser.send(submit.unwrap()).await.unwrap();
        let location = answer.headers()[header::LOCATION].to_str().unwrap();
        let callback = Url::parse(location).unwrap();
        assert_eq!(callback.path(), kind.callback_path());
        let callback = Callback::parse(callback.query().unwrap());
        let cookie = begun.browser.cookie();
        let done = logins
            .complete(kind, &callback, Some(&cookie))
            .await
            .unwrap();
        assert_eq!(done.identity.login, "carol");
        assert_eq!(done.return_to.as_str(), "/");
    }
}

#[tokio::test]
async fn an_address_that_is_not_verified_is_none() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    for kind in BOTH {
        let done = sign_in(&logins, kind, "bob").await.unwrap();
        assert_eq!(
            (done.identity.login.as_str(), done.identity.email),
            ("bob", None)
        );
    }
}

#[tokio::test]
async fn admins_are_listed_per_provider_and_in_any_case() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway_with(&stand_in, &ground, |config| {
        if config.kind == Kind::GitHub {
            config.admins = vec!["ALICE".to_owned(), "carol ".to_owned()];
        }
    });
    let mut found = Vec::new();
    for (kind, login) in [
        (Kind::GitHub, "alice"),
        (Kind::GitLab, "alice"),
        (Kind::GitHub, "bob"),
        (Kind::GitHub, "carol"),
    ] {
        let done = sign_in(&logins, kind, login).await.unwrap();
        found.push(logins.is_admin(&done.identity));
    }
    assert_eq!(found, [true, false, false, false]);
}

#[tokio::test]
async fn a_state_is_good_once() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    for kind in BOTH {
        let begun = logins.begin(kind, None, None).unwrap();
        let callback = press(&begun, "alice").await;
        let cookie = begun.browser.cookie();
        logins
            .complete(kind, &callback, Some(&cookie))
            .await
            .unwrap();
        // Also with a new code: it is the state that is used up.
        for callback in [callback, press(&begun, "carol").await] {
            let again = logins.complete(kind, &callback, Some(&cookie)).await;
            assert_eq!(state_error(again.unwrap_err()), StateError::Replayed);
        }
    }
}

#[tokio::test]
async fn of_requests_at_once_with_one_state_one_wins() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let gateways = [gateway(&stand_in, &ground), gateway(&stand_in, &ground)];
    let begun = gateways[0].begin(Kind::GitHub, None, None).unwrap();
    let callback = press(&begun, "alice").await;
    let cookie = begun.browser.cookie();
    let complete = |at: usize| gateways[at].complete(Kind::GitHub, &callback, Some(&cookie));
    let (a, b, c, d) = tokio::join!(complete(0), complete(1), complete(0), complete(1));
    let (won, lost): (Vec<_>, Vec<_>) = [a, b, c, d].into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 3));
    for error in lost.into_iter().filter_map(Result::err) {
        assert_eq!(state_error(error), StateError::Replayed);
    }
    let asked = stand_in.get("/_requests").await;
    let redeemed = asked.iter().filter(|line| line.starts_with("POST"));
    assert_eq!(redeemed.count(), 1, "{asked:?}");
}

#[tokio::test]
async fn another_gateway_on_the_same_store_completes_a_sign_in() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let (one, other) = (gateway(&stand_in, &ground), gateway(&stand_in, &ground));
    let begun = one.begin(Kind::GitLab, None, None).unwrap();
    let callback = press(&begun, "alice").await;
    let cookie = begun.browser.cookie();
    other
        .complete(Kind::GitLab, &callback, Some(&cookie))
        .await
        .unwrap();
    let again = one.complete(Kind::GitLab, &callback, Some(&cookie)).await;
    assert_eq!(state_error(again.unwrap_err()), StateError::Replayed);
}

#[tokio::test]
async fn a_state_is_no_good_in_another_browser() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    let begun = logins.begin(Kind::GitHub, None, None).unwrap();
    let callback = press(&begun, "alice").await;
    let other = logins
        .begin(Kind::GitHub, None, None)
        .unwrap()
        .browser
        .cookie();
    for cookie in [None, Some(""), Some("nonsense"), Some(other.as_str())] {
        let refused = logins.complete(Kind::GitHub, &callback, cookie).await;
        assert_eq!(state_error(refused.unwrap_err()), StateError::OtherBrowser);
    }
    // None of this used up the sign-in of the browser that began it.
    let cookie = begun.browser.cookie();
    assert!(
        logins
            .complete(Kind::GitHub, &callback, Some(&cookie))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn sign_ins_in_two_tabs_of_one_browser_are_both_good() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    let first = logins.begin(Kind::GitHub, None, None).unwrap();
    let cookie = first.browser.cookie();
    let second = logins.begin(Kind::GitLab, None, Some(&cookie)).unwrap();
    assert_eq!(second.browser.cookie(), cookie);
    for (kind, begun) in [(Kind::GitLab, &second), (Kind::GitHub, &first)] {
        let callback = press(begun, "alice").await;
        logins
            .complete(kind, &callback, Some(&cookie))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_state_lasts_ten_minutes() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    let (in_time, late) = (begin(&logins), begin(&logins));
    let callbacks = [press(&in_time, "alice").await, press(&late, "alice").await];
    ground.clock.advance(STATE_TTL - Duration::from_secs(1));
    let cookie = in_time.browser.cookie();
    let done = logins
        .complete(Kind::GitHub, &callbacks[0], Some(&cookie))
        .await;
    assert!(done.is_ok(), "{done:?}");
    ground.clock.advance(Duration::from_secs(2));
    let cookie = late.browser.cookie();
    let refused = logins
        .complete(Kind::GitHub, &callbacks[1], Some(&cookie))
        .await;
    assert_eq!(state_error(refused.unwrap_err()), StateError::Expired);
}

fn begin(logins: &auth::oauth::Logins) -> Begun {
    logins.begin(Kind::GitHub, None, None).unwrap()
}

#[tokio::test]
async fn a_state_that_was_changed_is_refused() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    let begun = begin(&logins);
    let (state, cookie) = (
        parameter(&begun.authorize_url, "state"),
        begun.browser.cookie(),
    );
    let mut changed: Vec<String> = (0..state.len())
        .map(|place| {
            let other = if state.as_bytes()[place] == b'A' {
                "B"
            } else {
                "A"
            };
            let mut text = state.clone();
            text.replace_range(place..=place, other);
            text
        })
        .collect();
    changed.extend((1..state.len()).map(|length| state[..length].to_owned()));
    changed.extend([format!("{state}A"), format!("{state}="), "x".repeat(5000)]);
    for text in changed {
        let callback = Callback::parse(&format!("code=abc&state={text}"));
        let refused = logins
            .complete(Kind::GitHub, &callback, Some(&cookie))
            .await;
        assert_eq!(
            state_error(refused.unwrap_err()),
            StateError::Invalid,
            "{text}"
        );
    }
    for query in ["code=abc", "code=abc&state=", "state=a&state=a"] {
        let refused = logins
            .complete(Kind::GitHub, &Callback::parse(query), Some(&cookie))
            .await;
        assert_eq!(
            state_error(refused.unwrap_err()),
            StateError::Missing,
            "{query}"
        );
    }
    let asked = stand_in.get("/_requests").await;
    assert!(asked.is_empty(), "{asked:?}");
}

#[tokio::test]
async fn a_state_of_one_provider_is_none_of_the_other() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    let begun = begin(&logins);
    let callback = press(&begun, "alice").await;
    let cookie = begun.browser.cookie();
    let refused = logins
        .complete(Kind::GitLab, &callback, Some(&cookie))
        .await;
    assert_eq!(state_error(refused.unwrap_err()), StateError::Invalid);
}

/// The code of one sign-in, put into another of the same browser: only PKCE tells.
#[tokio::test]
async fn a_code_is_good_for_its_own_sign_in_only() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    for kind in BOTH {
        let victim = logins.begin(kind, None, None).unwrap();
        let cookie = victim.browser.cookie();
        let other = logins.begin(kind, None, Some(&cookie)).unwrap();
        let query = query_after(&other, "alice").await;
        let code = form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "code")
            .unwrap()
            .1;
        let state = parameter(&victim.authorize_url, "state");
        let callback = Callback::parse(&format!("code={code}&state={state}"));
        let refused = logins
            .complete(kind, &callback, Some(&cookie))
            .await
            .unwrap_err();
        assert!(
            matches!(&refused, LoginError::Provider { provider, problem: Problem::BadCode } if *provider == kind),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_place_that_is_not_allowed_does_not_begin_a_sign_in() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    let refused = logins.begin(Kind::GitHub, Some("https://example.com/"), None);
    assert!(matches!(
        refused,
        Err(LoginError::ReturnTo(Refused::Elsewhere))
    ));
    let refused = logins.begin(Kind::GitHub, Some("//example.com"), None);
    assert!(matches!(
        refused,
        Err(LoginError::ReturnTo(Refused::Elsewhere))
    ));
}

#[tokio::test]
async fn used_states_are_forgotten_once_they_are_expired_everywhere() {
    let (stand_in, ground) = (StandIn::start(), Ground::new());
    let logins = gateway(&stand_in, &ground);
    let records = async || {
        let page = ground.store.range(Range::prefix("oauth/")).await.unwrap();
        page.entries.len()
    };
    for _ in 0..10 {
        begin(&logins);
    }
    assert_eq!(
        records().await,
        0,
        "a sign-in that only began was written down"
    );
    sign_in(&logins, Kind::GitHub, "alice").await.unwrap();
    sign_in(&logins, Kind::GitLab, "alice").await.unwrap();
    assert_eq!((logins.sweep().await.unwrap(), records().await), (0, 2));
    ground.clock.advance(STATE_TTL + Duration::from_secs(60));
    sign_in(&logins, Kind::GitHub, "carol").await.unwrap();
    assert_eq!((logins.sweep().await.unwrap(), records().await), (0, 3));
    ground.clock.advance(STATE_TTL);
    assert_eq!((logins.sweep().await.unwrap(), records().await), (2, 1));
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_at_the_start() {
    let refusal = |change: &dyn Fn(&mut ProviderConfig)| {
        let mut config = ProviderConfig {
            kind: Kind::GitLab,
            client_id: "id".to_owned(),
            client_secret: Secret::new("secret"),
            admins: Vec::new(),
            base_url: None,
        };
        change(&mut config);
        logins_of(config, &Ground::new()).err()
    };
    let base = |text: &str| Some(Url::parse(text).unwrap());
    assert_eq!(refusal(&|_| ()), None);
    assert_eq!(
        refusal(&|config| config.client_id = " ".to_owned()),
        Some(SettingsError::ClientId(Kind::GitLab))
    );
    assert_eq!(
        refusal(&|config| config.client_secret = Secret::new("")),
        Some(SettingsError::ClientSecret(Kind::GitLab))
    );
    assert_eq!(
        refusal(&|config| config.base_url = base("https://gitlab.example.com/?x")),
        Some(SettingsError::BaseUrl(Kind::GitLab))
    );
    assert_eq!(
        refusal(&|config| config.base_url = base("http://gitlab.example.com")),
        Some(SettingsError::PlainHttp(Kind::GitLab))
    );
}

#[tokio::test]
async fn a_provider_that_is_not_configured_is_named() {
    let ground = Ground::new();
    let logins = logins_of(
        ProviderConfig {
            kind: Kind::GitLab,
            client_id: "id".to_owned(),
            client_secret: Secret::new("secret"),
            admins: Vec::new(),
            base_url: None,
        },
        &ground,
    )
    .unwrap();
    assert_eq!(logins.kinds().collect::<Vec<_>>(), [Kind::GitLab]);
    let error = logins.begin(Kind::GitHub, None, None).unwrap_err();
    assert_eq!(error.to_string(), "sign-in with GitHub is not configured");
    let url = logins
        .begin(Kind::GitLab, None, None)
        .unwrap()
        .authorize_url;
    assert!(
        url.as_str()
            .starts_with("https://gitlab.com/oauth/authorize?"),
        "{url}"
    );
}
