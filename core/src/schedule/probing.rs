//! When to ask what the link is worth, while nothing that tells is sent over it.
//!
//! Where a slow link has driven the plan back to the device, or to bodies of a few hundred bytes, only
//! something larger can tell that it is better again; and a link that nothing was ever sent over is only assumed. A probe is a small message that
//! a call sends along in the background. Without calls there are none: nothing here has a clock.

use std::time::{Duration, Instant};

use super::candidate::Candidate;
use super::link::{IDLE_AFTER_S, Link};
use super::planner::Planner;

/// Bytes of the first probe of a connection that was just opened, and of any at most: what TCP sends in its first round trip.
pub const FIRST_PROBE_BYTES: usize = 12_000;
/// Bytes of a probe at least: three segments. In between it has as many as tell the rate of a link that is as good as is
/// hoped for: on a slow one less is in the way of others.
const LEAST_PROBE_BYTES: usize = 4_000;
/// Bytes of the second probe of a connection that was just opened, after which TCP sends the first bodies in fewer
/// round trips: what the server takes at most.
pub const OPENING_PROBE_BYTES: usize = 64 << 10;
/// It is not sent where it is expected to take longer than this, in milliseconds.
const MAX_OPENING_MS: f64 = 250.0;
/// A link unheard of for this long is probed; each probe after which the plan stays on the device
/// doubles the time, ...
const MIN_SILENCE: Duration = Duration::from_millis(400);
/// ... up to this, or to less where there is much to gain.
const MAX_SILENCE: Duration = Duration::from_secs(30);
/// What a probe is taken to cost (energy, and the server's time), in seconds of the user's: while calls follow each other within a
/// second, ...
const PROBE_COST_S: f64 = 0.000_2;
/// ... and where the radio would sleep meanwhile.
const WAKING_PROBE_COST_S: f64 = 0.03;
/// After how many seconds a link is taken to become much better, and as many more as it has not been used for: of this and
/// the cost follows for how long it is worth not to know ([`longest_silence`]).
const BETTER_AFTER_S: f64 = 10.0;
/// Whether a better link would be used is looked at no more often than this.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// A link whose last answer came so much sooner than predicted (a logarithm: by a quarter) may be becoming better, and is
/// asked again as soon as at first.
const SURPRISE: f64 = 0.3;

/// Whether a connection over `link` that was just opened is to be made faster by a second probe.
pub fn opening_probe_is_worth_it(link: &Link, now: Instant) -> bool {
    link.transfer_ms(OPENING_PROBE_BYTES, now) <= MAX_OPENING_MS
}

/// Decides whether a call is to send a probe along.
#[derive(Debug, Clone)]
pub struct Probing {
    looked_at: Option<Instant>,
    probed_at: Option<Instant>,
    silence: Duration,
    /// Since when the link was only asked.
    unused_since: Option<Instant>,
}

impl Default for Probing {
    fn default() -> Self {
        Self {
            looked_at: None,
            probed_at: None,
            silence: MIN_SILENCE,
            unused_since: None,
        }
    }
}

impl Probing {
    /// Bytes of the probe that a call at `now`, for which `planner` chose a plan, is to send along, 4,000 to 12,000: if the plan
    /// stays on the device or sends too little to tell the rate from, nothing was heard of that for a while,
    /// bytes cost nothing there, and another plan with the server would be used if the link were much better
    /// than it is thought to be.
    pub fn due(
        &mut self,
        planner: &mut Planner,
        chosen: &Candidate,
        ready_cuts: &[usize],
        now: Instant,
    ) -> Option<usize> {
        let is_sent = chosen.plan.uses_server();
        let estimates = planner.estimates();
        if is_sent && estimates.link.tells_rate(chosen.first_bytes, now) {
            self.begin_again();
            return None;
        }
        if estimates.network().metered {
            return None;
        }
        let link = &estimates.link;
        let heard_at = if is_sent {
            link.rate_learnt_at()
        } else {
            link.learnt_at()
        };
        let heard_since = heard_at > self.probed_at;
        if heard_since && link.last_error() < -SURPRISE {
            self.silence = MIN_SILENCE;
        }
        if let Some(last) = heard_at.max(self.probed_at)
            && now.saturating_duration_since(last) < self.silence
        {
            return None;
        }
        let looked = |at: Instant| now.saturating_duration_since(at) < BETWEEN_LOOKS;
        if self.looked_at.is_some_and(looked) {
            return None;
        }
        self.looked_at = Some(now);
        let best_link = planner.estimates().link.at_its_best(now);
        let bytes = planner.estimates().link.telling_bytes(now);
        let gain = planner.gain_over(best_link, chosen, ready_cuts, now)?;
        self.probed_at = Some(now);
        let pause_ms = planner.estimates().pause_ms.get();
        let cost_s = if pause_ms < IDLE_AFTER_S * 1e3 {
            PROBE_COST_S
        } else {
            WAKING_PROBE_COST_S
        };
        let busy = chosen.total_ms / (chosen.total_ms + pause_ms);
        let unused_since = *self.unused_since.get_or_insert(now);
        let unused = now.saturating_duration_since(unused_since);
        let longest = longest_silence(cost_s, gain * busy, unused);
        self.silence = self.silence.saturating_mul(2).min(longest);
        Some(bytes.clamp(LEAST_PROBE_BYTES, FIRST_PROBE_BYTES))
    }

    fn begin_again(&mut self) {
        self.silence = MIN_SILENCE;
        self.unused_since = None;
    }
}

/// For how long not to ask where that costs `cost_s`, a better link would save a share of all time, and none was used for so
/// long.
///
/// Asked every *t* seconds, what is lost is half of *t* each time that the link becomes better, and a probe every *t*: the least
/// of both together is at the root of twice their quotient.
fn longest_silence(cost_s: f64, saved: f64, unused: Duration) -> Duration {
    let better_after_s = BETTER_AFTER_S + unused.as_secs_f64();
    let seconds = (2.0 * cost_s * better_after_s / saved).sqrt();
    Duration::try_from_secs_f64(seconds).map_or(MAX_SILENCE, |s| s.clamp(MIN_SILENCE, MAX_SILENCE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::fixtures::manifest;
    use crate::schedule::{
        Codec, Estimates, Levels, LinkPrior, LinkSample, Metric, Network, NetworkKind, Objective,
        PhotoCodec, Plan, Precision, all_plans,
    };

    /// Whether a call that follows `plan` is to send a probe along.
    fn asks(probing: &mut Probing, planner: &mut Planner, plan: Plan, now: Instant) -> bool {
        let chosen = planner.candidate(plan, &[0, 3], now);
        probing.due(planner, &chosen, &[0, 3], now).is_some()
    }

    /// A device that needs 12 ms, and a link that is thought slower than that.
    fn planner() -> Planner {
        planner_over(LinkPrior {
            rtt_ms: 2.0,
            rate_bps: 1e6,
        })
    }

    fn planner_over(link: LinkPrior) -> Planner {
        let estimates = Estimates::new(&manifest(), None, link, 20.0);
        let precision = Precision::Levels(Levels::EIGHT_BITS);
        let plans = all_plans(&manifest(), precision, Codec::Zstd, PhotoCodec::Jpeg(90));
        Planner::new(&plans, estimates, Objective::minimal(Metric::Latency))
    }

    #[test]
    fn a_probe_is_as_large_as_tells_a_better_link_and_small_on_a_slow_one() {
        let now = Instant::now();
        for (rate_bps, bytes) in [(2e6, 4_000), (8e6, 8_000), (40e6, 12_000)] {
            let link = LinkPrior {
                rtt_ms: 20.0,
                rate_bps,
            };
            let mut planner = planner_over(link);
            let chosen = planner.candidate(Plan::Device, &[0, 3], now);
            let due = Probing::default().due(&mut planner, &chosen, &[0, 3], now);
            // Rates are kept as logarithms.
            assert!(due.unwrap().abs_diff(bytes) <= 1, "{rate_bps}: {due:?}");
        }
    }

    fn answer(planner: &mut Planner, receive_ms: f64, sent: Instant) {
        planner.estimates_mut().link.answered(LinkSample {
            bytes: FIRST_PROBE_BYTES,
            others: 0,
            sent,
            wall_ms: receive_ms + 10.0,
            receive_ms,
            server_ms: receive_ms,
        });
    }

    #[test]
    fn a_link_never_heard_of_is_asked_at_once_and_a_steady_one_ever_more_rarely() {
        let (mut planner, mut probing) = (planner(), Probing::default());
        let mut now = Instant::now();
        assert!(asks(&mut probing, &mut planner, Plan::Device, now));
        for expected_s in [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0] {
            answer(&mut planner, 96.0, now);
            // The second of two equal answers is no surprise.
            answer(&mut planner, 96.0, now);
            let heard = now + Duration::from_millis(106);
            let expected = heard + Duration::from_secs_f64(expected_s);
            let almost = heard + Duration::from_secs_f64(expected_s * 0.9);
            assert!(!asks(&mut probing, &mut planner, Plan::Device, almost));
            now = expected;
            assert!(
                asks(&mut probing, &mut planner, Plan::Device, now),
                "{expected_s} s"
            );
        }
        // Twice as slow as it was, and then much better.
        for (receive_ms, soon) in [(200.0, false), (20.0, true)] {
            answer(&mut planner, receive_ms, now);
            now += Duration::from_millis(210) + MIN_SILENCE;
            let is_asked = asks(&mut probing, &mut planner, Plan::Device, now);
            assert_eq!(is_asked, soon, "{receive_ms} ms");
        }
    }

    #[test]
    fn the_more_there_is_to_gain_the_less_long_it_is_not_asked() {
        for (cost_s, saved, unused_s, expected_s) in [
            (PROBE_COST_S, 0.0, 0, 30.0),
            (PROBE_COST_S, f64::NAN, 0, 30.0),
            (PROBE_COST_S, 0.001, 0, 2.0),
            (PROBE_COST_S, 0.01, 0, 0.632),
            (PROBE_COST_S, 0.15, 0, 0.4),
            (PROBE_COST_S, 0.15, 600, 1.275),
            (WAKING_PROBE_COST_S, 0.15, 0, 2.0),
            (WAKING_PROBE_COST_S, 0.01, 60, 20.494),
            (PROBE_COST_S, 0.15, 1_000_000, 30.0),
        ] {
            let found = longest_silence(cost_s, saved, Duration::from_secs(unused_s));
            let found_s = found.as_secs_f64();
            assert!((found_s - expected_s).abs() < 1e-3, "{saved}: {found_s}");
        }

        // Calls of 12 ms, for half a minute: one after another, and one every five seconds.
        let asked = |pause: Duration| {
            let (mut planner, mut probing) = (planner(), Probing::default());
            let mut now = Instant::now();
            let end = now + Duration::from_secs(30);
            let mut probes = 0;
            while now < end {
                planner.estimates_mut().begins(now);
                if asks(&mut probing, &mut planner, Plan::Device, now) {
                    probes += 1;
                    for _ in 0..2 {
                        answer(&mut planner, 96.0, now);
                    }
                }
                now += Duration::from_millis(12);
                planner.estimates_mut().device.observe(0, 3, 12.0, now);
                now += pause;
            }
            probes
        };
        assert!((40..=75).contains(&asked(Duration::from_millis(20))));
        assert!((2..=5).contains(&asked(Duration::from_secs(5))));
    }

    #[test]
    fn a_window_is_opened_where_that_takes_a_quarter_of_a_second_at_most() {
        let now = Instant::now();
        let is_worth_it = |rate_bps| {
            let mut link = Link::new(LinkPrior {
                rtt_ms: 20.0,
                rate_bps,
            });
            link.connected(Some(20.0), now);
            opening_probe_is_worth_it(&link, now)
        };
        assert!(is_worth_it(10e6));
        assert!(!is_worth_it(1e6));
    }

    #[test]
    fn nothing_is_asked_where_it_costs_or_could_not_help() {
        let now = Instant::now();
        let mut planner = planner();
        let server = Plan::Photo(PhotoCodec::Jpeg(90));
        assert!(!asks(&mut Probing::default(), &mut planner, server, now));
        planner.estimates_mut().network_changed(Network {
            kind: NetworkKind::Cellular,
            metered: true,
        });
        assert!(!asks(
            &mut Probing::default(),
            &mut planner,
            Plan::Device,
            now
        ));
        planner.estimates_mut().network_changed(Network::default());
        // A device of a millisecond is faster than any link.
        planner.estimates_mut().device.observe(0, 3, 0.5, now);
        assert!(!asks(
            &mut Probing::default(),
            &mut planner,
            Plan::Device,
            now
        ));
    }

    #[test]
    fn a_plan_whose_bodies_tell_nothing_of_the_rate_is_like_the_device() {
        let (mut planner, mut probing) = (planner(), Probing::default());
        let precision = Precision::Levels(Levels::new(2).unwrap());
        let tiny = Plan::Split {
            cut: 2,
            precision,
            codec: Codec::Zstd,
        };
        let mut now = Instant::now();
        let chosen = planner.candidate(tiny, &[0, 2, 3], now);
        for _ in 0..3 {
            // Its own answers do not count.
            answer(&mut planner, 80.0, now);
            let link = &planner.estimates().link;
            assert!(!link.tells_rate(chosen.bytes, now), "{chosen}");
            assert!(!asks(&mut probing, &mut planner, tiny, now), "just heard");
            now += MIN_SILENCE;
            planner.estimates_mut().link.answered(LinkSample {
                bytes: chosen.bytes,
                others: 0,
                sent: now,
                wall_ms: 12.0,
                receive_ms: 1.0,
                server_ms: 1.0,
            });
            now += MAX_SILENCE;
            assert!(asks(&mut probing, &mut planner, tiny, now));
        }
    }
}
