//! Tokens (row 1); `server/tests/keys.rs` has the wrong ones of ordinary size.

use crate::child::Child;
use crate::common::{SESAME, keys_file};

/// Row 1: too long to be read at all.
#[tokio::test]
async fn a_token_of_64_kb_is_refused_with_the_header_list() {
    let keys = keys_file();
    let server = Child::start(&["--keys", keys.path().to_str().unwrap()]).await;
    let huge = format!("Bearer {}", "x".repeat(64 << 10));
    server
        .endures(20, async || {
            let models = server.client.get(server.url("/v1/models"));
            match models.header("authorization", &huge).send().await {
                Ok(answer) => assert_eq!(answer.status(), 431),
                Err(error) => assert!(!error.is_timeout(), "the connection is closed: {error}"),
            }
        })
        .await;
    let known = server.client.get(server.url("/v1/models"));
    assert_eq!(
        known.bearer_auth(SESAME).send().await.unwrap().status(),
        200
    );
}
