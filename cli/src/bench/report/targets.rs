//! What was aimed at, and whether the cells reach it.

use comfy_table::{Table, presets};
use serde::Serialize;

use super::cell::Cell;
use super::grid::Aim;
use super::policies::rivals;

/// Least gain of the best stream over the device alone, and over Neurosurgeon.
const SPEED_OVER_DEVICE: f64 = 10.0;
const SPEED_OVER_NEUROSURGEON: f64 = 7.9;
/// Least share of the best rival's frames that a stream may have anywhere.
const SPEED_OVER_BEST: f64 = 0.97;
/// How many times fewer bytes than the raw photo, where late cuts win.
const BYTES_SAVED: f64 = 60.0;
/// Most that the mean latency may be of the oracle's.
const REGRET_AT_ONE_RATE: f64 = 1.05;
const REGRET_ON_TRACES: f64 = 1.15;
/// Share of the calls that may miss a limit that the oracle would have kept.
const AVOIDABLE_SHARE: f64 = 0.01;
/// Loss of accuracy, in percentage points, that holds where no limit is given.
const DROP_PP: f64 = 1.0;
/// Sums of floats may be off by so much.
const SLACK: f64 = 1e-9;

/// One aim, and what came of it.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Target {
    pub(super) what: &'static str,
    pub(super) wanted: String,
    /// The number that decides; none where no cell is about it.
    pub(super) value: Option<f64>,
    /// The same in words.
    pub(super) found: String,
    pub(super) met: Option<bool>,
    /// Where the number comes from.
    pub(super) detail: String,
}

/// Cells with a number each.
struct Numbers<'a>(Vec<(f64, &'a Cell)>);

impl<'a> Numbers<'a> {
    fn of(cells: &'a [Cell], aim: Aim, number: impl Fn(&Cell) -> Option<f64>) -> Self {
        Self::of_any(cells, |cell| number(cell).filter(|_| cell.key.aim == aim))
    }

    /// Whatever they are to optimise.
    fn of_any(cells: &'a [Cell], number: impl Fn(&Cell) -> Option<f64>) -> Self {
        let numbers = cells.iter().filter_map(|c| Some((number(c)?, c)));
        Self(numbers.collect())
    }

    fn greatest(&self) -> Option<(f64, &'a Cell)> {
        self.0.iter().copied().max_by(|a, b| a.0.total_cmp(&b.0))
    }

    fn least(&self) -> Option<(f64, &'a Cell)> {
        self.0.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0))
    }

    fn count(&self, of: impl Fn(f64) -> bool) -> String {
        let count = self.0.iter().filter(|(number, _)| of(*number)).count();
        format!("{count} of {} cells", self.0.len())
    }

    fn geometric_mean(&self) -> f64 {
        let sum: f64 = self.0.iter().map(|(number, _)| number.ln()).sum();
        (sum / self.0.len().max(1) as f64).exp()
    }
}

/// Every target.
pub(super) fn evaluate(cells: &[Cell]) -> Vec<Target> {
    let speed = |rival: &'static str| {
        Numbers::of(cells, Aim::Throughput, move |cell| cell.speed_over(rival))
    };
    // Where little server time is wanted the device answers most of the calls, and sends nothing.
    let is_sent = |cell: &Cell| cell.late_cut_wins && cell.key.aim != Aim::Onloading;
    let saved = |cell: &Cell| cell.bytes_saved().filter(|_| is_sent(cell));
    let regret = |at_one_rate: bool| {
        Numbers::of(cells, Aim::Latency, move |cell| {
            let counts = cell.key.rate_mbit.is_some() == at_one_rate;
            cell.regret().filter(|_| counts)
        })
    };
    vec![
        best(
            "Frames a second over the device alone, best cell",
            SPEED_OVER_DEVICE,
            &speed("device_only"),
        ),
        best(
            "Frames a second over Neurosurgeon, best cell",
            SPEED_OVER_NEUROSURGEON,
            &speed("neurosurgeon"),
        ),
        every_speed(&Numbers::of(cells, Aim::Throughput, speed_over_best)),
        best(
            "Fewer bytes than the raw photo, best cell where a late cut wins",
            BYTES_SAVED,
            &Numbers::of_any(cells, saved),
        ),
        every_regret(
            "Mean latency over the oracle's, every fixed rate",
            REGRET_AT_ONE_RATE,
            &regret(true),
        ),
        every_regret(
            "Mean latency over the oracle's, every trace",
            REGRET_ON_TRACES,
            &regret(false),
        ),
        limit_kept(cells),
        drop_kept(cells),
    ]
}

/// Frames a second of `DynO` over those of the best rival.
pub(super) fn speed_over_best(cell: &Cell) -> Option<f64> {
    let speeds = rivals().filter_map(|rival| cell.speed_over(rival.name));
    speeds.min_by(f64::total_cmp)
}

/// Share of the calls that missed a limit that another plan would have kept.
pub(super) fn avoidable_share(cell: &Cell) -> Option<f64> {
    let dyno = cell.policy("dyno")?;
    let avoidable = dyno.avoidable_violations.unwrap_or(0);
    Some(avoidable as f64 / dyno.calls.max(1) as f64)
}

fn best(what: &'static str, least: f64, numbers: &Numbers<'_>) -> Target {
    let found = numbers.greatest();
    target(what, format!("at least {least} ×"), found, |value| {
        (
            format!("{value:.1} ×"),
            value >= least - SLACK,
            format!(
                "; geometric mean {:.2} ×, {} reach it",
                numbers.geometric_mean(),
                numbers.count(|n| n >= least - SLACK)
            ),
        )
    })
}

fn every_speed(numbers: &Numbers<'_>) -> Target {
    let least = SPEED_OVER_BEST;
    let what = "Frames a second over the best rival, worst cell";
    let wanted = format!("at least {least} ×");
    target(what, wanted, numbers.least(), |value| {
        (
            format!("{value:.3} ×"),
            value >= least - SLACK,
            format!(
                "; geometric mean {:.2} ×, {} below",
                numbers.geometric_mean(),
                numbers.count(|n| n < least - SLACK)
            ),
        )
    })
}

fn every_regret(what: &'static str, most: f64, numbers: &Numbers<'_>) -> Target {
    let wanted = format!("at most {most} ×");
    target(what, wanted, numbers.greatest(), |value| {
        (
            format!("{value:.3} ×"),
            value <= most + SLACK,
            format!(
                "; geometric mean {:.3} ×, {} above",
                numbers.geometric_mean(),
                numbers.count(|n| n > most + SLACK)
            ),
        )
    })
}

/// The 100 ms of onloading, where a fixed plan keeps them: elsewhere a link that nobody can foresee
/// decides, and an oracle that can is no measure.
fn limit_kept(cells: &[Cell]) -> Target {
    let all = Numbers::of(cells, Aim::Onloading, avoidable_share);
    let numbers = Numbers::of(cells, Aim::Onloading, |cell| {
        avoidable_share(cell).filter(|_| can_keep_limits(cell))
    });
    let of_dyno = numbers.0.iter().filter_map(|(_, cell)| cell.policy("dyno"));
    let (count, over, avoidable) = of_dyno.fold((0, 0, 0), |sums, dyno| {
        (
            sums.0 + dyno.calls,
            sums.1 + dyno.limit_violations,
            sums.2 + dyno.avoidable_violations.unwrap_or(0),
        )
    });
    let what = "Calls beyond 100 ms that another plan would have kept, worst cell that can be kept";
    let wanted = format!("at most {:.0} %", 100.0 * AVOIDABLE_SHARE);
    let is_above = |n: f64| n > AVOIDABLE_SHARE + SLACK;
    target(what, wanted, numbers.greatest(), |value| {
        (
            format!("{:.1} %", 100.0 * value),
            !is_above(value),
            format!(
                "; {} above; of {count} calls in these cells, {over} took longer, {avoidable} of them \
                 avoidably; in all, where no fixed plan keeps it either, {} above",
                numbers.count(is_above),
                all.count(is_above)
            ),
        )
    })
}

/// Whether a fixed plan breaks the limits in no more than one of a hundred calls.
fn can_keep_limits(cell: &Cell) -> bool {
    let fixed = cell.policy("static_best");
    fixed.is_some_and(|p| p.limit_violations as f64 <= AVOIDABLE_SHARE * p.calls as f64)
}

/// The loss of accuracy, of whatever aim.
fn drop_kept(cells: &[Cell]) -> Target {
    let drop = |cell: &Cell| cell.policy("dyno")?.accuracy_drop_pp;
    let numbers = Numbers::of_any(cells, drop);
    let what = "Bound of the accuracy lost, worst cell";
    let wanted = format!("at most {DROP_PP} pp");
    target(what, wanted, numbers.greatest(), |value| {
        let over = numbers.count(|n| n > DROP_PP + SLACK);
        let met = value <= DROP_PP + SLACK;
        (format!("{value:.2} pp"), met, format!("; {over} above"))
    })
}

/// `say` gives the number in words, whether it is enough, and what else is to be known.
fn target(
    what: &'static str,
    wanted: String,
    found: Option<(f64, &Cell)>,
    say: impl Fn(f64) -> (String, bool, String),
) -> Target {
    let Some((value, cell)) = found else {
        return Target {
            what,
            wanted,
            value: None,
            found: "–".into(),
            met: None,
            detail: "no cell is about it".into(),
        };
    };
    let (found, met, more) = say(value);
    Target {
        what,
        wanted,
        value: Some(value),
        found,
        met: Some(met),
        detail: cell.key.place() + &more,
    }
}

impl Target {
    /// Whether it was met, in a word or two.
    pub(super) fn verdict(&self) -> &'static str {
        match self.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "not asked",
        }
    }
}

/// For people.
pub(super) fn table(targets: &[Target]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["target", "wanted", "found", "", "where"]);
    for t in targets {
        table.add_row([t.what, &t.wanted, &t.found, t.verdict(), &t.detail]);
    }
    table
}
