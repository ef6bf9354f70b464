//! A picture of what packing costs and what it keeps: bytes against agreement with the unsplit
//! model, a panel a cut.
//!
//! Written by hand: a plotting library would bring its own fonts and layout, and small multiples
//! with one shared key are simple enough. The SVG refers to nothing outside itself.

mod marks;
mod panel;
mod scale;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use dyno_core::schedule::PhotoCodec;

use super::pack::Row;
pub(super) use marks::COLOURS;
use marks::{Curve, Point};
use panel::Panels;
use scale::{Agreement, Bytes};

/// More cuts than this are thinned out, evenly; the picture says so.
const MAX_PANELS: usize = 60;

const MARGIN: f64 = 24.0;
/// Left of the panels: the axis' title and its ticks.
const LEFT: f64 = 84.0;
/// Below the panels: ticks and the axis' title.
const BOTTOM: f64 = 62.0;
const TITLE_Y: f64 = 34.0;
const SUBTITLE_Y: f64 = 56.0;
const KEY_Y: f64 = 82.0;
const KEY_ROW: f64 = 20.0;
const KEY_SAMPLE: f64 = 26.0;
const KEY_GAP: f64 = 22.0;
const TITLE_PX: f64 = 17.0;
const TEXT_PX: f64 = 12.0;
/// Width of a letter as a share of the font's size, generously: SVG cannot measure text.
const LETTER: f64 = 0.6;

/// The picture. Rows that are no numbers are left out.
pub(crate) fn svg(model: &str, rows: &[Row]) -> String {
    let rows: Vec<&Row> = rows
        .iter()
        .filter(|row| row.bytes_mean.is_finite() && row.agreement.is_finite())
        .collect();
    let (photos, cuts) = curves(&rows);
    let all = cuts.len().max(1);
    let panels = Panels::new(thin_out(cuts, MAX_PANELS));
    let bytes = Bytes::new(rows.iter().map(|row| row.bytes_mean), panels.width);
    let agreement = Agreement::new(rows.iter().map(|row| row.agreement), panels.height);

    let width = LEFT + panels.total_width() + MARGIN;
    let key = Key::new(panels.curves().chain(&photos), width - 2.0 * MARGIN);
    let top = KEY_Y + KEY_ROW * key.rows() - 8.0;
    let height = top + panels.total_height() + BOTTOM;

    let mut svg = Svg::default();
    svg.add(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\" \
         font-family=\"system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', \
         sans-serif\" font-size=\"{TEXT_PX}\" fill=\"#222\">\n\
         <title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>",
        Escaped(&title(model))
    ));
    let letters = (width - 2.0 * MARGIN) / (TITLE_PX * LETTER);
    svg.add(format_args!(
        "<text x=\"{MARGIN}\" y=\"{TITLE_Y}\" font-size=\"{TITLE_PX}\" font-weight=\"600\">{}</text>",
        Escaped(&shortened(&title(model), letters))
    ));
    svg.add(format_args!(
        "<text x=\"{MARGIN}\" y=\"{SUBTITLE_Y}\" fill=\"#555\">{}</text>",
        subtitle(panels.len(), all, !photos.is_empty())
    ));
    key.draw(&mut svg);
    if rows.is_empty() {
        svg.add(format_args!(
            "<text x=\"{LEFT}\" y=\"{:.1}\">nothing was measured</text>",
            top + 40.0
        ));
    } else {
        panels.draw(&mut svg, (LEFT, top), (&bytes, &agreement), &photos);
    }
    svg.add(format_args!("</svg>"));
    svg.0
}

fn title(model: &str) -> String {
    format!("{model}: bytes sent and agreement kept at each cut")
}

fn subtitle(shown: usize, all: usize, photos: bool) -> String {
    let photos = if photos {
        " Grey in every panel: the photo itself (cut 0)."
    } else {
        ""
    };
    let left_out = if shown < all {
        format!(" {shown} of {all} cuts are shown.")
    } else {
        String::new()
    };
    format!("Upper left is better.{photos}{left_out}")
}

/// The curves of one cut.
struct Cut {
    index: usize,
    elements: usize,
    curves: Vec<Curve>,
}

/// Curves of photos, and of every cut, in the order in which codecs appear first.
fn curves(rows: &[&Row]) -> (Vec<Curve>, Vec<Cut>) {
    let mut photos: Vec<Curve> = Vec::new();
    let mut codecs: Vec<&str> = Vec::new();
    let mut cuts: BTreeMap<usize, Cut> = BTreeMap::new();
    for row in rows {
        let point = Point::new(row);
        let photo = row.codec.parse::<PhotoCodec>().ok();
        if let (0, Some(photo)) = (row.cut, photo) {
            let known = photos.iter().position(|c| c.codec == photo.as_str());
            let at = known.unwrap_or_else(|| {
                photos.push(Curve::of_photos(photo.as_str(), photos.len()));
                photos.len() - 1
            });
            photos[at].points.push(point);
            continue;
        }
        let known = codecs.iter().position(|codec| *codec == row.codec);
        let style = known.unwrap_or_else(|| {
            codecs.push(&row.codec);
            codecs.len() - 1
        });
        let cut = cuts.entry(row.cut).or_insert_with(|| Cut {
            index: row.cut,
            elements: row.elements,
            curves: Vec::new(),
        });
        let known = cut.curves.iter().position(|c| c.style == style);
        let at = known.unwrap_or_else(|| {
            cut.curves.push(Curve::of_codec(&row.codec, style));
            cut.curves.len() - 1
        });
        cut.curves[at].points.push(point);
    }
    let all = photos
        .iter_mut()
        .chain(cuts.values_mut().flat_map(|cut| &mut cut.curves));
    all.for_each(Curve::sort);
    (photos, cuts.into_values().collect())
}

/// At most `most` of the cuts, evenly, with the first and the last.
fn thin_out(cuts: Vec<Cut>, most: usize) -> Vec<Cut> {
    let count = cuts.len();
    if count <= most {
        return cuts;
    }
    let kept: Vec<usize> = (0..most).map(|i| i * (count - 1) / (most - 1)).collect();
    cuts.into_iter()
        .enumerate()
        .filter(|(i, _)| kept.binary_search(i).is_ok())
        .map(|(_, cut)| cut)
        .collect()
}

/// Which line is which codec.
struct Key<'a> {
    /// Curve, and where its sample begins.
    entries: Vec<(&'a Curve, f64, f64)>,
}

impl<'a> Key<'a> {
    fn new(curves: impl Iterator<Item = &'a Curve>, width: f64) -> Self {
        let mut entries: Vec<(&Curve, f64, f64)> = Vec::new();
        let (mut x, mut y) = (0.0, 0.0);
        let mut distinct: BTreeMap<(bool, usize), &Curve> = BTreeMap::new();
        for curve in curves {
            distinct.entry((curve.photo, curve.style)).or_insert(curve);
        }
        for curve in distinct.into_values() {
            let entry = KEY_SAMPLE + text_width(&curve.label(), TEXT_PX);
            if x > 0.0 && x + entry > width {
                (x, y) = (0.0, y + 1.0);
            }
            entries.push((curve, x, y));
            x += entry + KEY_GAP;
        }
        Self { entries }
    }

    fn rows(&self) -> f64 {
        self.entries.last().map_or(0.0, |(_, _, y)| y + 1.0)
    }

    fn draw(&self, svg: &mut Svg) {
        for (curve, x, row) in &self.entries {
            let (x, y) = (MARGIN + x, KEY_Y + row * KEY_ROW);
            curve.draw_sample(svg, x, y - 4.0, KEY_SAMPLE - 6.0);
            svg.add(format_args!(
                "<text x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
                x + KEY_SAMPLE,
                Escaped(&curve.label())
            ));
        }
    }
}

pub(super) fn text_width(text: &str, px: f64) -> f64 {
    text.chars().count() as f64 * px * LETTER
}

/// The text, cut off where it has more letters than fit.
fn shortened(text: &str, letters: f64) -> String {
    if text.chars().count() as f64 <= letters {
        return text.to_owned();
    }
    let mut kept: String = text
        .chars()
        .zip(1u32..)
        .take_while(|(_, n)| f64::from(*n) < letters)
        .map(|(letter, _)| letter)
        .collect();
    kept.push('…');
    kept
}

/// The document as far as it has been written.
#[derive(Default)]
pub(super) struct Svg(pub(super) String);

impl Svg {
    /// Adds a line.
    pub(super) fn add(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a `String` does not fail.
        let _ = writeln!(self.0, "{line}");
    }
}

/// Text between tags or in quotes; characters that XML does not have are left out.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\t' | '\n' | '\r' => f.write_char(' ')?,
                '\0'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}' => {}
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}
