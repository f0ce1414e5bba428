//! Entity tags.

use serde_json::json;

use super::{Scene, Who};

#[tokio::test]
async fn a_change_to_what_changed_meanwhile_is_refused() {
    let scene = Scene::new().await;
    let admin = Who::Key(&scene.admin.key);
    let path = format!("/api/v1/users/{}", scene.alice.id);
    let tag = scene.get(admin, &path).await;
    let tag = tag.header("etag").unwrap().to_owned();
    let rename = |name: &str| json!({ "display_name": name }).to_string();
    let only = format!("If-Match: {tag}");
    let first = scene
        .send(admin, "PATCH", &path, &[&only], Some(&rename("one")))
        .await;
    assert_eq!(first.status, 200);
    assert_ne!(first.header("etag"), Some(tag.as_str()));
    let second = scene
        .send(admin, "PATCH", &path, &[&only], Some(&rename("two")))
        .await;
    assert_eq!(second.problem(), (412, "changed"));
    let deleted = scene.send(admin, "DELETE", &path, &[&only], None).await;
    assert_eq!(deleted.status, 412);
    let now = scene.get(admin, &path).await;
    assert_eq!(now.json["display_name"], "one");
    let any = scene
        .send(
            admin,
            "PATCH",
            &path,
            &["If-Match: *"],
            Some(&rename("three")),
        )
        .await;
    assert_eq!(any.status, 200);
}

#[tokio::test]
async fn of_changes_at_the_same_time_to_one_version_one_is_made() {
    let scene = Scene::new().await;
    let admin = Who::Key(&scene.admin.key);
    let path = format!("/api/v1/users/{}", scene.alice.id);
    let tag = scene.get(admin, &path).await;
    let only = format!("If-Match: {}", tag.header("etag").unwrap());
    let bodies: Vec<_> = (0..8)
        .map(|number| json!({ "display_name": format!("{number}") }).to_string())
        .collect();
    let lines = [only.as_str()];
    let sent = bodies
        .iter()
        .map(|body| scene.send(admin, "PATCH", &path, &lines, Some(body)));
    let answers = futures_util::future::join_all(sent).await;
    let count = |status| answers.iter().filter(|it| it.status == status).count();
    assert_eq!((count(200), count(412)), (1, 7));
}

#[tokio::test]
async fn what_did_not_change_is_not_sent_again() {
    let scene = Scene::new().await;
    let alice = Who::Key(&scene.alice.key);
    let (id, _) = scene.key(scene.alice.id, "tunnel:connect").await;
    for path in [
        format!("/api/v1/users/{}", scene.alice.id),
        format!("/api/v1/keys/{id}"),
    ] {
        let first = scene.get(alice, &path).await;
        let cached = first.header("cache-control");
        assert_eq!(cached, Some("private, no-cache"));
        let tag = first.header("etag").unwrap();
        for known in [tag.to_owned(), format!("\"0\", W/{tag}"), "*".to_owned()] {
            let line = format!("If-None-Match: {known}");
            let second = scene.send(alice, "GET", &path, &[&line], None).await;
            assert_eq!((second.status, second.text.as_str()), (304, ""));
            assert_eq!(second.header("etag"), Some(tag));
        }
        let other = scene
            .send(alice, "GET", &path, &["If-None-Match: \"0\""], None)
            .await;
        assert_eq!(other.status, 200);
    }
}
