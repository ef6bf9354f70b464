//! Well-known networks and photos in the folder that `DYNO_TEST_DATA` names: the preprocessing is
//! right, and splitting does not change what they say. Skipped where there is no such folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::fixture::{folder, infer_with, inspect, top};
use crate::npy;
use crate::processes::{Server, dyno};

/// Photos of a comparison.
const PHOTOS: usize = 20;
/// Photos that must be right on the device: 70 to 80 % of the validation set are.
const MIN_RIGHT: usize = 12;
/// Photos on which device and split must agree at 256 levels.
const MIN_AGREE: usize = 19;

/// How torchvision's networks, and others trained like them, see a photo of 227 pixels.
const TORCHVISION: &[&str] = &[
    "--mean",
    "0.485,0.456,0.406",
    "--std",
    "0.229,0.224,0.225",
    "--crop-fraction",
    "0.98678414",
];
/// The same photos from -1 to 1.
const TENSORFLOW: &[&str] = &[
    "--mean",
    "0.5,0.5,0.5",
    "--std",
    "0.5,0.5,0.5",
    "--crop-fraction",
    "0.98678414",
];

#[test]
fn squeezenet() {
    classifies("squeezenet1.1", TORCHVISION);
}

#[test]
fn mobilenet_v2() {
    classifies("mobilenetv2", TENSORFLOW);
}

#[test]
fn resnet_18() {
    classifies("resnet18_pqf", TORCHVISION);
}

#[test]
fn yolox_returns_the_same_raw_outputs_when_split() {
    let flags = "--resize letterbox --pad 114 --anchor top-left --colour bgr \
                 --mean 0,0,0 --std 0.00392156862,0.00392156862,0.00392156862";
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let Some(outputs) = split_outputs("yolox_nano", &flags) else {
        return;
    };
    for (device, split) in outputs {
        assert_eq!(device.shape, [1, 3549, 85]);
        assert_eq!(split.shape, device.shape);
        let (device, split) = (device.f32(), split.f32());
        let range = device.iter().fold(0f32, |m, v| m.max(v.abs()));
        let apart = device.iter().zip(&split).map(|(a, b)| (a - b).abs());
        let worst = apart.fold(0f32, f32::max);
        assert!(range > 1.0 && worst <= 1e-3 * range, "{worst} of {range}");
    }
}

#[test]
fn deeplab_returns_the_same_classes_when_split() {
    let flags = ["--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"];
    let Some(outputs) = split_outputs("deeplabv3_mobilenetv2_voc", &flags) else {
        return;
    };
    for (device, split) in outputs {
        assert_eq!(device.shape, [1, 513, 513]);
        assert_eq!(split.shape, device.shape);
        let (device, split) = (device.i64(), split.i64());
        assert!(device.iter().all(|class| (0..21).contains(class)));
        let differ = device.iter().zip(&split).filter(|(a, b)| a != b).count();
        assert!(
            differ * 10_000 <= device.len(),
            "{differ} of {}",
            device.len()
        );
    }
}

/// Right on the device, and the same when cut in the middle and packed with 8 bits.
fn classifies(model: &str, flags: &[&str]) {
    let Some(data) = data(model) else { return };
    let folder = folder();
    let names = folder.path().join("names.txt");
    std::fs::write(&names, class_names(&data).join("\n")).unwrap();
    let flags = [flags, &["--labels", names.to_str().unwrap()]].concat();
    let bundle = prepare(&data, &folder, model, &flags);
    let truth = truth(&data);
    let photos = photos(&data);

    let device = infer_with(&bundle, &[], &photos).ok().json_lines();
    let right = photos.iter().zip(&device).filter(|(photo, line)| {
        let name = photo.strip_prefix(data.join("images")).unwrap();
        truth[name.to_str().unwrap()] == top(line).0
    });
    let right = right.count();
    assert!(right >= MIN_RIGHT, "{model}: {right} of {PHOTOS} are right");

    let server = Server::start(&folder.path().join("bundles"));
    let (base, cut) = (server.base(), middle(&bundle).to_string());
    let flags = ["--server", &base, "--mode", "ONLY_CLOUD", "--cut", &cut];
    let split = infer_with(&bundle, &flags, &photos).ok().json_lines();
    assert!(
        split
            .iter()
            .all(|line| line["ran_on"] == "split" && line["levels"] == 256)
    );
    let agree = device
        .iter()
        .zip(&split)
        .filter(|(a, b)| top(a).0 == top(b).0);
    let agree = agree.count();
    assert!(
        agree >= MIN_AGREE,
        "{model} at cut {cut}: {agree} of {PHOTOS} agree"
    );
    println!("{model}: {right} of {PHOTOS} right, {agree} agree when split at cut {cut}");
}

/// Raw outputs of the device, and of a split in the middle with raw fp32, for two photos.
fn split_outputs(model: &str, flags: &[&str]) -> Option<Vec<(npy::Array, npy::Array)>> {
    let data = data(model)?;
    let folder = folder();
    let bundle = prepare(&data, &folder, model, flags);
    let server = Server::start(&folder.path().join("bundles"));
    let (base, cut) = (server.base(), middle(&bundle).to_string());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let photos = &photos(&data)[..2];
    infer_with(&bundle, &["--output", &path("device.npy")], photos).ok();
    let mut flags = vec!["--server", &base, "--mode", "ONLY_CLOUD", "--cut", &cut];
    let output = path("split.npy");
    flags.extend(["--levels", "raw", "--codec", "lz4", "--output", &output]);
    let lines = infer_with(&bundle, &flags, photos).ok().json_lines();
    assert!(
        lines
            .iter()
            .all(|line| line["ran_on"] == "split" && line["top"] == serde_json::json!([]))
    );
    let both = |photo: &PathBuf| {
        let stem = photo.file_stem().unwrap().to_str().unwrap();
        let read = |from: &str| npy::read(&folder.path().join(format!("{from}-{stem}.npy")));
        (read("device"), read("split"))
    };
    Some(photos.iter().map(both).collect())
}

/// The folder of test data, if there is one.
fn data(model: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("DYNO_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: {model} end to end, because DYNO_TEST_DATA is not set");
    }
    folder
}

fn prepare(data: &Path, folder: &TempDir, model: &str, flags: &[&str]) -> PathBuf {
    let bundle = folder.path().join("bundles").join(model);
    let file = data.join("models").join(format!("{model}.onnx"));
    let arguments = [
        "prepare",
        file.to_str().unwrap(),
        "--out",
        bundle.to_str().unwrap(),
    ];
    dyno(arguments.iter().chain(flags)).ok();
    bundle
}

/// The cut with one tensor whose head has nearest to half of the work.
fn middle(bundle: &Path) -> u64 {
    let bundle = inspect(bundle);
    let cuts = bundle["cuts"].as_array().unwrap();
    let inner = cuts[1..cuts.len() - 1].iter();
    let single = inner.filter(|cut| cut["tensors"].as_array().unwrap().len() == 1);
    let uneven = |cut: &&serde_json::Value| {
        let flops = |side: &str| cut[side].as_u64().unwrap();
        flops("flops_before").abs_diff(flops("flops_after"))
    };
    single.min_by_key(uneven).unwrap()["index"]
        .as_u64()
        .unwrap()
}

/// Photos from the whole list, so that their classes differ.
fn photos(data: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(data.join("images/val"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let every = files.len() / PHOTOS;
    files.into_iter().step_by(every).take(PHOTOS).collect()
}

fn class_names(data: &Path) -> Vec<String> {
    let list = std::fs::read_to_string(data.join("images/classes.txt")).unwrap();
    let name = |line: &str| line.split_once(' ').unwrap().1.to_owned();
    list.lines().map(name).collect()
}

/// The class of each photo, by its file's name in the list.
fn truth(data: &Path) -> HashMap<String, u64> {
    let list = std::fs::read_to_string(data.join("images/labels.csv")).unwrap();
    let row = |line: &str| {
        let mut columns = line.split(',');
        let file = columns.next().unwrap().to_owned();
        (file, columns.next().unwrap().parse().unwrap())
    };
    list.lines().skip(1).map(row).collect()
}
