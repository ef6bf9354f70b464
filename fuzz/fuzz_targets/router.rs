//! Requests of any kind: every one is answered, none as the server's fault, and nothing is said again.
//!
//! The input reads like HTTP/1: method and path on a line, headers on a line each, an empty line, the body.
#![no_main]

mod serving;

use http::{Method, Request, StatusCode, Uri};
use libfuzzer_sys::fuzz_target;

/// Stands in the seeds wherever a client can write, and may stand in no answer.
const MARK: &[u8] = b"m4rk3r";

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (line, rest) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let space = line.iter().position(|byte| *byte == b' ').unwrap_or(0);
    let Ok(method) = Method::from_bytes(&line[..space]) else { return };
    let Ok(uri) = Uri::try_from(&line[space..][usize::from(space < line.len())..]) else { return };
    let (headers, body) = serving::headers(rest);
    let mut request = Request::new(body);
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = headers;

    let answer = serving::answer(request);
    let status = answer.status();
    assert!(answer.headers().contains_key("dyno-request-id"));
    for said in answer.headers().values().map(|v| v.as_bytes()).chain([&answer.body()[..]]) {
        assert!(!said.windows(MARK.len()).any(|said| said == MARK), "{said:?}");
    }
    // The server has not been told to run its models, so it is not ready.
    if uri.path() == "/v2/health/ready" && status == StatusCode::SERVICE_UNAVAILABLE {
        return;
    }
    // A deadline of a millisecond may pass.
    assert!(!status.is_server_error() || status == StatusCode::GATEWAY_TIMEOUT, "{status}");
    if !status.is_success() && status != StatusCode::NOT_MODIFIED && method != Method::HEAD {
        assert_eq!(answer.headers()["content-type"], "application/json");
        let error: serde_json::Value = serde_json::from_slice(answer.body()).expect("JSON");
        let error = error.as_object().expect("an object");
        assert!(error["error"].as_str().is_some_and(|text| !text.is_empty()));
        assert!(error["kind"].is_string());
    }
});
