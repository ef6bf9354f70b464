//! Messages that nobody packed: every one is refused or decodes to the cut's own shapes.

use super::{Random, cut, fix_crc};
use crate::bundle::Cut;
use crate::pack::{Packer, inspect, peek_cut, unpack};
use crate::schedule::{Codec, Levels, Precision};
use crate::{ElementType, ErrorKind, Result, Tensor};

/// Offset of the first row of the tensor table.
const ROW: usize = 8;

fn levels(levels: u32) -> Precision {
    Precision::Levels(Levels::new(levels).unwrap())
}

fn two_tensors() -> Cut {
    cut(2, &[&[1, 3, 5, 5], &[1, 9]])
}

/// A message for [`two_tensors`] in which LZ4 and zstd find something to shorten.
fn message(precision: Precision, codec: Codec) -> Vec<u8> {
    let first: Vec<f32> = (0..75)
        .map(|i| if i % 25 < 20 { 0.0 } else { i as f32 })
        .collect();
    let second: Vec<f32> = (0..9).map(|i| i as f32 - 4.0).collect();
    Packer::default()
        .pack(&two_tensors(), &[&first, &second], precision, codec)
        .unwrap()
}

fn messages() -> Vec<Vec<u8>> {
    let precisions = [Precision::Raw, levels(5), levels(256), levels(1000)];
    precisions
        .iter()
        .flat_map(|&precision| {
            Codec::ALL
                .iter()
                .map(move |&codec| message(precision, codec))
        })
        .collect()
}

/// Whatever happened to a message, what comes out has the shapes of the cut and finite values
/// unless it was sent as fp32.
fn check_outcome(message: &[u8], cut: &Cut, outcome: Result<Vec<Tensor>>) {
    match outcome {
        Ok(tensors) => {
            assert_eq!(tensors.len(), cut.tensors.len());
            let info = inspect(message).unwrap();
            for ((tensor, spec), info) in tensors.iter().zip(&cut.tensors).zip(&info.tensors) {
                assert_eq!(tensor.shape(), spec.shape);
                let values = tensor.as_f32().unwrap();
                assert!(info.precision == Precision::Raw || values.iter().all(|x| x.is_finite()));
            }
        }
        Err(error) => assert!(matches!(
            error.kind(),
            ErrorKind::InvalidActivation | ErrorKind::UnsupportedActivation
        )),
    }
}

/// The refusal of a message in which `bytes` have been put at `offset`, the CRC fitting again.
fn refusal(precision: Precision, codec: Codec, offset: usize, bytes: &[u8]) -> (ErrorKind, String) {
    let mut message = message(precision, codec);
    message[offset..][..bytes.len()].copy_from_slice(bytes);
    fix_crc(&mut message);
    let error = unpack(&message, &two_tensors()).unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn every_truncation_and_every_appendage_is_refused() {
    for message in messages() {
        for end in 0..message.len() {
            assert!(unpack(&message[..end], &two_tensors()).is_err());
            let mut fixed = message[..end].to_vec();
            fix_crc(&mut fixed);
            assert!(unpack(&fixed, &two_tensors()).is_err());
        }
        for extra in [1, 4, 100] {
            let mut longer = message.clone();
            longer.resize(message.len() + extra, 0);
            assert!(unpack(&longer, &two_tensors()).is_err());
            fix_crc(&mut longer);
            assert!(unpack(&longer, &two_tensors()).is_err());
        }
    }
}

#[test]
fn every_single_bit_flip_is_found() {
    for mut message in messages() {
        for bit in 0..message.len() * 8 {
            message[bit / 8] ^= 1 << (bit % 8);
            assert!(unpack(&message, &two_tensors()).is_err());
            message[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn a_bit_flip_whose_crc_fits_again_does_no_harm() {
    let cut = two_tensors();
    for message in messages() {
        for bit in 0..(message.len() - 4) * 8 {
            let mut flipped = message.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fix_crc(&mut flipped);
            check_outcome(&flipped, &cut, unpack(&flipped, &cut));
        }
    }
}

#[test]
fn twenty_thousand_mutations_do_no_harm() {
    let cuts = [
        two_tensors(),
        cut(2, &[&[75], &[10]]),
        cut(2, &[&[84]]),
        cut(0, &[]),
    ];
    let seeds = messages();
    let mut random = Random(0x5EED);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut message = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut message, &mut random);
        }
        fix_crc(&mut message);
        let cut = &cuts[random.below(cuts.len())];
        let outcome = unpack(&message, cut);
        accepted += usize::from(outcome.is_ok());
        check_outcome(&message, cut, outcome);
    }
    // Mutations that are always refused by the first check would show nothing about the others.
    assert!((300..10_000).contains(&accepted), "{accepted}");
}

fn mutate(message: &mut Vec<u8>, random: &mut Random) {
    const EDGES: [u32; 6] = [0, 1, 0x7F80_0000, 0x7FFF_FFFF, 0x8000_0000, u32::MAX];
    if message.is_empty() {
        return;
    }
    let at = random.below(message.len());
    match random.below(6) {
        0 => message[at] ^= 1 << random.below(8),
        1 => message[at] = random.next() as u8,
        2 => {
            message.remove(at);
        }
        3 => message.insert(at, random.next() as u8),
        4 => {
            let end = (at + random.below(16)).min(message.len());
            message.extend_from_within(at..end);
        }
        _ => {
            let edge = EDGES[random.below(EDGES.len())].to_le_bytes();
            for (byte, edge) in message.iter_mut().skip(at / 4 * 4).zip(edge) {
                *byte = edge;
            }
        }
    }
}

#[test]
fn what_this_build_does_not_know_is_unsupported_and_says_what_is() {
    let (kind, text) = refusal(levels(5), Codec::Raw, 3, &[2]);
    assert_eq!(kind, ErrorKind::UnsupportedActivation);
    assert!(
        text.contains("version 2") && text.contains("reads version 1"),
        "{text}"
    );
    let (kind, text) = refusal(levels(5), Codec::Raw, ROW, &[4]);
    assert_eq!(kind, ErrorKind::UnsupportedActivation);
    assert!(
        text.contains("codec 4") && text.contains("context (3)"),
        "{text}"
    );
}

#[test]
fn every_field_is_checked() {
    let nan = f32::NAN.to_le_bytes();
    let infinity = f32::INFINITY.to_le_bytes();
    let below = (-9.0f32).to_le_bytes();
    let cases: [(Precision, usize, &[u8], &str); 17] = [
        (levels(5), 0, b"PNG", "do not begin with 'DyN'"),
        (levels(5), 4, &[3], "of cut 3, expected 2 of cut 2"),
        (levels(5), 5, &[1], "of cut 258"),
        (levels(5), 6, &[1], "follow the last payload"),
        (levels(5), 6, &[255], "ends too early"),
        (levels(5), 7, &[1], "reserved"),
        (levels(5), ROW + 1, &[1], "reserved"),
        (levels(5), ROW + 2, &[0, 0], "fp32 has no range"),
        (levels(5), ROW + 4, &nan, "not a range"),
        (levels(5), ROW + 8, &nan, "not a range"),
        (levels(5), ROW + 8, &infinity, "not a range"),
        (levels(5), ROW + 8, &below, "0 to -9 is not a range"),
        (levels(5), ROW + 12, &[74], "has 74 elements, expected 75"),
        (
            levels(5),
            ROW + 12,
            &[0xFF; 4],
            "cannot hold 4294967295 elements",
        ),
        (
            levels(5),
            ROW + 16,
            &[0xFF; 4],
            "payload of 4294967295 bytes",
        ),
        (Precision::Raw, ROW + 4, &below, "fp32 has no range"),
        (
            Precision::Raw,
            ROW + 8,
            &[0, 0, 0, 0x80],
            "fp32 has no range",
        ),
    ];
    for (precision, offset, bytes, expected) in cases {
        let (kind, text) = refusal(precision, Codec::Raw, offset, bytes);
        assert_eq!(kind, ErrorKind::InvalidActivation, "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn codes_beyond_the_levels_and_bits_beyond_the_elements_are_refused() {
    let payload = ROW + 2 * 20;
    // All three planes set at the first eight elements: code 7 of 5 levels.
    let mut message = message(levels(5), Codec::Raw);
    for plane in 0..3 {
        message[payload + plane * 10] = 0xFF;
    }
    fix_crc(&mut message);
    let error = unpack(&message, &two_tensors()).unwrap_err().to_string();
    assert!(
        error.contains("cut 2, tensor 't0': code 7 is none of the 5 levels"),
        "{error}"
    );
    // 75 elements leave five bits of the tenth byte.
    let (_, text) = refusal(levels(5), Codec::Raw, payload + 9, &[0x08]);
    assert!(text.contains("behind the last element"), "{text}");
}

#[test]
fn coded_payloads_that_are_not_smaller_are_refused() {
    for id in [1, 2, 3] {
        let (_, text) = refusal(levels(5), Codec::Raw, ROW, &[id]);
        assert!(
            text.contains("payload of 30 bytes cannot hold 75 elements, 30 bytes"),
            "{text}"
        );
    }
}

#[test]
fn the_context_codec_writes_no_fp32() {
    let (kind, text) = refusal(Precision::Raw, Codec::Raw, ROW, &[3]);
    assert_eq!(kind, ErrorKind::InvalidActivation);
    assert!(text.contains("a context payload"), "{text}");
}

#[test]
fn the_cut_must_be_the_messages() {
    let message = message(levels(16), Codec::Zstd);
    assert_eq!(peek_cut(&message).unwrap(), 2);
    assert!(unpack(&message, &two_tensors()).is_ok());
    for wrong in [
        cut(1, &[&[1, 3, 5, 5], &[1, 9]]),
        cut(2, &[&[1, 3, 5, 5]]),
        cut(2, &[&[1, 3, 5, 5], &[1, 9], &[1]]),
        cut(2, &[&[1, 9], &[1, 3, 5, 5]]),
        cut(2, &[&[1, 3, 5, 5], &[1, 8]]),
    ] {
        let error = unpack(&message, &wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidActivation);
    }
}

#[test]
fn cuts_that_cannot_be_packed_are_refused_before_their_size_counts() {
    let message = message(levels(16), Codec::Raw);
    let mut huge = two_tensors();
    huge.tensors[0].shape = vec![1 << 40, 1 << 40];
    assert_eq!(
        unpack(&message, &huge).unwrap_err().kind(),
        ErrorKind::UnsupportedModel
    );
    assert_eq!(crate::pack::max_message_bytes(&huge), usize::MAX);
    let mut integers = two_tensors();
    integers.tensors[1].element = ElementType::I64;
    assert_eq!(
        unpack(&message, &integers).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn peeking_reads_eight_bytes_and_believes_none_of_them() {
    let message = message(levels(16), Codec::Lz4);
    assert_eq!(peek_cut(&message[..8]).unwrap(), 2);
    for end in 0..8 {
        assert_eq!(
            peek_cut(&message[..end]).unwrap_err().kind(),
            ErrorKind::InvalidActivation
        );
    }
    assert!(peek_cut(b"\x89PNG\r\n\x1a\n").is_err());
}
