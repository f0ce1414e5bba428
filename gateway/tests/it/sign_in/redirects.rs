//! Where a browser is sent after it signed in or out.

use super::{Browser, NAME, PASSWORD, account, start};

/// What a link could try, percent-encoded as in a query.
const HOSTILE: &[&str] = &[
    "https://example.com/",
    "https:example.com",
    "https:///example.com",
    "http://app.example.com/",
    "https://app.example.com.example.net/",
    "https://app.example.com@example.net/",
    "https://gw.test@example.net/",
    "//example.com",
    "///example.com",
    "/\\example.com",
    "\\\\example.com",
    "/%2Fexample.com",
    "/%5Cexample.com",
    "/.//example.com",
    "/\t/example.com",
    " //example.com",
    "javascript:alert(1)",
    "data:text/html,x",
    "/\r\nLocation: https://example.com",
    "example.com",
];

fn query(to: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair("return_to", to)
        .finish()
}

#[tokio::test]
async fn no_link_leads_elsewhere() {
    let (stand_in, gateway) = start().await;
    account(&gateway).await;
    let mut browser = Browser::new(&gateway).await;
    for to in HOSTILE {
        let query = query(to);
        for path in ["/auth/login", "/auth/github", "/auth/gitlab"] {
            let page = browser.get(&format!("{path}?{query}")).await;
            assert_eq!(
                (page.status, page.header("location")),
                (400, None),
                "{path} {to}"
            );
            assert!(page.text.contains("leads elsewhere"), "{}", page.text);
        }
        let csrf = browser.get("/auth/login").await.field("csrf");
        let fields = [
            ("csrf", &*csrf),
            ("username", NAME),
            ("password", PASSWORD),
            ("return_to", to),
        ];
        let page = browser.post("/auth/login", &fields).await;
        assert_eq!((page.status, page.header("location")), (400, None), "{to}");
    }
    // The parameter that the original had is no way around.
    let page = browser
        .get("/auth/login?redirect_uri=https://example.com/")
        .await;
    assert_eq!((page.status, page.header("location")), (400, None));
    // Whoever signs out is signed out, and stays here.
    for to in HOSTILE {
        let out = browser.get(&format!("/auth/logout?{}", query(to))).await;
        assert_eq!((out.status, out.location()), (302, "/"), "{to}");
    }
    browser.sign_in(&stand_in, "github", "alice").await;
    for to in HOSTILE {
        let page = browser.get(&format!("/auth/login?{}", query(to))).await;
        assert_eq!((page.status, page.header("location")), (400, None), "{to}");
    }
}

#[tokio::test]
async fn own_paths_and_listed_origins_are_returned_to() {
    let (stand_in, gateway) = start().await;
    account(&gateway).await;
    for to in ["/tunnels?a=b%2Fc", "https://app.example.com/x?y=z"] {
        let mut browser = Browser::new(&gateway).await;
        let begun = browser.get(&format!("/auth/github?{}", query(to))).await;
        let back = stand_in.visit(begun.location(), "alice").await;
        let entered = browser
            .get(back.strip_prefix(&browser.origin).unwrap())
            .await;
        assert_eq!(entered.location(), to);

        let mut browser = Browser::new(&gateway).await;
        let page = browser.get(&format!("/auth/login?{}", query(to))).await;
        assert!(page.text.contains(&format!("/auth/github?{}", query(to))));
        let csrf = page.field("csrf");
        let fields = [
            ("csrf", &*csrf),
            ("username", NAME),
            ("password", PASSWORD),
            ("return_to", to),
        ];
        let entered = browser.post("/auth/login", &fields).await;
        assert_eq!((entered.status, entered.location()), (303, to));

        let out = browser.get(&format!("/auth/logout?{}", query(to))).await;
        assert_eq!((out.status, out.location()), (302, to));
    }
}

#[tokio::test]
async fn the_form_may_lead_where_the_browser_is_to_return_and_nowhere_else() {
    let (_stand_in, gateway) = start().await;
    let mut browser = Browser::new(&gateway).await;
    for (to, policy) in [
        ("/tunnels", "form-action 'self'"),
        (
            "https://app.example.com/x",
            "form-action 'self' https://app.example.com",
        ),
        (
            "/auth/handover?host=app.test&state=s&to=/",
            "form-action 'self' https://app.test",
        ),
    ] {
        let page = browser.get(&format!("/auth/login?{}", query(to))).await;
        let sent = page.header("content-security-policy").unwrap();
        assert!(sent.ends_with(policy), "{sent}");
    }
}
