//! Messages of version 1, byte for byte: the format cannot change without a new version.
//!
//! What is sent without a codec must be written as it stands here; what LZ4 and zstd write may
//! change with those libraries, but these bytes must be read for ever.

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
