//! Photos from anywhere: `Photo::decode` refuses them or returns a photo with pixels.
#![no_main]

use dyno_core::ErrorKind;
use dyno_core::pixels::{MAX_PHOTO_BYTES, Photo};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Photo::decode(bytes) {
        Ok(photo) => {
            assert!(bytes.len() <= MAX_PHOTO_BYTES);
            assert!(photo.pixels().is_ok());
        }
        Err(error) => assert!(matches!(
            error.kind(),
            ErrorKind::InvalidImage | ErrorKind::TooLarge
        )),
    }
});
