//! The grid of panels, their frames and their axes.

use super::marks::Curve;
use super::scale::{Agreement, Bytes, TICK_PX, Tick};
use super::{Cut, Svg};

const GAP_X: f64 = 16.0;
/// Above each panel: its name.
const HEAD: f64 = 26.0;
const HEAD_BASELINE: f64 = 7.0;
/// From the panels to the ticks' text, and to the axes' titles.
const TICK_TEXT: f64 = 6.0;
const X_TITLE: f64 = 42.0;
const Y_TITLE: f64 = 54.0;

/// All panels, of one size.
pub(super) struct Panels {
    cuts: Vec<Cut>,
    columns: usize,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Panels {
    /// A panel a cut; one for the photos where there is nothing else.
    pub(super) fn new(mut cuts: Vec<Cut>) -> Self {
        if cuts.is_empty() {
            cuts.push(Cut {
                index: 0,
                elements: 0,
                curves: Vec::new(),
            });
        }
        // Few panels are large, many are small.
        let (columns, width, height) = match cuts.len() {
            1 => (1, 620.0, 380.0),
            2..=4 => (2, 400.0, 260.0),
            5..=9 => (3, 300.0, 200.0),
            10..=16 => (4, 240.0, 175.0),
            17..=25 => (5, 210.0, 165.0),
            _ => (6, 200.0, 165.0),
        };
        Self {
            cuts,
            columns,
            width,
            height,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.cuts.len()
    }

    pub(super) fn curves(&self) -> impl Iterator<Item = &Curve> {
        self.cuts.iter().flat_map(|cut| &cut.curves)
    }

    pub(super) fn total_width(&self) -> f64 {
        let columns = self.columns as f64;
        columns * self.width + (columns - 1.0) * GAP_X
    }

    pub(super) fn total_height(&self) -> f64 {
        self.cuts.len().div_ceil(self.columns) as f64 * (self.height + HEAD)
    }

    /// Everything inside the axes, with the axes and their titles.
    pub(super) fn draw(
        &self,
        svg: &mut Svg,
        (left, top): (f64, f64),
        (bytes, agreement): (&Bytes, &Agreement),
        photos: &[Curve],
    ) {
        let (x_ticks, y_ticks) = (bytes.ticks(), agreement.ticks());
        // What all panels share is written once.
        svg.add(format_args!("<defs><g id=\"shared\">"));
        self.draw_frame(svg, (&x_ticks, &y_ticks), agreement);
        for curve in photos {
            curve.draw(svg, bytes, agreement);
        }
        svg.add(format_args!("</g></defs>"));
        for (i, cut) in self.cuts.iter().enumerate() {
            let (column, row) = (i % self.columns, i / self.columns);
            let x = left + column as f64 * (self.width + GAP_X);
            let y = top + row as f64 * (self.height + HEAD) + HEAD;
            svg.add(format_args!("<g transform=\"translate({x:.1} {y:.1})\">"));
            svg.add(format_args!(
                "<text y=\"-{HEAD_BASELINE}\"><tspan font-weight=\"600\">cut {}</tspan>{}</text>",
                cut.index,
                elements(cut.elements)
            ));
            svg.add(format_args!("<use href=\"#shared\"/>"));
            for curve in &cut.curves {
                curve.draw(svg, bytes, agreement);
            }
            if column == 0 {
                draw_y_labels(svg, &y_ticks);
            }
            if i + self.columns >= self.cuts.len() {
                self.draw_x_labels(svg, &x_ticks);
            }
            svg.add(format_args!("</g>"));
        }
        let (width, height) = (self.total_width(), self.total_height());
        svg.add(format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">bytes sent for a photo (mean, \
             logarithmic)</text>",
            left + width / 2.0,
            top + height + X_TITLE
        ));
        svg.add(format_args!(
            "<text transform=\"translate({:.1} {:.1}) rotate(-90)\" text-anchor=\"middle\">\
             agreement with the unsplit model (share of photos)</text>",
            left - Y_TITLE,
            top + HEAD + (height - HEAD) / 2.0
        ));
    }

    fn draw_frame(&self, svg: &mut Svg, ticks: (&[Tick], &[Tick]), agreement: &Agreement) {
        let (width, height) = (self.width, self.height);
        let down = ticks
            .0
            .iter()
            .map(|tick| format!("M{:.1} 0V{height}", tick.at));
        let across = ticks
            .1
            .iter()
            .map(|tick| format!("M0 {:.1}H{width}", tick.at));
        let lines: String = down.chain(across).collect();
        svg.add(format_args!(
            "<path d=\"{lines}\" stroke=\"#e6e6e6\" fill=\"none\"/>"
        ));
        // The axis is broken between complete agreement and the rest.
        let (one, rest) = (ticks.1.first().map_or(0.0, |t| t.at), agreement.least_y());
        svg.add(format_args!(
            "<path d=\"M0 0V{one:.1}M0 {rest:.1}V{height}H{width}\" stroke=\"#888\" fill=\"none\"/>\
             <path d=\"M0 {one:.1}V{rest:.1}\" stroke=\"#888\" stroke-dasharray=\"2 3\" \
             fill=\"none\"/>"
        ));
    }

    fn draw_x_labels(&self, svg: &mut Svg, ticks: &[Tick]) {
        for tick in ticks {
            svg.add(format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"{TICK_PX}\" text-anchor=\"middle\" \
                 fill=\"#555\">{}</text>",
                tick.at,
                self.height + TICK_TEXT + TICK_PX,
                tick.label
            ));
        }
    }
}

fn draw_y_labels(svg: &mut Svg, ticks: &[Tick]) {
    for tick in ticks {
        svg.add(format_args!(
            "<text x=\"-{TICK_TEXT}\" y=\"{:.1}\" font-size=\"{TICK_PX}\" text-anchor=\"end\" \
             fill=\"#555\">{}</text>",
            tick.at + TICK_PX * 0.35,
            tick.label
        ));
    }
}

/// The number of elements with its thousands apart; nothing where there are only photos.
fn elements(n: usize) -> String {
    if n == 0 {
        return String::new();
    }
    let digits = n.to_string();
    let mut text = String::from(" · ");
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + " elements"
}
