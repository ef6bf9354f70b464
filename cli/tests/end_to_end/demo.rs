//! `dyno demo`: ends well, and its table compares what it promises to compare.

use crate::fixture::{bundle, folder, photos};
use crate::processes::dyno;

#[test]
fn it_runs_to_its_end_and_shows_the_table() {
    // Few photos: over the worst link each takes most of a second.
    let folder = folder();
    for photo in photos(2) {
        std::fs::copy(&photo, folder.path().join(photo.file_name().unwrap())).unwrap();
    }
    let bundle = bundle();
    let run = dyno([
        "demo".as_ref(),
        "--bundle".as_ref(),
        bundle.as_os_str(),
        "--photos".as_ref(),
        folder.path().as_os_str(),
    ]);
    let table = run.ok().stdout;
    for word in ["device-only", "server-only", "DynO", "killed"] {
        assert!(table.contains(word), "{table}");
    }
}
