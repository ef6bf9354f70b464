//! `dyno prepare --calibrate`, what `inspect` and `infer` make of it, and `dyno bench pack`.

use std::collections::HashSet;
use std::path::Path;

use crate::fixture::{
    LAST_CUT, bundle, copy, folder, infer_with, inspect, keys, models, photos, prepare,
};
use crate::processes::dyno;

/// Prepares the shipped model, calibrated on the photos of a folder.
fn calibrated(out: &Path, images: &Path, flags: &[&str]) -> crate::processes::Run {
    let calibrate = ["--calibrate", images.to_str().unwrap()];
    prepare(out, &[&calibrate, flags].concat())
}

#[test]
fn a_calibrated_bundle_says_what_keeps_a_limit() {
    let folder = folder();
    let out = folder.path().join("shapes12");
    let samples = models().join("samples");
    let truth = samples.join("labels.csv");
    let run = calibrated(&out, &samples, &["--truth", truth.to_str().unwrap()]).ok();
    assert!(
        run.stdout.contains("calibrated with 20 photos"),
        "{}",
        run.stdout
    );

    let calibration = &inspect(&out)["calibration"];
    assert_eq!(calibration["images"], 20);
    assert_eq!(calibration["with_truth"], 20);
    let rows = calibration["rows"].as_array().unwrap();
    for cut in 0..LAST_CUT {
        assert!(
            rows.iter().any(|row| row["cut"] == cut),
            "no row of cut {cut}"
        );
    }
    let shaping = calibration["shaping"].as_object().unwrap();
    assert_eq!(
        shaping.len(),
        rows.iter().map(|r| &r["cut"]).collect::<HashSet<_>>().len()
    );
    let of_one_tensor = shaping["9"].as_array().unwrap();
    assert!(of_one_tensor[0]["weight"].as_f64() > Some(0.0));
    assert!(
        rows.iter().any(|row| row["quantisation"] == "shaped"),
        "something is worth shaping"
    );
    let text = dyno(["inspect".as_ref(), out.as_os_str()]).ok().stdout;
    assert!(
        text.contains("calibrated  20 photos, 20 with a true class"),
        "{text}"
    );
    assert!(text.contains("95 % within"), "{text}");

    // The same photos cannot break what was promised of them.
    let promise = |bundle: &Path| {
        let mut arguments = vec!["bench", "promise", "--bundle", bundle.to_str().unwrap()];
        arguments.extend(["--images", samples.to_str().unwrap(), "--json"]);
        arguments.extend(["--limits", "10,1", "--cuts", "9,20", "--slack", "--truth"]);
        arguments.push(truth.to_str().unwrap());
        dyno(arguments)
    };
    let report = promise(&out).ok().json();
    assert_eq!(
        (&report["violations"], &report["images"]),
        (&0.into(), &20.into())
    );
    let rows = report["rows"].as_array().unwrap();
    let (twice, once): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row["again"].is_object());
    assert_eq!(once.len(), 4);
    for row in rows {
        assert!(
            row["max_drop_pp"].as_f64() <= row["limit_pp"].as_f64(),
            "{row}"
        );
    }
    // Of the very photos that the leads were chosen by.
    for row in twice {
        assert_eq!(row["again"]["found"], row["again"]["expected"], "{row}");
        assert!(row["sent"].as_str().unwrap().contains("; again: "), "{row}");
    }
    for row in once {
        assert!(
            row["least_bytes_mean"].as_f64() <= row["bytes_mean"].as_f64(),
            "{row}"
        );
    }
    assert!(promise(&bundle()).complaint(1).contains("not calibrated"));

    // 20 photos cannot promise one point of a hundred: only what is exact keeps it.
    let lines = infer_with(&out, &["--max-accuracy-drop", "1"], &photos(1));
    assert_eq!(lines.ok().json_lines()[0]["ran_on"], "device");
    let complaint = infer_with(&bundle(), &["--max-accuracy-drop", "1"], &photos(1)).complaint(1);
    assert!(complaint.contains("--calibrate"), "{complaint}");
}

#[test]
fn photos_that_cannot_be_read_are_named_and_labels_must_match() {
    let folder = folder();
    let (out, images) = (folder.path().join("shapes12"), folder.path().join("photos"));
    std::fs::create_dir(&images).unwrap();
    let complaint = calibrated(&out, &images, &[]).complaint(1);
    assert!(complaint.contains("name a folder"), "{complaint}");

    for photo in photos(2) {
        std::fs::copy(&photo, images.join(photo.file_name().unwrap())).unwrap();
    }
    let labels = folder.path().join("labels.csv");
    std::fs::write(&labels, "file,class_index\nval/other.jpg,3\n").unwrap();
    let flags = ["--truth", labels.to_str().unwrap()];
    let complaint = calibrated(&out, &images, &flags).complaint(1);
    assert!(complaint.contains("none of the 1 labels"), "{complaint}");
    assert!(!out.exists());

    std::fs::write(&labels, "file,class_index\nval/01_cross.jpg,5\n").unwrap();
    std::fs::write(images.join("broken.jpg"), "no photo").unwrap();
    let run = calibrated(&out, &images, &flags).ok();
    assert!(run.stderr.contains("skipped: 1 photos"), "{}", run.stderr);
    assert!(run.stderr.contains("broken.jpg"), "{}", run.stderr);
    assert!(
        run.stderr.contains("labels: 1 of 2 photos"),
        "{}",
        run.stderr
    );
}

#[test]
fn bench_pack_prints_the_promised_rows() {
    let samples = models().join("samples");
    let (bundle, truth) = (bundle(), samples.join("labels.csv"));
    let pack = |flags: &[&str]| {
        let mut arguments = vec!["bench", "pack", "--bundle", bundle.to_str().unwrap()];
        arguments.extend(["--images", samples.to_str().unwrap(), "--limit", "6"]);
        arguments.extend(["--cuts", "0,9", "--levels", "16,4", "--truth"]);
        arguments.push(truth.to_str().unwrap());
        dyno(arguments.iter().chain(flags)).ok()
    };
    let report = pack(&["--json"]).json();
    assert_eq!(report["images"], 6);
    let rows = report["rows"].as_array().unwrap();
    for row in rows {
        assert_eq!(
            keys(row),
            [
                "accuracy_drop_pp",
                "agreement",
                "bytes_mean",
                "bytes_p95",
                "codec",
                "cut",
                "elements",
                "images",
                "levels",
                "pack_mb_s",
                "packed_images",
                "unpack_mb_s"
            ]
        );
        assert!(row["pack_mb_s"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["bytes_mean"].as_f64().unwrap() > 0.0, "{row}");
    }
    let find = |cut: u64, levels: Option<u64>, codec: &str| {
        let is = |row: &&serde_json::Value| {
            row["cut"] == cut && row["levels"].as_u64() == levels && row["codec"] == codec
        };
        rows.iter()
            .find(is)
            .unwrap_or_else(|| panic!("no row {cut} {levels:?} {codec}"))
    };
    for codec in ["raw", "lz4", "zstd"] {
        find(9, Some(4), codec);
        find(9, Some(16), codec);
    }
    let fp32 = find(9, None, "raw");
    assert_eq!(fp32["agreement"], 1.0);
    assert_eq!(fp32["accuracy_drop_pp"], 0.0);
    let elements = fp32["elements"].as_u64().unwrap();
    assert!((fp32["bytes_mean"].as_f64().unwrap() - (4 * elements + 32) as f64).abs() < 1.0);
    assert_eq!(find(0, None, "webp-lossless")["agreement"], 1.0);
    find(0, None, "jpeg:75");
    assert!(
        report["summary"]["equal_levels"][0]["ratio"]
            .as_f64()
            .unwrap()
            > 0.0
    );

    let text = pack(&[]).stdout;
    assert!(text.lines().next().unwrap().contains("pack MB/s"), "{text}");
    let summary = pack(&["--summary"]).stdout;
    assert!(
        summary.contains("zstd over lz4 at equal levels"),
        "{summary}"
    );
}

#[test]
fn bench_pack_refuses_what_it_cannot_measure() {
    let folder = folder();
    copy(&models().join("samples"), &folder.path().join("photos"));
    let (bundle, images) = (bundle(), folder.path().join("photos"));
    let pack = |flags: &[&str]| {
        let mut arguments = vec!["bench", "pack", "--bundle", bundle.to_str().unwrap()];
        arguments.extend(["--images", images.to_str().unwrap(), "--limit", "2"]);
        dyno(arguments.iter().chain(flags)).complaint(1)
    };
    let last = LAST_CUT.to_string();
    assert!(pack(&["--cuts", &last]).contains("nothing can be sent at cut"));
    assert!(pack(&["--levels", "1"]).contains("2 to 65536"));
}
