//! Requests that have ended as OTLP's spans.
//!
//! The server's span has what the log line has, by the names of OpenTelemetry's conventions for HTTP; its
//! children are the stages. Of what the client wrote there is only the name of a model that exists:
//! no path, no address, no token, nothing of a body.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::MatchedPath;
use dyno_core::ErrorKind;
use http::{Method, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as Outcome;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::timing::Timing;

/// W3C's flag of a trace that is recorded.
const SAMPLED: u32 = 1;
/// OTLP's flags: it is known whether the parent is another program's, and it is.
const PARENT_IS_KNOWN: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;

/// Where a traced request stands in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Context {
    /// Never zero.
    pub(crate) trace: u128,
    /// The server's own; never zero.
    pub(crate) span: u64,
    /// The caller's span; none where the trace starts here.
    pub(crate) parent: Option<u64>,
}

impl Context {
    /// As logs and collectors write it: 32 hex digits.
    pub(crate) fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// 16 hex digits.
    pub(crate) fn span_id(&self) -> String {
        format!("{:016x}", self.span)
    }
}

/// A traced request that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) context: Context,
    /// The id that the log and the answer have.
    pub(crate) request_id: String,
    pub(crate) method: Method,
    /// The route's pattern; none for paths that are none.
    pub(crate) route: Option<MatchedPath>,
    /// The same moment by two clocks: when the headers were there.
    pub(crate) began: (SystemTime, Instant),
    pub(crate) total: Duration,
    /// None if the client went away first.
    pub(crate) status: Option<StatusCode>,
    /// None of requests that went well.
    pub(crate) kind: Option<ErrorKind>,
    pub(crate) model: Option<String>,
    pub(crate) cut: Option<usize>,
    pub(crate) batch: Option<usize>,
    pub(crate) bytes: Option<usize>,
    pub(crate) timing: Option<Timing>,
}

/// A part of a request's time, from its beginning.
#[derive(Debug, Clone, Copy)]
struct Stage {
    name: &'static str,
    from: Duration,
    to: Duration,
}

impl Ended {
    /// How many spans it makes.
    pub(super) fn spans(&self) -> u64 {
        1 + self.stages().len() as u64
    }

    /// In the order of time. Waiting is there twice where there was decoding: for a worker, and for
    /// the run.
    fn stages(&self) -> Vec<Stage> {
        let Some(timing) = self.timing else {
            return Vec::new();
        };
        let since = |moment: Instant| moment.saturating_duration_since(self.began.1);
        let mut stages = Vec::with_capacity(5);
        let mut now = Duration::ZERO;
        let mut until = |name, to: Duration| {
            let to = to.max(now);
            stages.push(Stage {
                name,
                from: now,
                to,
            });
            now = to;
        };
        until("receive", timing.receive);
        if let Some(unpack) = timing.moments.unpack.map(since) {
            until("queue", unpack);
            until("unpack", unpack + timing.unpack);
        }
        if let Some((first, last)) = timing.moments.run {
            until("queue", since(first));
            until("infer", since(last));
        }
        stages
    }

    /// The server's span and its stages, as far as there are ids for those.
    fn into_spans(self, ids: &mut impl Iterator<Item = [u8; 8]>, into: &mut Vec<Span>) {
        let stages = self.stages();
        let began = self.began.0;
        let (trace, parent) = (self.context.trace, self.context.span);
        into.push(self.into_span());
        for (stage, id) in stages.into_iter().zip(ids) {
            into.push(Span {
                trace_id: trace.to_be_bytes().into(),
                span_id: id.into(),
                parent_span_id: parent.to_be_bytes().into(),
                flags: SAMPLED | PARENT_IS_KNOWN,
                name: stage.name.into(),
                kind: SpanKind::Internal.into(),
                start_time_unix_nano: nanos(began + stage.from),
                end_time_unix_nano: nanos(began + stage.to),
                ..Span::default()
            });
        }
    }

    fn into_span(self) -> Span {
        let method = known(&self.method);
        let route = self.route.as_ref().map(MatchedPath::as_str);
        // A client that is refused has made the mistake; one that is not answered is the server's.
        let failed = self.status.is_none_or(|status| status.is_server_error());
        let error = self.kind.filter(|_| failed).map(ErrorKind::as_str);
        let mut attributes = vec![
            text("http.request.method", method.unwrap_or("_OTHER").into()),
            text("dyno.request_id", self.request_id),
        ];
        let texts = [
            ("http.route", route.map(Into::into)),
            ("error.type", error.map(Into::into)),
            ("dyno.model", self.model),
        ];
        let numbers = [
            (
                "http.response.status_code",
                self.status.map(|status| status.as_u16().into()),
            ),
            ("http.request.body.size", self.bytes),
            ("dyno.cut", self.cut),
            ("dyno.batch", self.batch),
        ];
        attributes.extend(
            texts
                .into_iter()
                .filter_map(|(key, value)| Some(text(key, value?))),
        );
        attributes.extend(numbers.into_iter().filter_map(|(key, value)| {
            let value = i64::try_from(value?).ok()?;
            Some(attribute(key, Value::IntValue(value)))
        }));
        let remote = self.context.parent.map_or(0, |_| PARENT_IS_REMOTE);
        let parent = self.context.parent.map(|id| id.to_be_bytes().to_vec());
        let verb = method.unwrap_or("HTTP");
        Span {
            trace_id: self.context.trace.to_be_bytes().into(),
            span_id: self.context.span.to_be_bytes().into(),
            parent_span_id: parent.unwrap_or_default(),
            flags: SAMPLED | PARENT_IS_KNOWN | remote,
            name: route.map_or_else(|| verb.to_owned(), |route| format!("{verb} {route}")),
            kind: SpanKind::Server.into(),
            start_time_unix_nano: nanos(self.began.0),
            end_time_unix_nano: nanos(self.began.0 + self.total),
            attributes,
            status: failed.then(|| Status {
                code: Outcome::Error.into(),
                ..Status::default()
            }),
            ..Span::default()
        }
    }
}

/// What a collector is sent of these, and how many spans are in it.
pub(super) fn message(
    batch: &mut Vec<Ended>,
    resource: &[KeyValue],
    random: &SystemRandom,
) -> (ExportTraceServiceRequest, u64) {
    let stages = batch
        .iter()
        .map(|ended| ended.stages().len())
        .sum::<usize>();
    // All at once: a call to the kernel costs more than a span.
    let mut drawn = vec![0; stages * size_of::<u64>()];
    if random.fill(&mut drawn).is_err() {
        drawn.clear();
    }
    let (ids, _) = drawn.as_chunks();
    let mut ids = ids.iter().copied().filter(|id| *id != [0; 8]);
    let mut spans = Vec::with_capacity(batch.len() + stages);
    for ended in batch.drain(..) {
        ended.into_spans(&mut ids, &mut spans);
    }
    let count = spans.len() as u64;
    let message = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: resource.to_vec(),
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: env!("CARGO_PKG_NAME").into(),
                    version: env!("CARGO_PKG_VERSION").into(),
                    ..InstrumentationScope::default()
                }),
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    (message, count)
}

/// An attribute that is a text.
pub(super) fn text(key: &str, value: String) -> KeyValue {
    attribute(key, Value::StringValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// A method by its name if it is one of HTTP's: clients may write any word there.
fn known(method: &Method) -> Option<&'static str> {
    [
        "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE",
    ]
    .into_iter()
    .find(|known| method.as_str() == *known)
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::Moments;

    fn ended(status: Option<u16>, kind: Option<ErrorKind>) -> Ended {
        Ended {
            context: Context {
                trace: 1,
                span: 2,
                parent: None,
            },
            request_id: "id".into(),
            method: Method::POST,
            route: None,
            began: (UNIX_EPOCH + Duration::from_secs(1), Instant::now()),
            total: Duration::from_millis(90),
            status: status.map(|status| StatusCode::from_u16(status).unwrap()),
            kind,
            model: None,
            cut: None,
            batch: None,
            bytes: None,
            timing: None,
        }
    }

    fn spans(ended: Ended) -> Vec<Span> {
        let expected = ended.spans();
        let (mut message, count) = message(&mut vec![ended], &[], &SystemRandom::new());
        assert_eq!(count, expected);
        message.resource_spans.remove(0).scope_spans.remove(0).spans
    }

    #[test]
    fn stages_follow_each_other_with_their_times() {
        let mut ended = ended(Some(200), None);
        let ms = Duration::from_millis;
        let at = |after| ended.began.1 + ms(after);
        ended.timing = Some(Timing {
            receive: ms(10),
            unpack: ms(5),
            moments: Moments {
                unpack: Some(at(12)),
                run: Some((at(30), at(80))),
            },
            ..Timing::default()
        });
        let spans = spans(ended);
        let ms = |nanos: u64| nanos / 1_000_000 - 1000;
        let times: Vec<_> = spans
            .iter()
            .map(|span| {
                let (from, to) = (span.start_time_unix_nano, span.end_time_unix_nano);
                (span.name.as_str(), ms(from), ms(to))
            })
            .collect();
        assert_eq!(
            times,
            [
                ("POST", 0, 90),
                ("receive", 0, 10),
                ("queue", 10, 12),
                ("unpack", 12, 17),
                ("queue", 17, 30),
                ("infer", 30, 80),
            ]
        );
        for stage in &spans[1..] {
            assert_eq!(stage.trace_id, spans[0].trace_id);
            assert_eq!(stage.parent_span_id, spans[0].span_id);
            assert!(stage.span_id.len() == 8 && stage.span_id != spans[0].span_id);
        }
    }

    #[test]
    fn what_is_the_clients_mistake_is_no_error_of_the_server() {
        for (status, kind, error) in [
            (Some(200), None, None),
            (Some(404), Some(ErrorKind::NotFound), None),
            (Some(503), Some(ErrorKind::Overloaded), Some("overloaded")),
            (None, Some(ErrorKind::Cancelled), Some("cancelled")),
        ] {
            let span = spans(ended(status, kind)).remove(0);
            let said = span.attributes.into_iter().find(|a| a.key == "error.type");
            let said = said.map(|said| said.value.unwrap().value.unwrap());
            let error = error.map(|error| Value::StringValue(error.into()));
            assert_eq!(said, error);
            assert_eq!(span.status.is_some(), error.is_some());
        }
    }

    #[test]
    fn a_word_that_is_no_method_is_not_passed_on() {
        let mut ended = ended(Some(405), None);
        ended.method = Method::from_bytes(b"SESAME").unwrap();
        let span = spans(ended).remove(0);
        assert_eq!(span.name, "HTTP");
        assert!(!format!("{span:?}").contains("SESAME"));
    }
}
