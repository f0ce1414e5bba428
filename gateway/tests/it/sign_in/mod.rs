//! Signing in and out, over real TLS: by a browser that a test holds the cookies of, with the
//! stand-in for GitHub and GitLab as a process of its own. `chromium.rs` is a real browser.

mod accounts;
mod browser;
mod chromium;
mod exchange;
mod faults;
mod forgery;
mod logs;
mod program;
mod providers;
mod redirects;
mod stand_in;
mod tunnels;

use auth::{
    identity::{Context, Identity},
    user::Role,
};

pub(crate) use self::{
    browser::{Browser, SESSION},
    stand_in::StandIn,
};
use crate::support::{Gateway, TLS};

pub(crate) const HOST: &str = "gw.test";
const NAME: &str = "carla";
const PASSWORD: &str = "correct horse battery";

/// Both providers are the stand-in; alice administers by GitHub alone.
fn config(stand_in: &StandIn, more: &str) -> String {
    let url = &stand_in.url;
    format!(
        "domain = \"{HOST}\"\ndev = true\n{TLS}\n[auth]\nlocal = true\n\
         redirects = [\"https://app.example.com\"]\n\
         github = {{ client_id = \"stand-in-client\", client_secret = \"stand-in-secret\", \
         base_url = \"{url}\", admins = [\"alice\"] }}\n\
         gitlab = {{ client_id = \"stand-in-client\", client_secret = \"stand-in-secret\", \
         base_url = \"{url}\" }}\n{more}\n{SITE}"
    )
}

/// Only local accounts, and none of them yet.
fn local_config() -> String {
    format!("domain = \"{HOST}\"\ndev = true\n{TLS}\n{SITE}")
}

const SITE: &str = "[[site]]\nhosts = [\"app.test\"]\n  [[site.route]]\n  respond = { body = \"site\" }\n\
    [[site]]\nhosts = [\"members.test\"]\n  [[site.route]]\n  access = { session = {} }\n  \
    respond = { body = \"members\" }\n";

async fn start() -> (StandIn, Gateway) {
    let stand_in = StandIn::start().await;
    let gateway = Gateway::start(&config(&stand_in, "")).await;
    (stand_in, gateway)
}

fn identity(gateway: &Gateway) -> &Identity {
    gateway.shared.identity.as_ref().unwrap()
}

/// Makes the account of [`NAME`].
async fn account(gateway: &Gateway) {
    let operator = Context::operator();
    let made = identity(gateway).create_local(NAME, PASSWORD, Role::User, &operator);
    made.await.unwrap();
}
