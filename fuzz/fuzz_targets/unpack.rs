//! Packed activations from anywhere: `unpack` refuses them or returns exactly the cut's tensors.
#![no_main]

use std::sync::LazyLock;

use dyno_core::bundle::Cut;
use dyno_core::pack::{Unpacker, inspect, max_message_bytes, peek_cut, unpack};
use dyno_core::schedule::Precision;
use dyno_core::{ElementType, ErrorKind, TensorSpec};
use libfuzzer_sys::fuzz_target;

/// One element, odd sizes, several tensors, and more than one block of the bit shuffle.
static CUTS: LazyLock<Vec<Cut>> = LazyLock::new(|| {
    let cuts: [&[&[usize]]; 7] = [
        &[&[1]],
        &[&[1, 3, 5, 5]],
        &[&[1, 3, 5, 5], &[1, 9]],
        &[&[1, 64, 7, 7]],
        &[&[2], &[1, 0], &[1025]],
        // Two late cuts of the shipped model, behind a ReLU and not: the seeds are of them.
        &[&[1, 320, 4, 4]],
        &[&[1, 112, 4, 4]],
    ];
    cuts.iter()
        .enumerate()
        .map(|(index, shapes)| cut(index, shapes))
        .collect()
});

fn cut(index: usize, shapes: &[&[usize]]) -> Cut {
    let tensors = shapes.iter().enumerate().map(|(i, shape)| TensorSpec {
        name: format!("t{i}"),
        element: ElementType::F32,
        shape: shape.to_vec(),
    });
    Cut {
        index,
        after: "node".into(),
        tensors: tensors.collect(),
        flops_before: 0,
        flops_after: 0,
    }
}

fuzz_target!(|bytes: &[u8]| {
    // A CRC that fits is appended, or the fuzzer would never get past it.
    let mut message = bytes.to_vec();
    message.extend(crc32(bytes).to_le_bytes());
    let _ = unpack(bytes, &CUTS[0]);
    let Ok(index) = peek_cut(&message) else {
        assert!(inspect(&message).is_err());
        return;
    };
    for cut in CUTS.iter() {
        // Where another activation was nothing is left of it.
        let used = |spec: &TensorSpec| vec![f32::from_bits(0x7FC0_1234); spec.elements()];
        let mut places: Vec<Vec<f32>> = cut.tensors.iter().map(used).collect();
        let mut views: Vec<&mut [f32]> = places.iter_mut().map(Vec::as_mut_slice).collect();
        let into = Unpacker::default().unpack_into(&message, cut, &mut views);
        match unpack(&message, cut) {
            Ok(tensors) => {
                into.expect("what can be unpacked can be where there is room");
                assert_eq!(cut.index, index);
                assert!(message.len() <= max_message_bytes(cut));
                assert_eq!(tensors.len(), cut.tensors.len());
                let info = inspect(&message).expect("what unpacks can be described");
                let rows = tensors.iter().zip(&cut.tensors).zip(&info.tensors);
                for (((tensor, spec), info), place) in rows.zip(&places) {
                    assert_eq!(tensor.shape(), spec.shape);
                    let values = tensor.as_f32().expect("activations are f32");
                    let same = |(x, y): (&f32, &f32)| x.to_bits() == y.to_bits();
                    assert!(values.iter().zip(place).all(same));
                    assert!(
                        info.precision == Precision::Raw || values.iter().all(|x| x.is_finite())
                    );
                }
            }
            Err(error) => {
                assert!(matches!(
                    error.kind(),
                    ErrorKind::InvalidActivation | ErrorKind::UnsupportedActivation
                ));
                assert_eq!(into.expect_err("it is the same message").kind(), error.kind());
            }
        }
    }
});

/// CRC-32 of IEEE 802.3, bit by bit: written apart from the code under test.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}
