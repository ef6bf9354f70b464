//! Bundles that someone has changed, by accident or with a hash that fits.

use std::path::Path;

use super::*;

#[test]
fn a_bundle_that_was_tampered_with_is_refused() {
    let workshop = Workshop::new();
    workshop.bundle(&typical());
    let folder = workshop.path();
    let refuse = |text: &str| {
        let error = Bundle::open(&folder).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidBundle, "{error}");
        assert!(
            error.to_string().contains(text),
            "'{error}' does not say '{text}'"
        );
    };
    with_change(
        &folder.join(WEIGHTS_FILE),
        |w| w[0] ^= 1,
        || refuse(WEIGHTS_FILE),
    );
    with_change(
        &folder.join(WEIGHTS_FILE),
        |w| w.truncate(10),
        || refuse("10 bytes"),
    );
    with_change(
        &folder.join(GRAPH_FILE),
        |g| g.push(0),
        || refuse(GRAPH_FILE),
    );
    let manifest = folder.join(MANIFEST_FILE);
    let edit = |from: &'static str, to: &'static str| {
        move |text: &mut Vec<u8>| {
            let edited = String::from_utf8(text.clone())
                .unwrap()
                .replacen(from, to, 1);
            assert_ne!(edited.as_bytes(), text.as_slice());
            *text = edited.into_bytes();
        }
    };
    with_change(&manifest, edit("\"format\": 1", "\"format\": 2"), || {
        refuse("version is 2");
    });
    with_change(
        &manifest,
        edit("\"flops_before\": 0", "\"flops_before\": 1"),
        || refuse("hash"),
    );
    with_change(&manifest, |m| m.truncate(100), || refuse(MANIFEST_FILE));
    std::fs::remove_file(folder.join(PROFILE_FILE)).unwrap();
    assert!(Bundle::open(&folder).unwrap().profile().is_none());
    std::fs::remove_file(folder.join(WEIGHTS_FILE)).unwrap();
    refuse(WEIGHTS_FILE);
}

#[test]
fn a_graph_that_names_other_files_is_refused() {
    let workshop = Workshop::new();
    let mut manifest = workshop.bundle(&typical()).manifest().clone();
    let folder = workshop.path();
    let path = folder.join(GRAPH_FILE);
    let mut graph = std::fs::read(&path).unwrap();
    let name = graph.windows(11).position(|w| w == WEIGHTS_FILE.as_bytes());
    // Of the same length, so that the rest stays as it is.
    graph[name.unwrap()..][..11].copy_from_slice(b"../secret.x");
    std::fs::write(&path, graph).unwrap();
    manifest.files[0] = content::describe_file(&folder, GRAPH_FILE).unwrap();
    manifest.hash = content::content_hash(&manifest).unwrap();
    let manifest = serde_json::to_vec(&manifest).unwrap();
    std::fs::write(folder.join(MANIFEST_FILE), manifest).unwrap();
    let error = Bundle::open(&folder).unwrap_err().to_string();
    assert!(error.contains("outside of weights.bin"), "{error}");
}

fn with_change(path: &Path, change: impl FnOnce(&mut Vec<u8>), check: impl FnOnce()) {
    let original = std::fs::read(path).unwrap();
    let mut changed = original.clone();
    change(&mut changed);
    std::fs::write(path, changed).unwrap();
    check();
    std::fs::write(path, original).unwrap();
}
