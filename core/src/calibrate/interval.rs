//! Confidence intervals: of a share (Clopper–Pearson) and of a mean (Student's t).

/// Confidence of the two-sided intervals in tables.
pub const CONFIDENCE: f64 = 0.95;

/// Halvings of an interval until its ends agree to the last bit that matters.
const BISECTIONS: usize = 60;
/// From here on Student's t and the normal distribution differ by less than 0.0005.
const MAX_DEGREES: usize = 2000;

/// The exact (Clopper–Pearson) interval of a share of which `hits` of `trials` were seen, with
/// `confidence` on both sides together; (0, 1) without trials.
///
/// ```
/// use dyno_core::calibrate::interval::clopper_pearson;
///
/// let (low, high) = clopper_pearson(0, 200, 0.95);
/// assert_eq!(low, 0.0);
/// assert!((high - 0.018_28).abs() < 1e-5);
/// ```
pub fn clopper_pearson(hits: usize, trials: usize, confidence: f64) -> (f64, f64) {
    let tail = (1.0 - confidence) / 2.0;
    let hits = hits.min(trials);
    let low = if hits == 0 {
        0.0
    } else {
        // As many hits or more are no rarer than `tail`: as many misses or fewer, seen from the
        // other side.
        1.0 - share_with_tail(trials - hits, trials, tail)
    };
    (low, upper_share(hits, trials, tail))
}

/// The upper end of the one-sided Clopper–Pearson interval that errs with probability `error`.
pub fn upper_share(hits: usize, trials: usize, error: f64) -> f64 {
    if hits >= trials {
        return 1.0;
    }
    share_with_tail(hits, trials, error)
}

/// The share at which `hits` or fewer of `trials` have probability `tail`.
fn share_with_tail(hits: usize, trials: usize, tail: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..BISECTIONS {
        let middle = f64::midpoint(low, high);
        if at_most(hits, trials, middle) > tail {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// Probability of `hits` or fewer of `trials` at `share` each: the sum of the binomial's terms, in
/// logarithms because the first ones are far below the smallest float.
fn at_most(hits: usize, trials: usize, share: f64) -> f64 {
    let (yes, no) = (share.ln(), (-share).ln_1p());
    let mut log_term = trials as f64 * no;
    let mut sum = log_term.exp();
    for i in 0..hits {
        log_term += ((trials - i) as f64 / (i + 1) as f64).ln() + yes - no;
        sum += log_term.exp();
    }
    sum
}

/// The value that Student's t with `degrees` of freedom stays below with `probability` (at least
/// one half).
///
/// ```
/// use dyno_core::calibrate::interval::t_quantile;
///
/// assert!((t_quantile(0.95, 10) - 1.812_46).abs() < 1e-5);
/// ```
pub fn t_quantile(probability: f64, degrees: usize) -> f64 {
    let within = 2.0 * probability - 1.0;
    let degrees = degrees.clamp(1, MAX_DEGREES);
    let (mut low, mut high) = (0.0, 1.0);
    while t_within(high, degrees) < within && high < 1e9 {
        high *= 2.0;
    }
    for _ in 0..BISECTIONS {
        let middle = f64::midpoint(low, high);
        if t_within(middle, degrees) < within {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// Probability that Student's t lies within ±`t` (Abramowitz and Stegun, 26.7.3 and 26.7.4).
fn t_within(t: f64, degrees: usize) -> f64 {
    let angle = (t / (degrees as f64).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let odd = degrees % 2 == 1;
    let mut term = if odd { cosine } else { 1.0 };
    let mut sum = 0.0;
    let mut n = if odd { 3 } else { 2 };
    while n <= degrees {
        sum += term;
        term *= cosine * cosine * (n - 1) as f64 / n as f64;
        n += 2;
    }
    if odd {
        (angle + sine * sum) * std::f64::consts::FRAC_2_PI
    } else {
        sine * sum
    }
}

/// Mean of some values and its standard error; no value has mean 0 and error 0.
pub fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    let variance = squares / (n - 1.0).max(1.0);
    (mean, (variance / n).sqrt())
}

/// What the mean behind `values` stays below with `probability`; infinite for fewer than two.
pub fn mean_upper(values: &[f64], probability: f64) -> f64 {
    if values.len() < 2 {
        return f64::INFINITY;
    }
    let (mean, error) = mean_and_error(values);
    mean + t_quantile(probability, values.len() - 1) * error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < 1e-4,
            "{found} instead of {expected}"
        );
    }

    /// Values of R's `binom.test` and of the closed forms where there are some.
    #[test]
    fn shares_have_the_known_intervals() {
        let (low, high) = clopper_pearson(5, 10, 0.95);
        assert_close(low, 0.187_086);
        assert_close(high, 0.812_914);
        let (low, high) = clopper_pearson(1, 100, 0.95);
        assert_close(low, 0.000_253);
        assert_close(high, 0.054_459);
        let (low, high) = clopper_pearson(100, 100, 0.95);
        assert_close(low, 0.025_f64.powf(0.01));
        assert_close(high, 1.0);
        assert_close(upper_share(0, 200, 0.05), 1.0 - 0.05_f64.powf(1.0 / 200.0));
        assert_eq!(clopper_pearson(0, 0, 0.95), (0.0, 1.0));
    }

    #[test]
    fn thousands_of_trials_do_not_underflow() {
        let (low, high) = clopper_pearson(5000, 10_000, 0.95);
        assert_close(low, 0.490_151);
        assert_close(high, 0.509_849);
    }

    /// Values of the tables in any book of statistics.
    #[test]
    fn students_t_has_the_known_quantiles() {
        for (degrees, one_sided, two_sided) in [
            (1, 6.313_75, 12.706_20),
            (2, 2.919_99, 4.302_65),
            (5, 2.015_05, 2.570_58),
            (30, 1.697_26, 2.042_27),
            (199, 1.652_55, 1.971_96),
        ] {
            assert_close(t_quantile(0.95, degrees), one_sided);
            assert_close(t_quantile(0.975, degrees), two_sided);
        }
        assert!((t_quantile(0.95, usize::MAX) - 1.644_85).abs() < 1e-3);
    }

    #[test]
    fn more_of_the_same_makes_the_bound_tighter() {
        let values = [0.0, 0.1, 0.3, 0.0];
        let bounds: Vec<f64> = (0..4)
            .map(|doublings| mean_upper(&values.repeat(1 << doublings), 0.95))
            .collect();
        assert!(bounds.is_sorted_by(|a, b| a > b), "{bounds:?}");
        assert!(bounds.iter().all(|&bound| bound > 0.1));
        assert!(mean_upper(&[0.5], 0.95).is_infinite());
    }
}
