//! Somebody who checks tokens and knows of the gateway only what it publishes.

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header, errors::ErrorKind, jwk::JwkSet,
};
use serde_json::Value;

/// The claims of `token` by `jwks`, if it is for `audience` and from `issuer`.
pub(crate) fn check(
    jwks: &str,
    token: &str,
    issuer: &str,
    audience: &str,
) -> Result<Value, ErrorKind> {
    let published: JwkSet = serde_json::from_str(jwks).unwrap();
    let kid = decode_header(token).unwrap().kid.unwrap();
    let Some(key) = published.find(&kid) else {
        return Err(ErrorKind::InvalidSignature);
    };
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    let key = DecodingKey::from_jwk(key).unwrap();
    let checked = decode::<Value>(token, &key, &validation);
    checked
        .map(|data| data.claims)
        .map_err(jsonwebtoken::errors::Error::into_kind)
}
