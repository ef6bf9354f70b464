//! The order of the checks (`docs/protocol.md`): of two things that are wrong, the first one is answered.

use std::num::NonZeroU16;

use crate::common::{HASH, PACKED, PATIENCE, SESAME, TestServer, keys_file, start};
use crate::raw::{DATA, END_STREAM, Raw, Seen, frame, headers};

/// A request by what may be wrong with it; the body is never there unless it says so.
#[derive(Clone)]
struct Asked {
    token: Option<&'static str>,
    path: &'static str,
    media: &'static str,
    bundle: &'static str,
    deadline: &'static str,
    accept: &'static str,
    length: &'static str,
}

const SOUND: Asked = Asked {
    token: Some("Bearer sesame"),
    path: "/v1/models/fake/infer",
    media: PACKED,
    bundle: HASH,
    deadline: "1000",
    accept: "*/*",
    length: "4",
};

impl Asked {
    async fn answer(&self, server: &TestServer, body: Option<&[u8]>) -> Seen {
        let mut fields = vec![
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "localhost"),
            (":path", self.path),
            ("content-type", self.media),
            ("dyno-bundle", self.bundle),
            ("dyno-deadline-ms", self.deadline),
            ("accept", self.accept),
            ("content-length", self.length),
        ];
        fields.extend(self.token.map(|token| ("authorization", token)));
        let mut frames = vec![headers(1, 0, &fields)];
        frames.extend(body.map(|body| frame(DATA, END_STREAM, 1, body)));
        let asked = Raw::ask(server.addr, &frames);
        tokio::time::timeout(PATIENCE, asked).await.unwrap()
    }
}

/// What is wrong, in the order of the checks, and the answer to it.
type Fault = (&'static str, fn(&mut Asked), u16, &'static str);
const FAULTS: [Fault; 7] = [
    ("token", |a| a.token = None, 401, "unauthorized"),
    (
        "model",
        |a| a.path = "/v1/models/none/infer",
        404,
        "not_found",
    ),
    (
        "content type",
        |a| a.media = "text/plain",
        415,
        "invalid_argument",
    ),
    (
        "bundle",
        |a| a.bundle = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        409,
        "bundle_mismatch",
    ),
    ("deadline", |a| a.deadline = "soon", 400, "invalid_argument"),
    (
        "accept",
        |a| a.accept = "text/html",
        406,
        "invalid_argument",
    ),
    ("length", |a| a.length = "999999999", 413, "too_large"),
];

async fn server() -> TestServer {
    let keys = keys_file();
    start(|config| {
        config.keys = Some(keys.path().into());
        config.max_in_flight = NonZeroU16::new(1);
    })
    .await
}

/// Each fault before all that come behind it, by the headers alone: no byte of a body is sent, and the
/// only place is taken.
#[tokio::test]
async fn of_two_faults_the_first_in_order_is_answered() {
    let mut server = server().await;
    let busy = tokio::spawn(server.infer("wait").bearer_auth(SESAME).send());
    server.heard("entered").await;
    for (i, (first, break_first, status, kind)) in FAULTS.into_iter().enumerate() {
        for (second, break_second, ..) in FAULTS.into_iter().skip(i) {
            let mut asked = SOUND.clone();
            break_second(&mut asked);
            break_first(&mut asked);
            let seen = asked.answer(&server, None).await;
            let got = (seen.status, seen.kind());
            assert_eq!(
                got,
                (Some(status), kind.to_owned()),
                "{first} before {second}"
            );
        }
    }
    // Room is the last thing that the headers decide, and comes before the body.
    let seen = SOUND.answer(&server, None).await;
    assert_eq!(
        (seen.status, seen.kind().as_str()),
        (Some(503), "overloaded")
    );
    let seen = SOUND.answer(&server, Some(b"bad activation")).await;
    assert_ne!(seen.status, Some(400), "the body is not looked at");
    server.release();
    assert_eq!(busy.await.unwrap().unwrap().status(), 200);
}

/// Behind the headers comes the length of the body as it is, and only then what is in it.
#[tokio::test]
async fn a_body_is_counted_before_it_is_decoded() {
    let server = server().await;
    let mut asked = SOUND.clone();
    asked.length = "14";
    let seen = asked.answer(&server, Some(b"bad activation")).await;
    assert_eq!(
        (seen.status, seen.kind().as_str()),
        (Some(400), "invalid_activation")
    );
    asked.length = "15";
    let seen = asked.answer(&server, Some(b"bad activation")).await;
    assert_ne!(seen.status, Some(200));
    assert!(
        seen.body.is_empty() || seen.kind() == "invalid_argument",
        "{seen:?}"
    );
    let runs = server.runs.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(runs, 0, "nothing of it was run");
}
