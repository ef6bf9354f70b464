//! Coarse first, and finer only where the answer is in doubt: the ways of sending that keep a limit so.
//!
//! What is in doubt is sent again, or the device computes it from what is at hand, which loses nothing and sends
//! nothing.

use super::calibration::{Allowed, Calibration, CalibrationRow, Sent};

/// Two messages must take fewer bytes on the mean than one by this share to be worth a second round trip now and
/// then, and so must a larger share of calls that are in doubt than a smaller one.
const LEAST_GAIN: f64 = 0.05;

/// A way of sending that keeps a limit where the answers that it leaves in doubt are asked for again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AllowedTwice {
    /// What is sent first; its bound is that of the answers that are not in doubt.
    pub first: Allowed,
    /// Answers whose best class leads the next one by less, in logits, are in doubt.
    pub lead: f64,
    /// Share of the calls whose answer is, 0 to 1.
    pub share: f64,
    /// What is sent then, of the same cut, which would keep the limit alone; none where the device finishes.
    pub then: Option<Allowed>,
}

impl AllowedTwice {
    /// Mean bytes of a call.
    pub fn bytes_mean(&self) -> f64 {
        let then = self.then.map_or(0.0, |then| then.bytes_mean);
        self.first.bytes_mean + self.share * then
    }

    /// The upper bound of the loss of accuracy, in percentage points: what is not in doubt and changes, and what
    /// changes for all that is sent then.
    pub fn max_drop_pp(&self) -> f64 {
        self.first.max_drop_pp + self.then.map_or(0.0, |then| then.max_drop_pp)
    }
}

impl Calibration {
    /// Ways of sending what crosses `cut` that keep a loss of `max_drop_pp` percentage points by sending again. Each
    /// takes fewer mean bytes than what doubts less often, and than [`allowed`](Self::allowed); the seldomest first.
    ///
    /// As there, a bound counts only if it holds for all finer precisions as well.
    pub fn allowed_twice(&self, cut: usize, max_drop_pp: f64) -> Vec<AllowedTwice> {
        let alone = self.all_allowed(cut, max_drop_pp);
        let then: Vec<Option<Allowed>> = alone.iter().copied().map(Some).collect();
        self.best_ways(cut, max_drop_pp, &alone, &then)
    }

    /// The same where the device computes what is in doubt: nothing is sent then, and nothing lost.
    pub fn allowed_with_device(&self, cut: usize, max_drop_pp: f64) -> Vec<AllowedTwice> {
        let alone = self.all_allowed(cut, max_drop_pp);
        self.best_ways(cut, max_drop_pp, &alone, &[None])
    }

    /// What is worth looking at with one of `then` in doubt, where `alone` keeps the limit by itself.
    fn best_ways(
        &self,
        cut: usize,
        max_drop_pp: f64,
        alone: &[Allowed],
        then: &[Option<Allowed>],
    ) -> Vec<AllowedTwice> {
        let rows = self.rows.iter().filter(|row| row.cut == cut);
        let mut ways: Vec<AllowedTwice> = rows
            .filter(|row| self.bound_pp(row).is_some_and(|pp| pp > max_drop_pp))
            .filter_map(|row| self.best_after(row, then, max_drop_pp))
            .collect();
        ways.sort_by(|a, b| {
            let by_bytes = a.bytes_mean().total_cmp(&b.bytes_mean());
            a.share.total_cmp(&b.share).then(by_bytes)
        });
        let alone = alone.iter().map(|allowed| allowed.bytes_mean);
        let mut least = alone.fold(f64::INFINITY, f64::min);
        ways.retain(|way| {
            let is_worth_it = way.bytes_mean() <= least * (1.0 - LEAST_GAIN);
            if is_worth_it {
                least = way.bytes_mean();
            }
            is_worth_it
        });
        ways
    }

    /// The doubts and the second message with which `row` takes the fewest bytes; of those that take as many, the
    /// fewest doubts.
    fn best_after(
        &self,
        row: &CalibrationRow,
        then: &[Option<Allowed>],
        max_drop_pp: f64,
    ) -> Option<AllowedTwice> {
        let bytes_of = |then: &Option<Allowed>| then.map_or(0.0, |then| then.bytes_mean);
        let mut best: Option<AllowedTwice> = None;
        for doubt in &row.doubts {
            let bound_pp = self.kept_bound_pp(row, doubt.share);
            let fits = |then: &&Option<Allowed>| {
                then.as_ref().map_or(0.0, |then| then.max_drop_pp) + bound_pp <= max_drop_pp
                    && then.is_none_or(|then| are_alike(row.sent, &then))
            };
            let then = then.iter().filter(fits);
            let then = then.min_by(|a, b| bytes_of(a).total_cmp(&bytes_of(b)));
            let first = row.ways(bound_pp);
            let first = first.min_by(|a, b| a.bytes_mean.total_cmp(&b.bytes_mean));
            let (Some(&then), Some(first)) = (then, first) else {
                continue;
            };
            let way = AllowedTwice {
                first,
                lead: doubt.lead,
                share: doubt.share,
                then,
            };
            if best.is_none_or(|best| way.bytes_mean() < best.bytes_mean()) {
                best = Some(way);
            }
        }
        best
    }

    /// The upper bound of what changes and is not in doubt, with `share` of the answers in doubt: the greatest of
    /// the row's and of those of all finer ones.
    fn kept_bound_pp(&self, row: &CalibrationRow, share: f64) -> f64 {
        self.as_fine(row)
            .map(|finer| {
                let doubts = finer.doubts.iter().filter(|doubt| doubt.share <= share);
                let last = doubts.max_by(|a, b| a.share.total_cmp(&b.share));
                // Without doubts that small everything is kept.
                last.map_or(finer.fidelity.max_drop_pp(), |doubt| doubt.max_drop_pp)
            })
            .fold(0.0, f64::max)
    }
}

/// Whether the second message comes from what is at hand after the first: a photo from a photo, an activation from
/// an activation.
fn are_alike(first: Sent, then: &Allowed) -> bool {
    let then = Sent::of(&then.plan);
    then.is_some_and(|then| matches!(then, Sent::Photo(_)) == matches!(first, Sent::Photo(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::calibration::CodecBytes;
    use crate::calibrate::Doubt;
    use crate::schedule::fixtures::{flips, table};
    use crate::schedule::{Codec, Levels, PhotoCodec, Plan, Precision, Quantisation};

    /// Flips in percentage points with nothing in doubt, and with each share of the answers.
    fn row(levels: u32, bytes: f64, max_pp: f64, doubts: &[(f64, f64)]) -> CalibrationRow {
        let doubt = |&(share, max_drop_pp): &(f64, f64)| Doubt {
            lead: 10.0 * share,
            share,
            flips_pp: max_drop_pp / 2.0,
            max_drop_pp,
        };
        let precision = Precision::Levels(Levels::new(levels).unwrap());
        CalibrationRow {
            cut: 1,
            sent: Sent::Packed(Quantisation::Plain, precision),
            images: 100,
            bytes: vec![CodecBytes {
                codec: Codec::Context.as_str().to_owned(),
                mean: bytes,
                p95: 2000,
            }],
            fidelity: flips(max_pp),
            doubts: doubts.iter().map(doubt).collect(),
        }
    }

    fn photo(quality: u8, bytes: f64, max_pp: f64, doubts: &[(f64, f64)]) -> CalibrationRow {
        let codec = PhotoCodec::Jpeg(quality);
        let mut row = row(2, bytes, max_pp, doubts);
        row.cut = 0;
        row.sent = Sent::Photo(codec);
        row.bytes[0].codec = codec.to_string();
        row
    }

    fn levels(allowed: &Allowed) -> u32 {
        match allowed.plan {
            Plan::Split {
                precision: Precision::Levels(levels),
                ..
            } => levels.get(),
            _ => 0,
        }
    }

    fn usual() -> Vec<CalibrationRow> {
        vec![
            row(8, 1_000.0, 5.0, &[(0.05, 3.0), (0.1, 0.7), (0.2, 0.3)]),
            row(16, 2_000.0, 1.6, &[(0.05, 0.6), (0.1, 0.3), (0.2, 0.2)]),
            row(64, 4_000.0, 0.8, &[(0.05, 0.2), (0.1, 0.2), (0.2, 0.2)]),
            row(256, 6_000.0, 0.3, &[(0.05, 0.2), (0.1, 0.2), (0.2, 0.2)]),
        ]
    }

    #[test]
    fn what_takes_fewer_bytes_asks_more_often_and_both_bounds_keep_the_limit() {
        let table = table(usual());
        let ways = table.allowed_twice(1, 1.0);
        let found: Vec<(u32, u32, f64)> = ways
            .iter()
            .map(|way| (levels(&way.first), levels(&way.then.unwrap()), way.share))
            .collect();
        assert_eq!(found, [(16, 256, 0.05), (8, 256, 0.1)]);
        for way in &ways {
            assert!(way.max_drop_pp() <= 1.0 + 1e-9, "{way:?}");
            assert!(way.bytes_mean() < table.allowed(1, 1.0).unwrap().bytes_mean);
        }
        assert!((ways[1].bytes_mean() - 1_600.0).abs() < 1e-6);
        assert!((ways[1].lead - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_the_device_finishes_adds_no_loss_and_no_bytes() {
        let table = table(usual());
        let ways = table.allowed_with_device(1, 0.7);
        let found: Vec<(u32, f64)> = ways
            .iter()
            .map(|way| (levels(&way.first), way.share))
            .collect();
        assert_eq!(found, [(16, 0.05), (8, 0.1)]);
        assert!(ways.iter().all(|way| way.then.is_none()), "{ways:?}");
        assert!((ways[0].bytes_mean() - 2_000.0).abs() < 1e-9);
        assert!((ways[0].max_drop_pp() - 0.6).abs() < 1e-9);
    }

    #[test]
    fn what_keeps_the_limit_alone_asks_for_nothing() {
        let table = table(usual());
        let ways = table.allowed_twice(1, 2.0);
        assert!(ways.iter().all(|way| levels(&way.first) == 8), "{ways:?}");
        assert_eq!(table.allowed_twice(1, 6.0), []);
        assert_eq!(table.allowed_twice(1, 0.1), [], "nothing keeps it");
        assert_eq!(table.allowed_twice(2, 1.0), [], "not measured");
    }

    #[test]
    fn a_coarse_precision_that_was_lucky_is_not_trusted() {
        let mut rows = usual();
        // Ten in a hundred in doubt, and more of the rest change than at 8 levels.
        rows[1].doubts[1].max_drop_pp = 0.9;
        let ways = table(rows).allowed_twice(1, 1.0);
        assert!(
            ways.iter().all(|way| (way.share - 0.1).abs() > 1e-9),
            "{ways:?}"
        );
    }

    #[test]
    fn a_photo_is_followed_by_a_photo() {
        let mut rows = usual();
        for row in &mut rows {
            row.cut = 0;
        }
        rows.push(photo(30, 500.0, 3.0, &[(0.1, 0.5)]));
        rows.push(photo(90, 9_000.0, 0.4, &[(0.1, 0.2)]));
        let ways = table(rows).allowed_twice(0, 1.0);
        let of_photo = |allowed: &Allowed| matches!(allowed.plan, Plan::Photo(_));
        assert!(ways.iter().any(|way| of_photo(&way.first)), "{ways:?}");
        for way in ways {
            assert_eq!(of_photo(&way.first), of_photo(&way.then.unwrap()));
        }
    }
}
