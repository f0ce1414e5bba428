//! Starts the stand-in, and is the gateway and the browser around it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use auth::Secret;
use auth::fetch::{Fetch, FetchSettings};
use auth::oauth::{
    Begun, Callback, Completed, Foundation, Kind, LoginError, Logins, ProviderConfig, Settings,
    SettingsError,
};
use auth::redirect::Allowed;
use auth::seal::MasterKey;
use auth::store::{ManualClock, MemoryStore, Store};
use bytes::Bytes;
use http::{Request, header};
use serde_json::{Value, json};
use url::Url;

pub(crate) const CLIENT_ID: &str = "stand-in-client";
pub(crate) const CLIENT_SECRET: &str = "stand-in-secret";
pub(crate) const BOTH: [Kind; 2] = [Kind::GitHub, Kind::GitLab];
const KEY: &str = "8f1c6d0e3ba94752d1f0a6c85e7b2394c0de51b7a8926f3d4e1b70c95a2f8d63";

/// A provider in a process of its own, which ends with the test.
pub(crate) struct StandIn {
    child: Child,
    pub(crate) url: Url,
}

impl StandIn {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(arguments: &[&str]) -> Self {
        let mut child = Command::new(program())
            .args(arguments)
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the stand-in is built: cargo build --package auth --example oauth-stand-in");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap();
        Self {
            child,
            url: Url::parse(url).unwrap(),
        }
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        let url = self.url.join(path).unwrap();
        let request = Request::post(url.as_str()).body(Bytes::from(body.to_string()));
        let answer = fetch(Duration::from_secs(10))
            .send(request.unwrap())
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{path}: {answer:?}");
        serde_json::from_slice(answer.body()).unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Vec<String> {
        let url = self.url.join(path).unwrap();
        let request = Request::get(url.as_str()).body(Bytes::new());
        let answer = fetch(Duration::from_secs(10))
            .send(request.unwrap())
            .await
            .unwrap();
        serde_json::from_slice(answer.body()).unwrap()
    }

    /// Breaks these steps and no others.
    pub(crate) async fn break_steps(&self, faults: &Value) {
        self.post("/_faults", faults).await;
    }

    /// A token of `login` that was given to the application `client_id`.
    pub(crate) async fn token(&self, kind: Kind, login: &str, client_id: &str) -> Secret {
        let body = json!({ "provider": kind.name(), "login": login, "client_id": client_id });
        let issued = self.post("/_tokens", &body).await;
        Secret::new(issued["access_token"].as_str().unwrap())
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Beside the directory of the tests' own binary.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(|deps| deps.parent()).unwrap();
    built.join("examples/oauth-stand-in")
}

pub(crate) fn fetch(timeout: Duration) -> Fetch {
    let settings = FetchSettings {
        timeout,
        ..FetchSettings::default()
    };
    Fetch::new(&settings).unwrap()
}

/// What two gateways share.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: ManualClock,
}

impl Ground {
    pub(crate) fn new() -> Self {
        // What the stand-in says of its limits is by the machine's clock.
        let clock = ManualClock::at(SystemTime::now());
        Self {
            store: Arc::new(MemoryStore::new(Arc::new(clock.clone()))),
            clock,
        }
    }
}

/// A gateway that knows the stand-in as both providers.
pub(crate) fn gateway(stand_in: &StandIn, ground: &Ground) -> Logins {
    gateway_with(stand_in, ground, |_| ())
}

pub(crate) fn gateway_with(
    stand_in: &StandIn,
    ground: &Ground,
    change: impl Fn(&mut ProviderConfig),
) -> Logins {
    let providers = BOTH.map(|kind| {
        let mut config = ProviderConfig {
            kind,
            client_id: CLIENT_ID.to_owned(),
            client_secret: Secret::new(CLIENT_SECRET),
            admins: Vec::new(),
            base_url: Some(stand_in.url.clone()),
        };
        change(&mut config);
        config
    });
    logins(providers.into(), ground).unwrap()
}

pub(crate) fn logins_of(
    provider: ProviderConfig,
    ground: &Ground,
) -> Result<Logins, SettingsError> {
    logins(vec![provider], ground)
}

fn logins(providers: Vec<ProviderConfig>, ground: &Ground) -> Result<Logins, SettingsError> {
    let settings = Settings {
        origin: Url::parse("https://gw.example.com").unwrap(),
        providers,
        return_to: Allowed::own_paths(),
    };
    let foundation = Foundation {
        fetch: fetch(Duration::from_secs(10)),
        store: Arc::clone(&ground.store),
        clock: Arc::new(ground.clock.clone()),
        master_key: Arc::new(MasterKey::parse(KEY).unwrap()),
    };
    Logins::new(settings, foundation)
}

/// What comes back after the person pressed the button `pressed` on the provider's page.
pub(crate) async fn press(begun: &Begun, pressed: &str) -> Callback {
    Callback::parse(&query_after(begun, pressed).await)
}

/// The raw query of the callback.
pub(crate) async fn query_after(begun: &Begun, pressed: &str) -> String {
    let mut url = begun.authorize_url.clone();
    url.query_pairs_mut().append_pair("auto", pressed);
    let request = Request::get(url.as_str()).body(Bytes::new()).unwrap();
    let answer = fetch(Duration::from_secs(10)).send(request).await.unwrap();
    assert_eq!(answer.status(), 302, "{:?}", answer.body());
    let location = answer.headers()[header::LOCATION].to_str().unwrap();
    Url::parse(location).unwrap().query().unwrap().to_owned()
}

/// A whole sign-in in one browser.
pub(crate) async fn sign_in(
    logins: &Logins,
    kind: Kind,
    pressed: &str,
) -> Result<Completed, LoginError> {
    let begun = logins.begin(kind, Some("/tunnels"), None)?;
    let callback = press(&begun, pressed).await;
    logins
        .complete(kind, &callback, Some(&begun.browser.cookie()))
        .await
}
