//! Curves: colours, dashes, and the shapes of their points.

use super::scale::{Agreement, Bytes};
use super::{Escaped, Row, Svg};

/// Okabe and Ito's colours, without yellow, which is too light on white.
pub(in crate::bench) const COLOURS: [&str; 6] = [
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
];
/// Greys and dashes of photos' curves.
const PHOTO_STROKES: [(&str, &str); 4] = [
    ("#666", "none"),
    ("#999", "5 3"),
    ("#666", "1.5 2.5"),
    ("#999", "8 3 2 3"),
];
/// Half the size of a point.
const RADIUS: f64 = 2.6;

/// One measured packing.
pub(super) struct Point {
    levels: u32,
    bytes: f64,
    agreement: f64,
    /// What a reader sees who points at it.
    note: String,
}

impl Point {
    pub(super) fn new(row: &Row) -> Self {
        let levels = row.levels.map(|n| format!(", {n} levels"));
        Self {
            levels: row.levels.unwrap_or(u32::MAX),
            bytes: row.bytes_mean,
            agreement: row.agreement,
            note: format!(
                "{}{}: {:.0} bytes, agreement {:.4}",
                row.codec,
                levels.unwrap_or_default(),
                row.bytes_mean,
                row.agreement
            ),
        }
    }
}

/// The packings of one codec.
pub(super) struct Curve {
    pub(super) codec: String,
    pub(super) photo: bool,
    /// Which of the colours, dashes and shapes.
    pub(super) style: usize,
    pub(super) points: Vec<Point>,
}

impl Curve {
    pub(super) fn of_codec(codec: &str, style: usize) -> Self {
        Self {
            codec: codec.to_owned(),
            photo: false,
            style,
            points: Vec::new(),
        }
    }

    pub(super) fn of_photos(codec: &str, style: usize) -> Self {
        Self {
            photo: true,
            ..Self::of_codec(codec, style)
        }
    }

    /// Fewer levels first; at the same levels fewer bytes.
    pub(super) fn sort(&mut self) {
        self.points
            .sort_by(|a, b| a.levels.cmp(&b.levels).then(a.bytes.total_cmp(&b.bytes)));
    }

    /// Name in the key.
    pub(super) fn label(&self) -> String {
        if self.photo {
            format!("photo as {}", self.codec)
        } else {
            self.codec.clone()
        }
    }

    /// The line and its points.
    pub(super) fn draw(&self, svg: &mut Svg, bytes: &Bytes, agreement: &Agreement) {
        let at = |p: &Point| (bytes.x(p.bytes), agreement.y(p.agreement));
        let line: Vec<String> = self
            .points
            .iter()
            .map(at)
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        self.draw_line(svg, &line.join(" "));
        for point in &self.points {
            let (x, y) = at(point);
            svg.add(format_args!(
                "<path d=\"{}\" fill=\"{}\"><title>{}</title></path>",
                self.shape(x, y),
                self.colour(),
                Escaped(&point.note)
            ));
        }
    }

    /// A short piece of it, for the key.
    pub(super) fn draw_sample(&self, svg: &mut Svg, x: f64, y: f64, width: f64) {
        self.draw_line(svg, &format!("{x:.1},{y:.1} {:.1},{y:.1}", x + width));
        svg.add(format_args!(
            "<path d=\"{}\" fill=\"{}\"/>",
            self.shape(x + width / 2.0, y),
            self.colour()
        ));
    }

    fn draw_line(&self, svg: &mut Svg, points: &str) {
        svg.add(format_args!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.4\" \
             stroke-linejoin=\"round\" stroke-dasharray=\"{}\"/>",
            self.colour(),
            self.dash()
        ));
    }

    fn colour(&self) -> &'static str {
        if self.photo {
            PHOTO_STROKES[self.style % PHOTO_STROKES.len()].0
        } else {
            COLOURS[self.style % COLOURS.len()]
        }
    }

    /// Codecs beyond the colours are dashed.
    fn dash(&self) -> &'static str {
        if self.photo {
            PHOTO_STROKES[self.style % PHOTO_STROKES.len()].1
        } else if self.style < COLOURS.len() {
            "none"
        } else {
            "4 2"
        }
    }

    /// Circle, square, triangle or diamond: colour is not all that tells curves apart.
    fn shape(&self, x: f64, y: f64) -> String {
        let r = RADIUS;
        match self.style % 4 {
            0 => format!(
                "M{:.1} {y:.1}a{r} {r} 0 1 0 {:.1} 0a{r} {r} 0 1 0 -{:.1} 0z",
                x - r,
                2.0 * r,
                2.0 * r
            ),
            1 => format!(
                "M{:.1} {:.1}h{s:.1}v{s:.1}h-{s:.1}z",
                x - r,
                y - r,
                s = 2.0 * r
            ),
            2 => format!(
                "M{x:.1} {:.1}l{:.1} {s:.1}h-{w:.1}z",
                y - 1.2 * r,
                1.25 * r,
                s = 2.2 * r,
                w = 2.5 * r
            ),
            _ => format!(
                "M{x:.1} {:.1}l{d:.1} {d:.1}l-{d:.1} {d:.1}l-{d:.1} -{d:.1}z",
                y - 1.3 * r,
                d = 1.3 * r
            ),
        }
    }
}
