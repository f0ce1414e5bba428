//! The page where people say who they are; or what to do when nobody can yet.

use auth::oauth::Kind;
use http::StatusCode;
use maud::{Markup, html};
use url::Url;

use super::{Field, Need, Page, alert, token_field};

/// What a protected site sends its visitors through.
const HANDOVER: &str = "/auth/handover?";

/// What the sign-in page shows.
#[derive(Debug)]
pub(in super::super) struct Login<'a> {
    /// The gateway's own host.
    pub(in super::super) domain: &'a str,
    pub(in super::super) providers: &'a [Kind],
    /// The token of the form for local accounts, if there are any.
    pub(in super::super) local: Option<&'a str>,
    /// Where to go afterwards, checked.
    pub(in super::super) return_to: Option<&'a str>,
    /// What was wrong with the last attempt.
    pub(in super::super) alert: Option<&'a str>,
    /// The name of the last attempt.
    pub(in super::super) name: &'a str,
    /// Nobody can sign in yet, at this gateway of the origin.
    pub(in super::super) first_start: Option<&'a Url>,
    /// The browser came without TLS and will not keep the cookie.
    pub(in super::super) insecure: bool,
}

impl Login<'_> {
    pub(in super::super) fn page(&self) -> Page {
        let content = html! {
            h1 { "Sign in" }
            p class="quiet last" { (self.purpose()) }
            @if self.insecure {
                p class="alert" {
                    "This page came without encryption. Your browser will not keep you signed in; \
                     open it with https:// instead."
                }
            }
            (alert(self.alert))
            @if !self.providers.is_empty() {
                div class="stack" {
                    @for provider in self.providers { (self.button(*provider)) }
                }
            }
            @if let Some(token) = self.local {
                @if !self.providers.is_empty() { p class="or" { "or with a local account" } }
                (self.form(token))
            }
            @if let Some(origin) = self.first_start {
                (first_steps(origin))
            }
        };
        let status = match self.first_start {
            Some(_) => StatusCode::SERVICE_UNAVAILABLE,
            None => StatusCode::OK,
        };
        Page::new("Sign in", content)
            .with_status(status)
            .leading_to(self.return_to.and_then(elsewhere))
    }

    /// Who asks, and whom a sign-in is for when it is another host.
    fn purpose(&self) -> Markup {
        let elsewhere = self.return_to.and_then(elsewhere);
        let host = elsewhere.as_ref().and_then(Url::host_str);
        html! {
            @match host {
                Some(host) => {
                    "to go on to " strong { (host) } ", with your account at " (self.domain)
                }
                None => { "to " strong { (self.domain) } }
            }
        }
    }

    fn button(&self, provider: Kind) -> Markup {
        let path = format!("/auth/{}", provider.name());
        html! {
            a class="button" href=(with_return_to(&path, self.return_to)) {
                (glyph(provider))
                "Continue with " (provider)
            }
        }
    }

    fn form(&self, token: &str) -> Markup {
        let name = Field {
            name: "username",
            label: "Name",
            kind: "text",
            autocomplete: "username",
            value: self.name,
            hint: None,
            need: Need::Required,
            wrong: self.alert.is_some(),
            first: self.providers.is_empty() && self.name.is_empty(),
        };
        let password = Field {
            name: "password",
            label: "Password",
            kind: "password",
            autocomplete: "current-password",
            value: "",
            hint: None,
            need: Need::Required,
            wrong: self.alert.is_some(),
            first: !self.name.is_empty(),
        };
        let main = self.providers.is_empty().then_some("main");
        html! {
            form class="stack" method="post" action="/auth/login" {
                (token_field(token))
                @if let Some(to) = self.return_to {
                    input type="hidden" name="return_to" value=(to);
                }
                (name.html())
                (password.html())
                button class=[main] type="submit" { "Sign in" }
            }
        }
    }
}

/// What to do about a gateway that nobody can sign in to.
fn first_steps(origin: &Url) -> Markup {
    let callback = origin.join(Kind::GitHub.callback_path());
    let callback = callback.as_ref().unwrap_or(origin);
    html! {
        h2 { "This gateway is not set up yet" }
        p class="quiet small" { "There is no account to sign in with. If you run it, do one of these:" }
        ul class="steps small" {
            li {
                "Open the link that it printed when it started: look for " code { "set-up:" }
                " in its output. It makes the first account."
            }
            li {
                "Let people sign in with GitHub or GitLab. Register an OAuth application there, for \
                 GitHub with the callback address " code { (callback) }
                ", and put what you get into the configuration:"
                pre tabindex="0" { code {
                    "[auth]\n"
                    "github = { client_id = \"…\",\n"
                    "  client_secret = { file = \"…\" },\n"
                    "  admins = [\"your-login\"] }"
                } }
            }
        }
    }
}

/// The other host that a place to return to is of, or hands the session over to.
fn elsewhere(return_to: &str) -> Option<Url> {
    let Some(query) = return_to.strip_prefix(HANDOVER) else {
        return Url::parse(return_to).ok();
    };
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let (_, host) = pairs.find(|(name, _)| name == "host")?;
    Url::parse(&format!("https://{host}")).ok()
}

/// `path`, asking to return to a place afterwards.
pub(super) fn with_return_to(path: &str, return_to: Option<&str>) -> String {
    match return_to {
        Some(to) => {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("return_to", to);
            format!("{path}?{}", query.finish())
        }
        None => path.to_owned(),
    }
}

/// A sign for each provider, drawn here: branches for one, a star of triangles for the other.
fn glyph(provider: Kind) -> Markup {
    html! {
        svg viewBox="0 0 20 20" width="20" height="20" aria-hidden="true" fill="none"
            stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" {
            @match provider {
                Kind::GitHub => {
                    circle cx="5.5" cy="4" r="2" {}
                    circle cx="5.5" cy="16" r="2" {}
                    circle cx="14.5" cy="6.5" r="2" {}
                    path d="M5.5 6v8M14.5 8.5c0 3.5-5 2.5-8.3 5.6" {}
                }
                Kind::GitLab => {
                    path d="M2.5 11 5 3l2.5 6h5L15 3l2.5 8L10 17z" {}
                    path d="M7.5 9 10 17l2.5-8" {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Kind; 2] = [Kind::GitHub, Kind::GitLab];

    fn login<'a>() -> Login<'a> {
        Login {
            domain: "gw.example.com",
            providers: &BOTH,
            local: Some("form-token"),
            return_to: None,
            alert: None,
            name: "",
            first_start: None,
            insecure: false,
        }
    }

    fn html(login: &Login<'_>) -> String {
        login.page().html().into_string()
    }

    #[test]
    fn every_way_to_sign_in_is_offered() {
        let page = html(&login());
        assert!(page.contains(r#"href="/auth/github""#) && page.contains(r#"href="/auth/gitlab""#));
        assert!(page.contains(r#"name="csrf" value="form-token""#));
        let only_github = Login {
            providers: &BOTH[..1],
            local: None,
            ..login()
        };
        let page = html(&only_github);
        assert!(!page.contains("gitlab") && !page.contains("<form"));
    }

    #[test]
    fn every_input_has_a_label_and_an_autocomplete() {
        let page = html(&login());
        for (name, autocomplete) in [("username", "username"), ("password", "current-password")] {
            assert!(page.contains(&format!(r#"<label for="{name}">"#)));
            assert!(page.contains(&format!(r#"autocomplete="{autocomplete}""#)));
        }
    }

    #[test]
    fn where_to_return_goes_along_every_way_and_cannot_break_out() {
        let to = r#"/a?b="><script>&c=d"#;
        let page = html(&Login {
            return_to: Some(to),
            ..login()
        });
        assert!(page.contains("/auth/github?return_to=%2Fa%3Fb%3D%22%3E%3Cscript%3E%26c%3Dd\""));
        assert!(!page.contains("<script"));
    }

    #[test]
    fn another_host_that_waits_is_named() {
        for to in [
            "https://app.example.com/x",
            "/auth/handover?host=app.example.com%3A8443&state=s&to=%2F",
        ] {
            let page = html(&Login {
                return_to: Some(to),
                ..login()
            });
            assert!(page.contains("<strong>app.example.com</strong>"), "{page}");
        }
    }

    #[test]
    fn a_failed_attempt_keeps_the_name_and_never_the_password() {
        let page = html(&Login {
            alert: Some("Name or password is wrong."),
            name: "alice",
            ..login()
        });
        assert!(page.contains(r#"role="alert">Name or password is wrong."#));
        assert!(page.contains(r#"type="text" value="alice""#));
        assert!(page.contains(r#"type="password" value="""#));
    }

    #[test]
    fn a_gateway_that_nobody_can_sign_in_to_says_what_to_do() {
        let origin = Url::parse("https://gw.example.com:8443").unwrap();
        let page = html(&Login {
            providers: &[],
            first_start: Some(&origin),
            ..login()
        });
        assert!(page.contains("<code>set-up:</code>"));
        assert!(page.contains("https://gw.example.com:8443/auth/github/callback"));
    }
}
