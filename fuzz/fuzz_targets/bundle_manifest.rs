//! `bundle.json` from anywhere: what is accepted survives being written and read again.
#![no_main]

use dyno_core::bundle::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) else {
        return;
    };
    let json = serde_json::to_vec(&manifest).expect("a manifest can be written");
    let again: Manifest = serde_json::from_slice(&json).expect("what was written can be read");
    assert_eq!(again.hash, manifest.hash);
    assert_eq!(again.cuts, manifest.cuts);
    let _ = (again.last_cut(), again.is_classifier());
});
