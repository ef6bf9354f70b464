//! The entropy coder with contexts: codes of a tensor to bytes, and back.
//!
//! The elements are walked channel by channel, row by row. The four neighbours that were coded
//! before say where the next code is expected (a weighted mean) and how far it may be off (the mean
//! itself behind a ReLU, where noise grows with it; how much the neighbours differ, everywhere).
//! That picks a context, in which adaptive models of bits learn the rest. Nothing is learnt
//! beforehand, so it serves any model and any number of levels; `docs/packing.md` has what tables
//! learnt at `prepare` would have gained.
//!
//! All arithmetic is of integers: phone and server cannot disagree.

mod bit_model;
mod lane;
mod range_coder;
mod symbol;

use std::fmt;

use self::lane::{Code, Geometry, Lane, LaneModels, walk_channels};
use self::range_coder::{BitCoder, Decoder, Encoder};
use self::symbol::Alphabet;
use crate::{Error, ErrorKind, Result};

/// Elements that are worth a lane of their own: fewer, and what every lane has to learn anew would
/// show in the bytes.
const MIN_LANE_ELEMENTS: usize = 1 << 16;
/// Most lanes of a tensor.
const MAX_LANES: usize = 8;
/// Length of a lane's bytes in front of them; the last lane has none, it takes what is left.
const LENGTH_BYTES: usize = 4;

/// What both sides know of a tensor before its payload is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    channels: usize,
    geometry: Geometry,
    last: u32,
}

impl Shape {
    /// For a tensor of `shape` with codes 0 to `last` (1 to 65,535); `background` is the code of 0.0
    /// where the tensor is signed, and none where nothing in it is below 0.0.
    pub(super) fn new(shape: &[usize], last: u32, background: Option<u32>) -> Self {
        let elements = shape.iter().product();
        let (channels, height, width) = match *shape {
            [.., height, width] if shape.len() >= 3 && height * width > 1 => {
                (elements / (height * width), height, width)
            }
            // A vector: each element has the one before it as its only neighbour.
            _ => (1, 1, elements),
        };
        Self {
            channels,
            geometry: Geometry {
                height,
                width,
                alphabet: Alphabet::new(last, background.is_none()),
                background: background.unwrap_or(0).min(last),
            },
            last,
        }
    }

    /// Channels of each lane: as even as can be, the longer ones first.
    fn lanes(&self) -> impl Iterator<Item = usize> + use<> {
        let channels = self.channels;
        let wanted = channels * self.geometry.plane() / MIN_LANE_ELEMENTS;
        let lanes = wanted.clamp(1, MAX_LANES).min(channels.max(1));
        (0..lanes).map(move |lane| channels / lanes + usize::from(lane < channels % lanes))
    }
}

/// Memory of the coder, kept between tensors.
#[derive(Default)]
pub(super) struct Scratch {
    lanes: Vec<LaneScratch>,
}

#[derive(Default)]
struct LaneScratch {
    models: LaneModels,
    bytes: Vec<u8>,
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

/// Appends the coded `codes` to `payload`. The codes must be those of `shape`; they stay as they
/// are (one walk serves both directions, and the other one writes).
pub(super) fn encode<C: Code>(
    codes: &mut [C],
    shape: &Shape,
    scratch: &mut Scratch,
    payload: &mut Vec<u8>,
) {
    let lanes = shape.lanes().count();
    scratch
        .lanes
        .resize_with(lanes.max(scratch.lanes.len()), LaneScratch::default);
    let scratch = &mut scratch.lanes[..lanes];
    let mut jobs = split(codes, shape, scratch);
    in_parallel(&mut jobs, |pair| match pair {
        [one] => {
            let mut lanes = [encoding_lane(one.scratch, shape)];
            walk(&mut lanes, shape, [&mut *one.codes]);
            lanes.map(|lane| lane.coder.finish());
        }
        [one, two] => {
            let mut lanes = [
                encoding_lane(one.scratch, shape),
                encoding_lane(two.scratch, shape),
            ];
            walk(&mut lanes, shape, [&mut *one.codes, &mut *two.codes]);
            lanes.map(|lane| lane.coder.finish());
        }
        _ => {}
    });
    for lane in &scratch[..lanes - 1] {
        // A lane is shorter than its codes, of which there are at most 2^28.
        let length = u32::try_from(lane.bytes.len()).unwrap_or(u32::MAX);
        payload.extend(length.to_le_bytes());
    }
    for lane in scratch {
        payload.extend(&lane.bytes);
    }
}

/// Inverse of [`encode`]: fills `codes`.
///
/// Fails with [`ErrorKind::InvalidActivation`] if `payload` is not what [`encode`] would write for
/// what it holds.
pub(super) fn decode<C: Code>(
    payload: &[u8],
    shape: &Shape,
    scratch: &mut Scratch,
    codes: &mut [C],
) -> Result<()> {
    let lanes = shape.lanes().count();
    scratch
        .lanes
        .resize_with(lanes.max(scratch.lanes.len()), LaneScratch::default);
    let scratch = &mut scratch.lanes[..lanes];
    let payloads = lane_payloads(payload, lanes)?;
    let mut jobs = split(codes, shape, scratch);
    for (job, payload) in jobs.iter_mut().zip(payloads) {
        job.payload = payload;
    }
    in_parallel(&mut jobs, |pair| match pair {
        [one] => {
            let mut lanes = [decoding_lane(one.payload, one.scratch, shape)];
            walk(&mut lanes, shape, [&mut *one.codes]);
            let [lane] = lanes;
            one.sound = is_sound(&lane, shape);
        }
        [one, two] => {
            let mut lanes = [
                decoding_lane(one.payload, one.scratch, shape),
                decoding_lane(two.payload, two.scratch, shape),
            ];
            walk(&mut lanes, shape, [&mut *one.codes, &mut *two.codes]);
            let [first, second] = lanes;
            one.sound = is_sound(&first, shape);
            two.sound = is_sound(&second, shape);
        }
        _ => {}
    });
    if jobs.iter().all(|job| job.sound) {
        return Ok(());
    }
    Err(invalid(
        "the context-coded payload is not one that an encoder writes",
    ))
}

/// Elements in all from which several cores are worth waking.
const MIN_PARALLEL_LANES: usize = 4;

/// One lane's work.
struct Job<'a, C> {
    codes: &'a mut [C],
    scratch: &'a mut LaneScratch,
    payload: &'a [u8],
    sound: bool,
}

fn split<'a, C>(
    mut codes: &'a mut [C],
    shape: &Shape,
    scratch: &'a mut [LaneScratch],
) -> Vec<Job<'a, C>> {
    let mut jobs = Vec::with_capacity(scratch.len());
    for (channels, scratch) in shape.lanes().zip(scratch) {
        let (of_lane, rest) = codes.split_at_mut(channels * shape.geometry.plane());
        codes = rest;
        scratch.models.reset(shape.last);
        scratch.bytes.clear();
        jobs.push(Job {
            codes: of_lane,
            scratch,
            payload: &[],
            sound: false,
        });
    }
    jobs
}

/// Two lanes run in turns on one core; more pairs than one run on several cores.
fn in_parallel<C: Code>(jobs: &mut [Job<'_, C>], run: impl Fn(&mut [Job<'_, C>]) + Sync) {
    if jobs.len() < MIN_PARALLEL_LANES {
        jobs.chunks_mut(2).for_each(run);
        return;
    }
    std::thread::scope(|scope| {
        for pair in jobs.chunks_mut(2) {
            scope.spawn(|| run(pair));
        }
    });
}

fn walk<C: Code, B: BitCoder, const N: usize>(
    lanes: &mut [Lane<'_, B>; N],
    shape: &Shape,
    mut codes: [&mut [C]; N],
) {
    let plane = shape.geometry.plane();
    // The first lane has as many channels as any, or one more than the last.
    let shortest = codes.iter().map(|codes| codes.len()).min().unwrap_or(0);
    for at in (0..shortest).step_by(plane.max(1)) {
        let mut channels = codes.each_mut().map(|codes| &mut codes[at..at + plane]);
        walk_channels(lanes, &shape.geometry, &mut channels);
    }
    for (lane, codes) in lanes.iter_mut().zip(codes) {
        if codes.len() > shortest {
            walk_channels(
                std::array::from_mut(lane),
                &shape.geometry,
                &mut [&mut codes[shortest..]],
            );
        }
    }
}

fn encoding_lane<'a>(scratch: &'a mut LaneScratch, shape: &Shape) -> Lane<'a, Encoder<'a>> {
    let coder = Encoder::new(&mut scratch.bytes);
    Lane::new(coder, &mut scratch.models, &shape.geometry)
}

fn decoding_lane<'a>(
    payload: &'a [u8],
    scratch: &'a mut LaneScratch,
    shape: &Shape,
) -> Lane<'a, Decoder<'a>> {
    Lane::new(Decoder::new(payload), &mut scratch.models, &shape.geometry)
}

fn is_sound(lane: &Lane<'_, Decoder<'_>>, shape: &Shape) -> bool {
    lane.greatest <= shape.last && lane.coder.is_canonical()
}

/// The bytes of each lane.
fn lane_payloads(payload: &[u8], lanes: usize) -> Result<Vec<&[u8]>> {
    let too_short = || invalid("the context-coded payload ends within a lane");
    let (lengths, mut rest) = payload
        .split_at_checked((lanes - 1) * LENGTH_BYTES)
        .ok_or_else(too_short)?;
    let mut payloads = Vec::with_capacity(lanes);
    for &length in lengths.as_chunks::<LENGTH_BYTES>().0 {
        let (lane, behind) = rest
            .split_at_checked(u32::from_le_bytes(length) as usize)
            .ok_or_else(too_short)?;
        payloads.push(lane);
        rest = behind;
    }
    payloads.push(rest);
    Ok(payloads)
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidActivation, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sparse codes with hills, as a ReLU leaves them.
    fn hills(shape: &[usize], last: u32) -> Vec<u16> {
        let width = shape[shape.len() - 1];
        (0..shape.iter().product())
            .map(|i: usize| {
                let noise = (i as u32).wrapping_mul(2_654_435_761) >> 20;
                let hill = (i % width * 7 / width) as u32 * last / 9;
                (hill + noise % 5).saturating_sub(3).min(last) as u16
            })
            .collect()
    }

    fn encoded<C: Code>(codes: &[C], shape: &Shape) -> Vec<u8> {
        let mut payload = Vec::new();
        encode(
            &mut codes.to_vec(),
            shape,
            &mut Scratch::default(),
            &mut payload,
        );
        payload
    }

    #[test]
    fn codes_of_every_geometry_come_back() {
        let mut scratch = Scratch::default();
        for dims in [
            &[1usize, 3, 5, 7][..],
            &[1, 1, 1, 1],
            &[1, 1000],
            &[1, 64, 1, 1],
            &[1, 5, 1, 9],
            &[1, 5, 9, 1],
            &[7, 3],
            &[1, 5, 180, 160],
            &[1, 11, 170, 160],
            &[2, 3, 8, 8],
        ] {
            for last in [1, 2, 15, 255, 256, 65_535] {
                for background in [None, Some(last / 2)] {
                    let shape = Shape::new(dims, last, background);
                    let codes = hills(dims, last);
                    let payload = encoded(&codes, &shape);
                    let mut back = vec![0u16; codes.len()];
                    decode(&payload, &shape, &mut scratch, &mut back).unwrap();
                    assert_eq!(back, codes);
                    if last <= 255 {
                        let narrow: Vec<u8> = codes.iter().map(|&c| c as u8).collect();
                        assert_eq!(encoded(&narrow, &shape), payload);
                    }
                }
            }
        }
    }

    #[test]
    fn bytes_behind_before_or_missing_are_refused() {
        let dims = [1, 10, 120, 120];
        let shape = Shape::new(&dims, 15, None);
        assert!(shape.lanes().count() > 1);
        let codes: Vec<u8> = hills(&dims, 15).iter().map(|&c| c as u8).collect();
        let payload = encoded(&codes, &shape);
        let mut back = vec![0u8; codes.len()];
        let mut refused = |bytes: &[u8]| {
            let error = decode(bytes, &shape, &mut Scratch::default(), &mut back).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidActivation);
        };
        refused(&payload[..payload.len() - 1]);
        refused(&[&payload[..], &[1]].concat());
        refused(&[&payload[..], &[0]].concat());
        refused(&payload[1..]);
        refused(&[]);
        refused(&[0xFF; 3]);
        let mut longer = payload.clone();
        longer[0] ^= 1;
        refused(&longer);
    }

    #[test]
    fn a_code_beyond_the_last_is_refused() {
        // Written with a larger alphabet of the same buckets.
        let (large, small) = (
            Shape::new(&[1, 40], 6, Some(3)),
            Shape::new(&[1, 40], 4, Some(3)),
        );
        let payload = encoded(&[6u8; 40], &large);
        let mut back = [0u8; 40];
        assert!(decode(&payload, &small, &mut Scratch::default(), &mut back).is_err());
    }
}
