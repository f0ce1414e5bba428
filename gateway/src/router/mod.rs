//! From a request to the route that takes it.
//!
//! The [`Router`] is an immutable table built from the configuration and swapped whole. Hosts are
//! looked up exactly, then by wildcard; within a site the most specific path wins, then the route
//! with more conditions. The configuration has already refused ties, so order never decides.

pub mod matcher;
pub mod rewrite;

use std::{collections::HashMap, sync::Arc};

use http::{HeaderMap, Method};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, Config, HostPattern, PathPattern},
    handler::{BuildError, Handler},
    http::normalize,
    observe::{Metrics, RouteMetrics},
    policy::{Deprecation, Gate, RateLimit, access},
    upstream::Pools,
};

/// Hosts and their sites.
#[derive(Debug, Default)]
pub struct Router {
    exact: HashMap<String, Arc<Site>>,
    wildcard: HashMap<String, Arc<Site>>,
    any: Option<Arc<Site>>,
    routes: Vec<Arc<Route>>,
}

/// The routes that one set of hosts shares.
#[derive(Debug)]
pub struct Site {
    /// Answer over plain HTTP instead of redirecting to HTTPS.
    pub serve_plain: bool,
    /// Some of its routes want to know who signed in: its hosts have a session cookie.
    pub signs_in: bool,
    /// Most specific first; a route stands here once for each of its paths.
    entries: Vec<(PathPattern, Arc<Route>)>,
}

/// One route, ready to run.
#[derive(Debug)]
pub struct Route {
    site: String,
    hosts: Vec<HostPattern>,
    label: String,
    pub config: config::Route,
    pub rate: Option<RateLimit>,
    pub gate: Option<Gate>,
    pub deprecation: Option<Deprecation>,
    pub handler: Handler,
    pub metrics: RouteMetrics,
    /// Cancelled when a reload removed or changed the route: its WebSockets are told to go.
    pub retired: CancellationToken,
}

impl Route {
    /// `site/route`, from configured names only.
    pub fn label(&self) -> &str {
        &self.label
    }
}

/// The parts of a request that routing looks at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub method: &'a Method,
    /// In normal form.
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    pub client: Option<std::net::IpAddr>,
}

impl Router {
    /// Builds the table. Routes equal to ones of `previous` are taken over as they are, with
    /// their connections.
    pub fn build(
        config: &Config,
        previous: Option<&Self>,
        pools: &mut Pools,
        metrics: &Metrics,
        access: &Arc<access::Shared>,
    ) -> Result<Self, BuildError> {
        let mut router = Self::default();
        for config in config.all_sites() {
            let config = config.as_ref();
            let mut entries = Vec::new();
            for route in &config.routes {
                let route = match previous.and_then(|old| old.same_route(config, route)) {
                    Some(same) => same,
                    None => Arc::new(Route::build(config, route, pools, metrics, access)?),
                };
                router.routes.push(Arc::clone(&route));
                entries.extend(patterns(&route).map(|pattern| (pattern, Arc::clone(&route))));
            }
            entries.sort_by_key(|(pattern, route)| {
                std::cmp::Reverse((pattern.specificity(), route.config.matcher.conditions()))
            });
            let site = Arc::new(Site {
                serve_plain: config.serve_plain,
                signs_in: config.routes.iter().any(wants_session),
                entries,
            });
            for host in &config.hosts {
                let site = Arc::clone(&site);
                match host {
                    HostPattern::Exact(name) => drop(router.exact.insert(name.clone(), site)),
                    HostPattern::Wildcard(name) => drop(router.wildcard.insert(name.clone(), site)),
                    HostPattern::Any => router.any = Some(site),
                }
            }
        }
        Ok(router)
    }

    /// The site of a host in normal form.
    pub fn site(&self, host: &str) -> Option<&Arc<Site>> {
        self.exact
            .get(host)
            .or_else(|| {
                let (_, parent) = host.split_once('.')?;
                self.wildcard.get(parent)
            })
            .or(self.any.as_ref())
    }

    /// Tells the routes that `next` no longer has that they are gone.
    pub fn retire_for(&self, next: &Self) {
        for route in &self.routes {
            if !next.routes.iter().any(|kept| Arc::ptr_eq(kept, route)) {
                route.retired.cancel();
            }
        }
    }

    fn same_route(&self, site: &config::Site, config: &config::Route) -> Option<Arc<Route>> {
        self.routes
            .iter()
            .find(|route| {
                route.site == site.name && route.hosts == site.hosts && route.config == *config
            })
            .map(Arc::clone)
    }
}

impl Site {
    /// The route for a request.
    pub fn route(&self, subject: &Subject<'_>) -> Option<&Arc<Route>> {
        self.entries
            .iter()
            .find(|(pattern, route)| {
                pattern.matches(subject.path)
                    && matcher::conditions_hold(&route.config.matcher, subject)
            })
            .map(|(_, route)| route)
    }
}

impl Route {
    fn build(
        site: &config::Site,
        config: &config::Route,
        pools: &mut Pools,
        metrics: &Metrics,
        access: &Arc<access::Shared>,
    ) -> Result<Self, BuildError> {
        let label = format!("{}/{}", site.name, config.name);
        let gate = config.access.as_ref();
        let deprecation = config.deprecated.as_ref();
        Ok(Self {
            site: site.name.clone(),
            hosts: site.hosts.clone(),
            gate: gate.map(|config| Gate::new(config, &label, access, pools)),
            deprecation: deprecation.map(|deprecated| {
                Deprecation::new(deprecated, metrics.deprecated(&site.name, &config.name))
            }),
            label,
            rate: config.limits.rate.map(RateLimit::new),
            handler: Handler::build(&config.handler, pools)?,
            metrics: metrics.route(&site.name, &config.name),
            config: config.clone(),
            retired: CancellationToken::new(),
        })
    }
}

fn wants_session(route: &config::Route) -> bool {
    let access = route.access.as_ref();
    access.is_some_and(|access| access.session.is_some())
}

/// The paths of a route in the normal form that requests are matched in.
fn patterns(route: &Route) -> impl Iterator<Item = PathPattern> + '_ {
    let all = [PathPattern::Prefix("/".into())];
    let paths = &route.config.matcher.paths;
    let everything = paths.is_empty().then_some(all).into_iter().flatten();
    let listed = paths.iter().map(|pattern| match pattern {
        PathPattern::Exact(path) => PathPattern::Exact(normal(path)),
        PathPattern::Prefix(path) => PathPattern::Prefix(normal(path)),
    });
    everything.chain(listed)
}

fn normal(path: &str) -> String {
    // The configuration refused paths without a normal form.
    normalize::path(path).map_or_else(|_| path.to_owned(), std::borrow::Cow::into_owned)
}
