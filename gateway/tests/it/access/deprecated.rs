//! Routes that will go.

use super::Fixture;

#[tokio::test]
async fn a_deprecated_route_says_when_it_goes_and_is_counted() {
    let route = "deprecated = { since = \"2026-01-01\", sunset = \"9999-01-01\", link = \"https://example.com/v2\" }";
    let mut app = Fixture::new(route).await;
    let answer = app.get(&[]).await;
    assert_eq!(answer.header("deprecation"), Some("@1767225600"));
    assert_eq!(
        answer.header("sunset"),
        Some("Fri, 01 Jan 9999 00:00:00 GMT")
    );
    let link = "<https://example.com/v2>; rel=\"deprecation\"";
    assert_eq!(answer.header("link"), Some(link));
    answer.echoed();
    let series = "portunus_deprecated_requests_total{route=\"all\",site=\"app\"}";
    assert_eq!(app.gateway.metric(series), 1);
}

#[tokio::test]
async fn after_its_sunset_it_is_gone() {
    let route = "deprecated = { since = \"2020-01-01\", sunset = \"2021-01-01\" }";
    let mut app = Fixture::new(route).await;
    let gone = app.get(&[]).await;
    super::assert_refused(&gone, 410);
    assert_eq!(gone.header("sunset"), Some("Fri, 01 Jan 2021 00:00:00 GMT"));
    assert_eq!(app.origin.accepted(), 0);
    let series = "portunus_deprecated_requests_total{route=\"all\",site=\"app\"}";
    assert_eq!(app.gateway.metric(series), 1);
}
