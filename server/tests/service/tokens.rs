//! Tokens that the app's backend signs, over a socket.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::common::{SESAME, TestServer, assert_error, json, keys_file, start, until};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

/// A backend: its key, and the name of that.
struct Backend {
    kid: &'static str,
    key: Ed25519KeyPair,
}

impl Backend {
    fn new(kid: &'static str, seed: u8) -> Self {
        let key = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        Self { kid, key }
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "use": "sig", "x": x})
    }

    /// A token for ten minutes from now, with these claims as well.
    fn token(&self, claims: &Value) -> String {
        let mut all = json!({"sub": "phone-9", "aud": "dyno", "iat": now(), "exp": now() + 600});
        let more = claims.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(more);
        let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": self.kid});
        let [header, all] = [header, all].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = format!("{header}.{all}");
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

fn publish(file: &Path, backends: &[&Backend]) {
    let keys: Vec<_> = backends.iter().map(|backend| backend.jwk()).collect();
    let other = file.with_extension("new");
    std::fs::write(&other, json!({ "keys": keys }).to_string()).unwrap();
    std::fs::rename(other, file).unwrap();
}

async fn status(server: &TestServer, token: &str) -> u16 {
    let answer = server.infer("echo").bearer_auth(token).send().await;
    answer.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_signed_token_lets_in_for_as_long_and_as_much_as_it_says() {
    let backend = Backend::new("k1", 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    publish(&file, &[&backend]);
    let keys = keys_file();
    let server = start(|config| {
        config.jwt_keys = Some(file);
        config.jwt_audience = Some("dyno".into());
        config.keys = Some(keys.path().into());
    })
    .await;

    assert_eq!(status(&server, &backend.token(&json!({}))).await, 200);
    assert_eq!(status(&server, SESAME).await, 200, "keys are good as well");
    let stranger = Backend::new("k1", 2);
    let unknown = Backend::new("k2", 1);
    for token in [
        backend.token(&json!({"exp": now() - 600})),
        backend.token(&json!({"exp": now() + 100_000})),
        backend.token(&json!({"aud": "mail"})),
        stranger.token(&json!({})),
        unknown.token(&json!({})),
        backend.token(&json!({"fill": "x".repeat(4096)})),
    ] {
        let refused = server
            .infer("echo")
            .bearer_auth(&token)
            .send()
            .await
            .unwrap();
        assert_eq!(refused.headers()["www-authenticate"], "Bearer");
        let text = assert_error(refused, 401, "unauthorized").await;
        assert!(!text.contains("expired"), "strangers are not told why");
    }

    let some = backend.token(&json!({"models": ["maps"]}));
    let forbidden = server.infer("echo").bearer_auth(&some).send().await;
    assert_error(forbidden.unwrap(), 403, "unauthorized").await;
    let list = server.get("/v1/models").bearer_auth(&some).send().await;
    let list = json(list.unwrap()).await;
    assert_eq!(list["models"].as_array().unwrap().len(), 1);
    assert_eq!(list["models"][0]["model"], "maps");
}

#[tokio::test]
async fn the_backends_key_is_changed_without_a_restart() {
    let [old, new] = [Backend::new("old", 1), Backend::new("new", 2)];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    publish(&file, &[&old]);
    let server = start(|config| {
        config.jwt_keys = Some(file.clone());
        config.jwt_audience = Some("dyno".into());
    })
    .await;
    let [by_old, by_new] = [&old, &new].map(|backend| backend.token(&json!({})));
    assert_eq!(status(&server, &by_old).await, 200);
    assert_eq!(status(&server, &by_new).await, 401);

    publish(&file, &[&old, &new]);
    server.reloader.reload();
    until(async || status(&server, &by_new).await == 200).await;
    std::fs::write(&file, "{}").unwrap();
    server.reloader.reload();
    assert_eq!(status(&server, &by_old).await, 200);
    publish(&file, &[&new]);
    server.reloader.reload();
    until(async || status(&server, &by_old).await == 401).await;
    assert_eq!(status(&server, &by_new).await, 200);
    assert_eq!(status(&server, SESAME).await, 401);
    assert!(server.runs.load(Ordering::SeqCst) >= 4);
}

#[tokio::test]
async fn a_token_without_an_audience_flag_is_no_setup() {
    let mut config = crate::common::config();
    config.jwt_keys = Some("jwks.json".into());
    let error = dyno_server::Server::with_models(config, Vec::new()).await;
    assert!(error.unwrap_err().to_string().contains("--jwt-audience"));
}
