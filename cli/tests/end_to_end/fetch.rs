//! `dyno fetch`: the server's bundle on another machine, the same to the last bit.

use std::path::Path;

use crate::fixture::{MODEL, bundle, bundles, copy, folder, hash, infer_with, photos};
use crate::processes::{Run, Server, dyno};

#[test]
fn the_bundle_arrives_whole_and_works() {
    let server = Server::start(bundles());
    let folder = folder();
    let out = folder.path().join("fetched");
    let run = fetch(&server, MODEL, &out).ok();
    assert!(run.stdout.trim_end().ends_with(&hash(&bundle())), "{run:?}");
    assert_eq!(hash(&out), hash(&bundle()));
    for file in ["graph.onnx", "weights.bin"] {
        let read = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
        assert!(read(&out) == read(&bundle()), "{file} differs");
    }
    let report = dyno(["verify".as_ref(), out.as_os_str(), "--json".as_ref()]);
    assert_eq!(report.ok().json()["pass"], true);

    let base = server.base();
    let flags = ["--server", &base, "--mode", "ONLY_CLOUD", "--cut", "9"];
    let lines = infer_with(&out, &flags, &photos(1)).ok().json_lines();
    assert_eq!(lines[0]["ran_on"], "split");
}

#[test]
fn what_cannot_be_fetched_is_said() {
    let server = Server::start(bundles());
    let folder = folder();
    let out = folder.path().join("fetched");
    let complaint = fetch(&server, "nobody", &out).complaint(1);
    assert!(
        complaint.contains("404") && complaint.contains("nobody"),
        "{complaint}"
    );
    assert!(!out.exists());

    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("mine.txt"), "dear").unwrap();
    let complaint = fetch(&server, MODEL, &out).complaint(1);
    assert!(complaint.contains(out.to_str().unwrap()), "{complaint}");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);

    let base = server.base();
    drop(server);
    let out = folder.path().join("other");
    let arguments = [
        "fetch",
        "--server",
        &base,
        MODEL,
        "--out",
        out.to_str().unwrap(),
    ];
    let complaint = dyno(arguments).complaint(1);
    assert!(complaint.contains("onnection refused"), "{complaint}");
    assert!(!out.exists());
}

#[test]
fn a_bundle_damaged_on_the_server_after_its_start_does_not_pass_for_whole() {
    let root = folder();
    copy(&bundle(), &root.path().join(MODEL));
    let server = Server::start(root.path());
    let weights = root.path().join(MODEL).join("weights.bin");
    let mut content = std::fs::read(&weights).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    // Another file under the same name: the server has the old one mapped.
    std::fs::remove_file(&weights).unwrap();
    std::fs::write(&weights, content).unwrap();

    let folder = folder();
    let out = folder.path().join("fetched");
    fetch(&server, MODEL, &out).complaint(1);
    assert!(!out.exists());
}

fn fetch(server: &Server, model: &str, out: &Path) -> Run {
    let base = server.base();
    dyno([
        "fetch",
        "--server",
        &base,
        model,
        "--out",
        out.to_str().unwrap(),
    ])
}
