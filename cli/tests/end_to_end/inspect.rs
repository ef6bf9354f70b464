//! `dyno inspect`: the same content for people and for programs.

use crate::fixture::{LAST_CUT, MODEL, bundle, inspect, keys, samples};
use crate::processes::dyno;

/// Times and the machine differ from run to run; the hash follows the weights in the file.
const CHANGING: &[(&str, &str)] = &[
    (r"hash        [0-9a-f]{64}", "hash        [hash]"),
    (r"profile     .*", "profile     [machine, threads, time]"),
    (r"( %  +\d+ ) +\d+\.\d\d  ", "$1 [ms]  "),
];

#[test]
fn the_text_shows_every_cut() {
    let run = dyno(["inspect".as_ref(), bundle().as_os_str()]).ok();
    insta::with_settings!({ filters => CHANGING.iter().copied() }, {
        insta::assert_snapshot!(run.stdout);
    });
}

#[test]
fn the_json_holds_what_a_program_needs() {
    let bundle = inspect(&bundle());
    assert_eq!(bundle["format"], 1);
    assert_eq!(bundle["model"], MODEL);
    assert_eq!(bundle["hash"].as_str().unwrap().len(), 64);
    assert_eq!(
        bundle["input"]["shape"],
        serde_json::json!([1, 3, 128, 128])
    );
    assert_eq!(bundle["outputs"][0]["name"], "logits");
    assert_eq!(bundle["outputs"][0]["shape"], serde_json::json!([1, 12]));
    assert_eq!(
        keys(&bundle["preprocess"]),
        ["colour", "fit", "height", "layout", "mean", "std", "width"]
    );
    for sample in samples() {
        assert_eq!(
            bundle["labels"][usize::try_from(sample.class).unwrap()],
            sample.name
        );
    }
    let profile = &bundle["profile"];
    assert!(!profile["machine"].as_str().unwrap().is_empty());
    let head_ms: Vec<f64> = serde_json::from_value(profile["head_ms"].clone()).unwrap();
    assert_eq!(head_ms.len() as u64, LAST_CUT + 1);
    assert!(
        head_ms.is_sorted(),
        "a longer head takes longer: {head_ms:?}"
    );
}

#[test]
fn the_cut_table_runs_from_the_input_to_the_outputs() {
    let bundle = inspect(&bundle());
    let cuts = bundle["cuts"].as_array().unwrap();
    assert_eq!(cuts.len() as u64, LAST_CUT + 1);
    let flops = |cut: &serde_json::Value, side: &str| cut[side].as_u64().unwrap();
    let total = flops(&cuts[0], "flops_after");
    let mut before = 0;
    for (index, cut) in cuts.iter().enumerate() {
        assert_eq!(cut["index"], index);
        assert_eq!(
            flops(cut, "flops_before") + flops(cut, "flops_after"),
            total
        );
        assert!(flops(cut, "flops_before") >= before, "cut {index}");
        before = flops(cut, "flops_before");
        let tensors = cut["tensors"].as_array().unwrap();
        assert!(!tensors.is_empty());
        for tensor in tensors {
            assert_eq!(keys(tensor), ["element", "name", "shape"]);
            assert_eq!(tensor["shape"][0], 1);
        }
    }
    assert_eq!(cuts[0]["tensors"][0], bundle["input"]);
    assert_eq!(cuts.last().unwrap()["tensors"], bundle["outputs"]);
    assert_eq!(before, total);
}

#[test]
fn what_is_no_bundle_or_a_damaged_one_is_refused() {
    let folder = crate::fixture::folder();
    let complaint = dyno(["inspect".as_ref(), folder.path().as_os_str()]).complaint(1);
    assert!(complaint.contains("no bundle here"), "{complaint}");
    assert_eq!(complaint.matches("os error 2").count(), 1, "{complaint}");

    let damaged = folder.path().join("damaged");
    crate::fixture::copy(&bundle(), &damaged);
    let weights = damaged.join("weights.bin");
    let mut content = std::fs::read(&weights).unwrap();
    content[4096] ^= 1;
    std::fs::write(&weights, content).unwrap();
    for command in ["inspect", "verify"] {
        let complaint = dyno([command.as_ref(), damaged.as_os_str()]).complaint(1);
        assert!(
            complaint.contains("weights.bin is not the file it was"),
            "{complaint}"
        );
    }

    let manifest = damaged.join("bundle.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(
        &manifest,
        text.replacen("\"format\": 1", "\"format\": 2", 1),
    )
    .unwrap();
    let complaint = dyno(["inspect".as_ref(), damaged.as_os_str()]).complaint(1);
    assert!(complaint.contains("format version is 2"), "{complaint}");
    assert!(complaint.contains("prepare the model again"), "{complaint}");
}
