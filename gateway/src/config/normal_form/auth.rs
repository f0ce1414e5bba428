//! What identity rests on, and `[auth]`.

use super::super::auth::{Auth, Provider, Signing};
use super::{Out, duration, inline, list, quoted};

impl Out {
    /// The keys of the top level.
    pub(super) fn state(&mut self, auth: &Auth) {
        if auth.store.is_some() {
            self.text("store", "***");
        }
        if auth.used && auth.master_key.is_some() {
            self.text("master_key", "***");
        }
        if let Some(expected) = &auth.expected_migration {
            self.text("expected_migration", expected);
        }
    }

    pub(super) fn auth(&mut self, auth: &Auth) {
        self.section("auth");
        for (name, of) in [("github", &auth.github), ("gitlab", &auth.gitlab)] {
            if let Some(of) = of {
                self.line(name, provider(of));
            }
        }
        self.line("local", auth.local);
        self.texts("redirects", &auth.redirects);
        let session = [
            ("idle", quoted(&duration(auth.session.idle))),
            ("lifetime", quoted(&duration(auth.session.lifetime))),
        ];
        self.line("session", inline(&session));
        self.line("jwt", jwt(auth));
        if let Some(legacy) = &auth.legacy {
            let mut parts = vec![(
                "accept_body_user_id",
                legacy.accept_body_user_id.to_string(),
            )];
            if let Some(sunset) = legacy.sunset {
                parts.push(("sunset", quoted(&sunset.to_string())));
            }
            self.line("legacy", inline(&parts));
        }
    }
}

fn provider(provider: &Provider) -> String {
    let mut parts = vec![
        ("client_id", quoted(&provider.client_id)),
        ("client_secret", quoted("***")),
        ("admins", list(&provider.admins)),
    ];
    if let Some(url) = &provider.base_url {
        parts.push(("base_url", quoted(url.as_str())));
    }
    inline(&parts)
}

fn jwt(auth: &Auth) -> String {
    let mut parts = match auth.jwt.signing {
        Signing::EdDsa => vec![
            ("algorithm", quoted("EdDSA")),
            ("rotate", quoted(&duration(auth.jwt.rotate))),
        ],
        Signing::Hs256(_) => vec![("algorithm", quoted("HS256")), ("secret", quoted("***"))],
    };
    parts.push(("lifetime", quoted(&duration(auth.jwt.lifetime))));
    if let Some(audience) = &auth.jwt.audience {
        parts.push(("audience", quoted(audience)));
    }
    inline(&parts)
}
