//! What is true in a simulation: how long spans, codecs and tails take, how large each photo's
//! messages are, and what the link does. Policies see none of it but by its outcomes.

use std::collections::HashMap;

use dyno_core::bundle::Bundle;
use dyno_core::schedule::{Candidate, Estimates, LinkPrior, Plan, SecondLook};

use super::uplink::{PACKETS, Uplink};
use crate::trace::Trace;

/// Standard deviation of the logarithm of a span's time, on device and server alike.
const SPAN_NOISE: f64 = 0.03;
/// The 95th percentile of a normal distribution, in standard deviations.
const P95_DEVIATIONS: f64 = 1.645;

/// Fractions of its multiples are spread evenly over any row of photos: a run of a minute has as many answers in doubt
/// as there are on the mean, and not as many as luck has it.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// Everything that a run depends on.
#[derive(Debug)]
pub(super) struct World {
    pub(super) trace: Trace,
    pub(super) rtt_ms: f64,
    pub(super) device_slowdown: f64,
    pub(super) server_speedup: f64,
    pub(super) last_cut: usize,
    /// Milliseconds from the input to each cut on the machine of the profile.
    head_ms: Vec<f64>,
    facts: HashMap<Plan, Facts>,
}

/// What is true of a plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) plan: Plan,
    pub(super) cut: usize,
    /// Mean bytes, and the standard deviation of their logarithm.
    pub(super) bytes: f64,
    spread: f64,
    /// On the device, as slow as it is.
    pub(super) head_ms: f64,
    pub(super) pack_ms: f64,
    /// On the server, as fast as it is.
    pub(super) unpack_ms: f64,
    pub(super) tail_ms: f64,
    /// Upper bound of the loss of accuracy that calibration found, with a second look; none if it did not look.
    pub(super) drop_pp: Option<f64>,
    /// The same without.
    pub(super) drop_once_pp: Option<f64>,
    /// What is sent where the answer is in doubt.
    pub(super) second_look: Option<SecondLook>,
}

/// One photo: what makes it differ from the mean. The same for all policies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Photo {
    busyness: f64,
    device_noise: f64,
    server_noise: f64,
    /// 0 to 1: an answer that is in doubt for so large a share of photos is for this one.
    doubt: f64,
}

impl Photo {
    pub(super) fn number(index: usize) -> Self {
        let mut random = Random::new(index as u64);
        Self {
            busyness: random.normal(),
            device_noise: (SPAN_NOISE * random.normal()).exp(),
            server_noise: (SPAN_NOISE * random.normal()).exp(),
            doubt: ((index as f64 + 0.5) * GOLDEN).fract(),
        }
    }

    /// The same photo, with an answer that is in doubt or is not.
    pub(super) fn in_doubt(self, is_in_doubt: bool) -> Self {
        let doubt = if is_in_doubt { 0.0 } else { 1.0 };
        Self { doubt, ..self }
    }

    /// Whether an answer is in doubt that is for `share` of the photos.
    pub(super) fn is_in_doubt(self, share: f64) -> bool {
        self.doubt < share
    }
}

/// The times and bytes of one photo under one plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Truth {
    pub(super) head_ms: f64,
    pub(super) pack_ms: f64,
    pub(super) bytes: usize,
    pub(super) unpack_ms: f64,
    pub(super) tail_ms: f64,
    /// The device alone, from the cut on.
    pub(super) resume_ms: f64,
}

impl World {
    pub(super) fn new(
        bundle: &Bundle,
        trace: Trace,
        rtt_ms: f64,
        device_slowdown: f64,
        server_speedup: f64,
    ) -> Self {
        let manifest = bundle.manifest();
        let last_cut = manifest.last_cut();
        // A device and a server exactly like the profile's machine tell the times of that.
        let reference = Estimates::new(manifest, bundle.profile(), LinkPrior::MOBILE, 1.0);
        let now = std::time::Instant::now();
        let head_ms = (0..=last_cut)
            .map(|cut| reference.device.span_ms(0, cut, now))
            .collect();
        Self {
            trace,
            rtt_ms,
            device_slowdown,
            server_speedup,
            last_cut,
            head_ms,
            facts: HashMap::new(),
        }
    }

    /// Makes the facts of a plan known, from what calibration says of its bytes and accuracy, and of its second look and
    /// the accuracy with that.
    pub(super) fn learn(
        &mut self,
        reference: &Candidate,
        bytes: Option<(f64, usize)>,
        drop_once_pp: Option<f64>,
        second_look: Option<(SecondLook, Option<f64>)>,
    ) {
        let cut = match reference.plan {
            Plan::Split { cut, .. } => cut,
            Plan::Device => self.last_cut,
            _ => 0,
        };
        let tail_ms = self.span_ms(cut, self.last_cut);
        let (mean, spread) = match bytes {
            Some((mean, p95)) if mean > 0.0 => {
                let spread = (p95 as f64 / mean).ln() / P95_DEVIATIONS;
                (mean, spread.clamp(0.0, 1.0))
            }
            _ => (reference.bytes as f64, 0.0),
        };
        let facts = Facts {
            plan: reference.plan,
            cut,
            bytes: mean,
            spread,
            head_ms: self.span_ms(0, cut) * self.device_slowdown,
            pack_ms: reference.pack_ms * self.device_slowdown,
            unpack_ms: (reference.server_ms - tail_ms).max(0.0) / self.server_speedup,
            tail_ms: tail_ms / self.server_speedup,
            drop_pp: second_look.map_or(drop_once_pp, |(_, drop_pp)| drop_pp),
            drop_once_pp,
            second_look: second_look.map(|(look, _)| look),
        };
        self.facts.insert(reference.plan, facts);
    }

    /// A link of `rate_bps` and 20 ms, on which `plan` sends `bytes` in no time, and `look` where it is in doubt; a
    /// head takes 1 ms, as does a tail, on the device and on the server.
    #[cfg(test)]
    pub(super) fn of_one_plan(rate_bps: f64, plan: Plan, bytes: f64, look: SecondLook) -> Self {
        let facts = |plan: Plan, bytes, second_look| Facts {
            plan,
            cut: 1,
            bytes,
            spread: 0.0,
            head_ms: 1.0,
            pack_ms: 0.0,
            unpack_ms: 0.0,
            tail_ms: 1.0,
            drop_pp: Some(0.0),
            drop_once_pp: None,
            second_look,
        };
        let second = facts(look.plan, look.bytes, None);
        let facts = [(look.plan, second), (plan, facts(plan, bytes, Some(look)))];
        Self {
            trace: Trace::constant(rate_bps),
            rtt_ms: 20.0,
            device_slowdown: 1.0,
            server_speedup: 1.0,
            last_cut: 2,
            head_ms: vec![0.0, 1.0, 2.0],
            facts: facts.into_iter().collect(),
        }
    }

    /// What is true of `plan`; nothing is, unless it was learnt.
    pub(super) fn facts(&self, plan: &Plan) -> Facts {
        self.facts.get(plan).copied().unwrap_or(Facts {
            plan: *plan,
            cut: self.last_cut,
            bytes: 0.0,
            spread: 0.0,
            head_ms: self.device_ms(),
            pack_ms: 0.0,
            unpack_ms: 0.0,
            tail_ms: 0.0,
            drop_pp: Some(0.0),
            drop_once_pp: Some(0.0),
            second_look: None,
        })
    }

    /// The times and bytes of `photo` under `plan`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bytes of a message: positive and small"
    )]
    pub(super) fn truth(&self, plan: &Plan, photo: Photo) -> Truth {
        let facts = self.facts(plan);
        let busy = (facts.spread * photo.busyness - facts.spread * facts.spread / 2.0).exp();
        let resume_ms = self.span_ms(facts.cut, self.last_cut) * self.device_slowdown;
        Truth {
            head_ms: facts.head_ms * photo.device_noise,
            pack_ms: facts.pack_ms * photo.device_noise,
            bytes: (facts.bytes * busy).ceil() as usize,
            unpack_ms: facts.unpack_ms * photo.server_noise,
            tail_ms: facts.tail_ms * photo.server_noise,
            resume_ms: resume_ms * photo.device_noise,
        }
    }

    /// The whole model on the device, without noise.
    pub(super) fn device_ms(&self) -> f64 {
        self.span_ms(0, self.last_cut) * self.device_slowdown
    }

    /// The mean rate of the second before `at_ms`, in bits of messages per second.
    pub(super) fn recent_rate_bps(&self, at_ms: f64) -> f64 {
        const STEPS: u32 = 10;
        let back = |step: u32| (at_ms - 50.0 - 100.0 * f64::from(step)).max(0.0);
        let rates = (0..STEPS).map(|step| self.trace.rate_bps_at(back(step)));
        rates.sum::<f64>() / f64::from(STEPS) / PACKETS
    }

    /// An uplink on which nothing was sent yet, with the connection open: everybody warms up.
    pub(super) fn uplink(&self) -> Uplink {
        Uplink::new(self.rtt_ms).connected()
    }

    fn span_ms(&self, from: usize, to: usize) -> f64 {
        let at = |cut: usize| self.head_ms.get(cut).copied().unwrap_or(0.0);
        at(to) - at(from)
    }
}

/// Numbers that look random and are the same each time (splitmix64).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Above 0, below 1.
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Mean 0, standard deviation 1 (Box and Muller).
    fn normal(&mut self) -> f64 {
        let (a, b) = (self.uniform(), self.uniform());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_are_the_same_each_time_and_average_out() {
        let draw = |i| Photo::number(i).busyness;
        assert!((draw(7) - draw(7)).abs() < 1e-12);
        let all: Vec<f64> = (0..2_000).map(draw).collect();
        let mean = all.iter().sum::<f64>() / 2e3;
        let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 2e3;
        for share in [0.03, 0.15, 0.3] {
            let doubted = (0..50).filter(|&i| Photo::number(i).is_in_doubt(share));
            let off = doubted.count() as f64 - 50.0 * share;
            assert!(off.abs() < 2.0, "{share} {off}");
        }
        assert!(
            mean.abs() < 0.08 && (variance - 1.0).abs() < 0.1,
            "{mean} {variance}"
        );
    }
}
