//! `dyno prepare`: what makes a bundle, what does not, and what people are told then.

use std::path::Path;

use serde_json::json;

use crate::fixture::{bundle, folder, hash, inspect, models, prepare};
use crate::processes::{Run, dyno};

#[test]
fn a_bundle_says_what_it_holds_and_its_hash_depends_on_content_alone() {
    let folder = folder();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let run = prepare(&one, &["--quiet"]).ok();
    assert!(run.stdout.contains("input [1, 3, 128, 128]"), "{run:?}");
    assert!(run.stdout.contains("12 labels"), "{run:?}");
    let hash_line = run.stdout.lines().last().unwrap();
    assert_eq!(hash_line, format!("hash {}", hash(&one)));

    prepare(&two, &[]).ok();
    assert_eq!(hash(&one), hash(&two));
    assert_eq!(inspect(&one)["model"], "one");
    assert_eq!(names(folder.path()), ["one", "two"], "nothing is left over");
}

#[test]
fn without_onnx_runtime_people_are_told_what_to_set() {
    let folder = folder();
    let out = folder.path().join("shapes");
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_dyno"))
        .env("ORT_DYLIB_PATH", folder.path().join("nowhere.so"))
        .arg("prepare")
        .arg(models().join("shapes12.onnx"))
        .arg("--preprocess")
        .arg(models().join("shapes12.toml"))
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("set ORT_DYLIB_PATH"), "{complaint}");
    assert!(!complaint.contains("panicked"), "{complaint}");
}

#[test]
fn flags_win_over_the_file_and_change_the_hash() {
    let folder = folder();
    let out = folder.path().join("flagged");
    let flags = "--mean -0.5,0.25,0.125 --colour bgr --resize stretch";
    // The file's crop_fraction does not fit a stretch: a file without it is needed.
    let file = folder.path().join("plain.toml");
    std::fs::write(&file, "mean = [0.1, 0.1, 0.1]\nstd = [0.2, 0.25, 0.5]\n").unwrap();
    let run = prepare_as(&out, &file, &flags.split(' ').collect::<Vec<_>>());
    run.ok();
    let preprocess = &inspect(&out)["preprocess"];
    assert_eq!(preprocess["mean"], json!([-0.5, 0.25, 0.125]));
    assert_eq!(preprocess["std"], json!([0.2, 0.25, 0.5]));
    assert_eq!(preprocess["colour"], "bgr");
    assert_eq!(preprocess["fit"]["resize"], "stretch");
    assert_ne!(hash(&out), hash(&bundle()));
}

#[test]
fn a_bundle_that_is_there_is_replaced_by_force_alone() {
    let folder = folder();
    let out = folder.path().join("shapes");
    prepare(&out, &[]).ok();
    let before = hash(&out);

    let complaint = prepare(&out, &["--mean", "0,0,0"]).complaint(1);
    assert!(complaint.contains("--force"), "{complaint}");
    assert!(complaint.contains(out.to_str().unwrap()), "{complaint}");
    assert_eq!(hash(&out), before);

    prepare(&out, &["--mean", "0,0,0", "--force"]).ok();
    assert_ne!(hash(&out), before);
}

#[test]
fn force_does_not_replace_what_is_no_bundle() {
    let folder = folder();
    let out = folder.path().join("photos");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("holiday.jpg"), "dear").unwrap();
    let complaint = prepare(&out, &["--force"]).complaint(1);
    assert!(complaint.contains("exists already"), "{complaint}");
    assert_eq!(names(&out), ["holiday.jpg"]);
}

#[test]
fn a_model_that_cannot_be_taken_is_named_with_the_reason() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let whole = std::fs::read(models().join("shapes12.onnx")).unwrap();
    std::fs::write(at("truncated.onnx"), &whole[..whole.len() / 2]).unwrap();
    std::fs::copy(models().join("samples/01_cross.jpg"), at("photo.onnx")).unwrap();
    std::fs::write(at("empty.onnx"), "").unwrap();
    for (model, reason) in [
        ("truncated.onnx", "or a truncated one"),
        ("photo.onnx", "not an ONNX model"),
        ("empty.onnx", "not an ONNX model"),
        ("missing.onnx", "No such file"),
    ] {
        let model = at(model);
        let out = at("out");
        let run = dyno([
            "prepare".as_ref(),
            model.as_os_str(),
            "--out".as_ref(),
            out.as_ref(),
        ]);
        let complaint = run.complaint(1);
        assert!(complaint.starts_with("error: "), "{complaint}");
        assert!(complaint.contains(model.to_str().unwrap()), "{complaint}");
        assert_eq!(complaint.matches(reason).count(), 1, "{complaint}");
        assert!(!out.exists());
    }
}

#[test]
fn preprocessing_that_makes_no_sense_is_refused_before_anything_is_written() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("typo.toml"), "sice = [1, 2]\n").unwrap();
    std::fs::write(at("small.toml"), "size = [64, 64]\n").unwrap();
    std::fs::write(at("three.toml"), "labels = \"three.txt\"\n").unwrap();
    std::fs::write(at("three.txt"), "a\nb\nc\n").unwrap();
    for (file, flags, says) in [
        (
            "typo.toml",
            &[][..],
            &["typo.toml", "unknown field `sice`"][..],
        ),
        ("missing.toml", &[], &["missing.toml", "No such file"]),
        ("small.toml", &[], &["[64, 64]", "[1, 3, 128, 128]"]),
        ("three.toml", &[], &["3 labels for an output of 12"]),
        (
            "small.toml",
            &["--input-shape", "1,3,64,64"],
            &["declared as [1, 3, 128, 128]"],
        ),
    ] {
        let complaint = prepare_as(&at("out"), &at(file), flags).complaint(1);
        for says in says {
            assert_eq!(complaint.matches(says).count(), 1, "{complaint}");
        }
        assert!(!at("out").exists());
    }
    let complaint = prepare(&at("two words"), &[]).complaint(1);
    assert!(
        complaint.contains("cannot be a model's name"),
        "{complaint}"
    );
}

#[test]
fn wrong_usage_exits_with_2() {
    let out = ["prepare", "model.onnx", "--out", "out"];
    for (arguments, says) in [
        (&[][..], "Usage: dyno <COMMAND>"),
        (&["prepare", "model.onnx"], "--out <OUT>"),
        (
            &[&out[..], &["--mean", "1,2"]].concat(),
            "three numbers are needed",
        ),
        (
            &[&out[..], &["--std", "a,b,c"]].concat(),
            "not three numbers",
        ),
        (&[&out[..], &["--colour", "grey"]].concat(), "grey"),
        (&["infer", "--bundle", "b"], "<IMAGES>"),
        (
            &["infer", "--bundle", "b", "--levels", "1", "i.jpg"],
            "2 to 65536",
        ),
        (
            &["infer", "--bundle", "b", "--codec", "rar", "i.jpg"],
            "zstd",
        ),
        (
            &["infer", "--bundle", "b", "--mode", "FAST", "i.jpg"],
            "FAST",
        ),
        (&["divide"], "divide"),
    ] {
        let complaint = dyno(arguments).complaint(2);
        assert!(complaint.contains(says), "{arguments:?}: {complaint}");
    }
}

fn prepare_as(out: &Path, preprocess: &Path, flags: &[&str]) -> Run {
    let model = models().join("shapes12.onnx");
    let mut arguments = vec!["prepare", model.to_str().unwrap()];
    arguments.extend(["--preprocess", preprocess.to_str().unwrap()]);
    arguments.extend(["--out", out.to_str().unwrap()]);
    dyno(arguments.iter().chain(flags))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}
