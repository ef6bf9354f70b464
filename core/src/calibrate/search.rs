//! Which precisions are worth measuring on every photo.
//!
//! Fidelity grows with the levels, so of a ladder of three dozen only the few around the limits that
//! someone may set matter. A dozen photos on every third rung show where those lie; three times as
//! many photos, then all of them, go to the rungs that are left.

use std::ops::Range;

use super::lab::{Detail, Lab, Loss, Observation};
use crate::Result;
use crate::bundle::Sent;
use crate::schedule::{Levels, PhotoCodec, Precision, Quantisation};

/// Levels that are tried; fp32 follows.
pub(super) const LEVELS: &[u32] = &[
    2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 18, 20, 22, 24, 26, 28, 32, 36, 40, 48, 56, 64,
    80, 96, 128, 192, 256, 384, 512, 768, 1024, 2048,
];
/// Qualities of a lossy photo that are tried.
pub(super) const QUALITIES: &[u8] = &[5, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95, 98];

/// Photos of the first round; each further round has [`ROUND_FACTOR`] times as many.
const FIRST_ROUND: usize = 12;
const ROUND_FACTOR: usize = 3;
/// Every so manieth rung is tried in the first round.
const STRIDE: usize = 3;
/// A precision that costs more points of accuracy than this is of no use to anyone, not even where answers in doubt
/// are asked for again.
const MAX_USEFUL_PP: f64 = 8.0;
/// One that costs no more than this is fine enough for anyone.
const FINE_PP: f64 = 0.05;
/// While the bound of the finest rung is above this, a finer one is measured.
const FINE_BOUND_PP: f64 = 0.3;

/// Ways of sending of one kind, from coarse to fine, and what was seen of each.
#[derive(Debug)]
pub(super) struct Ladder {
    pub(super) rungs: Vec<Rung>,
}

/// One way of sending and what was seen of it, photo by photo.
#[derive(Debug)]
pub(super) struct Rung {
    pub(super) sent: Sent,
    pub(super) observed: Vec<Observation>,
}

impl Ladder {
    fn new(sent: impl IntoIterator<Item = Sent>) -> Self {
        let rung = |sent| Rung {
            sent,
            observed: Vec::new(),
        };
        Self {
            rungs: sent.into_iter().map(rung).collect(),
        }
    }

    /// Every ladder for `cut`; what is exact is one of its own. Without `shaped`, what shaping would
    /// not change is left out.
    pub(super) fn all(cut: usize, shaped: bool) -> Result<Vec<Self>> {
        let levels: Result<Vec<Levels>> = LEVELS.iter().map(|&l| Levels::new(l)).collect();
        let levels = levels?;
        let packed = |&quantisation: &Quantisation| {
            let steps = levels.iter().map(|&l| Precision::Levels(l));
            Self::new(steps.map(|p| Sent::Packed(quantisation, p)))
        };
        let of_use = |q: &&Quantisation| shaped || **q != Quantisation::Shaped;
        let mut ladders: Vec<Self> = Quantisation::ALL
            .iter()
            .filter(of_use)
            .map(packed)
            .collect();
        // Without levels there is nothing to quantise, in whatever way.
        let exact = Sent::Packed(Quantisation::Plain, Precision::Raw);
        ladders.push(Self::new([exact]));
        if cut == 0 {
            let jpeg = QUALITIES.iter().map(|&q| Sent::Photo(PhotoCodec::Jpeg(q)));
            ladders.push(Self::new(jpeg));
            let webp = QUALITIES.iter().map(|&q| Sent::Photo(PhotoCodec::WebP(q)));
            ladders.push(Self::new(webp));
            ladders.push(Self::new([Sent::Photo(PhotoCodec::WebPLossless)]));
        }
        Ok(ladders)
    }
}

/// Measures `ladders` at `cut` on the lab's photos, as few of them as are needed.
pub(super) fn search(lab: &Lab, cut: usize, ladders: &mut [Ladder]) -> Result<()> {
    let observe = |sent: &[Sent], images| lab.observe(cut, sent, images, Detail::Bytes);
    let loss = |observed: &[Observation]| lab.loss(observed);
    Search {
        images: lab.images(),
        observe: &observe,
        loss: &loss,
    }
    .run(ladders)
}

/// One list a way of sending, one observation a photo.
type Observed = Result<Vec<Vec<Observation>>>;

/// The search, whatever it is that observes and judges.
struct Search<'a> {
    images: usize,
    observe: &'a (dyn Fn(&[Sent], Range<usize>) -> Observed + 'a),
    loss: &'a dyn Fn(&[Observation]) -> Loss,
}

impl Search<'_> {
    fn run(&self, ladders: &mut [Ladder]) -> Result<()> {
        let first = FIRST_ROUND.min(self.images);
        self.extend(
            ladders,
            &mut |ladder| every_third(ladder.rungs.len()),
            first,
        )?;
        let mut round = first;
        while round < self.images {
            round = (round * ROUND_FACTOR).min(self.images);
            self.extend(ladders, &mut |ladder| self.useful(ladder), round)?;
        }
        // What looked fine on a few photos may not be on all of them.
        while self.extend(ladders, &mut |ladder| self.one_finer(ladder), self.images)? {}
        Ok(())
    }

    /// Has the rungs that `choose` names seen `images` photos; false if they all had.
    fn extend(
        &self,
        ladders: &mut [Ladder],
        choose: &mut dyn FnMut(&Ladder) -> Vec<usize>,
        images: usize,
    ) -> Result<bool> {
        let chosen: Vec<Vec<usize>> = ladders.iter().map(choose).collect();
        let mut rungs: Vec<&mut Rung> = ladders
            .iter_mut()
            .zip(&chosen)
            .flat_map(|(ladder, chosen)| {
                let rungs = ladder.rungs.iter_mut().enumerate();
                rungs
                    .filter(|(i, _)| chosen.contains(i))
                    .map(|(_, rung)| rung)
            })
            .filter(|rung| rung.observed.len() < images)
            .collect();
        let any = !rungs.is_empty();
        // Those that have seen equally many go together: the head runs once for all of them.
        rungs.sort_by_key(|rung| rung.observed.len());
        for group in rungs.chunk_by_mut(|a, b| a.observed.len() == b.observed.len()) {
            let seen = group.first().map_or(0, |rung| rung.observed.len());
            let sent: Vec<Sent> = group.iter().map(|rung| rung.sent).collect();
            let lists = (self.observe)(&sent, seen..images)?;
            for (rung, list) in group.iter_mut().zip(lists) {
                rung.observed.extend(list);
            }
        }
        Ok(any)
    }

    /// From behind the last hopeless rung to the first that is fine enough; nothing of a ladder whose
    /// one rung is exact, since a dozen photos tell its bytes.
    fn useful(&self, ladder: &Ladder) -> Vec<usize> {
        let seen = ladder.rungs.iter().enumerate();
        let seen = seen.filter(|(_, rung)| !rung.observed.is_empty() && !rung.sent.is_exact());
        let losses: Vec<(usize, Loss)> = seen.map(|(i, r)| (i, (self.loss)(&r.observed))).collect();
        let Some(&(finest, _)) = losses.last() else {
            return Vec::new();
        };
        let hopeless = losses
            .iter()
            .rev()
            .find(|(_, loss)| loss.lower > MAX_USEFUL_PP);
        let start = hopeless.map_or(0, |(i, _)| i + 1);
        let fine = losses
            .iter()
            .find(|(i, loss)| *i >= start && loss.estimate <= FINE_PP);
        let end = fine.map_or(finest, |(i, _)| *i);
        (start.min(end)..=end).collect()
    }

    /// The rung behind the finest that has seen every photo, if that one's bound is not low enough.
    fn one_finer(&self, ladder: &Ladder) -> Vec<usize> {
        let full = |rung: &Rung| rung.observed.len() == self.images;
        let finest = ladder
            .rungs
            .iter()
            .rposition(|r| full(r) && !r.sent.is_exact());
        let next = finest.filter(|&i| {
            i + 1 < ladder.rungs.len()
                && (self.loss)(&ladder.rungs[i].observed).upper > FINE_BOUND_PP
                && (self.loss)(&ladder.rungs[i].observed).estimate > FINE_PP
        });
        next.map_or_else(Vec::new, |i| vec![i + 1])
    }
}

fn every_third(rungs: usize) -> Vec<usize> {
    let last = rungs.saturating_sub(1);
    (0..rungs)
        .filter(|&i| i % STRIDE == STRIDE - 1 || i == last)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::calibrate::Outcome;

    const IMAGES: usize = 200;

    fn levels(sent: Sent) -> Option<u32> {
        match sent {
            Sent::Packed(_, Precision::Levels(levels)) => Some(levels.get()),
            Sent::Packed(_, Precision::Raw) | Sent::Photo(_) => None,
        }
    }

    /// Measures a model whose loss is `loss_pp(levels, photo)`, and counts its runs.
    fn measured(images: usize, loss_pp: impl Fn(u32, usize) -> f64) -> (Vec<Ladder>, usize) {
        let runs = RefCell::new(0);
        let observe = |sent: &[Sent], images: Range<usize>| {
            let one = |sent: &Sent, image| Observation {
                outcome: Outcome::Distance(levels(*sent).map_or(0.0, |l| loss_pp(l, image))),
                messages: Vec::new(),
            };
            *runs.borrow_mut() += sent.len() * images.len();
            let list = |sent| images.clone().map(|image| one(sent, image)).collect();
            Ok(sent.iter().map(list).collect())
        };
        let loss = |observed: &[Observation]| {
            let distance = |o: &Observation| match o.outcome {
                Outcome::Distance(distance) => distance,
                Outcome::Class { .. } => f64::NAN,
            };
            let mean = observed.iter().map(distance).sum::<f64>() / observed.len() as f64;
            Loss {
                lower: mean,
                estimate: mean,
                upper: mean,
            }
        };
        let mut ladders = Ladder::all(1, true).unwrap();
        Search {
            images,
            observe: &observe,
            loss: &loss,
        }
        .run(&mut ladders)
        .unwrap();
        (ladders, runs.into_inner())
    }

    fn full(ladder: &Ladder, images: usize) -> Vec<u32> {
        let full = ladder.rungs.iter().filter(|r| r.observed.len() == images);
        full.filter_map(|rung| levels(rung.sent)).collect()
    }

    #[test]
    fn the_levels_around_the_limits_see_every_photo_and_the_others_do_not() {
        let (ladders, runs) = measured(IMAGES, |levels, _| 40.0 / f64::from(levels * levels));
        // 5 points at 2.8 levels, 0.05 at 28.
        let full = full(&ladders[0], IMAGES);
        assert_eq!(full.first(), Some(&3), "{full:?}");
        assert!(full.contains(&28) && !full.contains(&48), "{full:?}");
        let all = IMAGES * LEVELS.len() * Quantisation::ALL.len();
        assert!(runs < all * 2 / 3, "{runs} runs");
        let exact = &ladders[Quantisation::ALL.len()].rungs[0];
        assert!(exact.sent.is_exact());
        assert_eq!(
            exact.observed.len(),
            FIRST_ROUND,
            "a dozen photos tell its bytes"
        );
    }

    #[test]
    fn what_the_first_photos_do_not_show_is_found_on_all_of_them() {
        let late = |levels: u32, image: usize| match image {
            100.. if levels < 500 => 2.0,
            _ => 0.0,
        };
        let (ladders, _) = measured(IMAGES, late);
        assert!(full(&ladders[0], IMAGES).contains(&512));
    }

    #[test]
    fn a_model_that_nothing_suits_is_measured_to_the_finest() {
        let (ladders, _) = measured(IMAGES, |_, _| 50.0);
        assert_eq!(full(&ladders[0], IMAGES), [2048]);
    }

    #[test]
    fn a_few_photos_are_all_used_at_once() {
        let (ladders, _) = measured(5, |levels, _| 40.0 / f64::from(levels));
        assert!(
            ladders[0]
                .rungs
                .iter()
                .all(|rung| matches!(rung.observed.len(), 0 | 5))
        );
    }
}
