//! Keys, cookies and where requests come from.

use serde_json::json;

use super::{Scene, Who, scene::HOST};

#[tokio::test]
async fn nobody_is_told_how_to_be_somebody() {
    let scene = Scene::new().await;
    let answer = scene.get(Who::Nobody, "/api/v1/me").await;
    assert_eq!(answer.problem(), (401, "unauthenticated"));
    let challenge = answer.header("www-authenticate");
    assert_eq!(challenge, Some("Bearer realm=\"portunus\""));
}

#[tokio::test]
async fn a_bad_key_is_refused_even_beside_a_good_cookie() {
    let scene = Scene::new().await;
    let cookie = format!("Cookie: __Host-portunus_session={}", scene.alice.cookie);
    for key in ["", "x", "ptn_0123456789abcdefghijABCDEFGHIJ2mVBcA"] {
        let bad = format!("Authorization: Bearer {key}");
        let answer = scene
            .send(Who::Nobody, "GET", "/api/v1/me", &[&bad, &cookie], None)
            .await;
        assert_eq!(answer.problem(), (401, "invalid_credential"), "{key}");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.contains("error=\"invalid_token\""));
    }
    let lines = [cookie.as_str()];
    let with_cookie = scene.send(Who::Nobody, "GET", "/api/v1/me", &lines, None);
    let me = with_cookie.await;
    assert_eq!(me.json["user"]["username"], "alice");
    assert_eq!(me.json["by"], "session");
    assert_eq!(me.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn with_a_cookie_only_the_gateways_own_pages_change_anything() {
    let scene = Scene::new().await;
    let me = scene.get(Who::Browser(&scene.alice), "/api/v1/me").await;
    let cookie = format!("Cookie: __Host-portunus_session={}", scene.alice.cookie);
    let csrf = format!("X-CSRF-Token: {}", me.json["csrf_token"].as_str().unwrap());
    let bobs = scene.identity().csrf_token(scene.bob.session);
    let bobs = format!("X-CSRF-Token: {bobs}");
    let own = format!("Origin: https://{HOST}");
    let same = "Sec-Fetch-Site: same-origin";
    let cases: &[(&[&str], u16)] = &[
        (&[&own, same, &csrf], 201),
        (&[&own, &csrf], 201),
        (&[same, &csrf], 201),
        (&[&csrf], 403),
        (&[&own, same], 403),
        (&[&own, same, &bobs], 403),
        (&[&own, same, "X-CSRF-Token: "], 403),
        (&["Origin: https://evil.test", &csrf], 403),
        (&["Origin: null", &csrf], 403),
        (&["Origin: https://gw.test.evil.test", &csrf], 403),
        (&["Origin: https://gw.test:8443", &csrf], 403),
        (&[&own, "Sec-Fetch-Site: cross-site", &csrf], 403),
        (&[&own, "Sec-Fetch-Site: same-site", &csrf], 403),
        (&[&own, "Sec-Fetch-Site: none", &csrf], 403),
    ];
    let body = json!({ "name": "k" }).to_string();
    for (lines, expected) in cases {
        let mut all = vec![cookie.as_str()];
        all.extend(lines.iter());
        let answer = scene
            .send(Who::Nobody, "POST", "/api/v1/keys", &all, Some(&body))
            .await;
        assert_eq!(answer.status, *expected, "{lines:?} {}", answer.text);
        if *expected == 403 {
            assert_eq!(answer.problem().1, "csrf");
        }
    }
}

#[tokio::test]
async fn a_key_in_the_query_is_refused_and_not_repeated() {
    let scene = Scene::new().await;
    for query in [
        format!("api_key={}", scene.alice.key),
        format!("limit=5&x={}", scene.alice.key),
        "access_token=x".to_owned(),
    ] {
        for path in ["/api/v1/keys", "/_health", "/api/auth/me"] {
            let path = format!("{path}?{query}");
            let answer = scene.get(Who::Key(&scene.alice.key), &path).await;
            assert_eq!(answer.problem(), (400, "bad_request"), "{query}");
            assert!(!answer.text.contains(&scene.alice.key));
        }
    }
}

#[tokio::test]
async fn who_tries_keys_has_to_wait_and_a_good_one_still_works() {
    let scene = Scene::new().await;
    let wrong = "ptn_0123456789abcdefghijABCDEFGHIJ2mVBcA";
    let mut statuses = Vec::new();
    for _ in 0..32 {
        let answer = scene.get(Who::Key(wrong), "/api/v1/me").await;
        if answer.status == 429 {
            assert_eq!(answer.problem().1, "too_many_attempts");
            let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait));
        }
        statuses.push(answer.status);
    }
    assert_eq!(statuses[..30], [401; 30]);
    assert_eq!(statuses[30..], [429; 2]);
    let good = scene.get(Who::Key(&scene.alice.key), "/api/v1/me").await;
    assert_eq!(good.status, 200);
}

#[tokio::test]
async fn the_control_socket_is_the_operators() {
    let scene = Scene::new().await;
    let me = scene.get(Who::Operator, "/api/v1/me").await;
    assert_eq!((me.status, &me.json["by"]), (200, &"operator".into()));
    let body = Some(json!({ "name": "k" }));
    let whose = scene
        .call(Who::Operator, "POST", "/api/v1/keys", body)
        .await;
    assert_eq!(whose.problem(), (422, "invalid"));
    let socket = std::fs::metadata(scene.gateway.dir.join("state/control.sock")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&socket.permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_user_who_is_disabled_or_deleted_is_nobody_at_once() {
    let scene = Scene::new().await;
    let path = format!("/api/v1/users/{}", scene.alice.id);
    let admin = Who::Key(&scene.admin.key);
    let disabled = Some(json!({ "disabled": true }));
    assert_eq!(
        scene.call(admin, "PATCH", &path, disabled).await.status,
        200
    );
    for who in [Who::Key(&scene.alice.key), Who::Browser(&scene.alice)] {
        assert_eq!(scene.get(who, "/api/v1/me").await.status, 401);
    }
    let enabled = Some(json!({ "disabled": false }));
    assert_eq!(scene.call(admin, "PATCH", &path, enabled).await.status, 200);
    let again = scene.get(Who::Key(&scene.alice.key), "/api/v1/me").await;
    assert_eq!(again.status, 200);
    assert_eq!(scene.call(admin, "DELETE", &path, None).await.status, 204);
    let gone = scene.get(Who::Key(&scene.alice.key), "/api/v1/me").await;
    assert_eq!(gone.status, 401);
    assert_eq!(scene.get(admin, &path).await.status, 404);
}
