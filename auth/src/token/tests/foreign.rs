//! Tokens of other issuers: vectors of the RFCs, every kind of key, and the known ways to forge one.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use aws_lc_rs::{hmac, signature};

use super::*;

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// An issuer with one key: how it signs, and the key as a JWK.
struct Foreign {
    algorithm: &'static str,
    jwk: Value,
    sign: Sign,
}

impl Foreign {
    fn rsa(algorithm: &'static str, padding: &'static dyn RsaEncoding, size: KeySize) -> Self {
        let pair = RsaKeyPair::generate(size).unwrap();
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        let jwk = json!({
            "kty": "RSA", "kid": "one",
            "n": URL_SAFE_NO_PAD.encode(public.n), "e": URL_SAFE_NO_PAD.encode(public.e),
        });
        let sign = move |message: &[u8]| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(padding, &SystemRandom::new(), message, &mut signature)
                .unwrap();
            signature
        };
        Self {
            algorithm,
            jwk,
            sign: Box::new(sign),
        }
    }

    fn ec(algorithm: &'static str, curve: &str, kind: &'static EcdsaSigningAlgorithm) -> Self {
        let pair = EcdsaKeyPair::generate(kind).unwrap();
        let point = pair.public_key().as_ref()[1..].to_vec();
        let (x, y) = point.split_at(point.len() / 2);
        let jwk = json!({
            "kty": "EC", "crv": curve, "kid": "one",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        });
        let sign = move |message: &[u8]| {
            let signature = pair.sign(&SystemRandom::new(), message).unwrap();
            signature.as_ref().to_vec()
        };
        Self {
            algorithm,
            jwk,
            sign: Box::new(sign),
        }
    }

    fn ed25519() -> Self {
        let pair = signature::Ed25519KeyPair::generate().unwrap();
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        Self {
            algorithm: "EdDSA",
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": x}),
            sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()),
        }
    }

    fn every_kind() -> [Self; 6] {
        [
            Self::rsa("RS256", &RSA_PKCS1_SHA256, KeySize::Rsa2048),
            Self::rsa("RS512", &RSA_PKCS1_SHA512, KeySize::Rsa2048),
            Self::rsa("PS256", &RSA_PSS_SHA256, KeySize::Rsa2048),
            Self::ec("ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
            Self::ec("ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
            Self::ed25519(),
        ]
    }

    fn keys(&self) -> KeySet {
        parse(&json!({"keys": [self.jwk]})).unwrap()
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", part(header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode((self.sign)(message.as_bytes()));
        format!("{message}.{signature}")
    }

    fn signed(&self, claims: &Value) -> String {
        self.token(&json!({"alg": self.algorithm, "kid": "one"}), claims)
    }
}

fn parse(document: &Value) -> Result<KeySet, KeySetError> {
    KeySet::parse(document.to_string().as_bytes())
}

fn claims() -> Value {
    json!({"iss": "https://id.example.com", "sub": "u1", "aud": "api", "exp": START + 60})
}

fn verifier() -> Verifier {
    Verifier::new(Arc::new(clock()), ["api"]).issuers(["https://id.example.com"])
}

fn changed(member: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[member] = value;
    claims
}

#[test]
fn a_token_of_every_kind_of_key_is_accepted() {
    for issuer in Foreign::every_kind() {
        let (keys, token) = (issuer.keys(), issuer.signed(&claims()));
        let claims = verifier().verify(&token, &keys).unwrap();
        assert_eq!(claims.sub.as_deref(), Some("u1"), "{}", issuer.algorithm);

        let (message, signature) = token.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[5] ^= 1;
        let forged = format!("{message}.{}", URL_SAFE_NO_PAD.encode(bytes));
        assert_eq!(verifier().verify(&forged, &keys), Err(Refusal::Signature));
        let unsigned = format!("{message}.");
        assert_eq!(verifier().verify(&unsigned, &keys), Err(Refusal::Signature));
    }
}

/// RFC 7515, appendix A.3. It has no audience, which is looked at only after the signature.
#[test]
fn the_es256_vector_is_signed() {
    let keys = parse(&json!({"keys": [{
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }]}))
    .unwrap();
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let then = ManualClock::at(at(1_300_819_000));
    let verifier = Verifier::new(Arc::new(then), ["api"]).issuers(["joe"]);
    assert_eq!(verifier.verify(token, &keys), Err(Refusal::Audience));
    let changed = token.replace("DtEh", "DtEi");
    assert_eq!(verifier.verify(&changed, &keys), Err(Refusal::Signature));
}

/// RFC 8037, appendix A.4. What it signs is no JSON, which is looked at only after the signature.
#[test]
fn the_eddsa_vector_is_signed() {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let keys = parse(&json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]})).unwrap();
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(verifier().verify(token, &keys), Err(Refusal::Malformed));
    let changed = token.replace("hgyY", "hgyZ");
    assert_eq!(verifier().verify(&changed, &keys), Err(Refusal::Signature));
}

#[test]
fn a_token_without_a_signature_is_refused_whatever_it_calls_that() {
    let issuer = Foreign::ed25519();
    let keys = issuer.keys();
    for none in [
        "none", "None", "NONE", "nOnE", "", "HS1", "EdDSA ", "RS256\0",
    ] {
        let message = format!(
            "{}.{}",
            part(&json!({"alg": none, "kid": "one"})),
            part(&claims())
        );
        for signature in ["", "AA"] {
            let refused = verifier().verify(&format!("{message}.{signature}"), &keys);
            assert_eq!(refused, Err(Refusal::Algorithm), "{none}");
        }
        assert_eq!(verifier().verify(&message, &keys), Err(Refusal::Malformed));
    }
    for header in [
        json!({}),
        json!({"alg": null}),
        json!({"alg": ["EdDSA"]}),
        json!([]),
    ] {
        let token = issuer.token(&header, &claims());
        assert_eq!(verifier().verify(&token, &keys), Err(Refusal::Malformed));
    }
}

/// The public key is no secret: nobody signs HS256 with it, even where HS256 is accepted.
#[test]
fn a_public_key_is_no_hmac_secret() {
    let issuer = Foreign::rsa("RS256", &RSA_PKCS1_SHA256, KeySize::Rsa2048);
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key());
    let candidates = [
        issuer.jwk.to_string().into_bytes(),
        issuer.jwk["n"].as_str().unwrap().as_bytes().to_vec(),
        URL_SAFE_NO_PAD
            .decode(issuer.jwk["n"].as_str().unwrap())
            .unwrap(),
        der.unwrap().as_ref().to_vec(),
    ];
    let both = verifier().algorithms([Algorithm::HS256, Algorithm::RS256]);
    both.verify(&issuer.signed(&claims()), &issuer.keys())
        .unwrap();
    for secret in candidates {
        let message = format!(
            "{}.{}",
            part(&json!({"alg": "HS256", "kid": "one"})),
            part(&claims())
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
        let token = format!("{message}.{signature}");
        assert_eq!(both.verify(&token, &issuer.keys()), Err(Refusal::Algorithm));
        assert_eq!(
            verifier().verify(&token, &issuer.keys()),
            Err(Refusal::Algorithm)
        );
    }
}

#[test]
fn a_key_is_used_with_its_own_algorithms_only() {
    let issuer = Foreign::rsa("RS512", &RSA_PKCS1_SHA512, KeySize::Rsa2048);
    let token = issuer.signed(&claims());
    let mut jwk = issuer.jwk.clone();
    jwk["alg"] = json!("RS256");
    let keys = parse(&json!({"keys": [jwk]})).unwrap();
    assert_eq!(verifier().verify(&token, &keys), Err(Refusal::Algorithm));
    let narrow = verifier().algorithms([Algorithm::RS256]);
    assert_eq!(
        narrow.verify(&token, &issuer.keys()),
        Err(Refusal::Algorithm)
    );
    let none = verifier().algorithms([]);
    assert_eq!(none.verify(&token, &issuer.keys()), Err(Refusal::Algorithm));
}

#[test]
fn ed25519_has_two_names() {
    let mut issuer = Foreign::ed25519();
    issuer.algorithm = "Ed25519";
    for name in ["EdDSA", "Ed25519"] {
        issuer.jwk["alg"] = json!(name);
        let token = issuer.signed(&claims());
        verifier().verify(&token, &issuer.keys()).unwrap();
    }
}

#[test]
fn the_kid_chooses_the_key() {
    let (one, mut other) = (Foreign::ed25519(), Foreign::ed25519());
    other.jwk["kid"] = json!("other");
    let keys = parse(&json!({"keys": [one.jwk, other.jwk]})).unwrap();
    let token = |kid: Value| {
        let mut header = json!({"alg": "EdDSA", "kid": kid});
        if kid.is_null() {
            header = json!({"alg": "EdDSA"});
        }
        verifier().verify(&one.token(&header, &claims()), &keys)
    };
    token(json!("one")).unwrap();
    assert_eq!(token(json!("other")), Err(Refusal::Signature));
    assert_eq!(token(json!("third")), Err(Refusal::UnknownKey));
    assert_eq!(token(json!("")), Err(Refusal::UnknownKey));
    assert_eq!(token(json!(1)), Err(Refusal::Malformed));
    assert_eq!(token(Value::Null), Err(Refusal::NoKeyNamed));

    let unnamed = one.token(&json!({"alg": "EdDSA"}), &claims());
    verifier().verify(&unnamed, &one.keys()).unwrap();
    let empty = KeySet::default();
    assert!(empty.is_empty());
    assert_eq!(
        verifier().verify(&unnamed, &empty),
        Err(Refusal::UnknownKey)
    );
}

#[test]
fn a_key_in_the_header_is_not_looked_at() {
    let (trusted, forger) = (Foreign::ed25519(), Foreign::ed25519());
    let header = json!({
        "alg": "EdDSA", "kid": "one", "jwk": forger.jwk,
        "jku": "https://forger.example.com/keys", "x5u": "https://forger.example.com/x",
    });
    let token = forger.token(&header, &claims());
    assert_eq!(
        verifier().verify(&token, &trusted.keys()),
        Err(Refusal::Signature)
    );
    let critical = json!({"alg": "EdDSA", "kid": "one", "crit": ["b64"], "b64": false});
    let token = trusted.token(&critical, &claims());
    assert_eq!(
        verifier().verify(&token, &trusted.keys()),
        Err(Refusal::Critical)
    );
}

#[test]
fn each_claim_is_checked() {
    let issuer = Foreign::ed25519();
    let keys = issuer.keys();
    let verify = |claims: &Value| verifier().verify(&issuer.signed(claims), &keys);
    let without = |member: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(member);
        claims
    };
    verify(&claims()).unwrap();
    verify(&without("sub")).unwrap();
    verify(&changed("aud", json!(["web", "api"]))).unwrap();
    verify(&changed("nbf", json!(START + 60))).unwrap();
    verify(&changed("exp", json!(START as f64 - 59.5))).unwrap();
    let refused = [
        (without("exp"), Refusal::NoExpiry),
        (without("aud"), Refusal::Audience),
        (without("iss"), Refusal::Issuer),
        (changed("aud", json!([])), Refusal::Audience),
        (changed("aud", json!(["web", "api2"])), Refusal::Audience),
        (changed("aud", json!({"0": "api"})), Refusal::Malformed),
        (
            changed("iss", json!("https://id.example.com.example.net")),
            Refusal::Issuer,
        ),
        (changed("exp", json!(START - 60)), Refusal::Expired),
        (changed("exp", json!(0)), Refusal::Expired),
        (changed("exp", json!(-1)), Refusal::Malformed),
        (changed("exp", json!("9999999999")), Refusal::Malformed),
        (changed("exp", json!(1e300)), Refusal::Malformed),
        (changed("exp", Value::Null), Refusal::NoExpiry),
        (changed("nbf", json!(START + 61)), Refusal::NotYet),
        (changed("iat", json!(START + 61)), Refusal::NotYet),
        (json!([1]), Refusal::Malformed),
        (json!("claims"), Refusal::Malformed),
    ];
    for (claims, expected) in refused {
        assert_eq!(verify(&claims), Err(expected), "{claims}");
    }
}

#[test]
fn a_claim_that_stands_twice_is_refused() {
    let issuer = Foreign::ed25519();
    let end = START + 60;
    let twice =
        format!(r#"{{"aud":"api","aud":"web","iss":"https://id.example.com","exp":{end}}}"#);
    let header = part(&json!({"alg": "EdDSA", "kid": "one"}));
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(twice));
    let signature = URL_SAFE_NO_PAD.encode((issuer.sign)(message.as_bytes()));
    let refused = verifier().verify(&format!("{message}.{signature}"), &issuer.keys());
    assert_eq!(refused, Err(Refusal::Malformed));
}

#[test]
fn a_token_that_is_too_long_is_not_read() {
    let issuer = Foreign::ed25519();
    let long = issuer.signed(&changed("sub", json!("u".repeat(MAX_TOKEN_BYTES))));
    assert_eq!(
        verifier().verify(&long, &issuer.keys()),
        Err(Refusal::TooLong)
    );
    let wide = verifier().max_bytes(long.len());
    wide.verify(&long, &issuer.keys()).unwrap();
}

#[test]
fn keys_that_are_not_for_checking_signatures_are_left_out() {
    let good = Foreign::ec("ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING).jwk;
    let with = |member: &str, value: Value| {
        let mut jwk = good.clone();
        jwk[member] = value;
        jwk
    };
    let unusable = [
        json!({"kty": "oct", "kid": "one", "k": URL_SAFE_NO_PAD.encode(SECRET)}),
        json!({"kty": "new", "kid": "one"}),
        json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([1; 128]), "e": "AQAB"}),
        json!({"kty": "OKP", "crv": "X25519", "x": URL_SAFE_NO_PAD.encode([1; 32])}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode([1; 31])}),
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("alg", json!("HS256")),
        with("alg", json!("ES384")),
        with("alg", json!("none")),
        with("crv", json!("P-384")),
        with("x", json!("AA")),
        with("x", json!("not base64!")),
        with("d", json!("AA")),
        json!(null),
    ];
    for jwk in &unusable {
        let refused = parse(&json!({"keys": [jwk]})).map(|keys| keys.len());
        assert_eq!(refused, Err(KeySetError::NoUsableKey), "{jwk}");
    }
    let mut all = unusable.to_vec();
    all.push(with("key_ops", json!(["verify"])));
    assert_eq!(parse(&json!({"keys": all})).unwrap().len(), 1);
}

#[test]
fn a_document_that_is_no_key_set_is_refused() {
    for text in [
        "",
        "{}",
        "[]",
        "null",
        r#"{"keys":{}}"#,
        "\u{feff}{\"keys\":[]}",
    ] {
        let refused = KeySet::parse(text.as_bytes()).map(|keys| keys.len());
        assert_eq!(refused, Err(KeySetError::Malformed), "{text}");
    }
    let large = vec![b' '; MAX_KEY_SET_BYTES + 1];
    let refused = KeySet::parse(&large).map(|keys| keys.len());
    assert!(matches!(refused, Err(KeySetError::TooLarge { .. })));
    let deep = format!(r#"{{"keys":{}"#, "[".repeat(100_000));
    assert!(KeySet::parse(deep.as_bytes()).is_err());
}

#[test]
fn garbage_is_no_token_and_no_key_set() {
    let issuer = Foreign::ed25519();
    let (keys, token) = (issuer.keys(), issuer.signed(&claims()));
    let document = json!({"keys": [issuer.jwk]}).to_string();
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..5000 {
        let length = random.usize(0..60);
        let text: String = (0..length)
            .map(|_| match random.usize(0..4) {
                0 => '.',
                1 => random.char(..),
                _ => random.alphanumeric(),
            })
            .collect();
        assert!(verifier().verify(&text, &keys).is_err());
        assert!(KeySet::parse(text.as_bytes()).is_err());

        let mut bytes = token.clone().into_bytes();
        let place = random.usize(0..bytes.len());
        bytes[place] = random.u8(0..128);
        let changed = String::from_utf8(bytes).unwrap();
        assert_eq!(verifier().verify(&changed, &keys).is_ok(), changed == token);

        let mut bytes = document.clone().into_bytes();
        for _ in 0..random.usize(1..4) {
            let place = random.usize(0..bytes.len());
            bytes[place] = random.u8(..);
        }
        // Whatever comes of it checks signatures without a panic.
        if let Ok(keys) = KeySet::parse(&bytes) {
            let _ = verifier().verify(&token, &keys);
        }
    }
}

#[test]
fn a_shared_secret_checks_tokens_that_name_any_key() {
    let secret = Secret::parse(SECRET).unwrap();
    let keys = KeySet::of_secret(&secret);
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let hs256 = verifier().algorithms([Algorithm::HS256]);
    for header in [
        json!({"alg": "HS256"}),
        json!({"alg": "HS256", "kid": "theirs"}),
    ] {
        let message = format!("{}.{}", part(&header), part(&claims()));
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
        let token = format!("{message}.{signature}");
        hs256.verify(&token, &keys).unwrap();
        assert_eq!(verifier().verify(&token, &keys), Err(Refusal::Algorithm));
    }
}
