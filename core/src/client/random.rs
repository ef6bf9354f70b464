//! A little randomness for waits, so that many clients do not do the same thing at the same time.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// `SplitMix64` (Steele, Lea, Flood 2014): not for secrets.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    /// Another sequence each time.
    pub(super) fn new() -> Self {
        Self::seeded(RandomState::new().build_hasher().finish())
    }

    /// The sequence of `seed`.
    pub(super) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// A time from `shortest` to `longest`, or `shortest` if that is the longer one.
    pub(super) fn between(&mut self, shortest: Duration, longest: Duration) -> Duration {
        let range = longest.saturating_sub(shortest);
        shortest + range.mul_f64(self.share())
    }

    /// 0 to 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        bits as f64 / u64::MAX as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fill_their_range_and_keep_to_it() {
        let mut random = Random::seeded(1);
        let (shortest, longest) = (Duration::from_secs(1), Duration::from_secs(3));
        let times: Vec<_> = (0..1_000)
            .map(|_| random.between(shortest, longest))
            .collect();
        assert!(times.iter().all(|t| (shortest..=longest).contains(t)));
        let mean_s = times.iter().map(Duration::as_secs_f64).sum::<f64>() / 1e3;
        assert!((mean_s - 2.0).abs() < 0.1, "{mean_s}");
        assert_eq!(random.between(longest, shortest), longest);
    }
}
