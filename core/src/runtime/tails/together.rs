//! Whether a span gives several activations together what it gives each of them alone.
//!
//! Opening a graph's first dimension is a guess about its constants (`graph/batch.rs`), and some models mix
//! what is stacked: so it is tried.

use ort::session::Session;

use crate::bundle::Cut;
use crate::runtime::span_io::SpanIo;
use crate::runtime::{Activation, Cancel, Stack};
use crate::{Error, ErrorKind, Result, TensorData};

/// Activations that run together. The first and the last of them are run alone too: where one takes
/// another's answer, or a part of it, one of the two does.
const TOGETHER: usize = 3;
/// Most that an output of a batch may differ from the same output alone, as a share of the output's
/// largest magnitude: kernels sum in another order for other sizes.
const MAX_DIFFERENCE: f32 = 1e-3;
/// Share of an integer output's elements (classes, indices) that may differ: where two were equal but for rounding.
const MAX_DIFFERENT: f32 = 1e-3;

/// Tries a session with made-up activations of `cut`.
///
/// Fails as the session does, and with [`ErrorKind::UnsupportedModel`] if answers differ.
pub(super) fn check(io: &SpanIo, session: &mut Session, cut: &Cut) -> Result<()> {
    let mut random = Random(1);
    let mut samples = Stack::default();
    samples.begin(cut)?;
    for _ in 0..TOGETHER {
        samples.push_with(|places| {
            for element in places.iter_mut().flat_map(|place| place.iter_mut()) {
                *element = random.next();
            }
            Ok(())
        })?;
    }
    let never = Cancel::new();
    let mut run = |some| {
        let run = io.run_stacked(Some(session), &samples, some, &never);
        run.map(|(outputs, _)| outputs)
    };
    let mut together = run(0..TOGETHER)?.into_iter();
    let ends = [(0, together.next()), (TOGETHER - 1, together.next_back())];
    for (index, together) in ends {
        let both = together.zip(run(index..index + 1)?.pop());
        if !both.map_or(Ok(false), |(together, alone)| agree(together, alone))? {
            return Err(Error::new(
                ErrorKind::UnsupportedModel,
                "together they give other answers than alone",
            ));
        }
    }
    Ok(())
}

fn agree(one: Activation, other: Activation) -> Result<bool> {
    let (one, other) = (one.into_tensors()?, other.into_tensors()?);
    Ok(one.len() == other.len()
        && one
            .iter()
            .zip(&other)
            .all(|(a, b)| a.shape() == b.shape() && are_close(a.data(), b.data())))
}

fn are_close(one: &TensorData, other: &TensorData) -> bool {
    fn differ<T: PartialEq>(a: &[T], b: &[T]) -> f32 {
        a.iter().zip(b).filter(|(a, b)| a != b).count() as f32 / a.len().max(1) as f32
    }
    match (one, other) {
        (TensorData::F32(a), TensorData::F32(b)) => {
            let largest = b.iter().fold(0f32, |m, x| m.max(x.abs()));
            a.iter().zip(b).all(|(a, b)| {
                (a - b).abs() <= MAX_DIFFERENCE * largest || a.to_bits() == b.to_bits()
            })
        }
        (TensorData::I64(a), TensorData::I64(b)) => differ(a, b) <= MAX_DIFFERENT,
        (TensorData::I32(a), TensorData::I32(b)) => differ(a, b) <= MAX_DIFFERENT,
        (a, b) => a == b,
    }
}

/// Numbers between -1 and 1, the same on every run (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40;
        bits as f32 / (1u32 << 23) as f32 - 1.0
    }
}
