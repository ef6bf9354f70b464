//! Tensors of any floats: packed and unpacked they are what quantising makes of them, or refused.
#![no_main]

use dyno_core::bundle::Cut;
use dyno_core::pack::{Packer, max_message_bytes, unpack};
use dyno_core::schedule::{Codec, Levels, Precision};
use dyno_core::{ElementType, ErrorKind, TensorSpec};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u16, u8, Vec<f32>)| {
    let (codec, last, width, values) = input;
    let codec = Codec::ALL[usize::from(codec) % Codec::ALL.len()];
    let width = usize::from(width).clamp(1, values.len().max(1));
    let rows = values.len() / width;
    let values = &values[..rows * width];
    let cut = Cut {
        index: 9,
        after: "node".into(),
        tensors: vec![TensorSpec {
            name: "t".into(),
            element: ElementType::F32,
            shape: vec![1, 1, rows, width],
        }],
        flops_before: 0,
        flops_after: 0,
    };
    let precision = match Levels::new(u32::from(last) + 1) {
        Ok(levels) => Precision::Levels(levels),
        Err(_) => Precision::Raw,
    };
    let message = match Packer::default().pack(&cut, &[values], precision, codec) {
        Ok(message) => message,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(values.iter().any(|x| !x.is_finite()));
            return;
        }
    };
    assert!(message.len() <= max_message_bytes(&cut));
    let tensors = unpack(&message, &cut).expect("what was packed unpacks");
    let back = tensors[0].as_f32().expect("f32");
    match precision {
        Precision::Raw => {
            assert!(values.iter().zip(back).all(|(x, y)| x.to_bits() == y.to_bits()));
        }
        Precision::Levels(levels) if codec == Codec::Shaped => near(values, back, levels.get()),
        Precision::Levels(levels) => assert_eq!(back, quantised(values, levels.get())),
    }
});

/// With errors diffused an element moves by a step and a half at most, and zero stays where nothing is
/// below it.
fn near(values: &[f32], back: &[f32], levels: u32) {
    let least = values.iter().copied().fold(0.0, f32::min);
    let hi = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let step = (f64::from(hi) - f64::from(least)) / f64::from(levels - 1);
    for (&x, &y) in values.iter().zip(back) {
        let rounding = f64::from(x.abs()) * 1e-6 + step / 256.0 + f64::from(f32::from_bits(1));
        assert!((f64::from(x) - f64::from(y)).abs() <= 1.5 * step + rounding, "{x} became {y}");
        assert!(x != 0.0 || least < 0.0 || y == 0.0);
    }
}

/// The definition in docs/wire-format.md, written apart from the code under test.
fn quantised(values: &[f32], levels: u32) -> Vec<f32> {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let hi = f64::from(values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let lo = if least >= 0.0 { 0.0 } else { f64::from(least) };
    let last = f64::from(levels - 1);
    let value = |&x: &f32| {
        if hi == lo {
            return lo as f32;
        }
        let code = ((f64::from(x) - lo) * (last / (hi - lo))).round_ties_even();
        (lo + code * ((hi - lo) / last)) as f32
    };
    values.iter().map(value).collect()
}
