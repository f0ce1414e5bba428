//! The page behind a set-up link: it makes the first account.

use maud::html;

use super::{Field, Need, Page, alert, token_field};

/// What the set-up page shows.
#[derive(Debug)]
pub(in super::super) struct SetUp<'a> {
    /// The gateway's own host.
    pub(in super::super) domain: &'a str,
    /// Of the link.
    pub(in super::super) token: &'a str,
    /// Of the form.
    pub(in super::super) form_token: &'a str,
    /// What was wrong with the last attempt.
    pub(in super::super) alert: Option<&'a str>,
    pub(in super::super) name: &'a str,
}

impl SetUp<'_> {
    pub(in super::super) fn page(&self) -> Page {
        let wrong = self.alert.is_some();
        let name = Field {
            name: "username",
            label: "Name",
            kind: "text",
            autocomplete: "username",
            value: self.name,
            hint: Some("What you sign in with: a-z, 0-9 and - _ . @ +"),
            need: Need::Required,
            wrong: false,
            first: self.name.is_empty(),
        };
        let password = Field {
            name: "password",
            label: "Password",
            kind: "password",
            autocomplete: "new-password",
            value: "",
            hint: Some(
                "At least 10 characters. A few words are better than a short one with special signs.",
            ),
            need: Need::Required,
            wrong,
            first: !self.name.is_empty(),
        };
        let again = Field {
            name: "again",
            label: "Password again",
            kind: "password",
            autocomplete: "new-password",
            value: "",
            hint: None,
            need: Need::Required,
            wrong,
            first: false,
        };
        let content = html! {
            h1 { "Set up this gateway" }
            p class="quiet last" {
                "This makes the first account of " strong { (self.domain) } ". It may change \
                 everything here, and let others in. The link works once."
            }
            (alert(self.alert))
            form class="stack" method="post" action="/auth/setup" {
                (token_field(self.form_token))
                input type="hidden" name="token" value=(self.token);
                (name.html())
                (password.html())
                (again.html())
                button class="main" type="submit" { "Create the account" }
            }
        };
        Page::new("Set up", content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_attempt_begins_with_the_name_that_was_given() {
        let set_up = SetUp {
            domain: "gw.example.com",
            token: "link-token",
            form_token: "form-token",
            alert: Some("The two passwords differ."),
            name: "alice",
        };
        let page = set_up.page().html().into_string();
        assert!(page.contains(r#"name="token" value="link-token""#));
        assert!(page.contains(r#"name="csrf" value="form-token""#));
        assert!(page.contains(r#"value="alice""#));
        assert!(page.contains("The two passwords differ."));
        assert_eq!(page.matches(r#"autocomplete="new-password""#).count(), 2);
    }
}
