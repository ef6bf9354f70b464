//! Payloads of the context codec from anywhere: refused, or the only bytes for the codes they hold.
#![no_main]

use dyno_core::ErrorKind;
use dyno_core::pack::internals::recode_context;
use dyno_core::schedule::Levels;
use libfuzzer_sys::fuzz_target;

/// One element, vectors, maps of odd sizes, one of two lanes.
const SHAPES: [&[usize]; 9] = [
    &[1],
    &[1, 40],
    &[1, 3, 5, 7],
    &[1, 16, 7, 7],
    &[2, 3, 1, 9],
    &[1, 48, 8, 8],
    &[1, 3, 224, 224],
    // Two late cuts of the shipped model: the seeds are of them.
    &[1, 320, 4, 4],
    &[1, 112, 4, 4],
];

fuzz_target!(|input: (u8, u16, Option<u16>, &[u8])| {
    let (shape, last, background, payload) = input;
    let Some(shape) = SHAPES.get(usize::from(shape)) else {
        return;
    };
    let Ok(levels) = Levels::new(u32::from(last) + 1) else {
        return;
    };
    match recode_context(payload, shape, levels, background.map(u32::from)) {
        Ok(again) => assert_eq!(again, payload),
        Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidActivation),
    }
});
