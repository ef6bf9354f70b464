//! The entropy coder with contexts: codes of a tensor to bytes, and back.
//!
//! The elements are walked channel by channel, row by row. The four neighbours that were coded
//! before say where the next code is expected (a weighted mean) and how far it may be off (the mean
//! itself behind a ReLU, where noise grows with it; how much the neighbours differ, everywhere).
//! That picks a context, in which adaptive models of a bit (is it zero?) and of sixteen symbols (how
//! far off is it?) learn the rest. What a context expects at first is the same for every model
//! and any number of levels; `docs/packing.md` has what tables learnt at `prepare` would have gained.
//!
//! All arithmetic is of integers: phone and server cannot disagree.
#![expect(
    clippy::inline_always,
    reason = "the walk over the elements is one loop, for the encoder and for the decoder"
)]

mod bit_model;
mod lane;
mod prior;
mod range_coder;
mod symbol;
mod symbol_model;

use std::fmt;

use self::lane::{FreshContexts, Geometry, Lane};
use self::range_coder::{Decoder, Encoder};
use self::symbol::{Alphabet, Context};
use super::maps::Maps;
use super::simd::Code;
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
    /// Elements that are worth a lane.
    lane_elements: usize,
    geometry: Geometry,
}

impl Shape {
    /// For these maps with codes 0 to `last` (1 to 65,535); `background` is the code of 0.0 where the
    /// tensor is signed, and none where nothing in it is below 0.0.
    pub(super) fn new(maps: Maps, last: u32, background: Option<u32>) -> Self {
        Self {
            channels: maps.channels,
            lane_elements: MIN_LANE_ELEMENTS,
            geometry: Geometry {
                height: maps.height,
                width: maps.width,
                alphabet: Alphabet::new(last, background.is_none()),
                background: background.unwrap_or(0).min(last),
            },
        }
    }

    /// The same with lanes of this many elements, so that small tensors have several: no message has
    /// such.
    #[cfg(any(test, feature = "internals"))]
    pub(super) fn with_lanes_of(self, lane_elements: usize) -> Self {
        Self {
            lane_elements: lane_elements.max(1),
            ..self
        }
    }

    /// Channels of each lane: as even as can be, the longer ones first.
    fn lanes(&self) -> impl Iterator<Item = usize> + use<> {
        let channels = self.channels;
        let wanted = channels * self.geometry.plane() / self.lane_elements;
        let lanes = wanted.clamp(1, MAX_LANES).min(channels.max(1));
        (0..lanes).map(move |lane| channels / lanes + usize::from(lane < channels % lanes))
    }
}

/// Memory of the coder, kept between tensors.
#[derive(Default)]
pub(super) struct Scratch {
    /// Cores that may work on a tensor of many lanes; 0 is 1.
    pub(super) threads: usize,
    fresh: FreshContexts,
    lanes: [LaneScratch; MAX_LANES],
}

#[derive(Default)]
struct LaneScratch {
    contexts: Vec<Context>,
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
    let threads = scratch.threads;
    let mut jobs = split(codes, shape, scratch);
    let jobs = &mut jobs[..shape.lanes().count()];
    in_parallel(jobs, threads, |job| {
        let mut lane = Lane::new(Encoder::new(job.bytes), job.contexts, shape.geometry);
        lane.walk(job.codes);
        lane.coder.finish();
    });
    if let [all_but_last @ .., _] = &jobs[..] {
        for job in all_but_last {
            // A lane is shorter than its codes, of which there are at most 2^28.
            let length = u32::try_from(job.bytes.len()).unwrap_or(u32::MAX);
            payload.extend(length.to_le_bytes());
        }
    }
    for job in jobs {
        payload.extend(&*job.bytes);
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
    let threads = scratch.threads;
    let mut jobs = split(codes, shape, scratch);
    let jobs = &mut jobs[..shape.lanes().count()];
    hand_out(payload, jobs)?;
    in_parallel(jobs, threads, |job| {
        let mut lane = Lane::new(Decoder::new(job.payload), job.contexts, shape.geometry);
        lane.walk(job.codes);
        job.sound = lane.coder.is_canonical();
    });
    if jobs.iter().all(|job| job.sound) {
        return Ok(());
    }
    Err(invalid(
        "the context-coded payload is not one that an encoder writes",
    ))
}

/// One lane's work.
struct Job<'a, C> {
    codes: &'a mut [C],
    contexts: &'a mut [Context],
    /// Where the encoder writes.
    bytes: &'a mut Vec<u8>,
    /// What the decoder reads.
    payload: &'a [u8],
    /// Whether that was what an encoder writes.
    sound: bool,
}

/// A job for each lane; those behind the last have nothing to do.
fn split<'a, C>(
    mut codes: &'a mut [C],
    shape: &Shape,
    scratch: &'a mut Scratch,
) -> [Job<'a, C>; MAX_LANES] {
    let mut lanes = shape.lanes();
    let fresh = scratch.fresh.of(shape.geometry.alphabet);
    scratch.lanes.each_mut().map(|scratch| {
        let channels = lanes.next();
        let elements = channels.unwrap_or(0) * shape.geometry.plane();
        let (of_lane, rest) = std::mem::take(&mut codes).split_at_mut(elements);
        codes = rest;
        scratch.contexts.clear();
        if channels.is_some() {
            scratch.contexts.extend_from_slice(fresh);
        }
        scratch.bytes.clear();
        Job {
            codes: of_lane,
            contexts: &mut scratch.contexts,
            bytes: &mut scratch.bytes,
            payload: &[],
            sound: false,
        }
    })
}

/// Shares the lanes out among the cores that may work on them.
fn in_parallel<C: Code>(
    jobs: &mut [Job<'_, C>],
    threads: usize,
    run: impl Fn(&mut Job<'_, C>) + Sync,
) {
    let each = jobs.len().div_ceil(threads.max(1)).max(1);
    let run = |jobs: &mut [Job<'_, C>]| jobs.iter_mut().for_each(&run);
    let mut shares = jobs.chunks_mut(each);
    let Some(own) = shares.next() else {
        return;
    };
    if shares.len() == 0 {
        run(own);
        return;
    }
    let run = &run;
    std::thread::scope(|scope| {
        for share in shares {
            scope.spawn(move || run(share));
        }
        run(own);
    });
}

/// Gives each lane its bytes of `payload`.
fn hand_out<'a, C>(payload: &'a [u8], jobs: &mut [Job<'a, C>]) -> Result<()> {
    let too_short = || invalid("the context-coded payload ends within a lane");
    let Some((last, others)) = jobs.split_last_mut() else {
        return Ok(());
    };
    let (lengths, mut rest) = payload
        .split_at_checked(others.len() * LENGTH_BYTES)
        .ok_or_else(too_short)?;
    for (job, &length) in others.iter_mut().zip(lengths.as_chunks::<LENGTH_BYTES>().0) {
        (job.payload, rest) = rest
            .split_at_checked(u32::from_le_bytes(length) as usize)
            .ok_or_else(too_short)?;
    }
    last.payload = rest;
    Ok(())
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidActivation, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation)] // small numbers

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
        let mut scratch = Scratch {
            threads: 3,
            ..Scratch::default()
        };
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
                    let shape = Shape::new(Maps::of(dims), last, background);
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
    fn lanes_are_shared_out_among_threads_and_come_back() {
        let dims = [1, 11, 6, 7];
        for lane_elements in [1, 40, 50, 80, 200, 400, 1000] {
            let shape = Shape::new(Maps::of(&dims), 20, None).with_lanes_of(lane_elements);
            let codes = hills(&dims, 20);
            let payload = encoded(&codes, &shape);
            for threads in 0..10 {
                let mut scratch = Scratch {
                    threads,
                    ..Scratch::default()
                };
                let mut back = vec![0u16; codes.len()];
                decode(&payload, &shape, &mut scratch, &mut back).unwrap();
                assert_eq!(back, codes);
            }
        }
    }

    #[test]
    fn foreign_bytes_are_refused_or_the_only_ones_for_what_they_hold() {
        let dims = [1, 10, 120, 120];
        let shape = Shape::new(Maps::of(&dims), 15, None);
        assert!(shape.lanes().count() > 1);
        let codes: Vec<u8> = hills(&dims, 15).iter().map(|&c| c as u8).collect();
        let payload = encoded(&codes, &shape);
        let mut scratch = Scratch::default();
        let mut accepted = 0;
        let mut check = |bytes: &[u8]| {
            let mut back = vec![0u8; codes.len()];
            match decode(bytes, &shape, &mut scratch, &mut back) {
                Ok(()) => {
                    accepted += 1;
                    assert_eq!(encoded(&back, &shape), bytes);
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidActivation),
            }
        };
        check(&payload);
        check(&[]);
        check(&[0xFF; 3]);
        check(&[0xFF; 400]);
        check(&[0; 4]);
        check(&payload[1..]);
        for byte in [0, 1, 0xFF] {
            check(&[&payload[..], &[byte]].concat());
        }
        for at in [0, 1, 3, 4, 5, payload.len() / 2, payload.len() - 1] {
            check(&payload[..at]);
            let mut flipped = payload.clone();
            flipped[at] ^= 1;
            check(&flipped);
        }
        assert!(accepted > 0);
    }

    /// Found by fuzzing: with few levels behind a ReLU, a distance off the lower end was read as zero,
    /// which has bits of its own.
    #[test]
    fn random_bytes_are_refused_or_the_only_ones_at_any_number_of_levels() {
        let mut scratch = Scratch::default();
        let mut accepted = 0;
        for seed in 0..6000u64 {
            let mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
            let bytes = [mixed, mixed.map(|b| b.wrapping_mul(29))].concat();
            let bytes = &bytes[..seed as usize % 17];
            let last = 1 + seed as u32 % 11;
            let background = (seed % 3 == 0).then_some(last / 2);
            let shape = Shape::new(Maps::of(&[1, 2, 3, 3]), last, background);
            let mut back = [0u8; 18];
            if decode(bytes, &shape, &mut scratch, &mut back).is_ok() {
                accepted += 1;
                assert_eq!(encoded(&back, &shape), bytes, "{last} {background:?}");
            }
        }
        assert!(accepted > 20, "{accepted}");
    }

    #[test]
    fn a_code_beyond_the_last_is_refused() {
        // Written with a larger alphabet of the same buckets.
        let (large, small) = (
            Shape::new(Maps::of(&[1, 40]), 6, Some(3)),
            Shape::new(Maps::of(&[1, 40]), 4, Some(3)),
        );
        let payload = encoded(&[6u8; 40], &large);
        let mut back = [0u8; 40];
        assert!(decode(&payload, &small, &mut Scratch::default(), &mut back).is_err());
    }
}
