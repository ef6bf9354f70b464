//! `unpack(pack(x))` is `x` quantised, for data of every kind.

use std::sync::Arc;

use proptest::prelude::*;

use super::{Random, cut};
use crate::bundle::Cut;
use crate::pack::{
    MessageInfo, Packer, Shaping, TensorShaping, Unpacker, inspect, max_message_bytes, peek_cut,
    unpack,
};
use crate::schedule::{Codec, Levels, Precision};
use crate::{ElementType, ErrorKind, Tensor, TensorSpec};

/// The definition, written as plainly as possible: independent of the code under test.
fn quantised(values: &[f32], levels: u32) -> (Vec<f32>, f64) {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let hi = f64::from(values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let lo = if least >= 0.0 { 0.0 } else { f64::from(least) };
    let step = (hi - lo) / f64::from(levels - 1);
    let per_unit = f64::from(levels - 1) / (hi - lo);
    let back = values.iter().map(|&x| {
        if hi == lo {
            return lo as f32;
        }
        let code = ((f64::from(x) - lo) * per_unit).round_ties_even();
        assert!((0.0..f64::from(levels)).contains(&code));
        (lo + code * step) as f32
    });
    (back.collect(), step)
}

fn data() -> impl Strategy<Value = Vec<f32>> {
    let lengths = 1..5000usize;
    let kinds = 0..6u8;
    (lengths, kinds, any::<u64>(), -30..30i32).prop_map(|(length, kind, seed, exponent)| {
        let mut random = Random(seed | 1);
        let scale = 2f32.powi(exponent);
        let constant = random.signed() * scale;
        (0..length)
            .map(|_| match kind {
                0 => random.signed().max(0.0) * scale,
                1 if random.below(10) > 0 => 0.0,
                1 | 2 => (random.signed() + 1.0) * scale,
                3 => random.signed() * scale,
                4 => constant,
                _ => f32::from_bits(random.next() as u32 & 0x8000_FFFF),
            })
            .collect()
    })
}

fn levels() -> impl Strategy<Value = u32> {
    prop_oneof![
        2..=17u32,
        2..=300u32,
        2..=65_536u32,
        (1..=16u32).prop_map(|b| 1 << b)
    ]
}

fn codecs() -> impl Strategy<Value = Codec> {
    prop::sample::select(Codec::ALL)
}

/// What a message holds, in memory of its own and in memory where something else was.
fn unpacked(message: &[u8], cut: &Cut) -> Vec<Tensor> {
    let tensors = unpack(message, cut).unwrap();
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let used = |spec: &TensorSpec| vec![f32::from_bits(0x7FC0_1234); spec.elements()];
    let mut places: Vec<Vec<f32>> = cut.tensors.iter().map(used).collect();
    let mut views: Vec<&mut [f32]> = places.iter_mut().map(Vec::as_mut_slice).collect();
    Unpacker::default()
        .unpack_into(message, cut, &mut views)
        .unwrap();
    for (tensor, place) in tensors.iter().zip(&places) {
        assert_eq!(bits(tensor.as_f32().unwrap()), bits(place));
    }
    let no_room = Unpacker::default().unpack_into(message, cut, &mut []);
    assert_eq!(no_room.unwrap_err().kind(), ErrorKind::InvalidArgument);
    tensors
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_comes_back_is_what_was_quantised(
        first in data(), second in data(), levels in levels(), codec in codecs(),
    ) {
        let cut = cut(7, &[&[1, first.len()], &[second.len(), 1, 1]]);
        let precision = Precision::Levels(Levels::new(levels).unwrap());
        let message = Packer::default().pack(&cut, &[&first, &second], precision, codec).unwrap();
        prop_assert!(message.len() <= max_message_bytes(&cut));
        prop_assert_eq!(peek_cut(&message).unwrap(), 7);
        let tensors = unpacked(&message, &cut);
        prop_assert_eq!(tensors.len(), 2);
        for ((tensor, spec), values) in tensors.iter().zip(&cut.tensors).zip([&first, &second]) {
            prop_assert_eq!(tensor.shape(), &spec.shape);
            let (expected, step) = quantised(values, levels);
            let back = tensor.as_f32().unwrap();
            prop_assert_eq!(back, &expected);
            for (&x, &y) in values.iter().zip(back) {
                let rounding = f64::from(y.abs()) * f64::from(f32::EPSILON) + f64::from(f32::from_bits(1));
                prop_assert!((f64::from(x) - f64::from(y)).abs() <= step * 0.5 + rounding);
                prop_assert!(x != 0.0 || values.iter().any(|&v| v < 0.0) || y.to_bits() == 0);
            }
        }
    }

    #[test]
    fn fp32_keeps_every_bit(bits in prop::collection::vec(any::<u32>(), 1..3000), codec in codecs()) {
        let values: Vec<f32> = bits.iter().copied().map(f32::from_bits).collect();
        let cut = cut(0, &[&[values.len()]]);
        let message = Packer::default().pack(&cut, &[&values], Precision::Raw, codec).unwrap();
        prop_assert!(message.len() <= max_message_bytes(&cut));
        let tensors = unpacked(&message, &cut);
        let back: Vec<u32> = tensors[0].as_f32().unwrap().iter().map(|x| x.to_bits()).collect();
        prop_assert_eq!(back, bits);
    }
}

#[test]
fn smooth_fp32_is_coded_and_noise_is_not() {
    let smooth = vec![1.5f32; 1000];
    let mut random = Random(5);
    let noise: Vec<f32> = (0..1000)
        .map(|_| f32::from_bits(random.next() as u32))
        .collect();
    let cut = cut(1, &[&[1000], &[1000]]);
    for codec in [Codec::Lz4, Codec::Zstd] {
        let message = Packer::default()
            .pack(&cut, &[&smooth, &noise], Precision::Raw, codec)
            .unwrap();
        let info = inspect(&message).unwrap();
        assert_eq!((info.version, info.cut), (1, 1));
        assert_eq!(info.tensors[0].codec, codec);
        assert!(info.tensors[0].bytes < 100);
        assert_eq!(info.tensors[1].codec, Codec::Raw);
        assert_eq!(info.tensors[1].bytes, 4000);
        assert_eq!(info.tensors[1].elements, 1000);
    }
}

#[test]
fn the_bound_of_a_cut_is_reached() {
    let sixteen_bits = Precision::Levels(Levels::new(65_536).unwrap());
    for elements in [1, 2, 3, 4, 5, 8, 9, 1000] {
        let cut = cut(1, &[&[elements], &[1, elements]]);
        let values: Vec<f32> = (0..elements).map(|i| i as f32 * 0.7 - 1.0).collect();
        let longest = [Precision::Raw, sixteen_bits].map(|p| {
            Packer::default()
                .pack(&cut, &[&values, &values], p, Codec::Raw)
                .unwrap()
                .len()
        });
        assert_eq!(longest.into_iter().max(), Some(max_message_bytes(&cut)));
    }
}

#[test]
fn shaped_messages_are_context_coded_and_share_out_their_levels() {
    let mut random = Random(3);
    let wide: Vec<f32> = (0..4 * 36)
        .map(|i| (i as f32 * 0.05).sin() * 20.0)
        .collect();
    let narrow: Vec<f32> = (0..4 * 36)
        .map(|_| random.signed().max(0.0) * 2.0)
        .collect();
    let cut = cut(5, &[&[1, 4, 6, 6], &[1, 4, 6, 6]]);
    let row = |weight, diffusion| TensorShaping { weight, diffusion };
    let pack = |shaping: Shaping| {
        let mut packer = Packer::default().with_shaping(Arc::new(shaping));
        let precision = Precision::Levels(Levels::new(81).unwrap());
        let tensors: [&[f32]; 2] = [&wide, &narrow];
        let message = packer
            .pack(&cut, &tensors, precision, Codec::Shaped)
            .unwrap();
        (inspect(&message).unwrap(), unpack(&message, &cut).unwrap())
    };
    let levels = |info: &MessageInfo| {
        let levels = info.tensors.iter().map(|t| match t.precision {
            Precision::Levels(levels) => levels.get(),
            Precision::Raw => 0,
        });
        levels.collect::<Vec<_>>()
    };

    let (info, nearest) = pack(Shaping::default().with(5, vec![row(1.0, 0.0), row(1.0, 0.0)]));
    assert!(info.tensors.iter().all(|t| t.codec == Codec::Context));
    let [first, second] = levels(&info)[..] else {
        panic!("two tensors, two levels");
    };
    assert_eq!(first, 81);
    assert!(
        (4..=6).contains(&second),
        "a twentieth of the range: {second} levels"
    );
    let expected = quantised(&narrow, second).0;
    assert_eq!(nearest[1].as_f32().unwrap(), expected);

    let (info, diffused) = pack(Shaping::default().with(5, vec![row(1.0, 0.9), row(20.0, 0.9)]));
    assert!(
        levels(&info).iter().all(|l| (76..=81).contains(l)),
        "{info:?}"
    );
    let signed = quantised(&wide, levels(&info)[0]).0;
    assert_eq!(diffused[0].as_f32().unwrap(), signed, "never diffused");
    let nearest = quantised(&narrow, levels(&info)[1]).0;
    assert_ne!(diffused[1].as_f32().unwrap(), nearest);
}

#[test]
fn messages_do_not_depend_on_what_was_packed_before() {
    let mut random = Random(11);
    let large: Vec<f32> = (0..40_000).map(|_| random.signed()).collect();
    let small: Vec<f32> = (0..300).map(|_| random.signed().max(0.0)).collect();
    let precision = Precision::Levels(Levels::EIGHT_BITS);
    let mut used = Packer::default();
    for &codec in Codec::ALL {
        used.pack(&cut(1, &[&[40_000]]), &[&large], precision, codec)
            .unwrap();
        let again = used
            .pack(&cut(2, &[&[300]]), &[&small], precision, codec)
            .unwrap();
        let fresh = Packer::default()
            .pack(&cut(2, &[&[300]]), &[&small], precision, codec)
            .unwrap();
        assert_eq!(again, fresh);
    }
}

#[test]
fn a_tensor_without_elements_is_a_tensor() {
    let cut = cut(1, &[&[1, 0, 4]]);
    for &codec in Codec::ALL {
        for precision in [Precision::Raw, Precision::Levels(Levels::EIGHT_BITS)] {
            let message = Packer::default()
                .pack(&cut, &[&[]], precision, codec)
                .unwrap();
            assert_eq!(unpack(&message, &cut).unwrap()[0].shape(), [1, 0, 4]);
        }
    }
}

#[test]
fn what_cannot_be_packed_is_said_with_its_place() {
    let precision = Precision::Levels(Levels::EIGHT_BITS);
    let refusal = |cut: &crate::bundle::Cut, tensors: &[&[f32]]| {
        let error = Packer::default()
            .pack(cut, tensors, precision, Codec::Lz4)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        error.to_string()
    };
    let two = cut(4, &[&[2], &[3]]);
    assert!(refusal(&two, &[&[0.0; 2]]).contains("cut 4 has 2 tensors, got 1"));
    assert!(refusal(&two, &[&[0.0; 2], &[0.0; 4]]).contains("cut 4, tensor 't1': the shape [3]"));
    let nan = refusal(&two, &[&[0.0; 2], &[0.0, f32::NAN, 0.0]]);
    assert!(
        nan.contains("cut 4, tensor 't1': element 1 is NaN"),
        "{nan}"
    );
    let mut integers = cut(4, &[&[2]]);
    integers.tensors[0].element = ElementType::I64;
    assert!(refusal(&integers, &[&[0.0; 2]]).contains("I64"));
    assert!(refusal(&cut(65_536, &[&[1]]), &[&[0.0]]).contains("cut 65536"));
    let many: Vec<&[usize]> = vec![&[1]; 256];
    assert!(refusal(&cut(1, &many), &vec![&[0.0][..]; 256]).contains("256 tensors"));
}

#[test]
fn nan_and_infinity_cross_as_fp32() {
    let cut = cut(4, &[&[3]]);
    let values = [f32::NAN, f32::INFINITY, -0.0];
    for &codec in Codec::ALL {
        let message = Packer::default()
            .pack(&cut, &[&values], Precision::Raw, codec)
            .unwrap();
        let tensors = unpack(&message, &cut).unwrap();
        let back = tensors[0].as_f32().unwrap();
        assert!(
            back.iter()
                .zip(values)
                .all(|(a, b)| a.to_bits() == b.to_bits())
        );
    }
}
