//! Makes the world and the players of a simulation from a bundle.

use std::time::Instant;

use dyno_core::bundle::{Bundle, Calibration, Sent};
use dyno_core::schedule::{
    Codec, Estimates, Levels, LinkPrior, Objective, PhotoCodec, Plan, Precision, SpacePlan,
    all_plans, calibrated_plans, can_be_packed,
};

use super::call::Policy;
use super::policies::{Dyno, Fixed, Oracle, PaperDyno, Rival};
use super::world::World;

/// What `server_raw` sends: the photo's pixels, eight bits each.
const RAW_PIXELS: Plan = Plan::Photo(PhotoCodec::Ppm);
/// Quality of `server_jpeg` where none that was calibrated keeps the limit.
const JPEG_QUALITY: PhotoCodec = PhotoCodec::Jpeg(PhotoCodec::DEFAULT_QUALITY);
/// Bits that the rivals' quantisers know.
const MAX_BITS: u32 = 16;

/// A bundle's plans, and those of every rival.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(super) space: Vec<SpacePlan>,
    estimates: Estimates,
    objective: Objective,
    neurosurgeon: Vec<Plan>,
    jalad: Vec<Plan>,
    paper: Vec<Plan>,
    jpeg: Plan,
}

impl Setup {
    /// Prepares `world` for every plan that anybody follows.
    pub(super) fn new(bundle: &Bundle, objective: &Objective, world: &mut World) -> Self {
        let (manifest, calibration) = (bundle.manifest(), bundle.calibration());
        let limit_pp = objective.accuracy_drop_pp();
        let eight_bits = Precision::Levels(Levels::EIGHT_BITS);
        let space = match calibration {
            Some(calibration) => calibrated_plans(manifest, calibration, objective),
            None => all_plans(manifest, eight_bits, Codec::Zstd, PhotoCodec::WebPLossless),
        };
        let inner: Vec<usize> = manifest
            .cuts
            .iter()
            .filter(|cut| cut.index > 0 && cut.index < manifest.last_cut() && can_be_packed(cut))
            .map(|cut| cut.index)
            .collect();
        let ends = [Plan::Device, RAW_PIXELS];
        let raw = |&cut: &usize| Plan::Split {
            cut,
            precision: Precision::Raw,
            codec: Codec::Raw,
        };
        let coded = |codec: Codec| -> Vec<Plan> {
            let cuts = std::iter::once(0).chain(inner.iter().copied());
            let plans = cuts.flat_map(|cut| powers_of_two(cut, codec));
            let keeps = |plan: &Plan| match calibration {
                Some(calibration) => allowed(calibration, plan, limit_pp),
                None => matches!(plan, Plan::Split { precision, .. } if *precision == eight_bits),
            };
            ends.into_iter().chain(plans.filter(keeps)).collect()
        };
        let jpeg = calibration
            .into_iter()
            .flat_map(|c| c.all_allowed(0, limit_pp))
            .filter(|way| matches!(way.plan, Plan::Photo(PhotoCodec::Jpeg(_))))
            .min_by(|a, b| a.bytes_mean.total_cmp(&b.bytes_mean))
            .map_or(Plan::Photo(JPEG_QUALITY), |way| way.plan);
        let setup = Self {
            neurosurgeon: ends.into_iter().chain(inner.iter().map(raw)).collect(),
            jalad: coded(Codec::Zstd),
            paper: coded(Codec::Lz4),
            jpeg,
            estimates: Estimates::new(manifest, bundle.profile(), LinkPrior::MOBILE, 1.0),
            objective: objective.clone(),
            space,
        };
        setup.teach(world, calibration);
        setup
    }

    /// `DynO` as an app would have it that knows nothing beforehand.
    pub(super) fn dyno(&self, world: &World) -> Dyno {
        let (estimates, objective) = (self.estimates.clone(), self.objective.clone());
        let mut dyno = Dyno::new(&self.space, estimates, objective, world);
        dyno.warm_up(world);
        dyno
    }

    pub(super) fn oracle(&self) -> Oracle {
        let plans = self.space.iter().map(|row| row.plan).collect();
        Oracle::new(plans, self.objective.clone())
    }

    /// The rivals by name, but for the best fixed plan, which is one of many.
    pub(super) fn rivals(&self) -> Vec<(&'static str, Box<dyn Policy>)> {
        let rival = |plans: &[Plan]| Rival {
            plans: plans.to_vec(),
        };
        let paper = PaperDyno {
            plans: self.paper.clone(),
            objective: self.objective.clone(),
            rate_bps: LinkPrior::MOBILE.rate_bps,
        };
        vec![
            ("device_only", Box::new(Fixed(Plan::Device))),
            ("server_raw", Box::new(Fixed(RAW_PIXELS))),
            ("server_jpeg", Box::new(Fixed(self.jpeg))),
            ("neurosurgeon", Box::new(rival(&self.neurosurgeon))),
            ("jalad", Box::new(rival(&self.jalad))),
            ("dyno_paper", Box::new(paper)),
        ]
    }

    fn teach(&self, world: &mut World, calibration: Option<&Calibration>) {
        let now = Instant::now();
        let others = [&self.neurosurgeon, &self.jalad, &self.paper];
        let others = others.into_iter().flatten().copied().chain([self.jpeg]);
        let looks = self.space.iter().filter_map(|row| row.second_look);
        let others = others.chain(looks.map(|look| look.plan));
        // Where two rows are of one plan, those of the space come last: they know its second look.
        let rows = others.map(SpacePlan::unmeasured).chain(self.space.clone());
        for row in rows {
            let plan = row.plan;
            let reference = self.estimates.candidate(plan, &[], now);
            let measured = calibration.and_then(|c| measured(c, &plan));
            let drop_once_pp = match plan {
                Plan::Device | RAW_PIXELS => Some(0.0),
                _ => measured.map(|(_, drop_pp)| drop_pp),
            };
            let bytes = measured.map(|(bytes, _)| bytes);
            let look = row.second_look.map(|look| (look, row.accuracy_drop_pp));
            world.learn(&reference, bytes, drop_once_pp, look);
        }
    }
}

fn powers_of_two(cut: usize, codec: Codec) -> impl Iterator<Item = Plan> {
    let levels = (1..=MAX_BITS).filter_map(|bits| Levels::new(1 << bits).ok());
    levels.map(move |levels| Plan::Split {
        cut,
        precision: Precision::Levels(levels),
        codec,
    })
}

fn allowed(calibration: &Calibration, plan: &Plan, limit_pp: f64) -> bool {
    let cut = match plan {
        Plan::Split { cut, .. } => *cut,
        _ => 0,
    };
    let ways = calibration.all_allowed(cut, limit_pp);
    ways.iter().any(|way| way.plan == *plan)
}

/// Mean and 95th percentile of the bytes of `plan`, and the bound of its loss, if it was measured.
fn measured(calibration: &Calibration, plan: &Plan) -> Option<((f64, usize), f64)> {
    let sent = Sent::of(plan)?;
    let (cut, name) = match plan {
        Plan::Split { cut, codec, .. } => (*cut, codec.as_str().to_owned()),
        Plan::Photo(codec) => (0, codec.to_string()),
        _ => return None,
    };
    let row = calibration
        .rows
        .iter()
        .find(|row| row.cut == cut && row.sent == sent)?;
    let bytes = row.bytes.iter().find(|bytes| bytes.codec == name)?;
    let drop_pp = if sent.is_exact() {
        0.0
    } else {
        row.fidelity.max_drop_pp()
    };
    Some(((bytes.mean, bytes.p95), drop_pp))
}
