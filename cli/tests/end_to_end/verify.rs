//! `dyno verify`: passes for what was cut right, fails for a model that cannot keep its word.

use crate::fixture::{LAST_CUT, MODEL, bundle, folder, keys, models};
use crate::onnx;
use crate::processes::dyno;

#[test]
fn the_shipped_model_passes_at_every_cut() {
    let (bundle, photos) = (bundle(), models().join("samples"));
    let run = dyno([
        "verify".as_ref(),
        bundle.as_os_str(),
        "--images".as_ref(),
        photos.as_os_str(),
        "--json".as_ref(),
    ]);
    let report = run.ok().json();
    assert_eq!(keys(&report), ["cuts", "model", "pass"]);
    assert_eq!(report["model"], MODEL);
    assert_eq!(report["pass"], true);
    let cuts = report["cuts"].as_array().unwrap();
    assert_eq!(cuts.len() as u64, LAST_CUT + 1);
    for (index, cut) in cuts.iter().enumerate() {
        assert_eq!(
            keys(cut),
            [
                "elements",
                "index",
                "max_abs_error",
                "max_rel_error",
                "tensors"
            ]
        );
        assert_eq!(cut["index"], index);
        assert!(cut["max_rel_error"].as_f64().unwrap() <= 1e-4, "{cut}");
        assert!(cut["max_abs_error"].is_f64(), "{cut}");
    }
    assert_eq!(cuts[0]["tensors"], serde_json::json!(["input"]));
    assert_eq!(cuts[0]["elements"], 3 * 128 * 128);
    assert_eq!(
        cuts[10]["tensors"].as_array().unwrap().len(),
        2,
        "a skip connection"
    );
}

#[test]
fn without_photos_it_checks_with_generated_ones_and_says_so_in_a_table() {
    let run = dyno(["verify".as_ref(), bundle().as_os_str()]).ok();
    assert_eq!(run.stdout.lines().last().unwrap(), "shapes12: pass");
    assert_eq!(run.stdout.lines().count() as u64, 1 + (LAST_CUT + 1) + 1);
}

#[test]
fn photos_that_are_not_there_are_named() {
    let nothing = folder();
    let (bundle, photos) = (bundle(), nothing.path().as_os_str());
    let run = dyno([
        "verify".as_ref(),
        bundle.as_os_str(),
        "--images".as_ref(),
        photos,
    ]);
    let complaint = run.complaint(1);
    assert!(
        complaint.contains("no JPEG, PNG or WebP files"),
        "{complaint}"
    );
    assert!(complaint.contains(photos.to_str().unwrap()), "{complaint}");
}

#[test]
fn a_model_that_answers_differently_each_time_fails() {
    let folder = folder();
    let (model, out) = (folder.path().join("dice.onnx"), folder.path().join("dice"));
    std::fs::write(&model, onnx::throws_dice()).unwrap();
    dyno([
        "prepare".as_ref(),
        model.as_os_str(),
        "--out".as_ref(),
        out.as_ref(),
    ])
    .ok();
    let run = dyno(["verify".as_ref(), out.as_os_str(), "--json".as_ref()]);
    let report = run.json();
    assert_eq!(report["pass"], false, "{report}");
    let complaint = run.complaint(1);
    assert!(
        complaint.contains("dice: a cut is further from the whole model"),
        "{complaint}"
    );
}
