//! Compressed bodies (row 14): nothing is decompressed on request.

use crate::child::Child;
use crate::common::assert_error;

/// How a gzip file begins.
const GZIP_MAGIC: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03";

/// Row 14.
#[tokio::test]
async fn a_content_encoding_is_refused_before_the_body() {
    let server = Child::start(&[]).await;
    let mut bomb = GZIP_MAGIC.to_vec();
    bomb.resize(10 << 10, 0);
    server
        .endures(3, async || {
            for encoding in [
                "gzip",
                "deflate",
                "br",
                "zstd",
                "x-gzip",
                "gzip, gzip",
                "identity, gzip",
                "gzip;q=1",
                "GZIP",
                "chunked",
                "",
            ] {
                let request = server.infer().header("content-encoding", encoding);
                let answer = request.body(bomb.clone()).send().await.unwrap();
                assert_error(answer, 415, "invalid_argument").await;
            }
            let twice = server.infer().header("content-encoding", "identity");
            let twice = twice.header("content-encoding", "gzip").body(bomb.clone());
            assert_error(twice.send().await.unwrap(), 400, "invalid_argument").await;
            // Nor is what comes with another name unpacked.
            let renamed = server.packed(bomb.clone()).await;
            assert_error(renamed, 400, "invalid_activation").await;
            server.assert_live().await;
        })
        .await;
}
