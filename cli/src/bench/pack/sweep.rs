//! Which precisions of a cut are measured on which photos.
//!
//! All of them on the first photos, with bytes and times; then the fidelity of those in between: not
//! of the ones that break the model, and not of the ones beyond what changes nothing any more.

use anyhow::Result;
use dyno_core::bundle::Sent;
use dyno_core::calibrate::{Detail, Judgement, Lab, Observation};
use dyno_core::schedule::{Levels, PhotoCodec, Precision, Quantisation};

use super::row::Row;

/// Photos on which everything is measured.
const FIRST_PHOTOS: usize = 32;
/// Qualities of photos at cut 0.
const QUALITIES: &[u8] = &[5, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95];

/// What is measured at every cut.
pub(super) struct Sweep<'a> {
    pub(super) lab: &'a Lab,
    /// From coarse to fine.
    pub(super) levels: &'a [Levels],
    pub(super) from_agreement: f64,
}

impl Sweep<'_> {
    /// The rows of one cut, kind by kind from coarse to fine.
    pub(super) fn rows(&self, cut: usize) -> Result<Vec<Row>> {
        let kinds = self.kinds(cut);
        let sent: Vec<Sent> = kinds.iter().flatten().copied().collect();
        let first = FIRST_PHOTOS.min(self.lab.images());
        let mut observed = self.lab.observe(cut, &sent, 0..first, Detail::Times)?;
        let keep = self.worth_more(&kinds, &observed);
        let rest: Vec<Sent> = keep.iter().map(|&i| sent[i]).collect();
        let more = self
            .lab
            .observe(cut, &rest, first..self.lab.images(), Detail::Fidelity)?;
        for (&i, more) in keep.iter().zip(more) {
            observed[i].extend(more);
        }
        let elements = self.lab.bundle().cut(cut)?.elements();
        let rows = sent.iter().zip(&observed).flat_map(|(&sent, observed)| {
            Row::all(cut, elements, sent, observed, &self.lab.judge(observed))
        });
        Ok(rows.collect())
    }

    /// Ways of sending, each kind from coarse to fine.
    fn kinds(&self, cut: usize) -> Vec<Vec<Sent>> {
        let packed = |&quantisation: &Quantisation| {
            let levels = self.levels.iter().map(|&l| Precision::Levels(l));
            levels.map(|p| Sent::Packed(quantisation, p)).collect()
        };
        let mut kinds: Vec<Vec<Sent>> = Quantisation::ALL.iter().map(packed).collect();
        // Without levels there is nothing to quantise, in whatever way.
        kinds.push(vec![Sent::Packed(Quantisation::Plain, Precision::Raw)]);
        if cut == 0 {
            let jpeg = QUALITIES.iter().map(|&q| PhotoCodec::Jpeg(q));
            kinds.push(jpeg.map(Sent::Photo).collect());
            let webp = QUALITIES.iter().map(|&q| PhotoCodec::WebP(q));
            let webp = webp.chain([PhotoCodec::WebPLossless]);
            kinds.push(webp.map(Sent::Photo).collect());
        }
        kinds
    }

    /// Places, in the list of all kinds, of the ways that go on to the other photos.
    fn worth_more(&self, kinds: &[Vec<Sent>], observed: &[Vec<Observation>]) -> Vec<usize> {
        let mut keep = Vec::new();
        let mut start = 0;
        for kind in kinds {
            let agreements: Vec<f64> = observed[start..start + kind.len()]
                .iter()
                .map(|observed| agreement(&self.lab.judge(observed)))
                .collect();
            // What is exact needs no more photos.
            let goes_on = |i: &usize| agreements[*i] >= self.from_agreement && !kind[*i].is_exact();
            let end = last_of_interest(kind, &agreements);
            keep.extend((0..=end).filter(goes_on).map(|i| start + i));
            start += kind.len();
        }
        keep
    }
}

/// The first power of two (or photo) at which it and the way before it changed nothing; the last way
/// if there is none. The paper's codec knows powers of two only and must find one.
fn last_of_interest(kind: &[Sent], agreements: &[f64]) -> usize {
    let is_whole = |i: usize| agreements.get(i).is_some_and(|&a| a >= 1.0);
    let may_end = |sent: &Sent| match sent {
        Sent::Packed(_, Precision::Levels(levels)) => levels.get().is_power_of_two(),
        Sent::Packed(_, Precision::Raw) | Sent::Photo(_) => true,
    };
    (1..kind.len())
        .find(|&i| is_whole(i) && is_whole(i - 1) && may_end(&kind[i]))
        .unwrap_or(kind.len().saturating_sub(1))
}

fn agreement(judged: &Judgement) -> f64 {
    match judged {
        Judgement::Agreement { agreement, .. } => *agreement,
        Judgement::Distance { mean, .. } => 1.0 - mean,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precisions_beyond_what_changes_nothing_are_left_to_the_first_photos() {
        let levels = [4, 6, 8, 12, 16, 32].map(|l| {
            Sent::Packed(
                Quantisation::Plain,
                Precision::Levels(Levels::new(l).unwrap()),
            )
        });
        assert_eq!(
            last_of_interest(&levels, &[0.5, 0.9, 0.97, 1.0, 0.98, 1.0]),
            5
        );
        assert_eq!(
            last_of_interest(&levels, &[0.5, 0.9, 1.0, 1.0, 1.0, 1.0]),
            4
        );
        assert_eq!(last_of_interest(&levels, &[1.0; 6]), 2);
    }
}
