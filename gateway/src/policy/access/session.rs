//! `session`: somebody who signed in at the gateway's own domain.
//!
//! The domain and each site have a cookie of their own: a cookie is for one host. A browser that
//! comes to a site without one is sent to the domain (`/auth/login`, and from there or at once
//! `/auth/handover`), which sends it back with a code to `/.portunus/auth/callback` of the site's
//! host, which gives it the cookie. [`auth::handover`] says why that is safe.

use auth::handover::{HandoverError, Nonce};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use url::form_urlencoded;

use super::{Shared, asked::Asked};
use crate::http::{Body, Failure};

/// The session: its token at the domain, sealed for the host at a site.
pub(super) const COOKIE: &str = "__Host-portunus_session";
/// What a browser keeps while it is away to sign in.
pub(super) const NONCE_COOKIE: &str = "__Host-portunus_handover";
/// How long signing in may take, in seconds.
const NONCE_AGE: u32 = 1800;
/// What sign-in takes of where to go back to, in bytes ([`auth::redirect`]). Of longer addresses
/// the query is left out, or the path as well.
const LONGEST: usize = 1024;
/// The characters of a nonce.
const NONCE_LENGTH: usize = 43;

/// Paths of every host where a session counts.
pub const SITE_PATHS: &str = "/.portunus/auth/";
const CALLBACK: &str = "/.portunus/auth/callback";
const LOGOUT: &str = "/.portunus/auth/logout";
/// The path of the domain that sends a browser back to a site.
pub const HANDOVER: &str = "/auth/handover";
const LOGIN: &str = "/auth/login";

/// Where a browser is, and comes back to.
struct Place<'a> {
    scheme: &'a str,
    authority: &'a str,
    target: &'a str,
}

/// Sends a browser to the domain to sign in, and back here when it has.
pub(super) fn to_sign_in(asked: &Asked<'_>, domain: &str) -> Result<Response<Body>, Failure> {
    let target = asked.target();
    let authority = asked.authority.to_str().unwrap_or_default();
    let place = Place {
        scheme: asked.scheme(),
        authority,
        target: &target,
    };
    send_to_sign_in(asked, &place, &at_domain(domain, authority))
}

/// The same for a browser that asked another proxy, which asks [`verify`](super::verify).
pub(super) fn from_elsewhere(asked: &Asked<'_>) -> Result<Response<Body>, Failure> {
    let text = |name: &str| {
        asked
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let place = Place {
        scheme: asked.scheme(),
        authority: text("x-forwarded-host").unwrap_or_default(),
        target: text("x-forwarded-uri").unwrap_or("/"),
    };
    let domain = asked.authority.to_str().unwrap_or_default();
    send_to_sign_in(asked, &place, domain)
}

fn send_to_sign_in(
    asked: &Asked<'_>,
    place: &Place<'_>,
    domain: &str,
) -> Result<Response<Body>, Failure> {
    let kept = asked
        .cookie(NONCE_COOKIE)
        .filter(|nonce| nonce.len() == NONCE_LENGTH);
    let nonce = match kept {
        // Another tab may be away with it.
        Some(kept) => Nonce::presented(kept),
        None => Nonce::mint().map_err(|error| failed(&error))?,
    };
    let back = |target: &str| {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("host", place.authority)
            .append_pair("state", &nonce.hash())
            .append_pair("to", target)
            .finish();
        format!("{HANDOVER}?{query}")
    };
    let (path, _) = place.target.split_once('?').unwrap_or((place.target, ""));
    let handover = [place.target, path].into_iter().map(back);
    let handover = handover.into_iter().find(|back| back.len() <= LONGEST);
    let handover = handover.unwrap_or_else(|| back("/"));
    let return_to = form_urlencoded::Serializer::new(String::new())
        .append_pair("return_to", &handover)
        .finish();
    let mut answer = redirect(&format!("{}://{domain}{LOGIN}?{return_to}", place.scheme))?;
    // GET stays GET, and what comes back is another answer next time.
    *answer.status_mut() = StatusCode::FOUND;
    let cookie = format!(
        "{NONCE_COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={NONCE_AGE}",
        nonce.reveal()
    );
    set_cookie(answer.headers_mut(), &cookie);
    Ok(answer)
}

/// Answers what begins with [`SITE_PATHS`], on the host of a site.
pub async fn on_site(shared: &Shared, asked: &Asked<'_>) -> Result<Response<Body>, Failure> {
    let handover = shared.handover.as_ref().ok_or(Failure::NoRoute)?;
    match asked.path {
        CALLBACK if asked.method == Method::GET => {
            let query = asked.uri.query().unwrap_or_default();
            let code = parameter(query, "code").unwrap_or_default();
            let nonce = Nonce::presented(asked.cookie(NONCE_COOKIE).unwrap_or_default());
            match handover.redeem(asked.host, &nonce, &code).await {
                Ok(redeemed) => {
                    let mut answer = redirect(&redeemed.return_to)?;
                    let cookie = format!(
                        "{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Lax",
                        redeemed.cookie.reveal()
                    );
                    set_cookie(answer.headers_mut(), &cookie);
                    Ok(answer)
                }
                // The page was loaded again, or gone back to: what it was for is done.
                Err(HandoverError::Used) if shared.session(asked).is_some() => redirect("/"),
                Err(error) => Err(failed(&error)),
            }
        }
        LOGOUT if is_from_here(asked.headers) => {
            let domain = shared.domain.as_deref().ok_or(Failure::NoRoute)?;
            let own = at_domain(domain, asked.authority.to_str().unwrap_or_default());
            let mut answer = redirect(&format!("{}://{own}/auth/logout", asked.scheme()))?;
            let gone = format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0");
            set_cookie(answer.headers_mut(), &gone);
            Ok(answer)
        }
        _ => Err(Failure::NoRoute),
    }
}

/// Answers [`HANDOVER`] of the domain. `signs_in` says whether a host is one of a site whose
/// routes want a session: nobody is sent anywhere else.
pub fn on_domain(
    shared: &Shared,
    asked: &Asked<'_>,
    signs_in: impl Fn(&str) -> bool,
) -> Result<Response<Body>, Failure> {
    let (Some(handover), Some(identity)) = (&shared.handover, &shared.identity) else {
        return Err(Failure::NoRoute);
    };
    let query = asked.uri.query().unwrap_or_default();
    let wanted = |name| parameter(query, name).unwrap_or_default();
    let (authority, state, to) = (wanted("host"), wanted("state"), wanted("to"));
    let host = crate::http::normalize::host(&authority)?;
    if !(signs_in(&host) || shared.is_elsewhere(&host)) || state.len() != NONCE_LENGTH {
        return Err(Failure::NoRoute);
    }
    let token = asked.cookie(COOKIE).unwrap_or_default();
    if identity
        .directory()
        .by_session(token, shared.clock.now())
        .is_err()
    {
        let return_to = form_urlencoded::Serializer::new(String::new())
            .append_pair("return_to", &format!("{HANDOVER}?{query}"))
            .finish();
        return redirect(&format!("{LOGIN}?{return_to}"));
    }
    let code = handover.mint(&host, &state, token, &to);
    let code = code.map_err(|error| failed(&error))?;
    redirect(&format!(
        "{}://{authority}{CALLBACK}?code={code}",
        asked.scheme()
    ))
}

/// The domain, on the port that the client came to: it is served on all of them.
fn at_domain(domain: &str, authority: &str) -> String {
    match authority.rsplit_once(':') {
        Some((_, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{domain}:{port}")
        }
        _ => domain.to_owned(),
    }
}

fn failed(error: &HandoverError) -> Failure {
    Failure::Handover(error.to_string(), matches!(error, HandoverError::Store(_)))
}

fn redirect(to: &str) -> Result<Response<Body>, Failure> {
    let mut answer = Response::new(Body::Empty);
    *answer.status_mut() = StatusCode::SEE_OTHER;
    let location = HeaderValue::from_str(to).map_err(|_| Failure::NoRoute)?;
    let headers = answer.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Codes in the address are for nobody else.
    let policy = HeaderValue::from_static("no-referrer");
    headers.insert(header::REFERRER_POLICY, policy);
    Ok(answer)
}

fn set_cookie(headers: &mut HeaderMap, cookie: &str) {
    if let Ok(mut value) = HeaderValue::from_str(cookie) {
        value.set_sensitive(true);
        headers.append(header::SET_COOKIE, value);
    }
}

fn parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes())
        .find(|(own, _)| own == name)
        .map(|(_, value)| value.into_owned())
}

/// Another site cannot sign people out by a link or an image.
fn is_from_here(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    matches!(site, None | Some(b"same-origin" | b"none"))
}
