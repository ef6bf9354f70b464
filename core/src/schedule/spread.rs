//! How much times of one kind differ: half of them are longer than the mean, one in twenty longer than the 95th
//! percentile, and in between, and as far below the mean, it is in proportion.

/// One in twenty.
pub(super) const LATE: f64 = 0.05;
/// Of all, between the mean and the 95th percentile.
const BETWEEN: f64 = 0.45;

/// The mean and the 95th percentile of a time, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    pub(super) mean_ms: f64,
    pub(super) p95_ms: f64,
}

impl Spread {
    /// Share of times that are longer than `limit_ms`, 0 to 1; all where there is nothing to tell from: all are alike,
    /// or infinite.
    pub(super) fn share_above(&self, limit_ms: f64) -> f64 {
        let above_mean = (limit_ms - self.mean_ms) / (self.p95_ms - self.mean_ms);
        if !above_mean.is_finite() {
            return 1.0;
        }
        (0.5 - BETWEEN * above_mean).clamp(0.0, 1.0)
    }

    /// What a `share` of the times, 0 to 1, is longer than.
    fn exceeded_by(&self, share: f64) -> f64 {
        self.mean_ms + (0.5 - share) / BETWEEN * (self.p95_ms - self.mean_ms)
    }

    /// The 95th percentile where a `share` of the times is like `rare`, which is longer, and the rest like `usual`.
    pub(super) fn p95_of_either(usual: Self, rare: Self, share: f64) -> f64 {
        let late_ms = if share > LATE {
            rare.exceeded_by(LATE / share)
        } else {
            usual.exceeded_by((LATE - share) / (1.0 - share))
        };
        // The two overlap where they differ little.
        late_ms.max(usual.p95_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Spread = Spread {
        mean_ms: 50.0,
        p95_ms: 60.0,
    };
    const LONG: Spread = Spread {
        mean_ms: 100.0,
        p95_ms: 120.0,
    };

    #[track_caller]
    fn assert_ms(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }

    #[test]
    fn a_limit_is_exceeded_by_as_many_as_the_percentiles_say() {
        assert_ms(SHORT.share_above(60.0), 0.05);
        assert_ms(SHORT.share_above(50.0), 0.5);
        assert_ms(SHORT.share_above(20.0), 1.0);
        assert_ms(SHORT.share_above(100.0), 0.0);
        let all_alike = Spread {
            mean_ms: 10.0,
            p95_ms: 10.0,
        };
        assert_ms(all_alike.share_above(10.0), 1.0);
    }

    #[test]
    fn rare_times_move_the_percentile_by_how_many_they_are() {
        assert_ms(Spread::p95_of_either(SHORT, LONG, 0.0), 60.0);
        assert_ms(Spread::p95_of_either(SHORT, LONG, 0.1), 100.0);
        assert_ms(Spread::p95_of_either(SHORT, LONG, 1.0), 120.0);
        let (few, many) = (
            Spread::p95_of_either(SHORT, LONG, 0.04),
            Spread::p95_of_either(SHORT, LONG, 0.5),
        );
        assert!(few > 60.0 && few < 65.0, "{few}");
        assert!(many > 100.0 && many < 120.0, "{many}");
    }
}
