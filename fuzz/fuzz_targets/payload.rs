//! Payloads of the context codec from anywhere: refused, or the only bytes for the codes they hold.
#![no_main]

use dyno_core::ErrorKind;
use dyno_core::pack::internals::recode_context;
use dyno_core::schedule::Levels;
use libfuzzer_sys::fuzz_target;

/// One element, vectors, maps of odd sizes; and one of several lanes, which no tensor that small has in
/// a message (a larger one would leave time for some ten payloads a second).
const SHAPES: [(&[usize], Option<usize>); 9] = [
    (&[1], None),
    (&[1, 40], None),
    (&[1, 3, 5, 7], None),
    (&[1, 16, 7, 7], None),
    (&[2, 3, 1, 9], None),
    (&[1, 48, 8, 8], None),
    (&[1, 11, 6, 6], Some(64)),
    // Two late cuts of the shipped model: the seeds are of them.
    (&[1, 320, 4, 4], None),
    (&[1, 112, 4, 4], None),
];

fuzz_target!(|input: (u8, u16, Option<u16>, &[u8])| {
    let (shape, last, background, payload) = input;
    let Some(&(shape, lane_elements)) = SHAPES.get(usize::from(shape)) else {
        return;
    };
    let Ok(levels) = Levels::new(u32::from(last) + 1) else {
        return;
    };
    let background = background.map(u32::from);
    match recode_context(payload, shape, levels, background, lane_elements) {
        Ok(again) => assert_eq!(again, payload),
        Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidActivation),
    }
});
