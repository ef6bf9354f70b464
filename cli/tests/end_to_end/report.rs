//! `dyno bench report`: a small grid over the shipped model's bundle, and the page as an XML parser
//! sees it.

use std::path::Path;

use roxmltree::{Document, Node, ParsingOptions};
use serde_json::Value;

use crate::fixture::{MODEL, bundle, folder};
use crate::processes::{Run, dyno, json};

/// Cells: one device, two rates and a trace, three objectives.
const CELLS: usize = 9;

fn report(out: &Path, traces: &Path, flags: &[&str]) -> Run {
    let bundle = bundle();
    let grid = ["--slowdowns", "16", "--rates", "1,20", "--seconds", "2"];
    let words = ["bench", "report"].iter().chain(&grid).chain(flags);
    let paths = [("--out", out), ("--bundle", &bundle), ("--traces", traces)];
    let paths = paths
        .iter()
        .flat_map(|(flag, path)| [flag.as_ref(), path.as_os_str()]);
    dyno(words.map(std::convert::AsRef::as_ref).chain(paths))
}

/// The page, which must be well-formed and refer to nothing outside itself.
fn page(text: &str) -> Document<'_> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(text, options).unwrap();
    for node in document.descendants() {
        for name in ["src", "href", "action", "srcset", "data"] {
            let value = node.attribute(name).unwrap_or("#");
            assert!(value.starts_with('#'), "{node:?}");
        }
        for name in ["script", "link", "img", "iframe", "object", "use"] {
            assert!(!node.has_tag_name(name), "{node:?}");
        }
    }
    for outside in ["url(", "@import", "http:", "https:"] {
        assert!(!text.contains(outside), "{outside}");
    }
    assert!(!text.contains("NaN"));
    document
}

fn modified(folder: &Path) -> Vec<(std::ffi::OsString, std::time::SystemTime)> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = entries
        .map(|e| (e.file_name(), e.metadata().unwrap().modified().unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn the_page_is_whole_and_a_second_run_uses_the_cells_of_the_first() {
    let (folder, traces) = (folder(), folder());
    std::fs::write(
        traces.path().join("down & up.csv"),
        "t_ms,kbit_s\n0,9000\n900,40\n",
    )
    .unwrap();
    let (out, cells) = (folder.path(), folder.path().join("cells"));
    let first = report(out, traces.path(), &[]).ok().stdout;
    assert!(
        first.contains("9 cells, of which 9 were simulated now"),
        "{first}"
    );
    let before = modified(&cells);
    assert_eq!(before.len(), CELLS);

    let text = std::fs::read_to_string(out.join("index.html")).unwrap();
    let document = page(&text);
    let count = |name| {
        document
            .descendants()
            .filter(|n: &Node<'_, '_>| n.has_tag_name(name))
            .count()
    };
    // Throughput, bytes, server time; and the calls on the trace.
    assert_eq!(count("svg"), 4);
    let headings = document.descendants().filter(|n| n.has_tag_name("h2"));
    assert_eq!(headings.count(), 9);
    for words in [
        MODEL,
        "down &amp; up",
        "1 Mbit/s",
        "neurosurgeon",
        "at most 1.15 ×",
    ] {
        assert!(text.contains(words), "{words}");
    }

    // One cell is lost: it alone is simulated again.
    std::fs::remove_file(cells.join(&before[0].0)).unwrap();
    let second = report(out, traces.path(), &["--json"]).ok();
    let after = modified(&cells);
    assert_eq!(after.len(), CELLS);
    assert_eq!(after[1..], before[1..]);
    assert_eq!(second.json().as_array().unwrap().len(), 8);
    let all = json(&std::fs::read_to_string(out.join("report.json")).unwrap());
    assert_eq!(all["cells"].as_array().unwrap().len(), CELLS);
    assert!(all["machine"]["cpu"].is_string(), "{:#}", all["machine"]);
    for cell in all["cells"].as_array().unwrap() {
        let dyno = &cell["policies"]["dyno"];
        assert!(dyno["calls"].as_u64().unwrap() > 0, "{cell:#}");
    }

    // Other times are other cells.
    let third = report(out, traces.path(), &["--rtt-ms", "50"]).ok().stdout;
    assert!(third.contains("of which 9 were simulated now"), "{third}");
}

#[test]
fn a_measurement_is_set_beside_its_simulation() {
    let (folder, traces) = (folder(), folder());
    std::fs::write(traces.path().join("a.csv"), "t_ms,kbit_s\n0,9000\n").unwrap();
    let measured = folder.path().join("link.json");
    let policies: Value = serde_json::json!({"dyno": {
        "calls": 50, "latency_ms": {"mean": 4321.0, "p95": null}, "bytes_mean": 1.0,
        "server_ms_mean": null,
    }});
    let link = serde_json::json!({
        "model": MODEL, "machine": "a machine", "device": {"slowdown": 16.0},
        "link": {"up": {"rate_mbit": 20.0}, "rtt_ms": 40.0}, "policies": policies,
    });
    std::fs::write(&measured, link.to_string()).unwrap();
    let flags = ["--measured", measured.to_str().unwrap()];
    report(folder.path(), traces.path(), &flags).ok();
    let text = std::fs::read_to_string(folder.path().join("index.html")).unwrap();
    page(&text);
    assert!(text.contains("4321") && !text.contains("No cell of this page"));
}

#[test]
fn what_makes_no_grid_is_refused() {
    let (folder, traces) = (folder(), folder());
    let complaint = report(folder.path(), traces.path(), &[]).complaint(1);
    assert!(complaint.contains("no CSV file"), "{complaint}");
    std::fs::write(traces.path().join("a.csv"), "t_ms,kbit_s\n0,9000\n").unwrap();
    for (flags, words) in [
        (["--rtt-ms", "0"], "--rtt-ms must be"),
        (["--measured", "/nowhere.json"], "/nowhere.json"),
        (["--bundle", "/nowhere"], "/nowhere"),
    ] {
        let complaint = report(folder.path(), traces.path(), &flags).complaint(1);
        assert!(complaint.contains(words), "{complaint}");
    }
}
