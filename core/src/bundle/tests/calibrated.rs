//! A calibrated bundle: measured, resumed, carried by archives, refused where it was changed.

use std::path::Path;

use super::*;
use crate::calibrate::{Calibrate, CalibrationSummary, calibrate};
use crate::pixels::Frame;
use crate::schedule::PhotoCodec;

/// Photos of noise, as many as `count`, and one file that is none.
fn photos(folder: &Path, count: usize) {
    std::fs::create_dir_all(folder).unwrap();
    let mut state = 1u64;
    for i in 0..count {
        let rgb = (0..16 * 16 * 3).map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(99);
            state.to_le_bytes()[7]
        });
        let frame = Frame::from_rgb(16, 16, rgb.collect()).unwrap();
        let png = frame.encode(PhotoCodec::Png).unwrap();
        std::fs::write(folder.join(format!("{i}.png")), png).unwrap();
    }
    std::fs::write(folder.join("broken.jpg"), "no photo").unwrap();
}

fn calibrated(workshop: &Workshop, options: &Calibrate) -> Result<(Bundle, CalibrationSummary)> {
    let draft = workshop.draft(&typical(), None)?;
    let mut summary = None;
    let write_options = WriteOptions {
        replace: true,
        ..super::options(&draft)
    };
    let bundle =
        draft.write_calibrated(&workshop.path(), &write_options, &|_, _, _| {}, |bundle| {
            let made = calibrate(bundle, options, &|_, _, _| {})?;
            let calibration = made.calibration.clone();
            summary = Some(made);
            Ok(Some(calibration))
        })?;
    Ok((bundle, summary.unwrap()))
}

fn calibrate_with(workshop: &Workshop) -> Calibrate {
    let images = workshop.folder.path().join("photos");
    photos(&images, 6);
    Calibrate {
        images,
        resume_file: Some(workshop.folder.path().join("state.json")),
        ..Calibrate::default()
    }
}

#[test]
fn the_table_is_part_of_the_bundle_and_of_its_hash() {
    let workshop = Workshop::new();
    let plain = workshop.bundle(&typical()).manifest().hash.clone();
    let (bundle, summary) = calibrated(&workshop, &calibrate_with(&workshop)).unwrap();
    assert_ne!(bundle.manifest().hash, plain);
    assert_eq!(summary.skipped.len(), 1);
    assert!(summary.skipped[0].file.ends_with("broken.jpg"));
    let table = bundle.calibration().unwrap();
    assert_eq!(*table, summary.calibration);
    assert_eq!(table.images, 6);
    for cut in 0..bundle.manifest().last_cut() {
        let exact = table.allowed(cut, 0.0).expect("fp32 keeps every limit");
        assert!(exact.bytes_mean > 0.0);
        assert!(
            table
                .rows
                .iter()
                .any(|row| row.cut == cut && !row.sent.is_exact())
        );
    }

    let path = workshop.path().join(CALIBRATION_FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"images\": 6", "\"images\": 7", 1)).unwrap();
    let error = Bundle::open(&workshop.path()).unwrap_err().to_string();
    assert!(error.contains(CALIBRATION_FILE), "{error}");
}

#[test]
fn an_archive_carries_what_the_manifest_lists_and_nothing_else() {
    let workshop = Workshop::new();
    calibrated(&workshop, &calibrate_with(&workshop)).unwrap();
    let archive = |with_calibration: bool| {
        let mut builder = tar::Builder::new(Vec::new());
        let names = [MANIFEST_FILE, GRAPH_FILE, WEIGHTS_FILE, CALIBRATION_FILE];
        for name in names.iter().take(if with_calibration { 4 } else { 3 }) {
            let path = workshop.path().join(name);
            builder.append_path_with_name(path, name).unwrap();
        }
        builder.into_inner().unwrap()
    };
    let to = |name: &str| workshop.folder.path().join(name);
    let fetched = unpack(&archive(true)[..], &to("fetched")).unwrap();
    assert!(fetched.calibration().is_some());
    assert!(unpack(&archive(false)[..], &to("short")).is_err());

    // The same file beside a manifest that does not list it.
    let calibration = std::fs::read(workshop.path().join(CALIBRATION_FILE)).unwrap();
    workshop.bundle_anew();
    std::fs::write(workshop.path().join(CALIBRATION_FILE), calibration).unwrap();
    assert!(
        Bundle::open(&workshop.path())
            .unwrap()
            .calibration()
            .is_none()
    );
    let error = unpack(&archive(true)[..], &to("unlisted")).unwrap_err();
    assert!(error.to_string().contains("does not list"), "{error}");
    assert!(!to("unlisted").exists());
}

#[test]
fn an_interrupted_calibration_goes_on_where_it_was() {
    let workshop = Workshop::new();
    let options = calibrate_with(&workshop);
    let whole = calibrated(&workshop, &options).unwrap().1;
    assert_eq!(whole.resumed_cuts, 0);
    let state = options.resume_file.clone().unwrap();
    std::fs::remove_file(&state).unwrap();

    let bundle = workshop.bundle_anew();
    let interrupted = calibrate(&bundle, &options, &|step, done, _| {
        if (step, done) == (Step::Calibrate, 2) {
            options.cancel.cancel();
        }
    });
    assert_eq!(interrupted.unwrap_err().kind(), ErrorKind::Cancelled);
    let again = Calibrate {
        cancel: crate::runtime::Cancel::new(),
        ..options.clone()
    };
    let resumed = calibrate(&bundle, &again, &|_, _, _| {}).unwrap();
    assert_eq!(resumed.resumed_cuts, 2);
    assert_eq!(resumed.calibration, whole.calibration);
    assert!(state.exists(), "until the table is where it is to stay");
}

#[test]
fn labels_that_fit_no_photo_are_an_error_before_anything_is_written() {
    let workshop = Workshop::new();
    let truth = workshop.folder.path().join("labels.csv");
    std::fs::write(&truth, "file,class_index\nother.png,1\n").unwrap();
    let options = Calibrate {
        truth: Some(truth),
        ..calibrate_with(&workshop)
    };
    let error = calibrated(&workshop, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(!workshop.path().exists());
}
