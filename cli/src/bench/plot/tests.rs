//! The document as a reader's XML parser sees it.

use roxmltree::{Document, Node};

use super::{MAX_PANELS, Row, svg};

fn row(cut: usize, levels: Option<u32>, codec: &str, bytes_mean: f64, agreement: f64) -> Row {
    Row {
        cut,
        elements: 50_176,
        levels,
        codec: codec.into(),
        images: 100,
        packed_images: 64,
        bytes_mean,
        bytes_p95: 900,
        agreement,
        accuracy_drop_pp: None,
        pack_mb_s: 500.0,
        unpack_mb_s: 900.0,
    }
}

/// Photos at cut 0, and three codecs at each of the cuts from 1.
fn many(cuts: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for (quality, bytes, agreement) in [(30, 4e3, 0.9), (75, 9e3, 0.975), (95, 3e4, 1.0)] {
        rows.push(row(0, None, &format!("jpeg:{quality}"), bytes, agreement));
        rows.push(row(
            0,
            None,
            &format!("webp:{quality}"),
            bytes * 0.7,
            agreement - 0.01,
        ));
    }
    rows.push(row(0, None, "png", 9e4, 1.0));
    for cut in 1..=cuts {
        for (codec, share) in [("raw", 1.0), ("lz4", 0.7), ("zstd", 0.5)] {
            for (levels, agreement) in [(2, 0.3), (16, 0.96), (256, 1.0)] {
                let bytes = 1e6 / cut as f64 * share * f64::from(levels).log2() / 8.0;
                rows.push(row(cut, Some(levels), codec, bytes, agreement));
            }
        }
    }
    rows
}

fn texts(document: &Document<'_>) -> Vec<String> {
    let of = |node: Node<'_, '_>| {
        let parts = node.descendants().filter(Node::is_text);
        parts.filter_map(|part| part.text()).collect()
    };
    let texts = document.descendants().filter(|n| n.has_tag_name("text"));
    texts.map(of).collect()
}

fn valid(picture: &str) -> Document<'_> {
    let document = Document::parse(picture).unwrap();
    assert!(
        !picture.contains("NaN") && !picture.contains("inf"),
        "{picture}"
    );
    document
}

#[test]
fn every_cut_and_codec_is_named() {
    let picture = svg("squeezenet", &many(26));
    let texts = texts(&valid(&picture));
    for cut in 1..=26 {
        assert!(
            texts.contains(&format!("cut {cut} · 50,176 elements")),
            "{cut}"
        );
    }
    for codec in [
        "raw",
        "lz4",
        "zstd",
        "photo as jpeg",
        "photo as webp",
        "photo as png",
    ] {
        let named = texts.iter().filter(|text| *text == codec).count();
        assert_eq!(named, 1, "{codec}");
    }
    assert!(texts[0].starts_with("squeezenet: "));
    for axis in ["bytes", "agreement"] {
        assert!(texts.iter().any(|text| text.starts_with(axis)), "{axis}");
    }
}

#[test]
fn photos_are_in_every_panel() {
    let picture = svg("m", &many(12));
    let document = valid(&picture);
    let uses = document.descendants().filter(|n| n.has_tag_name("use"));
    assert_eq!(uses.count(), 12);
    let shared = document
        .descendants()
        .find(|n| n.attribute("id") == Some("shared"));
    let lines = shared.unwrap().descendants();
    assert_eq!(lines.filter(|n| n.has_tag_name("polyline")).count(), 3);
}

#[test]
fn every_point_is_inside_of_the_picture() {
    let picture = svg("m", &many(30));
    let document = valid(&picture);
    let size = |name| document.root_element().attribute(name).unwrap();
    let (width, height): (f64, f64) = (
        size("width").parse().unwrap(),
        size("height").parse().unwrap(),
    );
    for panel in document.descendants().filter(|n| n.has_tag_name("g")) {
        let Some(place) = panel.attribute("transform") else {
            continue;
        };
        let place = place
            .strip_prefix("translate(")
            .unwrap()
            .strip_suffix(')')
            .unwrap();
        let (left, top) = place.split_once(' ').unwrap();
        let (left, top): (f64, f64) = (left.parse().unwrap(), top.parse().unwrap());
        for line in panel.descendants().filter_map(|n| n.attribute("points")) {
            for point in line.split(' ') {
                let (x, y) = point.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!(x >= 0.0 && left + x <= width && y >= 0.0 && top + y <= height);
            }
        }
    }
}

#[test]
fn more_cuts_than_can_be_shown_are_thinned_out_and_counted() {
    let picture = svg("m", &many(200));
    let texts = texts(&valid(&picture));
    let panels: Vec<_> = texts
        .iter()
        .filter(|text| text.starts_with("cut "))
        .collect();
    assert_eq!(panels.len(), MAX_PANELS);
    assert!(panels[0].starts_with("cut 1 ") && panels[MAX_PANELS - 1].starts_with("cut 200 "));
    assert!(texts.iter().any(|text| text.contains("60 of 200 cuts")));
}

#[test]
fn the_least_there_can_be_is_a_picture() {
    for rows in [
        vec![],
        vec![row(3, Some(16), "zstd", 1234.0, 0.98)],
        vec![row(3, Some(16), "zstd", 0.0, 1.0)],
        vec![row(3, None, "raw", 0.0, 0.0), row(4, None, "raw", 0.0, 0.0)],
        vec![row(0, None, "jpeg:75", 9e3, 0.97)],
        (1..9)
            .map(|cut| row(cut, Some(4), "lz4", 1e3, 1.0))
            .collect(),
        vec![
            row(1, Some(2), "lz4", f64::MAX, 1.0),
            row(1, Some(2), "lz4", 1.0, 0.5),
        ],
    ] {
        valid(&svg("model", &rows));
    }
}

#[test]
fn rows_that_are_no_numbers_are_left_out() {
    let with = [
        row(1, Some(16), "zstd", 1234.0, 0.98),
        row(2, Some(16), "zstd", f64::NAN, 0.98),
        row(2, Some(16), "zstd", 10.0, f64::NAN),
        row(2, Some(16), "zstd", f64::INFINITY, 0.98),
    ];
    assert_eq!(svg("m", &with), svg("m", &with[..1]));
}

#[test]
fn names_are_text_and_never_markup() {
    let model = "a<script>&\"'\u{0}\n]]>";
    let picture = svg(model, &[row(1, None, "<b>&", 10.0, 1.0)]);
    let document = valid(&picture);
    let texts = texts(&document);
    assert!(texts[0].starts_with("a<script>&\"' ]]>: "), "{}", texts[0]);
    assert!(texts.contains(&"<b>&".to_owned()));
    assert!(!document.descendants().any(|n| n.has_tag_name("script")));
}

#[test]
fn a_long_name_is_cut_off_on_the_page_and_whole_in_the_title() {
    let model = "ü".repeat(300);
    let picture = svg(&model, &many(2));
    let document = valid(&picture);
    assert!(texts(&document)[0].ends_with('…'));
    let title = document.descendants().find(|n| n.has_tag_name("title"));
    assert!(title.unwrap().text().unwrap().starts_with(&model));
}

#[test]
fn nothing_outside_is_referred_to() {
    let picture = svg("m", &many(5));
    for node in valid(&picture).descendants() {
        for attribute in node.attributes() {
            assert!(attribute.name() != "href" || attribute.value().starts_with('#'));
            assert!(!attribute.value().contains("url("));
        }
    }
}
