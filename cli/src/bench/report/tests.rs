//! Made-up cells, and what the page says of them.

use std::collections::BTreeMap;

use super::cell::Cell;
use super::grid::{Aim, Key};
use super::html::Html;
use super::targets::{Target, evaluate};
use crate::simulate::report::{Latency, Summary};

pub(super) fn cell(aim: Aim, rate_mbit: Option<f64>, policies: &[(&str, Summary)]) -> Cell {
    let policies = policies
        .iter()
        .map(|(name, s)| ((*name).to_owned(), s.clone()));
    Cell {
        key: Key {
            model: "m".into(),
            aim,
            slowdown: 16.0,
            link: rate_mbit.map_or_else(|| "trace".into(), |mbit| format!("{mbit} Mbit/s")),
            rate_mbit,
            rtt_ms: 40.0,
            seconds: 60.0,
            bundle_digest: String::new(),
            link_digest: String::new(),
            program: String::new(),
        },
        late_cut_wins: false,
        policies: policies.collect::<BTreeMap<_, _>>(),
        calls: Vec::new(),
    }
}

pub(super) fn latency(ms: f64) -> Summary {
    Summary {
        latency_ms: Latency::of(vec![ms]),
        calls: 1,
        ..Summary::default()
    }
}

fn stream(fps: f64, bytes: f64) -> Summary {
    Summary {
        throughput_fps: fps,
        bytes_mean: bytes,
        accuracy_drop_pp: Some(0.5),
        ..Summary::default()
    }
}

fn find<'a>(targets: &'a [Target], what: &str) -> &'a Target {
    let found = targets.iter().find(|target| target.what.contains(what));
    found.unwrap_or_else(|| panic!("{what}: {targets:?}"))
}

#[track_caller]
fn assert_found(targets: &[Target], what: &str, found: &str, met: bool) {
    let target = find(targets, what);
    assert_eq!(
        (target.found.as_str(), target.met),
        (found, Some(met)),
        "{target:?}"
    );
}

#[test]
fn the_best_stream_and_the_worst_are_judged() {
    let streams = |dyno: f64, device: f64, neuro: f64, jpeg: f64| {
        let policies = [
            ("dyno", stream(dyno, 1e3)),
            ("device_only", stream(device, 0.0)),
            ("neurosurgeon", stream(neuro, 1e5)),
            ("server_jpeg", stream(jpeg, 1e4)),
            ("server_raw", stream(0.1, 150_560.0)),
            ("static_best", stream(1e3, 1.0)),
        ];
        cell(Aim::Throughput, Some(5.0), &policies)
    };
    let mut cells = vec![streams(20.0, 2.0, 4.0, 99.0), streams(3.0, 2.0, 3.0, 99.0)];
    let targets = evaluate(&cells);
    assert_found(&targets, "device alone, best", "10.0 ×", true);
    assert_found(&targets, "Neurosurgeon, best", "5.0 ×", false);
    assert_found(&targets, "best rival, worst", "1.000 ×", true);
    assert_eq!(find(&targets, "late cut wins").met, None);
    let loss = find(&targets, "accuracy");
    assert_eq!((loss.found.as_str(), loss.met), ("0.50 pp", Some(true)));

    cells.push(streams(2.9, 3.0, 1.0, 1.0));
    cells[1].late_cut_wins = true;
    let targets = evaluate(&cells);
    assert_found(&targets, "best rival, worst", "0.967 ×", false);
    assert!(
        find(&targets, "best rival, worst")
            .detail
            .contains("1 of 3 cells below")
    );
    assert_found(&targets, "late cut wins", "150.6 ×", true);

    // The device answers most of these calls.
    let policies = [
        ("dyno", stream(1.0, 10.0)),
        ("server_raw", stream(0.1, 1.5e5)),
    ];
    cells.push(cell(Aim::Onloading, Some(5.0), &policies));
    cells[3].late_cut_wins = true;
    assert_found(&evaluate(&cells), "late cut wins", "150.6 ×", true);
}

#[test]
fn regret_is_bounded_apart_on_fixed_rates_and_on_traces() {
    let at = |rate: Option<f64>, dyno: f64| {
        let policies = [("dyno", latency(dyno)), ("oracle", latency(100.0))];
        cell(Aim::Latency, rate, &policies)
    };
    let targets = evaluate(&[at(Some(5.0), 104.0), at(None, 116.0), at(None, 101.0)]);
    assert_found(&targets, "every fixed rate", "1.040 ×", true);
    assert_found(&targets, "every trace", "1.160 ×", false);
    let detail = &find(&targets, "every trace").detail;
    assert!(
        detail.contains("trace") && detail.contains("1 of 2 cells above"),
        "{detail}"
    );
}

#[test]
fn only_what_could_be_kept_is_a_broken_limit() {
    let onloading = |calls, limit_violations, avoidable, fixed| {
        let broken = |limit_violations, avoidable_violations| Summary {
            limit_violations,
            avoidable_violations,
            calls,
            ..Summary::default()
        };
        let policies = [
            ("dyno", broken(limit_violations, avoidable)),
            ("static_best", broken(fixed, None)),
        ];
        cell(Aim::Onloading, Some(5.0), &policies)
    };
    let kept = evaluate(&[onloading(200, 9, Some(2), 1), onloading(50, 0, None, 0)]);
    assert_found(&kept, "beyond 100 ms", "1.0 %", true);
    let detail = &find(&kept, "beyond 100 ms").detail;
    assert!(
        detail.contains("of 250 calls in these cells, 9 took longer, 2 of them"),
        "{detail}"
    );
    // Where not even the best fixed plan keeps it, the cell is counted beside.
    let mut cells = vec![
        onloading(100, 10, Some(2), 1),
        onloading(100, 50, Some(40), 2),
    ];
    let broken = evaluate(&cells);
    assert_found(&broken, "beyond 100 ms", "2.0 %", false);
    let detail = &find(&broken, "beyond 100 ms").detail;
    assert!(detail.contains("1 of 1 cells above") && detail.contains("2 of 2 cells above"));
    assert_eq!(
        find(&evaluate(&cells.split_off(1)), "beyond 100 ms").met,
        None
    );
}

#[test]
fn without_cells_nothing_is_met_or_missed() {
    let targets = evaluate(&[]);
    assert!(targets.iter().all(|t| t.met.is_none() && t.value.is_none()));
}

#[test]
fn a_cell_is_read_back_as_it_was_and_only_for_its_own_key() {
    let folder = tempfile::tempdir().unwrap();
    let cell = cell(Aim::Latency, Some(0.25), &[("dyno", latency(104.7))]);
    cell.write(folder.path()).unwrap();
    let back = Cell::read(folder.path(), &cell.key).unwrap().unwrap();
    assert_eq!((&back.key, &back.policies), (&cell.key, &cell.policies));
    let mut other = cell.key.clone();
    other.program = "another build".into();
    assert!(Cell::read(folder.path(), &other).unwrap().is_none());
    std::fs::write(folder.path().join(cell.key.file_name().unwrap()), "{").unwrap();
    assert!(Cell::read(folder.path(), &cell.key).unwrap().is_none());
}

#[test]
fn names_are_text_and_never_markup() {
    let name = "<script>&\"'\u{0}";
    let mut html = Html::new(name);
    html.heading("a", name);
    html.paragraph(name);
    html.table(&[name], &[0], [vec![name.to_owned()]]);
    html.figure("<svg/>", name);
    let page = html.finish();
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..roxmltree::ParsingOptions::default()
    };
    let document = roxmltree::Document::parse_with_options(&page, options).unwrap();
    assert!(!document.descendants().any(|n| n.has_tag_name("script")));
    let texts = document
        .descendants()
        .filter(|n| n.text() == Some("<script>&\"'"));
    assert_eq!(texts.filter(roxmltree::Node::is_element).count(), 7);
}
