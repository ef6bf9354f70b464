//! A number of every policy over the link's rate, a panel a device, both axes logarithmic.
//!
//! Every line has its name at its end: a key would have to be looked up for each of the panels.

use super::super::super::plot::{Escaped, Svg};
use super::super::policies::Policy;
use crate::bench::axis::{Log, Tick, short};

const WIDTH: f64 = 390.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 46.0;
/// Right of the lines: their names.
const RIGHT: f64 = 92.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 44.0;
/// Below the least number: where what is 0 is drawn.
const FLOOR: f64 = 16.0;
/// From one name to the next, and from a line's end to its name.
const NAME_ROW: f64 = 12.5;
const NAME_GAP: f64 = 16.0;
/// Least distance of ticks upwards.
const TICK_ROW: f64 = 22.0;

/// A policy's numbers by rate, in the order of the rates.
pub(in super::super) struct Series {
    pub(in super::super) policy: &'static Policy,
    pub(in super::super) points: Vec<(f64, f64)>,
}

/// One panel each, with the same axes, so that they can be compared.
pub(in super::super) fn panels(
    titles_and_series: &[(String, Vec<Series>)],
    y_title: &str,
) -> String {
    let all = || titles_and_series.iter().flat_map(|(_, series)| series);
    let points = || all().flat_map(|series| &series.points);
    let has_zero = points().any(|point| point.1 <= 0.0);
    let floor = if has_zero { FLOOR } else { 0.0 };
    let frame = Frame {
        x: Log::new(points().map(|point| point.0), WIDTH - LEFT - RIGHT),
        y: Log::new(points().map(|point| point.1), HEIGHT - TOP - BOTTOM - floor).padded(),
        floor,
    };
    let drawn = titles_and_series.iter().map(|(title, series)| {
        let svg = frame.draw(title, y_title, series);
        format!("<figure>{svg}</figure>\n")
    });
    format!(
        "<div class=\"panels\">\n{}</div>",
        drawn.collect::<String>()
    )
}

/// The axes that panels share.
struct Frame {
    x: Log,
    y: Log,
    floor: f64,
}

impl Frame {
    fn x(&self, rate: f64) -> f64 {
        LEFT + self.x.at(rate)
    }

    fn y(&self, number: f64) -> f64 {
        let above = if number > 0.0 {
            self.floor + self.y.at(number)
        } else {
            0.0
        };
        HEIGHT - BOTTOM - above
    }

    fn draw(&self, title: &str, y_title: &str, series: &[Series]) -> String {
        let mut svg = Svg::default();
        svg.add(format_args!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n<title>{}: {}</title>\n\
             <text class=\"name\" x=\"4\" y=\"14\">{0}</text>\n\
             <text class=\"soft\" x=\"4\" y=\"30\">{1}</text>",
            Escaped(title),
            Escaped(y_title)
        ));
        self.axes(&mut svg, series);
        for series in series {
            self.line(&mut svg, series);
        }
        self.names(&mut svg, series);
        svg.add(format_args!("</svg>"));
        svg.0
    }

    fn axes(&self, svg: &mut Svg, series: &[Series]) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let zero = (self.floor > 0.0).then(|| Tick {
            at: -self.floor,
            label: "0".into(),
        });
        for tick in self.y.ticks(TICK_ROW).into_iter().chain(zero) {
            let y = bottom - self.floor - tick.at;
            svg.add(format_args!(
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text class=\"soft\" x=\"{:.1}\" \
                 y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                tick.label
            ));
        }
        let mut rates: Vec<f64> = series
            .iter()
            .flat_map(|s| s.points.iter().map(|p| p.0))
            .collect();
        rates.sort_by(f64::total_cmp);
        rates.dedup();
        for tick in self.x.ticks_of(&rates) {
            let x = LEFT + tick.at;
            svg.add(format_args!(
                "<path class=\"axis\" d=\"M{x:.1} {bottom}v4\"/><text class=\"soft\" x=\"{x:.1}\" \
                 y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                tick.label
            ));
        }
        svg.add(format_args!(
            "<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/><text class=\"soft\" \
             x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">link, Mbit/s</text>",
            f64::midpoint(LEFT, right),
            bottom + 34.0
        ));
    }

    fn line(&self, svg: &mut Svg, series: &Series) {
        let policy = series.policy;
        let at =
            |(rate, number): &(f64, f64)| format!("{:.1},{:.1}", self.x(*rate), self.y(*number));
        let points: Vec<String> = series.points.iter().map(at).collect();
        let notes: Vec<String> = series
            .points
            .iter()
            .map(|(rate, number)| format!("{rate}: {}", note(*number)))
            .collect();
        svg.add(format_args!(
            "<g class=\"c-{name}\"><title>{name}, by Mbit/s. {}</title><polyline class=\"line {name}\" \
             points=\"{}\" stroke-dasharray=\"{}\"/></g>",
            notes.join("; "),
            points.join(" "),
            policy.dash,
            name = policy.name
        ));
    }

    /// Names at the lines' ends, moved apart where they would lie on each other.
    fn names(&self, svg: &mut Svg, series: &[Series]) {
        let ends = series.iter().filter_map(|s| Some((s, s.points.last()?)));
        let mut names: Vec<(&Policy, f64)> = ends
            .map(|(series, end)| (series.policy, self.y(end.1)))
            .collect();
        names.sort_by(|a, b| a.1.total_cmp(&b.1));
        let ends: Vec<f64> = names.iter().map(|name| name.1).collect();
        let right = WIDTH - RIGHT;
        for ((policy, end), y) in names.iter().zip(apart(&ends, TOP, HEIGHT - BOTTOM)) {
            svg.add(format_args!(
                "<path class=\"lead c-{name}\" d=\"M{:.1} {end:.1}l4 0L{:.1} {y:.1}h3\"/><text \
                 x=\"{:.1}\" y=\"{:.1}\"{}>{name}</text>",
                right + 1.0,
                right + NAME_GAP - 4.0,
                right + NAME_GAP + 2.0,
                y + 4.0,
                if policy.name == "dyno" {
                    " font-weight=\"700\""
                } else {
                    ""
                },
                name = policy.name
            ));
        }
    }
}

/// Places of one row each, as near to the wanted ones as can be; `wanted` is in ascending order.
fn apart(wanted: &[f64], low: f64, high: f64) -> Vec<f64> {
    let rows = |index: usize| index as f64 * NAME_ROW;
    let high = (high - rows(wanted.len().saturating_sub(1))).max(low);
    // Groups that touch each other: where each one's first row is wanted on the mean, and its size.
    let mut groups: Vec<(f64, usize)> = Vec::new();
    for (index, want) in wanted.iter().enumerate() {
        let mut group = (want - rows(index), 1);
        while let Some(&(first, size)) = groups.last()
            && first >= group.0
        {
            let sum = first * size as f64 + group.0 * group.1 as f64;
            group = (sum / (size + group.1) as f64, size + group.1);
            groups.pop();
        }
        groups.push(group);
    }
    let firsts = groups
        .into_iter()
        .flat_map(|(first, size)| std::iter::repeat_n(first.clamp(low, high), size));
    firsts.enumerate().map(|(i, y)| y + rows(i)).collect()
}

/// A number for a reader who points at it.
fn note(number: f64) -> String {
    match number {
        n if n >= 1e4 => short(n.round()),
        n if n >= 100.0 => format!("{n:.0}"),
        n => format!("{n:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_lie_on_each_other_and_stay_near() {
        for wanted in [
            vec![],
            vec![100.0],
            vec![50.0, 50.0, 50.0],
            vec![40.0, 100.0, 101.0, 102.0, 200.0],
            vec![250.0; 9],
            vec![40.0; 9],
        ] {
            let places = apart(&wanted, TOP, HEIGHT - BOTTOM + 8.0);
            assert_eq!(places.len(), wanted.len());
            for two in places.windows(2) {
                assert!(two[1] - two[0] >= NAME_ROW - 1e-9, "{wanted:?}: {places:?}");
            }
            assert!(
                places.iter().all(|y| (0.0..HEIGHT).contains(y)),
                "{places:?}"
            );
        }
        assert_eq!(apart(&[40.0, 200.0], TOP, HEIGHT), [40.0, 200.0]);
    }
}
