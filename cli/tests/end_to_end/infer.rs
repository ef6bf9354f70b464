//! `dyno infer` on the device: right answers, the promised JSON, raw outputs, images that are none.

use crate::fixture::{
    LAST_CUT, assert_right, bundle, bundles, folder, infer, keys, models, photos, samples,
};
use crate::npy;
use crate::processes::{Server, dyno};

#[test]
fn every_sample_gets_the_right_answer() {
    let samples = samples();
    assert_eq!(samples.len(), 20);
    let lines = infer(&[], &photos(20)).ok().json_lines();
    assert_right(&lines, &samples);
    for (line, sample) in lines.iter().zip(&samples) {
        assert_eq!(line["top"][0]["label"], sample.name);
        assert_eq!(line["ran_on"], "device");
    }
}

#[test]
fn the_line_is_the_promised_one() {
    let lines = infer(&["--top", "12"], &photos(1)).ok().json_lines();
    let line = &lines[0];
    assert_eq!(
        keys(line),
        [
            "bytes_up", "codec", "cut", "image", "levels", "ms", "ran_on", "top"
        ]
    );
    assert_eq!(line["cut"], LAST_CUT);
    assert_eq!(line["bytes_up"], 0);
    assert!(line["levels"].is_null() && line["codec"].is_null());
    let stages = [
        "device",
        "network",
        "pack",
        "post",
        "preprocess",
        "queue",
        "server",
        "total",
    ];
    let ms = &line["ms"];
    assert_eq!(keys(ms), stages);
    let time = |stage: &str| ms[stage].as_f64().unwrap();
    let parts: f64 = stages
        .iter()
        .filter(|s| **s != "total")
        .map(|s| time(s))
        .sum();
    // Each of the eight is rounded to a microsecond.
    assert!(parts <= time("total") + 8e-3, "{ms}");
    assert!(time("device") > 0.0, "{ms}");

    let top = line["top"].as_array().unwrap();
    assert_eq!(top.len(), 12);
    let scores: Vec<f64> = top.iter().map(|l| l["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    assert!(
        (scores.iter().sum::<f64>() - 1.0).abs() < 1e-5,
        "{scores:?}"
    );
    for label in top {
        assert_eq!(keys(label), ["index", "label", "score"]);
    }
}

#[test]
fn for_people_there_are_labels_and_percentages() {
    let (bundle, photo) = (bundle(), &photos(1)[0]);
    let run = dyno([
        "infer".as_ref(),
        "--bundle".as_ref(),
        bundle.as_os_str(),
        photo.as_ref(),
    ]);
    let text = run.ok().stdout;
    assert_eq!(text.lines().count(), 1 + 5, "{text}");
    assert!(text.starts_with(photo.to_str().unwrap()), "{text}");
    assert!(text.lines().nth(1).unwrap().ends_with("cross"), "{text}");
    assert!(text.contains(" %"), "{text}");
}

#[test]
fn a_file_that_is_no_image_fails_alone() {
    let images = [
        models().join("labels.txt"),
        photos(1).remove(0),
        models().join("missing.jpg"),
    ];
    let run = infer(&[], &images);
    let lines = run.json_lines();
    assert_eq!(lines.len(), 3);
    assert_eq!(keys(&lines[0]), ["error", "image", "kind"]);
    assert_eq!(lines[0]["kind"], "invalid_image");
    assert_eq!(lines[0]["image"], images[0].display().to_string());
    assert_right(&lines[1..2], &samples()[..1]);
    assert_eq!(lines[2]["kind"], "io");
    let complaint = run.complaint(1);
    assert!(complaint.contains("2 of 3 images failed"), "{complaint}");
}

#[test]
fn a_photo_that_was_cut_short_is_no_image() {
    let folder = folder();
    let short = folder.path().join("short.jpg");
    let whole = std::fs::read(&photos(1)[0]).unwrap();
    std::fs::write(&short, &whole[..whole.len() * 2 / 3]).unwrap();
    let run = infer(&[], &[short]);
    assert_eq!(run.json_lines()[0]["kind"], "invalid_image");
    run.complaint(1);
}

#[test]
fn raw_outputs_are_written_for_numpy() {
    let folder = folder();
    let file = folder.path().join("logits.npy");
    let lines = infer(
        &["--top", "1", "--output", file.to_str().unwrap()],
        &photos(1),
    )
    .ok()
    .json_lines();
    let logits = npy::read(&file);
    assert_eq!(
        (logits.descr.as_str(), logits.shape.as_slice()),
        ("<f4", &[1, 12][..])
    );
    let logits = logits.f32();
    let best = (0..12)
        .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
        .unwrap();
    assert_eq!(lines[0]["top"][0]["index"], best);
}

#[test]
fn several_images_get_a_file_each() {
    let folder = folder();
    let file = folder.path().join("logits.npy");
    infer(&["--output", file.to_str().unwrap()], &photos(2)).ok();
    for name in ["logits-01_cross.npy", "logits-02_heart.npy"] {
        assert_eq!(npy::read(&folder.path().join(name)).shape, [1, 12]);
    }
}

#[test]
fn two_images_of_one_name_would_share_a_file() {
    let folder = folder();
    let file = folder.path().join("logits.npy");
    let photo = photos(1).remove(0);
    let other = folder.path().join(photo.file_name().unwrap());
    std::fs::copy(&photo, &other).unwrap();
    let run = infer(&["--output", file.to_str().unwrap()], &[photo, other]);
    let said = run.complaint(1);
    assert!(said.contains("two of them are called '01_cross'"), "{said}");
}

#[test]
fn a_stream_answers_in_the_order_of_its_images() {
    let server = Server::start(bundles());
    let photos = photos(20);
    let url = server.base();
    // So that a slow answer is waited for.
    let cloud = ["--mode", "ONLY_CLOUD", "--cut", "10"];
    let split = [&cloud[..], &["--server", &url]].concat();
    for flags in [&[][..], &split[..]] {
        let run = infer(&[flags, &["--stream"]].concat(), &photos).ok();
        let lines = run.json_lines();
        assert_right(&lines, &samples());
        for (number, line) in lines.iter().enumerate() {
            assert_eq!(line["seq"], number);
            assert_eq!(line["image"], photos[number].display().to_string());
            assert_eq!(line["ran_on"] == "split", !flags.is_empty(), "{line}");
        }
        let last = run.stderr.lines().last().unwrap();
        assert!(last.starts_with("20 frames in "), "{last}");
        assert!(last.ends_with(" frames/s"), "{last}");
    }
}

#[test]
fn a_file_that_is_no_image_is_no_frame_of_a_stream() {
    let (labels, mut images) = (models().join("labels.txt"), photos(2));
    images.insert(1, labels.clone());
    images.push(labels);
    let run = infer(&["--stream"], &images);
    let lines = run.json_lines();
    let seqs: Vec<_> = lines.iter().map(|line| line["seq"].as_u64()).collect();
    assert_eq!(seqs, [Some(0), None, Some(1), None]);
    assert_eq!(lines[1]["kind"], "invalid_image");
    assert!(run.complaint(1).contains("2 of 4 images failed"));
}

#[test]
fn a_plan_that_needs_a_server_is_refused_without_one() {
    for flags in [
        &["--cut", "9"][..],
        &["--codec", "png"],
        &["--mode", "ONLY_CLOUD"],
        &["--mode", "ONLY_ON_DEVICE", "--cut", "9"],
    ] {
        let complaint = infer(flags, &photos(1)).complaint(1);
        assert!(complaint.starts_with("error: "), "{complaint}");
        assert!(complaint.contains("choose"), "{flags:?}: {complaint}");
    }
    let complaint = infer(&["--codec", "png", "--cut", "3"], &photos(1)).complaint(1);
    assert!(complaint.contains("cut 0"), "{complaint}");
}
