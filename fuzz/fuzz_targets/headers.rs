//! The headers of an inference: the status is the one that `docs/protocol.md` states, by a reading of its
//! own of what it says.
//!
//! The input is lines of `name: value`, in place of or beside those of a request that is sound.
#![no_main]

mod serving;

use http::{HeaderMap, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;

const BODY: &[u8] = include_bytes!("../seeds/activation");
const PACKED: &str = "application/vnd.dyno.activation";
const OUTPUTS: &str = "application/vnd.dyno.outputs";
const PHOTOS: [&str; 4] = ["image/jpeg", "image/png", "image/webp", "image/x-portable-pixmap"];
/// Longest message of the fake model: 12 + 20 + 4 bytes for each of 48 elements.
const LONGEST: u64 = 224;
/// Below this the deadline may pass before there is an answer.
const SURE_MS: u64 = 20_000;

fuzz_target!(|bytes: &[u8]| {
    let (mut headers, _) = serving::headers(bytes);
    let length = HeaderValue::from(BODY.len());
    for (name, value) in [
        ("content-type", HeaderValue::from_static(PACKED)),
        ("dyno-bundle", HeaderValue::from_static(serving::HASH)),
        ("content-length", length),
    ] {
        if !headers.contains_key(name) {
            headers.insert(name, value);
        }
    }
    let expected = expected(&headers);
    let mut request = Request::post("/v1/models/fake/infer").body(BODY).expect("a request");
    *request.headers_mut() = headers.clone();
    let answer = serving::answer(request);
    let status = answer.status().as_u16();
    assert!(expected.contains(&status), "{status} for {headers:?}, expected {expected:?}");
});

/// The statuses that the headers allow.
fn expected(headers: &HeaderMap) -> Vec<u16> {
    match read(headers) {
        Err(status) => vec![status],
        Ok(Sound { length, photo, in_time }) => {
            let by_body = match (length == BODY.len() as u64, photo) {
                (true, false) => 200,
                // Of another length, or no photo.
                _ => 400,
            };
            if in_time { vec![by_body] } else { vec![by_body, 408, 504] }
        }
    }
}

struct Sound {
    length: u64,
    photo: bool,
    in_time: bool,
}

fn read(headers: &HeaderMap) -> Result<Sound, u16> {
    if let Some(encoding) = once(headers, "content-encoding")? {
        if !encoding.eq_ignore_ascii_case("identity") {
            return Err(415);
        }
    }
    let media = once(headers, "content-type")?.unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let photo = PHOTOS.contains(&media.as_str());
    if !photo && media != PACKED {
        return Err(415);
    }
    if photo && once(headers, "dyno-photo")?.is_some_and(|photo| photo != "staged") {
        return Err(400);
    }
    match once(headers, "dyno-bundle")? {
        None if photo => {}
        Some(hash) if hash == serving::HASH => {}
        Some(hash) if hash.len() == 64 && hash.bytes().all(|b| b"0123456789abcdef".contains(&b)) => {
            return Err(409);
        }
        _ => return Err(400),
    }
    let deadline_ms = once(headers, "dyno-deadline-ms")?.map(number).transpose();
    let in_time = match deadline_ms.map_err(|()| 400u16)? {
        None => true,
        Some(1..=0xffff_ffff) => deadline_ms.is_ok_and(|ms| ms.is_some_and(|ms| ms >= SURE_MS)),
        Some(_) => return Err(400),
    };
    let accept = once(headers, "accept")?.unwrap_or_default().to_ascii_lowercase();
    let known = [OUTPUTS, "application/json", "application/*", "*/*"];
    let takes = |item: &str| known.contains(&item.split(';').next().unwrap_or_default().trim());
    if !accept.is_empty() && !accept.split(',').any(takes) {
        return Err(406);
    }
    let length = once(headers, "content-length")?.ok_or(411u16)?;
    let length = number(length).map_err(|()| 400u16)?;
    let photo_limit = 16 << 20;
    let staged_limit = 4 * 4 * 4 + (64 << 10);
    let limit = match (photo, headers.contains_key("dyno-photo")) {
        (false, _) => LONGEST,
        (true, true) => staged_limit,
        (true, false) => photo_limit,
    };
    if length > limit {
        return Err(413);
    }
    Ok(Sound { length, photo, in_time })
}

/// The value of a header that may be there once, in visible ASCII.
fn once<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, u16> {
    let values: Vec<_> = headers.get_all(name).iter().collect();
    match values[..] {
        [] => Ok(None),
        [value] => value.to_str().map(|text| Some(text.trim())).map_err(|_| 400),
        _ => Err(400),
    }
}

/// Digits and nothing else, as a number below 2^64.
fn number(text: &str) -> Result<u64, ()> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(());
    }
    text.parse().map_err(|_| ())
}
