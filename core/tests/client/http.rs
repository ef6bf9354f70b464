//! The HTTP/2 transport against real servers on this machine: right answers, wrong ones, none.

use std::time::Duration;

use crate::support::http::{
    Answer, Body, LONG, Script, TestServer, ask, full, logits, outputs, request, right, tls,
};
use crate::support::{CLASSES, expected, manifest};
use bytes::Bytes;
use dyno_core::ErrorKind;
use dyno_core::client::{BodyKind, HttpOptions, HttpTransport, ServerLoad, Transport};
use dyno_core::schedule::PhotoCodec;
use http::{Response, Version};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;

fn sealed(body: &[u8], checksum: &'static str) -> Response<Body> {
    let mut answer = outputs(full(body.to_vec()));
    let checksum = http::HeaderValue::from_static(checksum);
    answer.headers_mut().insert("dyno-crc32", checksum);
    answer
}

#[tokio::test]
async fn a_right_answer_is_read_with_its_times_and_load() {
    let server = TestServer::start(Script::Answer(right)).await;
    let answer = ask(&server).await.unwrap();
    assert_eq!(answer.outputs, [expected()]);
    assert!((answer.timing.total_ms() - 5.25).abs() < 1e-9);
    let load = ServerLoad {
        in_flight: 3,
        capacity: 16,
    };
    assert_eq!(answer.load, load);
}

#[tokio::test]
async fn a_request_says_what_the_protocol_wants_it_to_say() {
    let server = TestServer::start(Script::Answer(right)).await;
    let transport = server.transport();
    let photo = BodyKind::Photo(PhotoCodec::WebPLossless);
    for kind in [BodyKind::Packed, photo] {
        transport.infer(request(kind, LONG)).await.unwrap();
    }
    let seen = server.seen.lock().unwrap().clone();
    for seen in &seen {
        assert_eq!(
            (seen.method.as_str(), seen.version),
            ("POST", Version::HTTP_2)
        );
        assert_eq!(seen.path, "/v1/models/arithmetic/infer");
        assert_eq!(&seen.body[..], b"what crosses the cut");
        for (name, value) in [
            ("dyno-bundle", "ab".repeat(32).as_str()),
            ("dyno-deadline-ms", "30000"),
            ("accept", "application/vnd.dyno.outputs"),
            ("content-length", "20"),
        ] {
            assert_eq!(seen.headers[name], value, "{name}");
        }
    }
    assert_eq!(
        seen[0].headers["content-type"],
        "application/vnd.dyno.activation"
    );
    assert!(!seen[0].headers.contains_key("dyno-photo"));
    assert_eq!(seen[1].headers["content-type"], "image/webp");
    assert_eq!(seen[1].headers["dyno-photo"], "staged");
    assert_eq!(server.connections(), 1, "one connection for both");
}

#[tokio::test]
async fn a_model_cannot_lead_out_of_its_path() {
    let server = TestServer::start(Script::Answer(right)).await;
    let mut request = request(BodyKind::Packed, LONG);
    request.model = "../v2/health?x#y".into();
    server.transport().infer(request).await.unwrap();
    let path = server.seen.lock().unwrap()[0].path.clone();
    assert_eq!(path, "/v1/models/..%2Fv2%2Fhealth%3Fx%23y/infer");
}

#[tokio::test]
async fn a_probe_is_a_small_body_that_means_nothing() {
    let server = TestServer::start(Script::Answer(right)).await;
    let probed = server.transport().probe(12_000).await.unwrap().unwrap();
    assert!((probed.timing.receive_ms - 1.5).abs() < 1e-9);
    assert!(probed.wall > Duration::ZERO);
    let seen = server.seen.lock().unwrap()[0].clone();
    assert_eq!(
        (seen.method.as_str(), &seen.path[..]),
        ("POST", "/v1/probe")
    );
    assert_eq!(seen.headers["content-length"], "12000");
    assert_eq!(seen.body.len(), 12_000);
}

#[tokio::test]
async fn a_server_that_knows_no_probes_is_asked_whether_it_lives() {
    let server = TestServer::start(Script::OldServer).await;
    let probed = server.transport().probe(12_000).await.unwrap().unwrap();
    assert!(probed.timing.receive_ms.abs() < 1e-9);
    let seen = server.seen.lock().unwrap();
    let paths: Vec<_> = seen.iter().map(|seen| seen.path.as_str()).collect();
    assert_eq!(paths, ["/v1/probe", "/v2/health/live"]);
}

#[tokio::test]
async fn seconds_to_be_left_alone_are_read_with_429_and_503_only() {
    let cases: [(Answer, Option<u64>); 4] = [
        (|| asks(429, "overloaded"), Some(7)),
        (|| asks(503, "overloaded"), Some(7)),
        (|| asks(500, "internal"), None),
        (|| error(503, "overloaded"), None),
    ];
    for (answer, seconds) in cases {
        let server = TestServer::start(Script::Answer(answer)).await;
        let error = ask(&server).await.unwrap_err();
        assert_eq!(error.retry_after(), seconds.map(Duration::from_secs));
    }
}

fn asks(status: u16, kind: &str) -> Response<Body> {
    let mut answer = error(status, kind);
    let seven = http::HeaderValue::from_static("7");
    answer.headers_mut().insert("retry-after", seven);
    answer
}

fn error(status: u16, kind: &str) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(full(format!(r#"{{"error":"so it goes","kind":"{kind}"}}"#)))
        .unwrap()
}

#[tokio::test]
async fn errors_keep_the_kind_that_the_server_names() {
    let cases: [(Answer, ErrorKind); 8] = [
        (
            || error(400, "invalid_activation"),
            ErrorKind::InvalidActivation,
        ),
        (|| error(404, "not_found"), ErrorKind::NotFound),
        (|| error(409, "bundle_mismatch"), ErrorKind::BundleMismatch),
        (|| error(429, "overloaded"), ErrorKind::Overloaded),
        (|| error(401, "no_kind_of_ours"), ErrorKind::Unauthorized),
        (|| error(403, "no_kind_of_ours"), ErrorKind::Unauthorized),
        (
            || error(504, "deadline_exceeded"),
            ErrorKind::DeadlineExceeded,
        ),
        (|| error(503, "kind_of_tomorrow"), ErrorKind::Overloaded),
    ];
    for (answer, kind) in cases {
        let server = TestServer::start(Script::Answer(answer)).await;
        let error = ask(&server).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains("so it goes"), "{error}");
    }
}

#[tokio::test]
async fn what_is_not_exactly_an_answer_is_none() {
    let cases: [(&str, Answer); 11] = [
        ("a captive portal", || {
            let page = Response::builder().header("content-type", "text/html; charset=utf-8");
            page.body(full("<html>Please log in</html>")).unwrap()
        }),
        ("a page of the right length", || {
            let page = Response::builder().header("content-type", "text/html");
            page.body(full(logits())).unwrap()
        }),
        ("no content type", || Response::new(full(logits()))),
        ("no bundle", || {
            let mut answer = right();
            answer.headers_mut().remove("dyno-bundle");
            answer
        }),
        ("another checksum", || sealed(&logits(), "00000000")),
        ("no number for a checksum", || sealed(&logits(), "none")),
        ("a byte short", || outputs(full(logits()[1..].to_vec()))),
        ("a byte long", || {
            outputs(full([logits(), vec![0]].concat()))
        }),
        ("nothing", || outputs(full(""))),
        ("a redirect", || {
            let redirect = Response::builder().status(302);
            redirect
                .header("location", "/elsewhere")
                .body(full(""))
                .unwrap()
        }),
        ("another success", || {
            let mut answer = right();
            *answer.status_mut() = http::StatusCode::ACCEPTED;
            answer
        }),
    ];
    for (what, answer) in cases {
        let server = TestServer::start(Script::Answer(answer)).await;
        let error = ask(&server).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{what}: {error}");
        assert_eq!(server.seen.lock().unwrap().len(), 1, "{what}: asked once");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let server = TestServer::start(Script::Answer(|| {
        let zeros = std::iter::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[0; 1_000]))));
        outputs(StreamBody::new(futures_util::stream::iter(zeros)).boxed_unsync())
    }));
    let error = ask(&server.await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
}

#[tokio::test]
async fn an_answer_of_another_bundle_is_a_mismatch() {
    let server = TestServer::start(Script::Answer(|| {
        let mut answer = right();
        let other = "cd".repeat(32).parse().unwrap();
        answer.headers_mut().insert("dyno-bundle", other);
        answer
    }));
    let error = ask(&server.await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BundleMismatch, "{error}");
}

#[test]
fn addresses_that_lead_nowhere_are_refused() {
    for url in [
        "",
        "localhost:8600",
        "ftp://host",
        "http://",
        "http://user:secret@host",
        "http://host?query",
        "http://host/#fragment",
    ] {
        let error = HttpTransport::new(url, Vec::new(), HttpOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{url}");
    }
}

#[tokio::test]
async fn tls_is_spoken_with_a_trusted_server_only() {
    let (acceptor, root) = tls();
    let secure = move |socket| {
        let acceptor = acceptor.clone();
        async move { acceptor.accept(socket).await }
    };
    let server = TestServer::listen(Script::Answer(right), secure).await;
    let url = format!("https://localhost:{}", server.address.port());
    let ask = async |root: Vec<u8>| {
        let options = HttpOptions {
            root_certificate: Some(root),
            ..HttpOptions::default()
        };
        let transport = HttpTransport::new(&url, manifest().outputs.clone(), options)?;
        transport.infer(request(BodyKind::Packed, LONG)).await
    };
    let answer = ask(root).await.unwrap();
    assert_eq!(answer.outputs[0].data().len(), CLASSES);
    let (_, other_root) = tls();
    let stranger = ask(other_root).await.unwrap_err();
    assert_eq!(stranger.kind(), ErrorKind::Unreachable, "{stranger}");
    assert_eq!(
        server.seen.lock().unwrap().len(),
        1,
        "nothing is told to strangers"
    );
}

#[test]
fn a_root_certificate_that_is_none_is_refused() {
    for pem in [
        &b"not a certificate"[..],
        b"",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n",
    ] {
        let options = HttpOptions {
            root_certificate: Some(pem.to_vec()),
            ..HttpOptions::default()
        };
        let error = HttpTransport::new("https://host", Vec::new(), options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
