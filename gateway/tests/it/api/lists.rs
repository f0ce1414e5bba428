//! Lists, page by page.

use std::collections::BTreeSet;

use auth::identity::Context;

use super::{Scene, Who};

#[tokio::test]
async fn pages_miss_and_repeat_nothing_while_the_list_changes() {
    let scene = Scene::new().await;
    let mut there = BTreeSet::new();
    for _ in 0..23 {
        there.insert(scene.key(scene.bob.id, "tunnel:connect").await.0);
    }
    let path = format!("/api/v1/keys?limit=5&owner={}", scene.bob.id);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    let mut pages = 0;
    loop {
        let page = scene.get(Who::Operator, &format!("{path}{cursor}")).await;
        let items = page.json["items"].as_array().unwrap();
        assert!(items.len() <= 5);
        seen.extend(items.iter().map(|key| key["id"].as_u64().unwrap()));
        pages += 1;
        // Something comes, and something else changes, between any two pages.
        scene.key(scene.bob.id, "tunnel:connect").await;
        let id = auth::key::KeyId(seen[0]);
        let operator = Context::operator();
        let revoked = scene.identity().revoke_key(id, &operator).await;
        revoked.unwrap();
        match page.json["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
        assert!(pages < 50, "it never ends");
    }
    let once: BTreeSet<_> = seen.iter().copied().collect();
    assert_eq!(once.len(), seen.len(), "something came twice");
    assert!(once.is_superset(&there), "something is missing");
    assert!(seen.is_sorted());
}

#[tokio::test]
async fn ordinary_users_see_their_own_and_administrators_all() {
    let scene = Scene::new().await;
    for path in ["/api/v1/keys", "/api/v1/tunnels", "/api/v1/sessions"] {
        let owners = |answer: &super::Answer| {
            let items = answer.json["items"].as_array().unwrap().iter();
            items
                .map(|item| item.get("owner").unwrap_or(&item["user"]).as_u64().unwrap())
                .collect::<BTreeSet<_>>()
        };
        let alices = scene.get(Who::Key(&scene.alice.key), path).await;
        assert_eq!(
            owners(&alices),
            BTreeSet::from([scene.alice.id.0]),
            "{path}"
        );
        let all = scene.get(Who::Key(&scene.admin.key), path).await;
        assert_eq!(owners(&all).len(), 3, "{path}");
        let parameter = if path.ends_with("sessions") {
            "user"
        } else {
            "owner"
        };
        let one = format!("{path}?{parameter}={}", scene.bob.id);
        let bobs = scene.get(Who::Key(&scene.admin.key), &one).await;
        assert_eq!(owners(&bobs), BTreeSet::from([scene.bob.id.0]), "{path}");
    }
}

#[tokio::test]
async fn users_are_found_by_what_they_are() {
    let scene = Scene::new().await;
    for (query, expected) in [
        ("role=admin", vec!["root"]),
        ("text=ALI", vec!["alice"]),
        ("provider=gitlab", vec![]),
        (
            "provider=github&disabled=false",
            vec!["root", "alice", "bob"],
        ),
        ("disabled=true", vec![]),
    ] {
        let found = scene
            .get(Who::Operator, &format!("/api/v1/users?{query}"))
            .await;
        let names: Vec<_> = found.json["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|user| user["username"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected, "{query}");
    }
}

#[tokio::test]
async fn a_session_knows_itself() {
    let scene = Scene::new().await;
    let list = scene
        .get(Who::Browser(&scene.alice), "/api/v1/sessions")
        .await;
    let items = list.json["items"].as_array().unwrap();
    assert_eq!(items.len(), 1);
    assert_eq!(items[0]["current"], true);
    let path = format!("/api/v1/sessions/{}", items[0]["id"]);
    let ended = scene
        .call(Who::Browser(&scene.alice), "DELETE", &path, None)
        .await;
    assert_eq!(ended.status, 204);
    let gone = scene.get(Who::Browser(&scene.alice), "/api/v1/me").await;
    assert_eq!(gone.status, 401);
}
