//! The task that sends what has ended, in batches; it alone knows whether the collector is well.

use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use prost::Message as _;
use ring::rand::SystemRandom;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::{Client, Sent};
use super::span::{self, Ended};
use crate::metrics::{Lost, Metrics};

/// Requests of one message.
const BATCH: usize = 256;
/// Time that a request waits for others to go with it.
const DELAY: Duration = Duration::from_secs(1);
/// How often a message is tried, and the rests between: each twice the one before, or as long as the
/// collector asks for.
const ATTEMPTS: u32 = 5;
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// Time between two lines of the log about the same trouble.
const COMPLAINT_INTERVAL: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Exporter {
    queue: mpsc::Receiver<Ended>,
    client: Client,
    resource: Vec<KeyValue>,
    metrics: Arc<Metrics>,
    random: SystemRandom,
    complaints: Complaints,
}

impl Exporter {
    pub(super) fn new(
        queue: mpsc::Receiver<Ended>,
        client: Client,
        resource: Vec<KeyValue>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            queue,
            client,
            resource,
            metrics,
            random: SystemRandom::new(),
            complaints: Complaints::default(),
        }
    }

    /// Exports until it is stopped and nothing is left.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        tracing::info!(collector = self.client.place(), "traces are exported");
        let mut batch = Vec::with_capacity(BATCH);
        while self.collect(&mut batch, &stop).await {
            let (message, spans) = span::message(&mut batch, &self.resource, &self.random);
            self.deliver(message.encode_to_vec().into(), spans, &stop)
                .await;
            self.complain();
        }
    }

    /// Waits for a batch: full, or as full as it is [`DELAY`] after its first. False if there will be no more.
    async fn collect(&mut self, batch: &mut Vec<Ended>, stop: &CancellationToken) -> bool {
        let mut due: Option<Instant> = None;
        while batch.len() < BATCH {
            let missing = BATCH - batch.len();
            let is_due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled(), if !self.queue.is_closed() => self.queue.close(),
                came = self.queue.recv_many(batch, missing) => {
                    if came == 0 {
                        break;
                    }
                    due = due.or_else(|| Some(Instant::now() + DELAY));
                }
                () = is_due => break,
            }
        }
        !batch.is_empty()
    }

    /// Sends a message, again and again if need be; once more at most after the server was told to stop.
    async fn deliver(&mut self, message: Bytes, spans: u64, stop: &CancellationToken) {
        let mut rest = FIRST_REST;
        for attempt in 1..=ATTEMPTS {
            let is_last = attempt == ATTEMPTS || stop.is_cancelled();
            match self.client.send(message.clone()).await {
                Sent::Taken { rejected } => {
                    let rejected = rejected.min(spans);
                    self.metrics.spans.exported(spans - rejected);
                    self.metrics.spans.lost(Lost::Refused, rejected);
                    self.complaints.well();
                    return;
                }
                Sent::Refused(why) => {
                    self.metrics.spans.lost(Lost::Refused, spans);
                    self.complaints.trouble(why);
                    return;
                }
                Sent::NotNow(why, after) => {
                    self.complaints.trouble(why);
                    // Said now, and not when it has been given up.
                    self.complain();
                    if is_last {
                        break;
                    }
                    let wait = after.unwrap_or(rest).min(LONGEST_REST);
                    rest = (rest * 2).min(LONGEST_REST);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
        self.metrics.spans.lost(Lost::Undelivered, spans);
    }

    fn complain(&mut self) {
        let lost = self.metrics.spans.total_lost();
        let Some(complaint) = self.complaints.next(lost, Instant::now()) else {
            return;
        };
        tracing::warn!(
            collector = self.client.place(),
            why = %complaint.why.escape_debug(),
            spans_lost = complaint.lost,
            "traces are not exported"
        );
    }
}

/// What is wrong, once a [`COMPLAINT_INTERVAL`].
#[derive(Debug, Default)]
struct Complaints {
    /// Why the collector has not taken the last message, if it has not.
    why: Option<String>,
    /// When the last one was, and how many spans had been lost by then.
    last: Option<(Instant, u64)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Complaint {
    why: String,
    /// Spans lost since the one before.
    lost: u64,
}

impl Complaints {
    fn trouble(&mut self, why: String) {
        self.why = Some(why);
    }

    fn well(&mut self) {
        self.why = None;
    }

    /// What is to be said at this time, when so many spans have been lost since the start.
    fn next(&mut self, lost: u64, now: Instant) -> Option<Complaint> {
        let (said, before) = self.last.unzip();
        let lost_since = lost - before.unwrap_or_default();
        let has_rested = said.is_none_or(|said| now >= said + COMPLAINT_INTERVAL);
        if !has_rested || (self.why.is_none() && lost_since == 0) {
            return None;
        }
        self.last = Some((now, lost));
        let why = self.why.clone();
        Some(Complaint {
            why: why.unwrap_or_else(|| "more come than it takes".into()),
            lost: lost_since,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_once_a_while() {
        let mut complaints = Complaints::default();
        let mut now = Instant::now();
        assert_eq!(complaints.next(0, now), None);
        let complaint = |why: &str, lost| {
            let why = why.into();
            Some(Complaint { why, lost })
        };
        complaints.trouble("down".into());
        assert_eq!(complaints.next(0, now), complaint("down", 0));
        assert_eq!(complaints.next(100, now + COMPLAINT_INTERVAL / 2), None);
        now += COMPLAINT_INTERVAL;
        assert_eq!(complaints.next(100, now), complaint("down", 100));
        complaints.well();
        now += COMPLAINT_INTERVAL;
        assert_eq!(complaints.next(100, now), None, "all is well");
        let slow = complaint("more come than it takes", 1);
        assert_eq!(complaints.next(101, now), slow);
    }
}
