//! Tables of one number a cell, coloured by how good it is: links down, bundles and devices across.

use super::super::plot::{Escaped, Svg};
use super::cell::Cell;
use super::grid::{Aim, Grid};

/// A number's text, its colour and what is said of it to a reader who points at it.
pub(super) struct Shade {
    pub(super) text: String,
    pub(super) class: &'static str,
    pub(super) note: String,
}

/// Colours by the least number that has them, in ascending order.
pub(super) type Steps = [(f64, &'static str, &'static str)];

/// How far above the oracle.
pub(super) const REGRET: &Steps = &[
    (0.0, "h0", "up to 1.02"),
    (1.02, "h1", "up to 1.05"),
    (1.05, "h2", "up to 1.15"),
    (1.15, "h3", "up to 1.5"),
    (1.5, "h4", "above 1.5"),
];
/// How far above the best rival, or below it.
pub(super) const GAIN: &Steps = &[
    (0.0, "h4", "below 0.97"),
    (0.97, "g0", "0.97 to 1.03"),
    (1.03, "g1", "to 1.2"),
    (1.2, "g2", "to 2"),
    (2.0, "g3", "to 4"),
    (4.0, "g4", "4 or more"),
];
/// Share of calls.
pub(super) const SHARE: &Steps = &[
    (-1.0, "h0", "none"),
    (1e-9, "h1", "up to 2 %"),
    (0.02, "h2", "up to 5 %"),
    (0.05, "h3", "up to 20 %"),
    (0.2, "h4", "above 20 %"),
];

/// The class of a number.
pub(super) fn class(steps: &Steps, number: f64) -> &'static str {
    let step = steps.iter().rev().find(|step| number >= step.0);
    step.map_or("h0", |step| step.1)
}

/// What the colours mean.
pub(super) fn key(steps: &Steps) -> String {
    let spans = steps
        .iter()
        .map(|(_, class, words)| format!("<span class=\"{class}\">{}</span>", Escaped(words)));
    format!(
        "<p class=\"key\">{}</p>",
        spans.collect::<Vec<_>>().join(" ")
    )
}

/// The table of one aim.
pub(super) fn table(
    grid: &Grid,
    cells: &[Cell],
    aim: Aim,
    shade: impl Fn(&Cell) -> Option<Shade>,
) -> String {
    let devices = grid.slowdowns.len();
    let groups = grid.models.iter().map(|model| {
        let name = Escaped(&model.name);
        format!("<th class=\"group\" colspan=\"{devices}\">{name}</th>")
    });
    let slowdowns = grid.slowdowns.iter().enumerate();
    let slowdowns = slowdowns.map(|(index, x)| format!("<th{}>×{x}</th>", first(index, "")));
    let slowdowns = slowdowns.collect::<Vec<_>>().concat();
    let mut text = Svg::default();
    text.add(format_args!(
        "<div class=\"wide\"><table class=\"heat\">\n<thead><tr><th></th>{}</tr>\n<tr><th>device slower \
         by</th>{}</tr></thead>\n<tbody>",
        groups.collect::<Vec<_>>().concat(),
        slowdowns.repeat(grid.models.len())
    ));
    for (link, rtt_ms) in grid.ways() {
        let mut row = Vec::new();
        for model in &grid.models {
            for (index, &slowdown) in grid.slowdowns.iter().enumerate() {
                let cell = cells.iter().find(|cell| {
                    let key = &cell.key;
                    key.aim == aim
                        && key.model == model.name
                        && key.slowdown.total_cmp(&slowdown).is_eq()
                        && key.link == link.name
                        && key.rtt_ms.total_cmp(&rtt_ms).is_eq()
                });
                row.push(match cell.and_then(&shade) {
                    Some(shade) => format!(
                        "<td{} title=\"{}\">{}</td>",
                        first(index, shade.class),
                        Escaped(&shade.note),
                        Escaped(&shade.text)
                    ),
                    None => format!("<td{}>–</td>", first(index, "")),
                });
            }
        }
        let rtt = match grid.rtts_ms.as_slice() {
            [_] => String::new(),
            _ => format!(", {rtt_ms} ms"),
        };
        let name = Escaped(&link.name);
        text.add(format_args!(
            "<tr><th>{name}{rtt}</th>{}</tr>",
            row.concat()
        ));
    }
    text.add(format_args!("</tbody></table></div>"));
    text.0
}

/// The attribute of a cell, with a rule before the first of a bundle.
fn first(index: usize, class: &str) -> String {
    let classes = [class, if index == 0 { "first" } else { "" }];
    let classes: Vec<&str> = classes.into_iter().filter(|c| !c.is_empty()).collect();
    if classes.is_empty() {
        return String::new();
    }
    format!(" class=\"{}\"", classes.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_the_colour_of_its_step() {
        for (number, expected) in [(0.99, "h0"), (1.03, "h1"), (1.05, "h2"), (9.0, "h4")] {
            assert_eq!(class(REGRET, number), expected);
        }
        assert_eq!(class(GAIN, 0.96), "h4");
        assert_eq!(class(GAIN, 1.0), "g0");
        assert_eq!(class(SHARE, 0.0), "h0");
        assert_eq!(class(SHARE, 0.001), "h1");
    }
}
