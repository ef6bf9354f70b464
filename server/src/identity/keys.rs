//! A file of clients' ids and the SHA-256 of their tokens, and what each may do.
//!
//! Tokens themselves are nowhere on the server, so that neither the file nor a copy of it lets
//! anybody in. A hash of a token of 32 random bytes cannot be guessed from; one of a password can.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use dyno_core::Result;
use dyno_core::client::Token;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::client::{Caller, ClientId, HASH_BYTES, Rights, is_name};
use super::file;
use crate::config::parse_rate;

/// Most keys: every request is compared with all of them.
const MAX_KEYS: usize = 1024;

const UNKNOWN_OPTION: &str = "an option that there is not: there are models, requests_per_s, \
     bytes_per_s and compute_ms_per_s";

/// The keys that are let in: at least one, at most [`MAX_KEYS`], all hashes different. A client may
/// have several, so that a new one can be handed out before the old one goes.
#[derive(Debug)]
pub(crate) struct Keys(Vec<Key>);

struct Key {
    id: ClientId,
    hash: [u8; HASH_BYTES],
    rights: Rights,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Keys {
    /// The keys of a file. Blocking.
    ///
    /// Fails with [`dyno_core::ErrorKind::InvalidArgument`] if the file cannot be read, is too large, or has a
    /// line that is no key, and names file and line; nothing of the line itself is told.
    pub(super) fn open(path: &Path) -> Result<Self> {
        file::read("keys", path, Self::parse)
    }

    /// Keys, one a line: `ID SHA256-HEX` and options; from a `#` on, a line is a comment.
    fn parse(text: &[u8]) -> Result<Self, String> {
        let mut keys: Vec<Key> = Vec::new();
        let mut hashes = HashMap::new();
        for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')) {
            let at = |what: &str| format!("line {number}: {what}");
            let Some(key) = parse_line(line).map_err(at)? else {
                continue;
            };
            if keys.len() == MAX_KEYS {
                return Err(at(&format!("more than {MAX_KEYS} keys")));
            }
            if let Some(first) = hashes.insert(key.hash, number) {
                return Err(at(&format!("the hash of line {first} once more")));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err("no key in it, so that nobody would be let in".into());
        }
        Ok(Self(keys))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whose token it is. Takes as long for every token of a length: it is hashed, and the hash
    /// compared with all others to their ends.
    pub(super) fn find(&self, token: &Token) -> Option<Caller> {
        self.find_hash(&Sha256::digest(token.reveal()).into())
    }

    /// Whose token or certificate has this hash. A certificate is no secret, but as it is not a
    /// word of visible characters, it is no token either.
    pub(super) fn find_hash(&self, hash: &[u8; HASH_BYTES]) -> Option<Caller> {
        let mut found = None;
        for key in &self.0 {
            if bool::from(key.hash.ct_eq(hash)) {
                found = Some(key);
            }
        }
        found.map(|key| Caller {
            id: Some(key.id.clone()),
            rights: key.rights.clone(),
        })
    }
}

/// The key of a line; none if it has nothing but blanks and a comment.
fn parse_line(line: &[u8]) -> Result<Option<Key>, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8")?;
    let content = line.split('#').next().unwrap_or_default();
    let mut fields = content.split_ascii_whitespace();
    let Some(id) = fields.next() else {
        return Ok(None);
    };
    let Some(hash) = fields.next() else {
        return Err("not of the form ID SHA256-HEX");
    };
    let id = ClientId::parse(id).ok_or("the id is not 1 to 64 of A-Z a-z 0-9 - _ .")?;
    let hash = parse_hash(hash).ok_or("the hash is not 64 hex digits")?;
    let rights = parse_options(fields)?;
    Ok(Some(Key { id, hash, rights }))
}

/// What is behind the hash: `NAME=VALUE` each, at most once.
fn parse_options<'a>(options: impl Iterator<Item = &'a str>) -> Result<Rights, &'static str> {
    let mut rights = Rights::default();
    for option in options {
        let (name, value) = option
            .split_once('=')
            .ok_or("behind the hash there is something not of the form OPTION=VALUE")?;
        let rates = &mut rights.rates;
        let twice = match name {
            "models" => rights.models.replace(parse_models(value)?).is_some(),
            "requests_per_s" => rates.requests.replace(parse_own_rate(value)?).is_some(),
            "bytes_per_s" => rates.bytes.replace(parse_own_rate(value)?).is_some(),
            "compute_ms_per_s" => rates.compute_ms.replace(parse_own_rate(value)?).is_some(),
            _ => return Err(UNKNOWN_OPTION),
        };
        if twice {
            return Err("an option twice");
        }
    }
    Ok(rights)
}

/// A rate, or `none`: no limit for this client, whatever the others have.
fn parse_own_rate(text: &str) -> Result<f64, &'static str> {
    if text == "none" {
        return Ok(f64::INFINITY);
    }
    parse_rate(text).map_err(|_| "a rate that is neither none nor a number from 0.001 to 1e12")
}

/// Names, with commas in between.
fn parse_models(list: &str) -> Result<BTreeSet<Box<str>>, &'static str> {
    let is_list = list.split(',').all(is_name);
    if !is_list {
        return Err("models is not a list like resnet18,shapes of names of models");
    }
    Ok(list.split(',').map(Into::into).collect())
}

fn parse_hash(hex: &str) -> Option<[u8; HASH_BYTES]> {
    let digits = hex.as_bytes();
    if digits.len() != 2 * HASH_BYTES {
        return None;
    }
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let mut hash = [0; HASH_BYTES];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use dyno_core::ErrorKind;

    use super::super::budget::OwnRates;
    use super::super::client::MAX_ID;
    use super::super::file::MAX_FILE_BYTES;
    use super::*;

    /// `printf %s sesame | sha256sum`
    const SESAME: &str = "d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272";
    /// `printf %s abracadabra | sha256sum`
    const ABRACADABRA: &str = "045babdcd2118960e8c8b8e0ecf65b734686e1b18f58710c9646779f49e942ae";

    fn parse(text: &str) -> Result<Keys, String> {
        Keys::parse(text.as_bytes())
    }

    fn find(keys: &Keys, token: &str) -> Option<String> {
        let caller = keys.find(&token.parse().unwrap())?;
        Some(caller.id.unwrap().as_str().to_owned())
    }

    #[test]
    fn a_token_is_known_by_its_hash() {
        let upper = ABRACADABRA.to_uppercase();
        let text = format!("# ours\n\nphone-1 {SESAME}\r\n\t ci.x_y\t{upper}  # until May");
        let keys = parse(&text).unwrap();
        assert_eq!(keys.len(), 2);
        assert_eq!(find(&keys, "sesame"), Some("phone-1".into()));
        assert_eq!(find(&keys, "abracadabra"), Some("ci.x_y".into()));
        for stranger in ["Sesame", "sesame0", "sesam", SESAME, "phone-1"] {
            assert_eq!(find(&keys, stranger), None, "{stranger}");
        }
    }

    #[test]
    fn one_client_may_have_several_keys() {
        let keys = parse(&format!("phone {SESAME} models=a\nphone {ABRACADABRA}")).unwrap();
        assert_eq!(keys.len(), 2);
        assert_eq!(find(&keys, "sesame"), Some("phone".into()));
        assert_eq!(find(&keys, "abracadabra"), Some("phone".into()));
    }

    #[test]
    fn a_key_may_be_for_some_models_only() {
        let keys = parse(&format!(
            "a {SESAME} models=shapes,res.net-18\nb {ABRACADABRA}"
        ));
        let keys = keys.unwrap();
        let may = |token: &str, model: &str| {
            let caller = keys.find(&token.parse().unwrap()).unwrap();
            caller.rights.allow(model)
        };
        assert!(may("sesame", "shapes") && may("sesame", "res.net-18"));
        assert!(!may("sesame", "shape") && !may("sesame", "shapes,res.net-18"));
        assert!(may("abracadabra", "whatever"));
    }

    #[test]
    fn a_key_may_have_rates_of_its_own() {
        let options = "requests_per_s=2.5 compute_ms_per_s=none";
        let keys = parse(&format!("a {SESAME} {options}\nb {ABRACADABRA}")).unwrap();
        let rates = |token: &str| keys.find(&token.parse().unwrap()).unwrap().rights.rates;
        assert_eq!(
            rates("sesame"),
            OwnRates {
                requests: Some(2.5),
                bytes: None,
                compute_ms: Some(f64::INFINITY),
            }
        );
        assert_eq!(rates("abracadabra"), OwnRates::default());
    }

    #[test]
    fn what_is_no_key_is_named_by_its_line_and_not_told() {
        let long = "i".repeat(MAX_ID + 1);
        let cut = &SESAME[1..];
        for (line, says) in [
            (SESAME.to_owned(), "ID SHA256-HEX"),
            (format!("phone {SESAME} more"), "OPTION=VALUE"),
            (format!("phone {SESAME} sesame=1"), "an option"),
            (format!("phone {SESAME} Models=a"), "an option"),
            (format!("phone {SESAME} models=a models=b"), "twice"),
            (
                format!("phone {SESAME} bytes_per_s=1 bytes_per_s=1"),
                "twice",
            ),
            (format!("phone {SESAME} bytes_per_s=0"), "a rate"),
            (format!("phone {SESAME} requests_per_s=sesame"), "a rate"),
            (format!("phone {SESAME} compute_ms_per_s="), "a rate"),
            (format!("phone {SESAME} models="), "list"),
            (format!("phone {SESAME} models=a, b"), "list"),
            (format!("phone {SESAME} models=sesame/"), "list"),
            (format!("{SESAME} sesame"), "64 hex digits"),
            (format!("phone {cut}"), "64 hex digits"),
            (format!("phone 0{SESAME}"), "64 hex digits"),
            (format!("phone g{cut}"), "64 hex digits"),
            (format!("phone +{cut}"), "64 hex digits"),
            (format!("{long} {SESAME}"), "the id"),
            (format!("ph/one {SESAME}"), "the id"),
            (format!("phoné {SESAME}"), "the id"),
            (format!("other {ABRACADABRA}"), "the hash of line 1"),
        ] {
            let error = parse(&format!("first {ABRACADABRA}\n#\n{line}\n")).unwrap_err();
            assert!(error.starts_with("line 3: "), "{error}");
            assert!(error.contains(says), "{line}: {error}");
            for secret in [cut, &ABRACADABRA[1..], "sesame"] {
                assert!(!error.contains(secret), "{error}");
            }
        }
        let error = Keys::parse(b"phone \xff\n").unwrap_err();
        assert_eq!(error, "line 1: not UTF-8");
    }

    #[test]
    fn a_file_without_keys_is_a_mistake() {
        for text in ["", "\n\n", "# phone\n"] {
            assert!(parse(text).unwrap_err().contains("nobody"), "{text}");
        }
    }

    #[test]
    fn there_are_only_so_many_keys() {
        let line = |number: usize| format!("key{number} {number:064x}\n");
        let all: String = (0..MAX_KEYS).map(line).collect();
        assert_eq!(parse(&all).unwrap().len(), MAX_KEYS);
        let error = parse(&(all + &line(MAX_KEYS))).unwrap_err();
        assert_eq!(error, "line 1025: more than 1024 keys");
    }

    #[test]
    fn a_file_that_is_missing_or_too_large_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let error = Keys::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );

        let fits = usize::try_from(MAX_FILE_BYTES).unwrap();
        let mut text = format!("phone {SESAME}\n").into_bytes();
        text.resize(fits, b'\n');
        std::fs::write(&path, &text).unwrap();
        assert_eq!(Keys::open(&path).unwrap().len(), 1);
        text.push(b'\n');
        std::fs::write(&path, &text).unwrap();
        let error = Keys::open(&path).unwrap_err();
        assert!(
            error.to_string().contains("more than 1048576 bytes"),
            "{error}"
        );
    }

    #[test]
    fn debug_shows_ids_alone() {
        let keys = parse(&format!("phone {SESAME}")).unwrap();
        let shown = format!("{keys:?}");
        assert!(shown.contains("phone"), "{shown}");
        assert!(
            !shown.contains("208") && !shown.contains("d0c04f"),
            "{shown}"
        );
    }
}
