//! What the server says about its times and its load, read from headers nobody has to send.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, RETRY_AFTER};

use crate::client::{ServerLoad, ServerTiming};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const LOAD: HeaderName = HeaderName::from_static("dyno-load");
/// Longer times than this (an hour) are not times of an inference.
const MAX_DURATION_MS: f64 = 3_600_000.0;

/// The server's times (W3C Server Timing); 0 for what is missing or makes no sense.
pub(super) fn timing(headers: &HeaderMap) -> ServerTiming {
    let mut timing = ServerTiming::default();
    // `receive;dur=1.2, queue;dur=0`: proxies may add metrics and lines of their own.
    for metric in fields(headers, &SERVER_TIMING) {
        let mut parts = metric.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let duration = parts.find_map(|part| part.strip_prefix("dur="));
        let Some(duration_ms) = duration.and_then(|d| d.parse::<f64>().ok()) else {
            continue;
        };
        if !(0.0..=MAX_DURATION_MS).contains(&duration_ms) {
            continue;
        }
        match name {
            "receive" => timing.receive_ms = duration_ms,
            "unpack" => timing.unpack_ms = duration_ms,
            "queue" => timing.queue_ms = duration_ms,
            "infer" => timing.infer_ms = duration_ms,
            _ => {}
        }
    }
    timing
}

/// The server's load; 0 for what is missing or makes no sense.
pub(super) fn load(headers: &HeaderMap) -> ServerLoad {
    let mut load = ServerLoad::default();
    for field in fields(headers, &LOAD) {
        match field.split_once('=') {
            Some(("in-flight", n)) => load.in_flight = n.parse().unwrap_or_default(),
            Some(("capacity", n)) => load.capacity = n.parse().unwrap_or_default(),
            _ => {}
        }
    }
    load
}

/// For how long the server asks to be left alone, where it names seconds. A date would be compared
/// with a clock that may be anything, and is not read.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    seconds.parse().ok().map(Duration::from_secs)
}

fn fields<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn headers(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        let pairs = lines.iter().cloned();
        pairs
            .map(|(name, line)| (name, HeaderValue::from_static(line)))
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            })
    }

    #[test]
    fn times_are_read_among_those_of_others() {
        let timing = timing(&headers(&[
            (
                SERVER_TIMING,
                "receive;dur=1.234, unpack;dur=0.5,queue;desc=\"q\";dur=0.25",
            ),
            (SERVER_TIMING, "cdn;dur=9, infer;dur=3.2"),
        ]));
        let expected = ServerTiming {
            receive_ms: 1.234,
            unpack_ms: 0.5,
            queue_ms: 0.25,
            infer_ms: 3.2,
        };
        assert_eq!(timing, expected);
    }

    #[test]
    fn times_that_make_no_sense_are_none() {
        let timing = timing(&headers(&[(
            SERVER_TIMING,
            "receive;dur=-1, unpack;dur=NaN, queue;dur=inf, infer;dur=1e12, infer, ;dur=3, infer;dur=",
        )]));
        assert_eq!(timing, ServerTiming::default());
    }

    #[test]
    fn a_server_may_ask_to_be_left_alone_for_seconds_only() {
        let asked = |value| retry_after(&headers(&[(RETRY_AFTER, value)]));
        assert_eq!(asked("120"), Some(Duration::from_mins(2)));
        for nonsense in ["-1", "1.5", "soon", "Fri, 31 Dec 1999 23:59:59 GMT", ""] {
            assert_eq!(asked(nonsense), None, "{nonsense}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn load_is_read_and_nonsense_is_none() {
        let read = load(&headers(&[(LOAD, "in-flight=3, capacity=16")]));
        assert_eq!((read.in_flight, read.capacity), (3, 16));
        let read = load(&headers(&[(
            LOAD,
            "in-flight=-3, capacity=99999999999, x, =",
        )]));
        assert_eq!(read, ServerLoad::default());
    }
}
