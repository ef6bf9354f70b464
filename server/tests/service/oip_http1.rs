//! The second address: HTTP/1.1 beside HTTP/2, its limits, and requests made to be read in two ways.

use std::net::SocketAddr;
use std::time::Duration;

use crate::common::{HASH, PATIENCE, assert_error, config, crypto, json};
use dyno_core::Result;
use dyno_server::{Config, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const GET: &str = "GET /v2 HTTP/1.1\r\nhost: a\r\n\r\n";

struct Both {
    oip: SocketAddr,
    phones: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    end: JoinHandle<Result<()>>,
}

/// A server with a model `fake` and both addresses.
async fn both(configure: impl FnOnce(&mut Config)) -> Both {
    let (model, warm) = crate::common::cold("fake");
    warm.send(Ok(())).unwrap();
    let mut config = config();
    config.oip_listen = Some("127.0.0.1:0".parse().unwrap());
    configure(&mut config);
    let server = Server::with_models(config, vec![model]).await.unwrap();
    let (oip, phones) = (server.oip_addr().unwrap(), server.local_addr());
    let (stop, stopped) = oneshot::channel::<()>();
    let end = tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));
    Both {
        oip,
        phones,
        stop: Some(stop),
        end,
    }
}

impl Both {
    /// Everything that comes back for these bytes until the server closes.
    async fn say(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.oip).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let all = stream.read_to_end(&mut answer);
        tokio::time::timeout(PATIENCE, all).await.unwrap().unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn assert_well(&self) {
        let answer = http1()
            .get(format!("http://{}/v2", self.oip))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
    }
}

fn http1() -> reqwest::Client {
    crypto();
    let client = reqwest::Client::builder().http1_only().no_proxy();
    client.timeout(PATIENCE).build().unwrap()
}

fn tensor() -> Vec<u8> {
    vec![0; 3 * 4 * 4 * 4]
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_and_one_path_alone() {
    let server = both(|_| ()).await;
    for client in [http1(), crate::common::client()] {
        let url = |path: &str| format!("http://{}{path}", server.oip);
        let about = json(client.get(url("/v2")).send().await.unwrap()).await;
        assert_eq!(about["name"], "dyno-server");
        let infer = client.post(url("/v2/models/fake/infer"));
        let infer = infer
            .header("inference-header-content-length", "0")
            .body(tensor());
        assert_eq!(infer.send().await.unwrap().status(), 200);
        for path in [
            "/v1/models",
            "/v1/models/fake/bundle",
            "/v1/probe",
            "/metrics",
            "/",
        ] {
            let answer = client.get(url(path)).send().await.unwrap();
            assert_error(answer, 404, "not_found").await;
        }
    }
    let phones = crate::common::client().get(format!("http://{}/v2", server.phones));
    assert_eq!(phones.send().await.unwrap().status(), 200);
    let mut stream = TcpStream::connect(server.phones).await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    let mut refused = String::new();
    stream.read_to_string(&mut refused).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 505"), "{refused}");
}

#[tokio::test]
async fn who_is_answered_before_the_body_has_come_is_told_that_the_connection_ends() {
    let server = both(|_| ()).await;
    for (model, status) in [("fake", "HTTP/1.1 200"), ("other", "HTTP/1.1 404")] {
        let head = format!(
            "POST /v2/models/{model}/infer HTTP/1.1\r\nhost: a\r\n\
             inference-header-content-length: 0\r\ncontent-length: 192\r\n\r\n"
        );
        let mut stream = TcpStream::connect(server.oip).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let is_early = model == "other";
        if !is_early {
            stream.write_all(&tensor()).await.unwrap();
        }
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer);
        let bytes = tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        let answer = String::from_utf8_lossy(&answer[..bytes]);
        assert!(answer.starts_with(status), "{answer}");
        assert_eq!(answer.contains("connection: close"), is_early, "{answer}");
    }
}

#[tokio::test]
async fn who_sends_everything_before_reading_gets_the_answer() {
    const LENGTH: usize = 8 << 20;
    let server = both(|_| ()).await;
    for (head, status) in [
        ("POST /v2/models/other/infer HTTP/1.1\r\nhost: a\r\n", "404"),
        ("POST /v2/models/fake/infer HTTP/1.1\r\nhost: a\r\n", "413"),
        ("POST /v2/models/fake/infer HTTP/1.1\n", "400"),
    ] {
        let head = format!("{head}content-length: {LENGTH}\r\n\r\n");
        let mut request = head.clone().into_bytes();
        request.resize(head.len() + LENGTH, b'x');
        // More than any socket holds: a server that reads none of it would have reset the connection.
        let answer = server.say(&request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{head}{answer}"
        );
    }
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let server = both(|_| ()).await;
    let head = "POST /v2/models/fake/infer HTTP/1.1\r\nhost: a\r\n\
                inference-header-content-length: 0\r\ncontent-length: 192\r\n\r\n";
    let post = [head.as_bytes(), &tensor()].concat();
    let last = GET.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    let all = [GET.as_bytes(), &post, &post, last.as_bytes()].concat();
    let answers = server.say(&all).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 4, "{answers}");
    assert_eq!(answers.matches(HASH).count(), 4, "{answers}");
}

#[tokio::test]
async fn what_two_parsers_may_read_differently_is_400_and_the_end() {
    let server = both(|_| ()).await;
    let smuggled = format!("0\r\n\r\n{GET}");
    for head in [
        "POST /v2/models/fake/infer HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST /v2/models/fake/infer HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n",
        "POST /v2/models/fake/infer HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        "POST /v2/models/fake/infer HTTP/1.1\r\nhost: a\r\ncontent-length : 5\r\n\r\n",
        "POST /v2/models/fake/infer HTTP/1.1\r\nhost: a\r\nx: 1\n content-length: 5\r\n\r\n",
        "GET /v2 HTTP/1.1\nhost: a\n\n",
        "GET /v2 HTTP/1.0\r\nhost: a\r\n\r\n",
        "GET http://a/v2 HTTP/1.1\r\nhost: a\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n",
        "GET /v2 HTTP/1.1\r\n\r\n",
        "GET /v2 HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "\u{1}\u{2}\u{3}\r\n",
    ] {
        let answer = server.say(format!("{head}{smuggled}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{head:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{head:?}: {answer}");
    }
    let chunked =
        "POST /v2/models/fake/infer HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = server.say(format!("{chunked}{smuggled}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 411"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    for method in ["TRACE", "PUT", "DELETE"] {
        let head = format!("{method} /v2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = server.say(head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{method}: {answer}");
    }
    server.assert_well().await;
}

#[tokio::test]
async fn heads_that_are_too_long_or_never_end_are_given_up() {
    let server = both(|config| config.handshake_timeout = Duration::from_millis(50)).await;
    let long = format!(
        "GET /v2 HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    let answer = server.say(long.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    // Nothing said at all, and half a word that HTTP/2 begins with as well.
    assert_eq!(server.say(b"").await, "");
    assert_eq!(server.say(b"PR").await, "");
    server.assert_well().await;
}

#[tokio::test]
async fn the_places_are_those_of_both_addresses() {
    let server = both(|config| config.max_connections = std::num::NonZeroU16::MIN).await;
    let mut first = TcpStream::connect(server.oip).await.unwrap();
    first.write_all(GET.as_bytes()).await.unwrap();
    let mut byte = [0];
    first.read_exact(&mut byte).await.unwrap();
    let mut second = TcpStream::connect(server.phones).await.unwrap();
    let read = tokio::time::timeout(PATIENCE, second.read(&mut byte))
        .await
        .unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "closed as it came");
}

#[tokio::test]
async fn a_drain_ends_idle_connections_at_once() {
    let mut server = both(|_| ()).await;
    let mut idle = TcpStream::connect(server.oip).await.unwrap();
    idle.write_all(GET.as_bytes()).await.unwrap();
    let mut byte = [0];
    idle.read_exact(&mut byte).await.unwrap();
    server.stop.take().unwrap().send(()).unwrap();
    let end = tokio::time::timeout(PATIENCE, server.end).await.unwrap();
    end.unwrap().unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn tls_offers_both_versions_on_this_address_alone() {
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&cert, pair.cert.pem()).unwrap();
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let server = both(|config| {
        config.tls_cert = Some(cert);
        config.tls_key = Some(key);
    })
    .await;
    crypto();
    let root = reqwest::Certificate::from_pem(pair.cert.pem().as_bytes()).unwrap();
    let client = |http1: bool| {
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([root.clone()]);
        if http1 {
            builder = builder.http1_only();
        }
        builder.timeout(PATIENCE).build().unwrap()
    };
    let get = async |client: reqwest::Client, port: u16| {
        let answer = client
            .get(format!("https://localhost:{port}/v2"))
            .send()
            .await;
        answer.map(|answer| answer.version())
    };
    let (oip, phones) = (server.oip.port(), server.phones.port());
    assert_eq!(
        get(client(true), oip).await.unwrap(),
        http::Version::HTTP_11
    );
    assert_eq!(
        get(client(false), oip).await.unwrap(),
        http::Version::HTTP_2
    );
    assert_eq!(
        get(client(false), phones).await.unwrap(),
        http::Version::HTTP_2
    );
    assert!(get(client(true), phones).await.is_err());
}
