//! How the codecs compare: fewest bytes at equal agreement, and bytes at equal precision.

use std::collections::BTreeMap;

use dyno_core::schedule::{Codec, Quantisation};
use serde::Serialize;

use super::row::Row;

/// Agreements at which bytes are compared.
const TARGETS: [f64; 2] = [0.98, 0.95];
/// Levels at which they are.
const EQUAL_LEVELS: [u32; 4] = [4, 8, 16, 64];
/// The paper's codec; it knows powers of two only.
const PAPER: &str = "lz4";

/// What the rows come to.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    pub(super) equal_agreement: Vec<EqualAgreement>,
    pub(super) equal_levels: Vec<EqualLevels>,
}

/// Fewest bytes that hold an agreement, against the paper's recipe.
#[derive(Debug, Serialize)]
pub(super) struct EqualAgreement {
    pub(super) target: f64,
    /// Geometric mean of the ratios.
    pub(super) ratio: Option<f64>,
    /// The same of codecs that quantise as the paper's does.
    pub(super) plain_ratio: Option<f64>,
    pub(super) cuts: Vec<CutRatio>,
}

#[derive(Debug, Serialize)]
pub(super) struct CutRatio {
    pub(super) cut: usize,
    pub(super) best: Choice,
    /// Of the codecs that quantise as the paper's does.
    pub(super) plain: Choice,
    pub(super) paper: Choice,
    pub(super) ratio: f64,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Choice {
    pub(super) codec: String,
    pub(super) levels: Option<u32>,
    pub(super) bytes_mean: f64,
}

/// Bytes of one codec over those of another, at the same levels.
#[derive(Debug, Serialize)]
pub(super) struct EqualLevels {
    pub(super) codec: String,
    pub(super) over: String,
    /// Geometric mean over cuts and levels.
    pub(super) ratio: f64,
    /// By levels.
    pub(super) by_levels: BTreeMap<u32, f64>,
    pub(super) worst: Cell,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Cell {
    pub(super) cut: usize,
    pub(super) levels: u32,
    pub(super) ratio: f64,
}

impl Summary {
    pub(super) fn of(rows: &[Row]) -> Self {
        let codecs: Vec<&str> = {
            let mut names: Vec<&str> = rows
                .iter()
                .filter(|row| row.levels.is_some() && quantises_plainly(&row.codec))
                .map(|row| row.codec.as_str())
                .collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        let pairs = codecs.iter().flat_map(|&codec| {
            let others = [PAPER, "zstd"]
                .into_iter()
                .filter(move |&over| over != codec);
            others.map(move |over| (codec, over))
        });
        Self {
            equal_agreement: TARGETS.map(|target| equal_agreement(rows, target)).into(),
            equal_levels: pairs
                .filter(|(codec, _)| *codec != "raw" && *codec != PAPER)
                .filter_map(|(codec, over)| equal_levels(rows, codec, over))
                .collect(),
        }
    }
}

/// Over the cuts at which the paper's recipe holds the target, cut 0 only if a tensor is sent there.
fn equal_agreement(rows: &[Row], target: f64) -> EqualAgreement {
    let mut cuts: BTreeMap<usize, Vec<&Row>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.agreement >= target) {
        cuts.entry(row.cut).or_default().push(row);
    }
    let cheapest = |rows: &[&Row], may: &dyn Fn(&Row) -> bool| {
        let rows = rows.iter().filter(|row| may(row));
        let row = rows.min_by(|a, b| a.bytes_mean.total_cmp(&b.bytes_mean))?;
        Some(Choice {
            codec: row.codec.clone(),
            levels: row.levels,
            bytes_mean: row.bytes_mean,
        })
    };
    let is_papers = |row: &Row| row.codec == PAPER && row.levels.is_none_or(u32::is_power_of_two);
    let compared = cuts.iter().filter_map(|(&cut, rows)| {
        let best = cheapest(rows, &|_| true)?;
        let plain = cheapest(rows, &|row| row.codec != Codec::Shaped.as_str())?;
        let paper = cheapest(rows, &is_papers)?;
        Some(CutRatio {
            cut,
            ratio: best.bytes_mean / paper.bytes_mean,
            best,
            plain,
            paper,
        })
    });
    let cuts: Vec<CutRatio> = compared.collect();
    EqualAgreement {
        target,
        ratio: geometric_mean(cuts.iter().map(|cut| cut.ratio)),
        plain_ratio: geometric_mean(
            cuts.iter()
                .map(|cut| cut.plain.bytes_mean / cut.paper.bytes_mean),
        ),
        cuts,
    }
}

/// Codecs that quantise in another way than the paper's do not carry the same at the same levels.
fn quantises_plainly(codec: &str) -> bool {
    let codec = codec.parse::<Codec>();
    codec.is_ok_and(|codec| codec.quantisation() == Quantisation::Plain)
}

fn equal_levels(rows: &[Row], codec: &str, over: &str) -> Option<EqualLevels> {
    let bytes: BTreeMap<(usize, u32), f64> = rows
        .iter()
        .filter(|row| row.codec == over)
        .filter_map(|row| Some(((row.cut, row.levels?), row.bytes_mean)))
        .collect();
    let cells: Vec<Cell> = rows
        .iter()
        .filter(|row| row.codec == codec)
        .filter_map(|row| Some((row, row.levels?)))
        .filter(|(_, levels)| EQUAL_LEVELS.contains(levels))
        .filter_map(|(row, levels)| {
            Some(Cell {
                cut: row.cut,
                levels,
                ratio: row.bytes_mean / bytes.get(&(row.cut, levels))?,
            })
        })
        .collect();
    let worst = cells
        .iter()
        .max_by(|a, b| a.ratio.total_cmp(&b.ratio))?
        .clone();
    let at = |levels: u32| {
        let cells = cells.iter().filter(move |cell| cell.levels == levels);
        Some((levels, geometric_mean(cells.map(|cell| cell.ratio))?))
    };
    Some(EqualLevels {
        codec: codec.to_owned(),
        over: over.to_owned(),
        ratio: geometric_mean(cells.iter().map(|cell| cell.ratio))?,
        by_levels: EQUAL_LEVELS.into_iter().filter_map(at).collect(),
        worst,
    })
}

fn geometric_mean(ratios: impl Iterator<Item = f64>) -> Option<f64> {
    let logarithms: Vec<f64> = ratios.map(f64::ln).collect();
    if logarithms.is_empty() {
        return None;
    }
    Some((logarithms.iter().sum::<f64>() / logarithms.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cut: usize, levels: Option<u32>, codec: &str, bytes: f64, agreement: f64) -> Row {
        Row {
            cut,
            elements: 100,
            levels,
            codec: codec.to_owned(),
            packed_images: 100,
            images: 10,
            bytes_mean: bytes,
            bytes_p95: 1,
            agreement,
            accuracy_drop_pp: None,
            pack_mb_s: 1.0,
            unpack_mb_s: 1.0,
        }
    }

    #[test]
    fn the_best_that_holds_is_set_against_the_papers_best_that_does() {
        let summary = Summary::of(&[
            row(1, Some(6), "zstd", 50.0, 0.981),
            row(1, Some(6), "lz4", 70.0, 0.981),
            row(1, Some(8), "lz4", 100.0, 0.99),
            row(1, Some(4), "zstd", 20.0, 0.97),
            row(1, Some(4), "lz4", 40.0, 0.97),
            row(2, Some(4), "zstd", 40.0, 0.99),
            row(2, Some(4), "shaped", 10.0, 0.99),
            row(2, Some(4), "lz4", 80.0, 0.99),
        ]);
        let [strict, loose] = &summary.equal_agreement[..] else {
            panic!("{summary:?}");
        };
        // sqrt(50 / 100 · 10 / 80)
        assert!((strict.ratio.unwrap() - 0.25).abs() < 1e-12, "{strict:?}");
        // sqrt(50 / 100 · 40 / 80)
        assert!((strict.plain_ratio.unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(strict.cuts[0].paper.levels, Some(8));
        assert!((loose.cuts[0].ratio - 0.5).abs() < 1e-12, "{loose:?}");
    }

    #[test]
    fn at_equal_levels_the_worst_cell_is_named() {
        let summary = Summary::of(&[
            row(1, Some(4), "zstd", 50.0, 0.9),
            row(1, Some(4), "lz4", 100.0, 0.9),
            row(2, Some(8), "zstd", 200.0, 0.9),
            row(2, Some(8), "lz4", 100.0, 0.9),
            row(2, Some(7), "zstd", 1.0, 0.9),
            row(2, Some(7), "lz4", 100.0, 0.9),
        ]);
        let [one] = &summary.equal_levels[..] else {
            panic!("{summary:?}");
        };
        assert_eq!((one.codec.as_str(), one.over.as_str()), ("zstd", "lz4"));
        assert!((one.ratio - 1.0).abs() < 1e-12);
        assert_eq!((one.worst.cut, one.worst.levels), (2, 8));
    }

    #[test]
    fn without_rows_there_is_nothing_to_compare() {
        let summary = Summary::of(&[]);
        assert!(summary.equal_levels.is_empty());
        assert!(
            summary
                .equal_agreement
                .iter()
                .all(|one| one.ratio.is_none())
        );
    }
}
