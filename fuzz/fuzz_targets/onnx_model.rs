//! Models from anywhere: `Model::from_bytes` refuses them with a kind that blames the model.
#![no_main]

use dyno_core::ErrorKind;
use dyno_core::graph::Model;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = Model::from_bytes(bytes.to_vec()) {
        assert!(matches!(
            error.kind(),
            ErrorKind::InvalidModel | ErrorKind::UnsupportedModel
        ));
    }
});
