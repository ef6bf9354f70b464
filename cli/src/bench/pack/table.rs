//! The rows and their summary for people.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};

use super::row::Row;
use super::summary::{Choice, Summary};

/// Every row.
pub(super) fn rows(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "cut",
        "elements",
        "levels",
        "codec",
        "images",
        "bytes",
        "95 % within",
        "agreement",
        "drop pp",
        "pack MB/s",
        "unpack MB/s",
    ]);
    for row in rows {
        let levels = match row.levels {
            Some(levels) => levels.to_string(),
            None if row.is_photo() => String::new(),
            None => "fp32".to_owned(),
        };
        table.add_row([
            row.cut.to_string(),
            row.elements.to_string(),
            levels,
            row.codec.clone(),
            row.images.to_string(),
            format!("{:.0}", row.bytes_mean),
            row.bytes_p95.to_string(),
            format!("{:.4}", row.agreement),
            row.accuracy_drop_pp
                .map_or_else(String::new, |pp| format!("{pp:.2}")),
            format!("{:.0}", row.pack_mb_s),
            format!("{:.0}", row.unpack_mb_s),
        ]);
    }
    right_aligned(table, &[0, 1, 2, 4, 5, 6, 7, 8, 9, 10])
}

/// The comparisons.
pub(super) fn summary(summary: &Summary) -> String {
    let mut text = String::new();
    for one in &summary.equal_agreement {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["cut", "bytes", "sent as", "bytes", "the paper's", "ratio"]);
        for cut in &one.cuts {
            table.add_row([
                cut.cut.to_string(),
                format!("{:.0}", cut.best.bytes_mean),
                sent_as(&cut.best),
                format!("{:.0}", cut.paper.bytes_mean),
                sent_as(&cut.paper),
                format!("{:.3}", cut.ratio),
            ]);
        }
        let mean =
            |ratio: Option<f64>| ratio.map_or_else(|| "no cut".to_owned(), |r| format!("{r:.3}"));
        let _ = writeln!(
            text,
            "fewest bytes at an agreement of {} or more, geometric mean {} of the paper's ({} without \
             shaping):\n{}\n",
            one.target,
            mean(one.ratio),
            mean(one.plain_ratio),
            right_aligned(table, &[0, 1, 3, 5])
        );
    }
    for one in &summary.equal_levels {
        let levels: Vec<String> = one
            .by_levels
            .iter()
            .map(|(levels, ratio)| format!("{ratio:.3} at {levels}"))
            .collect();
        let _ = writeln!(
            text,
            "{} over {} at equal levels: {:.3} ({}); worst {:.3} at cut {}, {} levels",
            one.codec,
            one.over,
            one.ratio,
            levels.join(", "),
            one.worst.ratio,
            one.worst.cut,
            one.worst.levels
        );
    }
    text.trim_end().to_owned()
}

fn sent_as(choice: &Choice) -> String {
    match choice.levels {
        Some(levels) => format!("{levels} levels, {}", choice.codec),
        None => choice.codec.clone(),
    }
}

fn right_aligned(mut table: Table, columns: &[usize]) -> String {
    for &column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}
