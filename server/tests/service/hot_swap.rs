//! Bundles that come, change and go while the server runs.

use std::path::Path;
use std::time::Duration;

use crate::common::bed::{Bed, MODEL, answer, bundle};
use crate::common::shapes::{copy, put, versions};
use crate::common::{PATIENCE, assert_error, json as body, until};
use dyno_core::bundle::{BundleFile, GRAPH_FILE, MANIFEST_FILE, Manifest, WEIGHTS_FILE};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Between two looks.
const SOON: Duration = Duration::from_millis(20);

#[tokio::test]
async fn an_old_version_is_found_by_its_hash_until_its_time_has_passed() {
    let [first, second] = versions();
    let bed = Bed::start(&[(MODEL, bundle(0))], |_| {}).await;
    let early = bed.packed(MODEL, second, 0).await;
    assert_error(early, 409, "bundle_mismatch").await;
    put(bundle(1), &bed.place(MODEL));
    bed.reloader.reload();
    bed.until_hash(MODEL, Some(&second.hash)).await;
    // The last was not built before: its files are where the folder was moved to.
    for which in 0..first.packed.len() {
        answer(bed.packed(MODEL, first, which).await, &first.hash).await;
        answer(bed.packed(MODEL, second, which).await, &second.hash).await;
    }
    answer(bed.photo(MODEL, None).await, &second.hash).await;
    answer(bed.photo(MODEL, Some(&first.hash)).await, &first.hash).await;
    let listed = body(bed.get("/v1/models").await).await;
    assert_eq!(
        listed["models"],
        json!([{"model": MODEL, "hash": second.hash}])
    );

    let bed = Bed::start(&[(MODEL, bundle(0))], |config| {
        config.keep_old_versions = Duration::from_millis(1);
    })
    .await;
    put(bundle(1), &bed.place(MODEL));
    bed.reloader.reload();
    bed.until_hash(MODEL, Some(&second.hash)).await;
    until(async || bed.packed(MODEL, first, 0).await.status() == 409).await;
    let late = bed.photo(MODEL, Some(&first.hash)).await;
    assert_error(late, 409, "bundle_mismatch").await;
}

#[tokio::test]
async fn an_old_version_whose_files_are_deleted_runs_what_it_has_and_sends_the_rest_home() {
    let [first, second] = versions();
    let bed = Bed::start(&[(MODEL, bundle(0))], |_| {}).await;
    answer(bed.packed(MODEL, first, 0).await, &first.hash).await;
    let old = put(bundle(1), &bed.place(MODEL));
    std::fs::remove_dir_all(old.unwrap()).unwrap();
    bed.reloader.reload();
    bed.until_hash(MODEL, Some(&second.hash)).await;
    answer(bed.packed(MODEL, first, 0).await, &first.hash).await;
    let unbuilt = bed.packed(MODEL, first, 1).await;
    if unbuilt.status() == 200 {
        // An engine that keeps the weights needs no files.
        answer(unbuilt, &first.hash).await;
    } else {
        assert_error(unbuilt, 409, "bundle_mismatch").await;
    }
    answer(bed.packed(MODEL, second, 1).await, &second.hash).await;
}

#[tokio::test]
async fn models_come_change_and_go_without_being_asked_for() {
    let [first, second] = versions();
    let bed = Bed::start(&[("stays", bundle(0))], |config| {
        config.reload_interval = SOON;
    })
    .await;
    put(bundle(0), &bed.place(MODEL));
    bed.until_hash(MODEL, Some(&first.hash)).await;
    answer(bed.photo(MODEL, None).await, &first.hash).await;
    put(bundle(1), &bed.place(MODEL));
    bed.until_hash(MODEL, Some(&second.hash)).await;
    std::fs::remove_dir_all(bed.place(MODEL)).unwrap();
    bed.until_hash(MODEL, None).await;
    assert_error(bed.photo(MODEL, None).await, 404, "not_found").await;
    assert_eq!(bed.hash("stays").await, Some(first.hash.clone()));

    // All at once is an accident.
    std::fs::rename(bed.place("stays"), bed.place(".away")).unwrap();
    tokio::time::sleep(10 * SOON).await;
    assert_eq!(bed.hash("stays").await, Some(first.hash.clone()));
    std::fs::rename(bed.place(".away"), bed.place("stays")).unwrap();
    put(bundle(1), &bed.place("stays"));
    bed.until_hash("stays", Some(&second.hash)).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_is_followed_when_it_is_turned() {
    use std::os::unix::fs::symlink;
    let [first, second] = versions();
    let elsewhere = tempfile::tempdir().unwrap();
    for (name, version) in [("one", 0), ("two", 1)] {
        copy(bundle(version), &elsewhere.path().join(name));
    }
    let bed = Bed::start(&[("stays", bundle(0))], |_| {}).await;
    for (target, hash) in [
        ("one", &first.hash),
        ("two", &second.hash),
        ("one", &first.hash),
    ] {
        symlink(elsewhere.path().join(target), bed.place(".link")).unwrap();
        std::fs::rename(bed.place(".link"), bed.place(MODEL)).unwrap();
        bed.reloader.reload();
        bed.until_hash(MODEL, Some(hash)).await;
        answer(bed.photo(MODEL, None).await, hash).await;
    }
    // One that leads nowhere is no reason to stop.
    symlink("/does/not/exist", bed.place(".link")).unwrap();
    std::fs::rename(bed.place(".link"), bed.place(MODEL)).unwrap();
    assert_refused(&bed, "a link to nothing").await;
}

/// A way of spoiling a bundle, by name.
type Spoil = (&'static str, fn(&Path));

const SPOILT: [Spoil; 11] = [
    ("weights cut short", |folder| {
        let weights = std::fs::read(folder.join(WEIGHTS_FILE)).unwrap();
        std::fs::write(folder.join(WEIGHTS_FILE), &weights[1..]).unwrap();
    }),
    ("one bit of the weights", |folder| {
        let mut weights = std::fs::read(folder.join(WEIGHTS_FILE)).unwrap();
        weights[100] ^= 1;
        std::fs::write(folder.join(WEIGHTS_FILE), weights).unwrap();
    }),
    ("half-written: no weights yet", |folder| {
        std::fs::remove_file(folder.join(WEIGHTS_FILE)).unwrap();
    }),
    ("half-written: no manifest yet", |folder| {
        std::fs::remove_file(folder.join(MANIFEST_FILE)).unwrap();
    }),
    ("half-written: half a manifest", |folder| {
        let manifest = std::fs::read(folder.join(MANIFEST_FILE)).unwrap();
        std::fs::write(folder.join(MANIFEST_FILE), &manifest[..manifest.len() / 2]).unwrap();
    }),
    ("another hash", |folder| {
        edit(folder, |manifest| manifest["hash"] = json!("0".repeat(64)));
    }),
    ("other labels under the old hash", |folder| {
        edit(folder, |manifest| manifest["labels"][0] = json!("spoilt"));
    }),
    ("another format", |folder| {
        edit(folder, |manifest| manifest["format"] = json!(99));
    }),
    ("another cut table", |folder| {
        edit(folder, |manifest| {
            manifest["cuts"].as_array_mut().unwrap().swap(1, 2);
        });
    }),
    ("a folder for a file", |folder| {
        std::fs::remove_file(folder.join(GRAPH_FILE)).unwrap();
        std::fs::create_dir(folder.join(GRAPH_FILE)).unwrap();
    }),
    (
        "operators that nobody knows, under a right hash",
        unrunnable,
    ),
];

fn edit(folder: &Path, change: impl FnOnce(&mut Value)) {
    let path = folder.join(MANIFEST_FILE);
    let mut manifest = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    std::fs::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
}

/// What `core/src/bundle/content.rs` hashes.
#[derive(serde::Serialize)]
struct Content<'a> {
    format: u32,
    input: &'a dyno_core::TensorSpec,
    outputs: &'a [dyno_core::TensorSpec],
    preprocess: &'a dyno_core::pixels::Preprocess,
    labels: &'a [String],
    cuts: &'a [dyno_core::bundle::Cut],
    files: &'a [BundleFile],
}

/// As a newer opset would look: everything is as it should be, and ONNX Runtime cannot run it.
fn unrunnable(folder: &Path) {
    let mut graph = std::fs::read(folder.join(GRAPH_FILE)).unwrap();
    let mut at = 0;
    while let Some(found) = graph[at..].windows(6).position(|w| w == b"\x22\x04Conv") {
        at += found + 5;
        graph[at] = b'x';
    }
    assert!(at > 0, "there is a convolution");
    std::fs::write(folder.join(GRAPH_FILE), &graph).unwrap();
    let text = std::fs::read(folder.join(MANIFEST_FILE)).unwrap();
    let mut manifest: Manifest = serde_json::from_slice(&text).unwrap();
    let hex = |bytes: &[u8]| {
        let digits = Sha256::digest(bytes);
        digits
            .iter()
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    };
    let file: &mut BundleFile = &mut manifest.files[0];
    assert_eq!(file.name, GRAPH_FILE);
    (file.bytes, file.sha256) = (graph.len() as u64, hex(&graph));
    let content = Content {
        format: manifest.format,
        input: &manifest.input,
        outputs: &manifest.outputs,
        preprocess: &manifest.preprocess,
        labels: &manifest.labels,
        cuts: &manifest.cuts,
        files: &manifest.files,
    };
    let hash = hex(&serde_json::to_vec(&content).unwrap());
    let mut manifest = serde_json::to_value(&manifest).unwrap();
    manifest["hash"] = json!(hash);
    std::fs::write(
        folder.join(MANIFEST_FILE),
        serde_json::to_vec(&manifest).unwrap(),
    )
    .unwrap();
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_and_the_old_version_goes_on() {
    let [first, second] = versions();
    let bed = Bed::start(&[(MODEL, bundle(0))], |_| {}).await;
    for (number, (what, spoil)) in SPOILT.iter().enumerate() {
        let spoilt = bed.place(".spoilt");
        copy(bundle(1), &spoilt);
        spoil(&spoilt);
        let old = bed.place(&format!(".old-{number}"));
        std::fs::rename(bed.place(MODEL), old).unwrap();
        std::fs::rename(spoilt, bed.place(MODEL)).unwrap();
        assert_refused(&bed, what).await;
        answer(bed.photo(MODEL, None).await, &first.hash).await;
        answer(bed.packed(MODEL, first, 0).await, &first.hash).await;
    }
    // None of it stands in the way of a good one.
    put(bundle(1), &bed.place(MODEL));
    bed.reloader.reload();
    bed.until_hash(MODEL, Some(&second.hash)).await;
}

/// A pipe keeps whoever opens it waiting for a writer.
#[cfg(unix)]
#[tokio::test]
async fn a_pipe_is_no_bundle() {
    let bed = Bed::start(&[(MODEL, bundle(0))], |_| {}).await;
    for file in [MANIFEST_FILE, GRAPH_FILE, WEIGHTS_FILE] {
        let pipe = bed.place(".pipe");
        copy(bundle(1), &pipe);
        std::fs::remove_file(pipe.join(file)).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(pipe.join(file))
            .status();
        assert!(made.unwrap().success());
        std::fs::rename(bed.place(MODEL), bed.place(".old")).unwrap();
        std::fs::rename(pipe, bed.place(MODEL)).unwrap();
        assert_refused(&bed, file).await;
        std::fs::remove_dir_all(bed.place(MODEL)).unwrap();
        std::fs::rename(bed.place(".old"), bed.place(MODEL)).unwrap();
    }
}

/// The refusal is counted, and nothing changes.
async fn assert_refused(bed: &Bed, what: &str) {
    let (hash, refused) = (bed.hash(MODEL).await, bed.refused().await);
    assert!(hash.is_some(), "{what}");
    bed.reloader.reload();
    let counted = until(async || bed.refused().await == refused + 1);
    tokio::time::timeout(PATIENCE, counted).await.expect(what);
    assert_eq!(bed.hash(MODEL).await, hash, "{what}");
    assert!(bed.is_ready().await, "{what}");
}
