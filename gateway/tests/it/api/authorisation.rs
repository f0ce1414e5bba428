//! Who may do what, operation by operation.

use auth::{identity::Context, permit::Actor};
use serde_json::{Value, json};

use super::{Scene, Who};

/// An operation on something of alice's, and what each is answered: nobody, alice, alice with a key
/// that may only read users, bob, the administrator, the operator.
struct Row {
    method: &'static str,
    /// `KEY`, `TUNNEL`, `SESSION` and `USER` are of things made for the call.
    path: &'static str,
    body: Option<Value>,
    expected: [u16; 6],
}

const fn row(method: &'static str, path: &'static str, expected: [u16; 6]) -> Row {
    Row {
        method,
        path,
        body: None,
        expected,
    }
}

fn table() -> Vec<Row> {
    let with = |row: Row, body| Row {
        body: Some(body),
        ..row
    };
    vec![
        row("GET", "/api/v1/me", [401, 200, 200, 200, 200, 200]),
        row("GET", "/api/v1/users", [401, 403, 403, 403, 200, 200]),
        row("GET", "/api/v1/users/USER", [401, 200, 200, 404, 200, 200]),
        with(
            row(
                "PATCH",
                "/api/v1/users/USER",
                [401, 403, 403, 404, 200, 200],
            ),
            json!({ "display_name": "x" }),
        ),
        row(
            "DELETE",
            "/api/v1/users/USER",
            [401, 403, 403, 404, 204, 204],
        ),
        with(
            row("POST", "/api/v1/users", [401, 403, 403, 403, 201, 201]),
            json!({ "username": "NEW", "password": "correct horse battery" }),
        ),
        row("GET", "/api/v1/keys", [401, 200, 403, 200, 200, 200]),
        row(
            "GET",
            "/api/v1/keys?owner=USER",
            [401, 200, 403, 404, 200, 200],
        ),
        row("GET", "/api/v1/keys/KEY", [401, 200, 403, 404, 200, 200]),
        row("DELETE", "/api/v1/keys/KEY", [401, 204, 403, 404, 204, 204]),
        row(
            "POST",
            "/api/v1/keys/KEY/rotate",
            [401, 201, 403, 404, 201, 201],
        ),
        with(
            row("POST", "/api/v1/keys", [401, 201, 403, 404, 201, 201]),
            json!({ "name": "k", "owner": "USER" }),
        ),
        with(
            row("POST", "/api/v1/tokens", [401, 201, 403, 201, 201, 422]),
            json!({}),
        ),
        row("GET", "/api/v1/tunnels", [401, 200, 403, 200, 200, 200]),
        row(
            "GET",
            "/api/v1/tunnels/TUNNEL",
            [401, 200, 403, 404, 200, 200],
        ),
        with(
            row(
                "PATCH",
                "/api/v1/tunnels/TUNNEL",
                [401, 200, 403, 404, 200, 200],
            ),
            json!({ "name": "NEW" }),
        ),
        row(
            "DELETE",
            "/api/v1/tunnels/TUNNEL",
            [401, 204, 403, 404, 204, 204],
        ),
        // Alice has one already, and for an ordinary user that is all there is.
        with(
            row("POST", "/api/v1/tunnels", [401, 409, 403, 404, 409, 409]),
            json!({ "owner": "USER" }),
        ),
        row("GET", "/api/v1/sessions", [401, 200, 403, 200, 200, 200]),
        row(
            "GET",
            "/api/v1/sessions/SESSION",
            [401, 200, 403, 404, 200, 200],
        ),
        row(
            "DELETE",
            "/api/v1/sessions/SESSION",
            [401, 204, 403, 404, 204, 204],
        ),
        row(
            "DELETE",
            "/api/v1/sessions?user=USER",
            [401, 204, 403, 404, 204, 204],
        ),
        row("GET", "/api/v1/audit", [401, 403, 403, 403, 200, 200]),
        row(
            "GET",
            "/api/v1/audit/verify",
            [401, 403, 403, 403, 200, 200],
        ),
        row(
            "GET",
            "/api/v1/audit/export",
            [401, 403, 403, 403, 200, 200],
        ),
        row("GET", "/control/backup", [404, 404, 404, 404, 404, 200]),
    ]
}

#[tokio::test]
async fn each_operation_is_for_whom_the_table_says() {
    let scene = Scene::new().await;
    for row in table() {
        for (place, expected) in row.expected.into_iter().enumerate() {
            let alice = Alice::come(&scene, &format!("{place}")).await;
            let who = match place {
                0 => Who::Nobody,
                1 => Who::Key(&alice.key),
                2 => Who::Key(&alice.narrow),
                3 => Who::Key(&scene.bob.key),
                4 => Who::Key(&scene.admin.key),
                _ => Who::Operator,
            };
            let body = row.body.as_ref().map(|body| alice.fill(&body.to_string()));
            let path = alice.fill(row.path);
            let sent = scene.send(who, row.method, &path, &[], body.as_deref());
            let answer = sent.await;
            assert_eq!(
                answer.status, expected,
                "{} {path} {body:?} by {place}: {}",
                row.method, answer.text
            );
            if answer.status >= 400 {
                answer.problem();
            }
        }
    }
}

/// What is asked about, fresh for each call, because calls delete.
struct Alice {
    user: u64,
    key: String,
    narrow: String,
    key_id: u64,
    tunnel: u64,
    session: u64,
    name: String,
}

impl Alice {
    async fn come(scene: &Scene, place: &str) -> Self {
        let identity = scene.identity();
        let name = format!("a{place}-{:016x}", fastrand::u64(..));
        let sign_in = auth::user::SignIn {
            provider: auth::user::Provider::GitLab,
            subject: name.clone(),
            username: name.clone(),
            display_name: None,
            email: None,
            avatar_url: None,
            admin: false,
        };
        let anonymous = Context::new(Actor::Anonymous, None, None);
        let (user, token) = identity.sign_in(&sign_in, &anonymous).await.unwrap();
        let now = identity.clock().now();
        let caller = identity.directory().by_session(token.reveal(), now);
        let page = auth::identity::Page::default();
        let tunnels = identity.tunnels(Some(user.id), &page).await.unwrap();
        Self {
            user: user.id.0,
            key: scene.key(user.id, "*:*").await.1,
            narrow: scene.key(user.id, "user:read").await.1,
            key_id: scene.key(user.id, "tunnel:connect").await.0,
            tunnel: tunnels.items[0].id.0,
            session: caller.unwrap().session().unwrap().0,
            name: format!("n{:016x}", fastrand::u64(..)),
        }
    }

    fn fill(&self, text: &str) -> String {
        text.replace("\"USER\"", &self.user.to_string())
            .replace("USER", &self.user.to_string())
            .replace("KEY", &self.key_id.to_string())
            .replace("TUNNEL", &self.tunnel.to_string())
            .replace("SESSION", &self.session.to_string())
            .replace("NEW", &self.name)
    }
}

#[tokio::test]
async fn what_is_not_yours_answers_as_what_is_not_there() {
    let scene = Scene::new().await;
    let (id, _) = scene.key(scene.alice.id, "tunnel:connect").await;
    let path = format!("/api/v1/keys/{id}");
    let theirs = scene.get(Who::Key(&scene.bob.key), &path);
    let theirs = theirs.await;
    let nothing = scene.get(Who::Key(&scene.bob.key), "/api/v1/keys/999999");
    assert_eq!(theirs.text, nothing.await.text);
}

#[tokio::test]
async fn the_scopes_of_a_key_hold_by_name() {
    let scene = Scene::new().await;
    let create = |name: &'static str| {
        let body = json!({ "name": name });
        scene.call(
            Who::Key(&scene.admin.key),
            "POST",
            "/api/v1/tunnels",
            Some(body),
        )
    };
    let happy = create("happy-panda").await.json["id"].clone();
    let sad = create("sad-panda").await.json["id"].clone();
    let (_, key) = scene.key(scene.admin.id, "tunnel:read:happy-*").await;
    let get = |id: &Value| {
        let path = format!("/api/v1/tunnels/{id}");
        let (scene, key) = (&scene, key.clone());
        async move { scene.get(Who::Key(&key), &path).await }
    };
    assert_eq!(get(&happy).await.status, 200);
    assert_eq!(get(&sad).await.problem(), (403, "needs_scope"));
}
