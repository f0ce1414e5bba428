//! The audit trail over HTTP.

use serde_json::{Value, json};

use super::{Scene, Who};

#[tokio::test]
async fn what_was_done_is_in_the_trail_and_the_trail_is_whole() {
    let scene = Scene::new().await;
    let alice = Who::Key(&scene.alice.key);
    let made = scene
        .call(alice, "POST", "/api/v1/keys", Some(json!({ "name": "k" })))
        .await;
    let id = made.json["key"]["id"].to_string();
    let path = format!("/api/v1/audit?event=key.create&resource={id}");
    let found = scene.get(Who::Key(&scene.admin.key), &path).await;
    let items = found.json["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{}", found.text);
    assert_eq!(
        items[0]["actor"],
        json!({ "kind": "user", "id": scene.alice.id.to_string() })
    );
    assert_eq!(items[0]["personal"]["ip"], "127.0.0.1");
    let report = scene.get(Who::Operator, "/api/v1/audit/verify").await;
    assert_eq!(report.json["valid"], true);
    let export = scene.get(Who::Operator, "/api/v1/audit/export").await;
    assert_eq!(export.header("content-type"), Some("application/x-ndjson"));
    let lines: Vec<Value> = export
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.len() as u64 >= report.json["entries"].as_u64().unwrap());
    assert!(lines.iter().all(|line| line["row"]["id"].is_u64()));
}

#[tokio::test]
async fn the_trail_is_read_page_by_page_newest_first() {
    let scene = Scene::new().await;
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/audit?limit=3{cursor}");
        let page = scene.get(Who::Operator, &path).await;
        let items = page.json["items"].as_array().unwrap();
        ids.extend(items.iter().map(|item| item["id"].as_u64().unwrap()));
        match page.json["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let expected: Vec<_> = (1..=ids[0]).rev().collect();
    assert_eq!(ids, expected);
    let future = "/api/v1/audit?from=2999-01-01T00:00:00Z";
    let none = scene.get(Who::Operator, future).await;
    assert_eq!(none.json["items"], json!([]), "{}", none.text);
    let past = "/api/v1/audit?until=2999-01-01T00:00:00%2B02:00&limit=1";
    let one = scene.get(Who::Operator, past).await;
    assert_eq!(
        one.json["items"].as_array().unwrap().len(),
        1,
        "{}",
        one.text
    );
}
