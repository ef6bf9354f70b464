//! Below HTTP: other protocols, silence, too many connections, TLS.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use crate::common::{PATIENCE, client, config, crypto, start, until};
use dyno_core::ErrorKind;
use dyno_server::{Config, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Everything that the server says to these bytes until it closes.
async fn reply(server: &crate::common::TestServer, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    // Whoever is refused need not wait for our end.
    stream.shutdown().await.unwrap();
    let mut reply = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut reply));
    read.await.expect("the server closes").unwrap();
    reply
}

#[tokio::test]
async fn other_protocols_hear_what_is_spoken_here_and_are_closed() {
    let server = start(|_| {}).await;
    for bytes in [
        &b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        b"POST /v1/models/fake/infer HTTP/1.1\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nGARBAGE",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ] {
        let reply = reply(&server, bytes).await;
        assert!(reply.starts_with(b"HTTP/1.1 505 "), "{reply:?}");
    }
    server.assert_well().await;
}

#[tokio::test]
async fn rubbish_behind_the_preface_ends_the_connection() {
    let server = start(|_| {}).await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend([0xff; 64]);
    reply(&server, &bytes).await;
    server.assert_well().await;
}

#[tokio::test]
async fn silence_before_the_preface_is_not_waited_out() {
    let server = start(|config| config.handshake_timeout = Duration::from_millis(500)).await;
    for begun in [&b""[..], b"PRI * HT"] {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(begun).await.unwrap();
        let mut byte = [0];
        let closed = tokio::time::timeout(PATIENCE, stream.read(&mut byte));
        // Closed in order, or reset because of the unread half of a preface.
        assert!(matches!(closed.await.unwrap(), Ok(0) | Err(_)));
    }
    server.assert_well().await;
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_a_place_comes_free() {
    let server = start(|config| config.max_connections = NonZeroU16::new(2).unwrap()).await;
    // The first place is the server's own client's.
    let second = TcpStream::connect(server.addr).await.unwrap();
    let live = server.url("/v2/health/live");
    until(async || client().get(&live).send().await.is_err()).await;
    assert_eq!(
        server.get("/v2/health/live").send().await.unwrap().status(),
        200
    );
    drop(second);
    until(async || client().get(&live).send().await.is_ok()).await;
}

#[tokio::test]
async fn one_address_can_have_only_so_many_connections() {
    let two = NonZeroU16::new(2).unwrap();
    let server = start(|config| config.max_connections_per_address = two).await;
    // The first place is the server's own client's.
    let second = TcpStream::connect(server.addr).await.unwrap();
    let live = server.url("/v2/health/live");
    until(async || client().get(&live).send().await.is_err()).await;
    drop(second);
    until(async || client().get(&live).send().await.is_ok()).await;
}

#[tokio::test]
async fn headers_beyond_the_limit_are_refused_and_the_server_lives() {
    let server = start(|_| {}).await;
    let huge = server.infer("echo").header("x-huge", "x".repeat(32 << 10));
    assert_eq!(huge.send().await.unwrap().status(), 431);
    server.assert_well().await;
}

struct Certified {
    folder: tempfile::TempDir,
    root: reqwest::Certificate,
}

impl Certified {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        for (name, text) in [
            ("cert.pem", made.cert.pem()),
            ("key.pem", made.signing_key.serialize_pem()),
            ("other.pem", other.serialize_pem()),
            ("empty.pem", String::new()),
            ("rubbish.pem", "-----BEGIN CERTIFICATE-----\n!!\n".into()),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
        Self { folder, root }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, config: &mut Config, cert: &str, key: &str) {
        config.tls_cert = Some(self.file(cert));
        config.tls_key = Some(self.file(key));
    }

    fn client(&self) -> reqwest::ClientBuilder {
        crypto();
        reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .tls_certs_only([self.root.clone()])
    }
}

#[tokio::test]
async fn tls_agrees_on_http2_by_alpn() {
    let certified = Certified::new();
    let server = start(|config| certified.configure(config, "cert.pem", "key.pem")).await;
    let url = format!("https://localhost:{}/v2/health/live", server.addr.port());
    let client = certified.client().build().unwrap();
    let live = client.get(&url).send().await.unwrap();
    assert_eq!(
        (live.status().as_u16(), live.version()),
        (200, http::Version::HTTP_2)
    );
    // A client that only offers HTTP/1.1 is turned away in the handshake.
    let old = certified.client().http1_only().build().unwrap();
    assert!(old.get(&url).send().await.is_err());
    // As is plaintext.
    let plain = format!("http://{}/v2/health/live", server.addr);
    assert!(crate::common::client().get(plain).send().await.is_err());
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_tls_handshake_has_a_time_limit() {
    let certified = Certified::new();
    let server = start(|config| {
        certified.configure(config, "cert.pem", "key.pem");
        config.handshake_timeout = Duration::from_millis(500);
    })
    .await;
    let mut silent = TcpStream::connect(server.addr).await.unwrap();
    let mut byte = [0];
    let closed = tokio::time::timeout(PATIENCE, silent.read(&mut byte)).await;
    assert_eq!(closed.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn bad_certificates_and_keys_are_named() {
    let certified = Certified::new();
    for (cert, key, named) in [
        ("missing.pem", "key.pem", "missing.pem"),
        ("empty.pem", "key.pem", "empty.pem"),
        ("rubbish.pem", "key.pem", "rubbish.pem"),
        ("key.pem", "key.pem", "key.pem"),
        ("cert.pem", "missing.pem", "missing.pem"),
        ("cert.pem", "cert.pem", "cert.pem"),
        ("cert.pem", "empty.pem", "empty.pem"),
        ("cert.pem", "other.pem", "other.pem"),
    ] {
        let mut config = config();
        certified.configure(&mut config, cert, key);
        let error = Server::with_models(config, Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(named), "{cert} {key}: {error}");
    }
}

#[tokio::test]
async fn plaintext_for_other_machines_needs_to_be_asked_for() {
    let mut config = config();
    config.listen = "0.0.0.0:0".parse().unwrap();
    let error = Server::bind(config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    for flag in ["--tls-cert", "--tls-key", "--allow-plaintext"] {
        assert!(error.to_string().contains(flag), "{error}");
    }
}
