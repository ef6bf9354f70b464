//! Short-lived tokens that the app's own backend signs: JSON Web Tokens (RFC 7519) with Ed25519.
//!
//! Of all that JWT may be, one form is taken (RFC 8725): a compact JWS of one algorithm, with a key
//! that is on file here, for this audience, not for long. Nothing that a token says decides how it
//! is checked. A token may be sent again while it lives: inference changes nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dyno_core::Result;
use dyno_core::client::Token;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use sha2::{Digest as _, Sha256};

use super::budget::OwnRates;
use super::client::{Caller, ClientId, Rights, is_name};
use super::jwks::KeySet;
use crate::config::{Config, is_rate};
use crate::reload::{Live, Reload};

/// Names of the one algorithm: RFC 8037's, and RFC 9864's for the same.
pub(super) const ALGORITHMS: [&str; 2] = ["EdDSA", "Ed25519"];
/// What `typ` may say, in any case; it may be absent.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];
/// By how much the clocks of issuer and server may differ.
const LEEWAY: Duration = Duration::from_mins(1);

/// Checks tokens.
#[derive(Debug)]
pub(super) struct Jwt {
    keys: Arc<Live<KeySet>>,
    rules: Rules,
}

/// What a token has to say.
#[derive(Debug)]
struct Rules {
    audience: String,
    issuer: Option<String>,
    max_lifetime: Duration,
}

/// Why a token is refused; for the log, not for whoever sent it.
pub(super) type Refused = &'static str;

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    typ: Option<String>,
    /// Extensions that must be understood: none is.
    crit: Option<IgnoredAny>,
}

/// Claims that are looked at; serde refuses each of them if it comes twice.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    aud: Audience,
    iss: Option<String>,
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
    models: Option<Vec<String>>,
    requests_per_s: Option<f64>,
    bytes_per_s: Option<f64>,
    compute_ms_per_s: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Any(Vec<String>),
}

impl Jwt {
    /// None if no keys for tokens are configured. Blocking: reads them.
    pub(super) fn of(config: &Config) -> Result<Option<Self>> {
        let Some((path, audience)) = config.jwt()? else {
            return Ok(None);
        };
        let file = path.clone();
        let keys = Live::open("jwt-keys", vec![path.clone()], move |_| KeySet::open(&file))?;
        Ok(Some(Self {
            keys: Arc::new(keys),
            rules: Rules {
                audience: audience.clone(),
                issuer: config.jwt_issuer.clone(),
                max_lifetime: config.jwt_max_lifetime,
            },
        }))
    }

    /// How many keys are known.
    pub(super) fn keys(&self) -> usize {
        self.keys.current().len()
    }

    pub(super) fn find(&self, token: &Token) -> Result<Caller, Refused> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(|_| "the server's clock is before 1970")?;
        check(
            token.reveal(),
            &self.keys.current(),
            &self.rules,
            now.as_secs_f64(),
        )
    }

    pub(super) fn reload(&self) -> Arc<dyn Reload> {
        Arc::clone(&self.keys) as _
    }
}

/// Checks a token of bounded length ([`Token::MAX_CHARS`]) at a time in seconds since 1970.
fn check(token: &str, keys: &KeySet, rules: &Rules, now: f64) -> Result<Caller, Refused> {
    let (message, signature) = token.rsplit_once('.').ok_or("not a JWT")?;
    let (header, claims) = message.split_once('.').ok_or("not a JWT")?;
    let header: Header = decode(header).ok_or("a header that is none")?;
    if !ALGORITHMS.contains(&header.alg.as_str()) {
        return Err("an algorithm other than EdDSA");
    }
    if header.crit.is_some() {
        return Err("extensions that must be understood");
    }
    let is_type = |typ: &str| TYPES.iter().any(|ours| typ.eq_ignore_ascii_case(ours));
    if !header.typ.as_deref().is_none_or(is_type) {
        return Err("a type other than JWT");
    }
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| "a signature that is none")?;
    match keys.verify(&header.kid, message.as_bytes(), &signature) {
        None => return Err("an unknown kid"),
        Some(false) => return Err("a signature of somebody else"),
        Some(true) => {}
    }
    let claims: Claims = decode(claims).ok_or("claims that are missing or make no sense")?;
    claims.check(rules, now)?;
    claims.into_caller()
}

fn decode<T: DeserializeOwned>(part: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&json).ok()
}

impl Claims {
    fn check(&self, rules: &Rules, now: f64) -> Result<(), Refused> {
        let is_ours = match &self.aud {
            Audience::One(audience) => *audience == rules.audience,
            Audience::Any(audiences) => audiences.contains(&rules.audience),
        };
        if !is_ours {
            return Err("another audience");
        }
        if rules.issuer.is_some() && self.iss != rules.issuer {
            return Err("another issuer");
        }
        let leeway = LEEWAY.as_secs_f64();
        if now >= self.exp + leeway {
            return Err("expired");
        }
        if [self.nbf, self.iat]
            .iter()
            .flatten()
            .any(|&from| from > now + leeway)
        {
            return Err("not valid yet");
        }
        // Without a word on when it was issued, it counts as issued now.
        let issued = self.iat.or(self.nbf).unwrap_or(now);
        if self.exp - issued > rules.max_lifetime.as_secs_f64() + leeway {
            return Err("a lifetime above --jwt-max-lifetime");
        }
        Ok(())
    }

    fn into_caller(self) -> Result<Caller, Refused> {
        if self.sub.is_empty() {
            return Err("an empty sub");
        }
        let models = self.models.map(|models| {
            let are_names = models.iter().all(|model| is_name(model));
            are_names.then(|| models.into_iter().map(Into::into).collect())
        });
        if models == Some(None) {
            return Err("models that are no names of models");
        }
        let own_rates = OwnRates {
            requests: self.requests_per_s,
            bytes: self.bytes_per_s,
            compute_ms: self.compute_ms_per_s,
        };
        if !own_rates.all().all(is_rate) {
            return Err("a budget that is none");
        }
        Ok(Caller {
            id: Some(subject(&self.sub)),
            rights: Rights {
                models: models.flatten(),
                rates: own_rates,
            },
        })
    }
}

/// The id of a subject: its name, or, if that cannot be one (or says more of a person than a log
/// should), `sub-` and the start of its SHA-256.
fn subject(name: &str) -> ClientId {
    ClientId::parse(name).unwrap_or_else(|| ClientId::of_hash("sub", &Sha256::digest(name).into()))
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    use serde_json::{Value, json};

    use super::*;

    const NOW: f64 = 1_800_000_000.0;

    fn signer(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn encode(part: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(part)
    }

    /// The keys `one` and `two`.
    fn keys() -> KeySet {
        let key = |kid, seed| {
            let x = encode(signer(seed).public_key());
            json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x})
        };
        let set = json!({"keys": [key("one", 1), key("two", 2)]});
        KeySet::parse(set.to_string().as_bytes()).unwrap()
    }

    fn rules() -> Rules {
        Rules {
            audience: "dyno".into(),
            issuer: Some("backend".into()),
            max_lifetime: Duration::from_hours(1),
        }
    }

    fn header() -> Value {
        json!({"alg": "EdDSA", "kid": "one", "typ": "JWT"})
    }

    fn claims() -> Value {
        json!({"sub": "phone-7", "aud": "dyno", "iss": "backend", "exp": NOW + 600.0, "iat": NOW})
    }

    /// An object with one member changed, or taken away.
    fn with(object: &Value, name: &str, value: Value) -> Value {
        let mut object = object.clone();
        let members = object.as_object_mut().unwrap();
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.into(), value);
        }
        object
    }

    #[allow(
        clippy::needless_pass_by_value,
        reason = "made for the call, and text as well as JSON"
    )]
    fn signed(header: impl ToString, claims: impl ToString) -> String {
        let message = format!(
            "{}.{}",
            encode(header.to_string()),
            encode(claims.to_string())
        );
        let signature = signer(1).sign(message.as_bytes());
        format!("{message}.{}", encode(signature))
    }

    fn checked(token: &str) -> Result<Caller, Refused> {
        check(token, &keys(), &rules(), NOW)
    }

    #[test]
    fn a_token_says_who_it_is_and_what_it_is_for() {
        let caller = checked(&signed(header(), claims())).unwrap();
        assert_eq!(caller.id.unwrap().as_str(), "phone-7");
        assert_eq!(caller.rights, Rights::default());

        let mut claims = with(&claims(), "models", json!(["shapes"]));
        claims = with(&claims, "aud", json!(["other", "dyno"]));
        claims = with(&claims, "requests_per_s", json!(5));
        claims = with(&claims, "compute_ms_per_s", json!(0.5));
        claims = with(&claims, "whatever", json!({"deep": [1]}));
        let caller = checked(&signed(header(), claims)).unwrap();
        assert!(caller.rights.allow("shapes") && !caller.rights.allow("resnet18"));
        let own = OwnRates {
            requests: Some(5.0),
            bytes: None,
            compute_ms: Some(0.5),
        };
        assert_eq!(caller.rights.rates, own);
    }

    #[test]
    fn a_subject_that_cannot_be_an_id_is_one_by_its_hash() {
        let id = |sub: &str| {
            let token = signed(header(), with(&claims(), "sub", json!(sub)));
            checked(&token).unwrap().id.unwrap().as_str().to_owned()
        };
        let mail = id("a.user@example.org");
        assert_eq!(mail.len(), "sub-".len() + 2 * 16);
        assert!(mail.starts_with("sub-") && !mail.contains("user"), "{mail}");
        assert_ne!(mail, id("b.user@example.org"));
        assert_eq!(mail, id("a.user@example.org"));
        assert!(id(&"x".repeat(65)).starts_with("sub-"));
        assert!(id("line\nbreak").starts_with("sub-"));
        assert_eq!(id(&"x".repeat(64)), "x".repeat(64));
    }

    /// RFC 8037, appendix A: the key, what it signs and the signature.
    #[test]
    fn the_signature_of_the_standards_example_is_right() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": x}]});
        let keys = KeySet::parse(set.to_string().as_bytes()).unwrap();
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt\
                         9g7sVvpAr_MuM0KAg";
        let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert_eq!(keys.verify("a", message, &signature), Some(true));
        assert_eq!(keys.verify("b", message, &signature), None);
        signature[63] ^= 1;
        assert_eq!(keys.verify("a", message, &signature), Some(false));
        assert_eq!(keys.verify("a", message, &[]), Some(false));
    }

    #[test]
    fn the_time_of_a_token_is_checked_with_some_leeway() {
        let at = |claims: Value, now: f64| check(&signed(header(), claims), &keys(), &rules(), now);
        let until = with(&claims(), "iat", Value::Null);
        assert!(at(until.clone(), NOW + 659.0).is_ok());
        assert_eq!(at(until, NOW + 660.0), Err("expired"));
        for claim in ["nbf", "iat"] {
            let from = with(&claims(), claim, json!(NOW + 100.5));
            assert!(at(from.clone(), NOW + 41.0).is_ok(), "{claim}");
            assert_eq!(at(from, NOW + 40.0), Err("not valid yet"), "{claim}");
        }
        let long = Err("a lifetime above --jwt-max-lifetime");
        for issued in [json!(NOW), Value::Null] {
            let claims = with(&claims(), "iat", issued);
            let claims = |exp: f64| with(&claims, "exp", json!(exp));
            assert!(at(claims(NOW + 3660.0), NOW).is_ok());
            assert_eq!(at(claims(NOW + 3661.0), NOW), long);
            assert_eq!(at(claims(1e300), NOW), long);
        }
        // What was issued for long is not taken near its end either.
        assert_eq!(at(with(&claims(), "iat", json!(NOW - 3600.0)), NOW), long);
    }

    #[test]
    fn claims_that_are_not_ours_are_refused() {
        let missing = "claims that are missing or make no sense";
        for (claim, value, why) in [
            ("aud", json!("other"), "another audience"),
            ("aud", json!([]), "another audience"),
            ("aud", json!(["dyno2", "Dyno"]), "another audience"),
            ("aud", Value::Null, missing),
            ("aud", json!(7), missing),
            ("iss", json!("other"), "another issuer"),
            ("iss", Value::Null, "another issuer"),
            ("exp", Value::Null, missing),
            ("exp", json!("1800000600"), missing),
            ("exp", json!(-1), "expired"),
            ("iat", json!("now"), missing),
            ("sub", Value::Null, missing),
            ("sub", json!(7), missing),
            ("sub", json!(""), "an empty sub"),
            ("models", json!("shapes"), missing),
            (
                "models",
                json!(["a/b"]),
                "models that are no names of models",
            ),
            ("requests_per_s", json!(0), "a budget that is none"),
            ("bytes_per_s", json!(-1), "a budget that is none"),
            ("compute_ms_per_s", json!("x"), missing),
        ] {
            let token = signed(header(), with(&claims(), claim, value.clone()));
            assert_eq!(checked(&token), Err(why), "{claim} {value}");
        }
        let none = with(&claims(), "models", json!([]));
        let caller = checked(&signed(header(), none)).unwrap();
        assert!(
            !caller.rights.allow("shapes"),
            "a list without a model is one"
        );

        let open = Rules {
            issuer: None,
            ..rules()
        };
        let other = signed(header(), with(&claims(), "iss", json!("other")));
        assert!(check(&other, &keys(), &open, NOW).is_ok());
    }

    #[test]
    fn members_that_come_twice_are_refused() {
        let twice = |object: &Value, member: &str| {
            let text = object.to_string();
            format!("{},{member}}}", text.strip_suffix('}').unwrap())
        };
        for member in [r#""sub":"root""#, r#""exp":1900000000"#, r#""aud":"dyno""#] {
            let token = signed(header(), twice(&claims(), member));
            let why = "claims that are missing or make no sense";
            assert_eq!(checked(&token), Err(why), "{member}");
        }
        for member in [r#""alg":"none""#, r#""kid":"two""#] {
            let token = signed(twice(&header(), member), claims());
            assert_eq!(checked(&token), Err("a header that is none"), "{member}");
        }
    }

    #[test]
    fn a_header_decides_nothing() {
        for (member, value, why) in [
            ("alg", json!("none"), "an algorithm other than EdDSA"),
            ("alg", json!("eddsa"), "an algorithm other than EdDSA"),
            ("alg", json!("HS256"), "an algorithm other than EdDSA"),
            ("alg", json!("ES256"), "an algorithm other than EdDSA"),
            ("alg", Value::Null, "a header that is none"),
            ("kid", json!("three"), "an unknown kid"),
            ("kid", json!("../one"), "an unknown kid"),
            ("kid", Value::Null, "a header that is none"),
            ("kid", json!("two"), "a signature of somebody else"),
            ("typ", json!("dpop+jwt"), "a type other than JWT"),
            ("crit", json!(["exp"]), "extensions that must be understood"),
        ] {
            let token = signed(with(&header(), member, value.clone()), claims());
            assert_eq!(checked(&token), Err(why), "{member} {value}");
        }
        for (member, value) in [
            ("alg", json!("Ed25519")),
            ("typ", json!("at+JWT")),
            ("typ", Value::Null),
        ] {
            let token = signed(with(&header(), member, value), claims());
            assert!(checked(&token).is_ok());
        }
        // A key that the token brings along, or says where to find, is not looked at.
        let x = encode(signer(9).public_key());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
        let own = with(&with(&header(), "jwk", jwk), "jku", json!("https://x.test"));
        let message = format!(
            "{}.{}",
            encode(own.to_string()),
            encode(claims().to_string())
        );
        let signature = encode(signer(9).sign(message.as_bytes()));
        let token = format!("{message}.{signature}");
        assert_eq!(checked(&token), Err("a signature of somebody else"));
    }

    /// The public key as the secret of a symmetric algorithm (CVE-2015-9235 and its like).
    #[test]
    fn the_public_key_is_no_secret_to_sign_with() {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, signer(1).public_key().as_ref());
        for alg in ["HS256", "EdDSA"] {
            let header = with(&header(), "alg", json!(alg));
            let message = format!(
                "{}.{}",
                encode(header.to_string()),
                encode(claims().to_string())
            );
            let mac = encode(ring::hmac::sign(&key, message.as_bytes()));
            assert!(checked(&format!("{message}.{mac}")).is_err(), "{alg}");
        }
    }

    #[test]
    fn what_is_no_jwt_is_refused() {
        let good = signed(header(), claims());
        let [head, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else {
            panic!("three parts")
        };
        let deep = encode("[".repeat(2000));
        let array = encode("[]");
        for token in [
            String::new(),
            ".".into(),
            "..".into(),
            "...".into(),
            "sesame".into(),
            format!("{head}.{claims}"),
            format!("{head}.{claims}."),
            format!("{head}..{signature}"),
            format!(".{claims}.{signature}"),
            format!("{good}.{signature}"),
            format!("{good}="),
            format!("{head}.{claims}.!{signature}"),
            format!("{head}.{claims}=.{signature}"),
            format!("{claims}.{head}.{signature}"),
            format!("{deep}.{claims}.{signature}"),
            format!("{head}.{deep}.{signature}"),
            format!("{array}.{claims}.{signature}"),
            // Another spelling of the same bytes: the last character has bits to spare.
            good[..good.len() - 1].to_owned() + "B",
        ] {
            assert!(checked(&token).is_err(), "{token}");
        }
        for at in 0..good.len() {
            let mut bent = good.clone().into_bytes();
            bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
            assert!(
                checked(std::str::from_utf8(&bent).unwrap()).is_err(),
                "{at}"
            );
        }
        // Claims are not looked at before the signature is.
        let other = encode(r#"{"sub":"root"}"#);
        let bent = format!("{head}.{other}.{signature}");
        assert_eq!(checked(&bent), Err("a signature of somebody else"));
    }
}
