//! Messages of version 1, byte for byte: the format cannot change without a new version.
//!
//! What is sent without a codec or with the entropy coder must be written as it stands here; what LZ4
//! and zstd write may change with those libraries, but these bytes must be read for ever.

use super::cut;
use crate::pack::{Packer, inspect, unpack};
use crate::schedule::{Codec, Levels, Precision};

/// Spaces and line ends are for the reader.
fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}

fn levels(levels: u32) -> Precision {
    Precision::Levels(Levels::new(levels).unwrap())
}

/// The example of `docs/wire-format.md`.
#[test]
fn two_tensors_of_four_levels_without_a_codec() {
    let cut = cut(5, &[&[1, 1, 3, 3], &[1, 3]]);
    let relu = [0.0, 1.0, 2.0, 3.0, 0.0, 0.0, 0.9, 0.0, 2.2];
    let signed = [-1.0, 0.0, 2.0];
    let golden = bytes(
        "44794e 01  0500 02 00
         00 00 0300  00000000 00004040  09000000 04000000
         00 00 0300  000080bf 00000040  03000000 02000000
         4a00 0c01
         06 04
         57766cbf",
    );
    let message = Packer::default()
        .pack(&cut, &[&relu, &signed], levels(4), Codec::Raw)
        .unwrap();
    assert_eq!(message, golden);
    let tensors = unpack(&golden, &cut).unwrap();
    assert_eq!(
        tensors[0].as_f32().unwrap(),
        [0.0, 1.0, 2.0, 3.0, 0.0, 0.0, 1.0, 0.0, 2.0]
    );
    assert_eq!(tensors[1].as_f32().unwrap(), [-1.0, 0.0, 2.0]);
}

#[test]
fn fp32_without_a_codec() {
    let cut = cut(258, &[&[2]]);
    let golden = bytes(
        "44794e 01  0201 01 00
         00 00 0000  00000000 00000000  02000000 08000000
         0000803f 000020c0
         3b15c76c",
    );
    let message = Packer::default()
        .pack(&cut, &[&[1.0, -2.5]], Precision::Raw, Codec::Raw)
        .unwrap();
    assert_eq!(message, golden);
    assert_eq!(
        unpack(&golden, &cut).unwrap()[0].as_f32().unwrap(),
        [1.0, -2.5]
    );
}

#[test]
fn coded_messages_stay_readable() {
    let cut = cut(3, &[&[200]]);
    let mut values = [0.0; 200];
    values[8] = 1.0;
    values[77] = 0.25;
    for (codec, precision, golden) in [
        (
            Codec::Lz4,
            levels(65_536),
            "44794e 01  0300 01 00
             01 00 ffff  00000000 0000803f  c8000000 1a000000
             3f0001000100040f1900ff3b1c2065010e5e0160000000000000
             852a0e4d",
        ),
        (
            Codec::Lz4,
            Precision::Raw,
            "44794e 01  0300 01 00
             01 00 0000  00000000 00000000  c8000000 2e000000
             1f000100ffff2e13014002132008000502000419000d02000419000f3200060f
             1900490f02001860000000000000
             0376406a",
        ),
        (
            Codec::Zstd,
            levels(65_536),
            "44794e 01  0300 01 00
             02 00 ffff  00000000 0000803f  c8000000 1b000000
             28b52ffd6090008d0000200001002004000001009e124f35d46008
             93859817",
        ),
        (
            Codec::Zstd,
            Precision::Raw,
            "44794e 01  0300 01 00
             02 00 0000  00000000 00000000  c8000000 26000000
             28b52ffd602002e50000380000010020002008008208224807de001378be0074
             0c06bca30258
             ea815819",
        ),
    ] {
        let golden = bytes(golden);
        assert_eq!(inspect(&golden).unwrap().tensors[0].codec, codec);
        assert_eq!(inspect(&golden).unwrap().tensors[0].precision, precision);
        let tensors = unpack(&golden, &cut).unwrap();
        let expected = values.map(|x| match precision {
            Precision::Levels(_) => ((f64::from(x) * 65_535.0).round() / 65_535.0) as f32,
            Precision::Raw => x,
        });
        assert_eq!(tensors[0].as_f32().unwrap(), expected);
    }
}

/// Hills and zeros behind a ReLU, or ripples on both sides of 0.0; of small integers, so that every
/// machine computes the same.
fn picture(elements: usize, width: usize, signed: bool) -> Vec<f32> {
    (0..elements)
        .map(|i| {
            let [x, y] = [i % width, i / width].map(|at| i32::try_from(at).unwrap());
            let hill = 40 - (x - 5).pow(2) - (y % 9 - 4).pow(2);
            let noise = (i as u32).wrapping_mul(2_654_435_761) >> 29;
            let value = hill + noise.cast_signed();
            (if signed { value - 20 } else { value.max(0) }) as f32
        })
        .collect()
}

#[test]
fn context_coded_messages_are_written_and_read_as_they_always_were() {
    for (signed, count, golden) in [
        (
            false,
            4,
            "44794e0103000100030003000000000000003842600000000f00000008416178
             c5bf6e170a098344c600d3eb0eb6bc",
        ),
        (
            true,
            19,
            "44794e0103000100030012000000a8c10000d0416000000026000000fd41d0c7
             ff5efa3f8efe687b52bec338d5a844046fb820cd0acce446ca8ec6b94dc81d9d
             0eed35340032",
        ),
        (
            false,
            5000,
            "44794e0103000100030087130000000000003842600000008a00000009f96ccc
             ec6db93dbc7dc44334448ef4e3495c5d76a25788f4d6b96f58b3b625de6e8d26
             455fb05b11735168e5c77879cb6f0be999ed0330dab60f1022e3de789a13ca69
             6f8e7e961841392e2882bb9da3162c42c9c3ed95a53b4b48d98ba0145571d49a
             3cafcc19bea8ddbe8a02b04a84569b20d8eeb2301381d3c2a68a256603c6189f
             6c5a2037128c7bd72dda",
        ),
    ] {
        let cut = cut(3, &[&[1, 2, 6, 8]]);
        let values = picture(96, 8, signed);
        let message = Packer::default()
            .pack(&cut, &[&values], levels(count), Codec::Context)
            .unwrap();
        assert_eq!(message, bytes(golden));
        let read = unpack(&message, &cut).unwrap();
        let range = values.iter().fold(0.0f32, |range, x| range.max(x.abs()));
        for (read, &sent) in read[0].as_f32().unwrap().iter().zip(&values) {
            assert!((read - sent).abs() <= range / (count - 1) as f32);
        }
    }
}

/// Tensors of several lanes, too long to be written out.
#[test]
fn large_context_coded_messages_are_written_as_they_always_were() {
    for (count, signed, golden) in [
        (15, false, (5434, 0xC12E_3CCE)),
        (40, true, (2459, 0xFED5_0AD2)),
        (3000, false, (22443, 0x1859_4DBD)),
    ] {
        let cut = cut(3, &[&[1, 16, 96, 96]]);
        let values = picture(16 * 96 * 96, 96, signed);
        let message = Packer::default()
            .pack(&cut, &[&values], levels(count), Codec::Context)
            .unwrap();
        let crc = message.last_chunk().copied().map(u32::from_le_bytes);
        assert_eq!((message.len(), crc.unwrap()), golden);
        assert!(unpack(&message, &cut).is_ok());
    }
}
