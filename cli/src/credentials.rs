//! `dyno token`: what a server needs to let somebody in, made on this machine.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Bytes of a new token.
const TOKEN_BYTES: usize = 32;
/// Most characters of an id.
const MAX_ID: usize = 64;
/// Most bytes of a file with a public key.
const MAX_PEM_BYTES: u64 = 16 << 10;
/// What stands before the 32 bytes of an Ed25519 key in its PEM (RFC 8410).
const ED25519_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a token, and print its line for the server's file of keys (dyno-server --keys).
    New {
        /// Who it is for: 1 to 64 of A-Z a-z 0-9 . _ -
        id: String,
        /// File for the token, which must not be there yet; nobody else may read it.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print the set of public keys that a server checks signed tokens with (dyno-server --jwt-keys).
    Jwks {
        /// Ed25519 public keys (PEM), as `openssl pkey -pubout` writes them.
        #[arg(required = true, value_name = "FILE")]
        public_keys: Vec<PathBuf>,
    },
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::New { id, out } => println!("{}", new_token(id, out)?),
        Command::Jwks { public_keys } => {
            let keys = public_keys.iter().map(|path| read_key(path));
            let keys = keys.collect::<Result<Vec<_>>>()?;
            for (key, path) in keys.iter().zip(public_keys) {
                eprintln!("kid of {}: {}", path.display(), kid(key));
            }
            println!("{}", jwks(&keys));
        }
    }
    Ok(())
}

/// Writes a new token to a file; returns its line for the file of keys.
fn new_token(id: &str, out: &Path) -> Result<String> {
    let is_id = (1..=MAX_ID).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    ensure!(is_id, "an id is 1 to {MAX_ID} of A-Z a-z 0-9 . _ -");
    let mut secret = [0; TOKEN_BYTES];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut secret)
        .ok()
        .context("this machine has no source of random numbers")?;
    let token = hex(&secret);
    let mut file = std::fs::OpenOptions::new();
    file.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    file.open(out)
        .and_then(|mut file| file.write_all(format!("{token}\n").as_bytes()))
        .with_context(|| format!("cannot write the token to {}", out.display()))?;
    let hash: [u8; 32] = Sha256::digest(&token).into();
    Ok(format!("{id} {}", hex(&hash)))
}

/// The public key in a file.
fn read_key(path: &Path) -> Result<[u8; 32]> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_PEM_BYTES).read_to_string(&mut text))
        .with_context(|| format!("cannot read {}", path.display()))?;
    parse_key(&text).with_context(|| format!("{} holds no key for this", path.display()))
}

fn parse_key(text: &str) -> Result<[u8; 32]> {
    if text.contains("PRIVATE KEY") {
        bail!(
            "it is a private key, which the server must not have: \
             openssl pkey -in FILE -pubout prints the public one"
        );
    }
    let base64: String = text
        .split_once("-----BEGIN PUBLIC KEY-----")
        .and_then(|(_, rest)| rest.split_once("-----END PUBLIC KEY-----"))
        .map(|(body, _)| body.split_ascii_whitespace().collect())
        .context("there is no -----BEGIN PUBLIC KEY-----")?;
    let der = STANDARD.decode(base64).context("it is not base64")?;
    der.strip_prefix(&ED25519_PREFIX)
        .and_then(|key| key.try_into().ok())
        .context("it is not an Ed25519 key: openssl genpkey -algorithm ed25519 makes one")
}

/// The set as the server reads it.
fn jwks(keys: &[[u8; 32]]) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|key| {
            json!({
                "kty": "OKP",
                "crv": "Ed25519",
                "kid": kid(key),
                "x": URL_SAFE_NO_PAD.encode(key),
                "use": "sig",
                "alg": "EdDSA",
            })
        })
        .collect();
    json!({ "keys": keys }).to_string()
}

/// A key's name: its thumbprint (RFC 7638).
fn kid(key: &[u8; 32]) -> String {
    let x = URL_SAFE_NO_PAD.encode(key);
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(Sha256::digest(canonical))
}

fn hex(bytes: &[u8; 32]) -> String {
    let (left, right) = bytes.split_at(16);
    let half = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |all, &byte| all << 8 | u128::from(byte))
    };
    format!("{:032x}{:032x}", half(left), half(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410, section 10.1.
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn a_token_goes_to_a_file_of_its_own_and_its_hash_to_the_keys() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("token");
        let line = new_token("phone-1", &out).unwrap();
        let text = std::fs::read_to_string(&out).unwrap();
        let token = text.strip_suffix('\n').unwrap();
        assert_eq!(token.len(), 2 * TOKEN_BYTES);
        let hash: [u8; 32] = Sha256::digest(token).into();
        assert_eq!(line, format!("phone-1 {}", hex(&hash)));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = out.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        // A token is never written over another file.
        assert!(new_token("phone-1", &out).is_err());
        assert_eq!(std::fs::read_to_string(&out).unwrap(), text);
        let other = folder.path().join("other");
        assert_ne!(new_token("phone-1", &other).unwrap(), line);
        for id in ["", "a b", "a/b", "é", &"x".repeat(65)] {
            assert!(new_token(id, &folder.path().join("third")).is_err(), "{id}");
        }
        assert!(!folder.path().join("third").exists());
    }

    #[test]
    fn hex_is_that_of_sha256sum() {
        // printf %s sesame | sha256sum
        let hash: [u8; 32] = Sha256::digest("sesame").into();
        let sesame = "d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272";
        assert_eq!(hex(&hash), sesame);
    }

    /// RFC 8037, appendices A.2 and A.3.
    #[test]
    fn a_kid_is_the_standards_thumbprint() {
        let key = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        let key: [u8; 32] = key.unwrap().try_into().unwrap();
        assert_eq!(kid(&key), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let set = jwks(&[key]);
        let set: serde_json::Value = serde_json::from_str(&set).unwrap();
        assert_eq!(set["keys"][0]["kid"], kid(&key));
        assert_eq!(set["keys"][0]["crv"], "Ed25519");
    }

    #[test]
    fn only_public_ed25519_keys_are_taken() {
        let key = parse_key(PUBLIC).unwrap();
        assert_eq!((key[0], key[31]), (0x19, 0xe1));
        let p256 = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQ==\n-----END PUBLIC KEY-----";
        let private = PUBLIC.replace("PUBLIC", "PRIVATE");
        let cut = PUBLIC.replace("MCow", "MCo");
        for (text, says) in [
            ("", "BEGIN PUBLIC KEY"),
            (p256, "not an Ed25519 key"),
            (&private, "pubout"),
            (&cut, "base64"),
        ] {
            let error = format!("{:#}", parse_key(text).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
        assert!(read_key(Path::new("/does/not/exist")).is_err());
    }
}
