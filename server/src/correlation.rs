//! What ties a request to others: the client's own id for it, and the trace it is part of.

use http::{HeaderMap, HeaderName};

const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Longest id that a client may give a request.
const MAX_ID: usize = 64;

/// A client's id for its request: 1 to 64 of `A-Z a-z 0-9 -`, and so fit for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientRequestId(Box<str>);

impl ClientRequestId {
    /// None if there is none, several, or one that is anything else: it is the client's convenience, and no
    /// reason to refuse a request.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = only(headers, &CLIENT_REQUEST_ID)?;
        let is_valid = (1..=MAX_ID).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        is_valid.then(|| Self(text.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a request stands in a trace (W3C Trace Context, `traceparent`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceParent {
    /// Never zero.
    pub(crate) trace: u128,
    /// The caller's span; never zero.
    pub(crate) span: u64,
    /// Whether the caller records the trace.
    pub(crate) sampled: bool,
}

impl TraceParent {
    /// None if there is none, or none that the standard would have: then the trace starts here.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        Self::parse(only(headers, &TRACEPARENT)?)
    }

    /// Version 00 exactly; of later versions what they have in common with it.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version = hex(parts.next()?, 2)?;
        let trace = hex(parts.next()?, 32)?;
        let span = hex(parts.next()?, 16)?;
        let flags = hex(parts.next()?, 2)?;
        let is_of_version = match version {
            0 => parts.next().is_none(),
            0xff => false,
            _ => true,
        };
        (is_of_version && trace != 0 && span != 0).then_some(Self {
            trace,
            span: u64::try_from(span).ok()?,
            sampled: flags & 1 == 1,
        })
    }

    /// As logs and collectors write it: 32 hex digits.
    pub(crate) fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }
}

/// Lower-case hex digits, exactly so many.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != digits || !text.bytes().all(is_hex) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn ids_that_fit_a_log_are_taken() {
        let longest = "x".repeat(MAX_ID);
        for id in ["a", "7B1f-00", &longest] {
            let taken = ClientRequestId::of(&headers(&CLIENT_REQUEST_ID, &[id])).unwrap();
            assert_eq!(taken.as_str(), id);
        }
        let too_long = "x".repeat(MAX_ID + 1);
        for ids in [
            &[][..],
            &[""],
            &["a b"],
            &["a_b"],
            &["a\tb"],
            &["ä"],
            &[&too_long],
            &["a", "a"],
        ] {
            let headers = headers(&CLIENT_REQUEST_ID, ids);
            assert_eq!(ClientRequestId::of(&headers), None, "{ids:?}");
        }
    }

    #[test]
    fn a_traceparent_is_what_the_standard_says() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::of(&headers(&TRACEPARENT, &[text])).unwrap();
        assert_eq!(parent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.span, 0x00f0_67aa_0ba9_02b7);
        assert!(parent.sampled);
        let unsampled = text.replace("-01", "-fe");
        assert!(!TraceParent::parse(&unsampled).unwrap().sampled);
        assert!(TraceParent::parse(&text.replacen("00", "cc", 1)).is_some());
        let later = format!("{}-more", text.replacen("00", "01", 1));
        assert!(TraceParent::parse(&later).is_some());
        for wrong in [
            "",
            "00",
            &text[..54],
            &format!("{text}-"),
            &format!("{text}-more"),
            &format!("{text}0"),
            &text.to_uppercase(),
            &text.replacen("00", "ff", 1),
            &text.replacen("00", "0", 1),
            &text.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &text.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &text.replace("4bf9", "+bf9"),
            &text.replace("-01", "-0g"),
            &format!(" {text}"),
        ] {
            assert_eq!(TraceParent::parse(wrong), None, "{wrong:?}");
        }
        assert_eq!(TraceParent::of(&headers(&TRACEPARENT, &[text, text])), None);
    }
}
