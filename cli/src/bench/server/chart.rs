//! Pictures of a run: panels beside each other, in a file of their own that refers to nothing.

use super::super::axis::{Log, Tick, linear_ticks};
use super::super::plot::{COLOURS, Escaped, Svg, text_width};

const WIDTH: f64 = 470.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 22.0;
/// Above the lines: the panel's name and its key.
const TOP: f64 = 66.0;
const BOTTOM: f64 = 50.0;
/// Above the panels: the picture's title.
const HEAD: f64 = 44.0;
const TEXT_PX: f64 = 12.0;
/// Least distance of ticks upwards.
const TICK_ROW: f64 = 18.0;
/// A line of more points has none drawn.
const MOST_DOTS: usize = 60;
/// The highest number of a linear axis is this share of it.
const ROOM: f64 = 1.08;

/// One panel.
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) x_title: &'static str,
    /// Whether the upward axis is logarithmic; it begins at 0 otherwise.
    pub(super) logarithmic: bool,
    pub(super) lines: Vec<Line>,
    /// A number that all others are compared with, and its name.
    pub(super) level: Option<(f64, &'static str)>,
}

/// Points in ascending order of their first number.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// All panels as one picture.
pub(super) fn svg(title: &str, panels: &[Panel]) -> String {
    let width = WIDTH * panels.len().max(1) as f64;
    let height = HEAD + HEIGHT;
    let mut svg = Svg::default();
    svg.add(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\" \
         font-family=\"system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', \
         sans-serif\" font-size=\"{TEXT_PX}\" fill=\"#222\">\n<title>{0}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"14\" y=\"28\" font-size=\"16\" font-weight=\"600\">{0}</text>",
        Escaped(title)
    ));
    for (i, panel) in panels.iter().enumerate() {
        svg.add(format_args!(
            "<g transform=\"translate({:.0} {HEAD})\">",
            i as f64 * WIDTH
        ));
        panel.draw(&mut svg);
        svg.add(format_args!("</g>"));
    }
    svg.add(format_args!("</svg>"));
    svg.0
}

impl Panel {
    fn draw(&self, svg: &mut Svg) {
        let axes = Axes::of(self);
        svg.add(format_args!(
            "<text x=\"14\" y=\"16\" font-weight=\"600\">{}</text>",
            Escaped(&self.title)
        ));
        self.key(svg);
        axes.draw(svg, self.x_title);
        if let Some((level, name)) = self.level {
            let y = axes.y(level);
            svg.add(format_args!(
                "<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke=\"#666\" stroke-dasharray=\"5 3\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{}</text>",
                WIDTH - RIGHT,
                WIDTH - RIGHT,
                y - 5.0,
                Escaped(name)
            ));
        }
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let points: Vec<(f64, f64)> = line
                .points
                .iter()
                .map(|&(x, y)| (axes.x(x), axes.y(y)))
                .collect();
            let path: Vec<String> = points
                .iter()
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            svg.add(format_args!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" \
                 stroke-linejoin=\"round\"/>",
                path.join(" ")
            ));
            let dots = if points.len() <= MOST_DOTS {
                points.len()
            } else {
                0
            };
            for ((x, y), (at, number)) in points.iter().zip(&line.points).take(dots) {
                svg.add(format_args!(
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\" fill=\"{colour}\"><title>{}: \
                     {number:.2} at {at:.1}</title></circle>",
                    Escaped(line.name)
                ));
            }
        }
    }

    /// Names of the lines, one after the other.
    fn key(&self, svg: &mut Svg) {
        let mut x = 14.0;
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            svg.add(format_args!(
                "<path d=\"M{x:.1} 34h16\" stroke=\"{colour}\" stroke-width=\"2\"/><text \
                 x=\"{:.1}\" y=\"38\">{}</text>",
                x + 20.0,
                Escaped(line.name)
            ));
            x += 20.0 + text_width(line.name, TEXT_PX) + 16.0;
        }
    }
}

/// Where numbers lie in a panel.
struct Axes {
    most_x: f64,
    y: Upward,
}

enum Upward {
    Logarithmic(Log),
    /// From 0 to this.
    Linear(f64),
}

impl Axes {
    fn of(panel: &Panel) -> Self {
        let points = || panel.lines.iter().flat_map(|line| &line.points);
        let level = || panel.level.iter().map(|level| level.0);
        let most = |numbers: &mut dyn Iterator<Item = f64>| {
            let most = numbers.filter(|n| n.is_finite()).fold(0.0, f64::max);
            if most > 0.0 { most } else { 1.0 }
        };
        let length = HEIGHT - TOP - BOTTOM;
        let heights = || points().map(|point| point.1).chain(level());
        Self {
            most_x: ROOM * most(&mut points().map(|point| point.0)),
            y: if panel.logarithmic {
                Upward::Logarithmic(Log::new(heights(), length).padded())
            } else {
                Upward::Linear(ROOM * most(&mut heights()))
            },
        }
    }

    fn x(&self, number: f64) -> f64 {
        LEFT + (number / self.most_x).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, number: f64) -> f64 {
        let length = HEIGHT - TOP - BOTTOM;
        let above = match &self.y {
            Upward::Logarithmic(log) => log.at(number),
            Upward::Linear(most) => (number / most).clamp(0.0, 1.0) * length,
        };
        HEIGHT - BOTTOM - above
    }

    fn draw(&self, svg: &mut Svg, x_title: &str) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let upward: Vec<Tick> = match &self.y {
            Upward::Logarithmic(log) => log.ticks(TICK_ROW),
            Upward::Linear(most) => linear_ticks(*most, bottom - TOP),
        };
        for tick in upward {
            let y = bottom - tick.at;
            svg.add(format_args!(
                "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#e6e6e6\"/><text x=\"{:.1}\" \
                 y=\"{:.1}\" text-anchor=\"end\" font-size=\"11\" fill=\"#555\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                tick.label
            ));
        }
        for tick in linear_ticks(self.most_x, right - LEFT) {
            let x = LEFT + tick.at;
            svg.add(format_args!(
                "<path d=\"M{x:.1} {bottom}v4\" stroke=\"#888\"/><text x=\"{x:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\" font-size=\"11\" fill=\"#555\">{}</text>",
                bottom + 16.0,
                tick.label
            ));
        }
        svg.add(format_args!(
            "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" stroke=\"#888\" fill=\"none\"/><text \
             x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, right),
            bottom + 36.0,
            Escaped(x_title)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(points: Vec<(f64, f64)>, logarithmic: bool) -> Panel {
        Panel {
            title: "a < b".into(),
            x_title: "offered",
            logarithmic,
            lines: vec![Line {
                name: "p50",
                points,
            }],
            level: Some((4.0, "capacity")),
        }
    }

    #[test]
    fn any_numbers_make_a_picture_that_is_xml() {
        for points in [
            vec![],
            vec![(0.0, 0.0)],
            vec![(1.0, f64::NAN), (2.0, f64::INFINITY)],
            vec![(10.0, 1.0), (20.0, 3.0), (60.0, 500.0)],
        ] {
            for logarithmic in [true, false] {
                let picture = svg("load & goodput", &[panel(points.clone(), logarithmic)]);
                roxmltree::Document::parse(&picture).unwrap();
            }
        }
    }

    #[test]
    fn more_is_higher_and_later_is_further_right() {
        for logarithmic in [true, false] {
            let axes = Axes::of(&panel(vec![(10.0, 1.0), (60.0, 500.0)], logarithmic));
            assert!(axes.x(10.0) < axes.x(60.0) && axes.x(60.0) < WIDTH - RIGHT);
            assert!(axes.y(1.0) > axes.y(500.0) && axes.y(500.0) > TOP);
        }
    }
}
