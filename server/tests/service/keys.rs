//! A server with keys: who is let in, and what a stranger costs.

use std::num::NonZeroU16;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::common::{
    ABRACADABRA, ABRACADABRA_HASH, HASH, PACKED, PATIENCE, SESAME, SESAME_HASH, TestServer,
    assert_error, json, keys_file, start, until,
};
use reqwest::RequestBuilder;

/// A server that knows the token `sesame`; it has read its file.
async fn guarded(places: u16) -> TestServer {
    let file = keys_file();
    start(|config| {
        config.keys = Some(file.path().into());
        config.max_in_flight = NonZeroU16::new(places);
    })
    .await
}

async fn assert_stranger(request: RequestBuilder) {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["www-authenticate"], "Bearer");
    assert!(answer.headers().contains_key("dyno-request-id"));
    assert!(!answer.headers().contains_key("dyno-load"));
    let text = assert_error(answer, 401, "unauthorized").await;
    assert!(text.contains("authorization: Bearer"), "{text}");
}

/// A request to every path that needs a token, to one that there is not, and to one that another
/// method has.
fn everything(server: &TestServer) -> Vec<RequestBuilder> {
    let probe = server.client.post(server.url("/v1/probe")).body("probe");
    let mut all = vec![server.infer("echo"), probe];
    all.extend(
        [
            "/v1/models",
            "/v1/models/fake",
            "/v1/models/fake/bundle",
            "/v1/models/nobody",
            "/v1/probe",
            "/",
            "/v2/health",
            "/v2/health/live/",
            "/v2/health/%6cive",
            "/v2/health/../v2/models",
        ]
        .map(|path| server.get(path)),
    );
    all
}

#[tokio::test]
async fn the_right_token_opens_every_path() {
    let server = guarded(4).await;
    let mut statuses = Vec::new();
    for request in everything(&server) {
        let answer = request.bearer_auth(SESAME).send().await.unwrap();
        assert!(!answer.headers().contains_key("www-authenticate"));
        statuses.push(answer.status().as_u16());
    }
    let expected = [200, 204, 200, 200, 200, 404, 405, 404, 404, 404, 404, 404];
    assert_eq!(statuses, expected);
}

#[tokio::test]
async fn without_the_right_token_every_path_is_closed() {
    let server = guarded(4).await;
    for request in everything(&server) {
        assert_stranger(request).await;
    }
    for request in everything(&server) {
        assert_stranger(request.bearer_auth("abracadabra")).await;
    }
    let too_long = format!("Bearer {}", "x".repeat(4097));
    let longest = format!("Bearer {}", "x".repeat(4096));
    for header in [
        "",
        "Bearer",
        "Bearer ",
        "sesame",
        "Basic sesame",
        "Bearersesame",
        "Bearer sesame sesame",
        "Bearer sesame,",
        "Bearer Sesame",
        &longest,
        &too_long,
    ] {
        assert_stranger(server.infer("echo").header("authorization", header)).await;
    }
    let twice = server.infer("echo").bearer_auth(SESAME);
    assert_stranger(twice.header("authorization", "Bearer sesame")).await;
    let other = server.get("/v1/models?limit=sesame");
    assert_stranger(other).await;
    assert_eq!(server.runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_scheme_is_read_in_any_case() {
    let server = guarded(4).await;
    for header in ["bearer sesame", "BEARER sesame", "Bearer   sesame"] {
        let request = server.infer("echo").header("authorization", header);
        assert_eq!(request.send().await.unwrap().status(), 200, "{header}");
    }
}

#[tokio::test]
async fn health_needs_no_token() {
    let server = guarded(4).await;
    for path in ["/v2/health/live", "/v2/health/ready"] {
        assert_eq!(server.get(path).send().await.unwrap().status(), 200);
        let wrong = server.get(path).bearer_auth("abracadabra");
        assert_eq!(wrong.send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_stranger_is_refused_from_the_headers_and_takes_no_place() {
    let mut server = guarded(1).await;
    let first = tokio::spawn(server.infer("wait").bearer_auth(SESAME).send());
    server.heard("entered").await;

    // The only place is taken, and not a byte of the body is ever sent.
    let tcp = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    let (send, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    let mut send = send.ready().await.unwrap();
    let request = http::Request::post(server.url("/v1/models/fake/infer"))
        .header("content-type", PACKED)
        .header("dyno-bundle", HASH)
        .header("content-length", i64::MAX.to_string())
        .header("authorization", "Bearer abracadabra")
        .body(())
        .unwrap();
    let (answer, _body) = send.send_request(request, false).unwrap();
    let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap();
    assert_eq!(answer.unwrap().status(), 401);

    // More than the windows hold: the client hears of it in the middle of its upload.
    assert_stranger(server.infer(vec![0; 12 << 20])).await;
    let welcome = server.infer("echo").bearer_auth(SESAME);
    assert_error(welcome.send().await.unwrap(), 503, "overloaded").await;
    server.release();
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    until(async || {
        let welcome = server.infer("echo").bearer_auth(SESAME);
        welcome.send().await.unwrap().status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_token_in_the_address_is_refused_whoever_it_is_of() {
    for server in [guarded(4).await, start(|_| {}).await] {
        for address in [
            "/v1/models?access_token=sesame",
            "/v1/models/fake?x=1&TOKEN=sesame",
            "/nowhere?key=sesame",
        ] {
            let answer = server.get(address).bearer_auth(SESAME).send().await;
            let text = assert_error(answer.unwrap(), 400, "invalid_argument").await;
            assert!(text.contains("authorization: Bearer"), "{text}");
            assert!(!text.contains("sesame"), "{text}");
        }
    }
}

/// Replaces a file as careful people do.
fn replace(file: &Path, text: &str) {
    let other = file.with_extension("new");
    std::fs::write(&other, text).unwrap();
    std::fs::rename(other, file).unwrap();
}

#[tokio::test]
async fn a_key_opens_only_the_models_it_is_for() {
    let file = keys_file();
    let lines = format!("a {SESAME_HASH} models=maps,later\nb {ABRACADABRA_HASH}\n");
    replace(file.path(), &lines);
    let server = start(|config| config.keys = Some(file.path().into())).await;
    let listed = async |token: &str| {
        let list = server.get("/v1/models").bearer_auth(token).send().await;
        let list = json(list.unwrap()).await;
        let names = list["models"].as_array().unwrap().iter();
        let names: Vec<_> = names
            .map(|m| m["model"].as_str().unwrap().to_owned())
            .collect();
        names
    };
    assert_eq!(listed(SESAME).await, ["maps"]);
    assert_eq!(listed(ABRACADABRA).await, ["fake", "maps"]);

    for path in [
        "/v1/models/fake",
        "/v1/models/fa%6be",
        "/v1/models/fake/bundle",
        "/v1/models/nobody",
    ] {
        let answer = server.get(path).bearer_auth(SESAME).send().await.unwrap();
        assert!(!answer.headers().contains_key("www-authenticate"));
        assert_error(answer, 403, "unauthorized").await;
    }
    // More than the windows hold: not a byte of it is read.
    let infer = server.infer(vec![0; 12 << 20]).bearer_auth(SESAME);
    assert_error(infer.send().await.unwrap(), 403, "unauthorized").await;
    assert_eq!(server.runs.load(Ordering::SeqCst), 0);

    for (path, status) in [("/v1/models/maps", 200), ("/v1/models/later", 404)] {
        let answer = server.get(path).bearer_auth(SESAME).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
    let infer = server.infer("echo").bearer_auth(ABRACADABRA);
    assert_eq!(infer.send().await.unwrap().status(), 200);
}

async fn status(server: &TestServer, token: &str) -> u16 {
    let answer = server.infer("echo").bearer_auth(token).send().await;
    answer.unwrap().status().as_u16()
}

#[tokio::test]
async fn keys_change_hands_under_traffic() {
    let file = keys_file();
    let server = start(|config| config.keys = Some(file.path().into())).await;
    // A phone that asks all the time, with the old token as long as that works.
    let request = server.infer("echo").bearer_auth(SESAME);
    let traffic = tokio::spawn(async move {
        let mut good = 0;
        loop {
            let answer = request.try_clone().unwrap().send().await.unwrap();
            match answer.status().as_u16() {
                200 => good += 1,
                other => return (good, other),
            }
        }
    });
    assert_eq!(status(&server, ABRACADABRA).await, 401);

    let both = format!("phone-1 {SESAME_HASH}\nphone-1 {ABRACADABRA_HASH}\n");
    replace(file.path(), &both);
    server.reloader.reload();
    until(async || status(&server, ABRACADABRA).await == 200).await;
    assert_eq!(status(&server, SESAME).await, 200);

    // Nothing that makes no sense is taken.
    replace(file.path(), "phone-1 sesame\n");
    server.reloader.reload();
    replace(file.path(), "");
    server.reloader.reload();
    for token in [SESAME, ABRACADABRA] {
        assert_eq!(status(&server, token).await, 200);
    }

    let new = format!("phone-1 {ABRACADABRA_HASH}\n");
    replace(file.path(), &new);
    server.reloader.reload();
    until(async || status(&server, SESAME).await == 401).await;
    assert_eq!(status(&server, ABRACADABRA).await, 200);
    let (good, ended) = traffic.await.unwrap();
    assert!(good > 0);
    assert_eq!(ended, 401);
}

#[tokio::test]
async fn a_changed_file_is_noticed() {
    let file = keys_file();
    let server = start(|config| config.keys = Some(file.path().into())).await;
    replace(file.path(), &format!("phone-2 {ABRACADABRA_HASH}\n"));
    until(async || status(&server, ABRACADABRA).await == 200).await;
    assert_eq!(status(&server, SESAME).await, 401);
}

#[tokio::test]
async fn without_keys_a_token_means_nothing() {
    let server = start(|_| {}).await;
    for header in ["Bearer sesame", "Basic x", ""] {
        let request = server.infer("echo").header("authorization", header);
        assert_eq!(request.send().await.unwrap().status(), 200, "{header}");
    }
}
