//! The public keys of whoever signs tokens: a JSON Web Key Set (RFC 7517) with Ed25519 keys (RFC 8037).

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dyno_core::Result;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::file;

/// Most keys of a set: one is in use, one comes, one goes.
const MAX_KEYS: usize = 64;
/// Bytes of an Ed25519 public key.
const KEY_BYTES: usize = 32;

/// Keys by their `kid`: at least one.
#[derive(Debug)]
pub(super) struct KeySet(HashMap<String, [u8; KEY_BYTES]>);

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

/// Members that are looked at; serde refuses each of them if it comes twice.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    kid: Option<String>,
    x: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    /// The private half.
    d: Option<IgnoredAny>,
}

impl KeySet {
    /// The keys of a file. Blocking.
    ///
    /// Fails with [`dyno_core::ErrorKind::InvalidArgument`] if the file cannot be read, is too
    /// large, is no such set, has a private key or no Ed25519 key; nothing of its content is told.
    pub(super) fn open(path: &Path) -> Result<Self> {
        file::read("keys of tokens", path, Self::parse)
    }

    /// Fails with what is wrong, and tells nothing of the text itself.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let set: Jwks = serde_json::from_slice(text).map_err(|error| {
            // Its own text may quote the file.
            let (line, column) = (error.line(), error.column());
            format!("no JSON Web Key Set (line {line}, column {column})")
        })?;
        let mut keys = HashMap::new();
        for (number, key) in (1..).zip(set.keys) {
            let at = |what: &str| format!("key {number}: {what}");
            if key.d.is_some() {
                let text = "there is a private key in it: only public ones belong here";
                return Err(at(text));
            }
            if !key.is_ed25519_for_signatures() {
                continue;
            }
            let (kid, key) = key.into_parts().map_err(at)?;
            if keys.len() == MAX_KEYS {
                return Err(at(&format!("more than {MAX_KEYS} Ed25519 keys")));
            }
            if keys.insert(kid, key).is_some() {
                return Err(at("a kid once more"));
            }
        }
        if keys.is_empty() {
            return Err("no Ed25519 key (kty OKP, crv Ed25519) in it".into());
        }
        Ok(Self(keys))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the key of this name made the signature; none if there is no such key.
    pub(super) fn verify(&self, kid: &str, message: &[u8], signature: &[u8]) -> Option<bool> {
        let key = self.0.get(kid)?;
        let verified = UnparsedPublicKey::new(&ED25519, key).verify(message, signature);
        Some(verified.is_ok())
    }
}

impl Jwk {
    /// A set may have keys for others: those are left alone.
    fn is_ed25519_for_signatures(&self) -> bool {
        let is = |member: &Option<String>, names: &[&str]| {
            member.as_deref().is_none_or(|name| names.contains(&name))
        };
        self.kty == "OKP"
            && self.crv.as_deref() == Some("Ed25519")
            && is(&self.usage, &["sig"])
            && is(&self.alg, &super::jwt::ALGORITHMS)
    }

    fn into_parts(self) -> Result<(String, [u8; KEY_BYTES]), &'static str> {
        let kid = self
            .kid
            .filter(|kid| !kid.is_empty())
            .ok_or("no kid to find it by")?;
        let key = self
            .x
            .and_then(|x| URL_SAFE_NO_PAD.decode(x).ok())
            .and_then(|x| x.try_into().ok())
            .ok_or("x is not 32 bytes in base64url")?;
        Ok((kid, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037, appendix A.2.
    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const OTHER: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn parse(keys: &str) -> Result<KeySet, String> {
        KeySet::parse(format!(r#"{{"keys": [{keys}]}}"#).as_bytes())
    }

    fn key(members: &str) -> String {
        format!(r#"{{"kty":"OKP","crv":"Ed25519",{members}}}"#)
    }

    #[test]
    fn keys_of_other_kinds_are_left_alone() {
        let ours = key(&format!(
            r#""kid":"a","x":"{X}","use":"sig","alg":"EdDSA","y":[1]"#
        ));
        let rsa = r#"{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}"#;
        let curve = r#"{"kty":"OKP","crv":"X25519","kid":"a","x":"AA"}"#;
        let encryption = key(r#""kid":"a","x":"AA","use":"enc""#);
        let other = key(r#""kid":"a","x":"AA","alg":"ES256""#);
        let set = parse(&[&ours, rsa, curve, &encryption, &other].join(",")).unwrap();
        assert_eq!(set.len(), 1);
        assert!(parse(rsa).unwrap_err().contains("no Ed25519 key"));
    }

    #[test]
    fn a_set_that_makes_no_sense_is_refused_and_not_told() {
        for (keys, says) in [
            ("", "no Ed25519 key"),
            ("{}", "no JSON Web Key Set"),
            (r#"{"kty":7}"#, "no JSON Web Key Set"),
            (&key(&format!(r#""x":"{X}""#)), "key 1: no kid"),
            (&key(&format!(r#""kid":"","x":"{X}""#)), "key 1: no kid"),
            (&key(r#""kid":"sesame""#), "key 1: x is not"),
            (&key(r#""kid":"sesame","x":"AAAA""#), "key 1: x is not"),
            (&key(&format!(r#""kid":"sesame","x":"{X}=""#)), "key 1: x"),
            (
                &key(&format!(r#""kid":"a","x":"{X}","d":"sesame""#)),
                "private",
            ),
            (
                &key(&format!(r#""kid":"a","kid":"b","x":"{X}""#)),
                "no JSON",
            ),
            (
                &[X, OTHER]
                    .map(|x| key(&format!(r#""kid":"a","x":"{x}""#)))
                    .join(","),
                "key 2: a kid once more",
            ),
        ] {
            let error = parse(keys).unwrap_err();
            assert!(error.contains(says), "{keys}: {error}");
            assert!(!error.contains("sesame"), "{error}");
        }
        for text in [
            "",
            "[]",
            r#"{"keys": 1}"#,
            r#"{"keys": []} x"#,
            "\u{feff}{}",
        ] {
            let error = KeySet::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains("no JSON Web Key Set"), "{text}: {error}");
        }
        let deep = "[".repeat(100_000);
        assert!(KeySet::parse(deep.as_bytes()).is_err());
        let many: Vec<_> = (0..=MAX_KEYS)
            .map(|kid| key(&format!(r#""kid":"{kid}","x":"{X}""#)))
            .collect();
        assert!(parse(&many[1..].join(",")).is_ok());
        assert!(parse(&many.join(",")).unwrap_err().contains("more than 64"));
    }
}
