//! The bytes of a message, version 1: written in one place and read in one place.
//!
//! `docs/wire-format.md` describes them for people; the golden test holds both to their word.
//! Reading allocates nothing but a table of at most [`MAX_TENSORS`] entries.

use super::quantise::ValueRange;
use super::shuffle::plane_bytes;
use crate::schedule::{Codec, Levels, Precision};
use crate::{Error, ErrorKind, Result};

/// First bytes of every message of every version.
const MAGIC: [u8; 3] = *b"DyN";
/// The version that this build writes, and the only one that it reads.
pub(super) const VERSION: u8 = 1;
/// Most tensors in a message: their number is one byte.
const MAX_TENSORS: usize = u8::MAX as usize;

/// Magic, version, cut, number of tensors, reserved byte.
const PREFIX_BYTES: usize = 8;
/// One row of the tensor table.
const ROW_BYTES: usize = 20;
/// CRC-32 of all that comes before it.
const CRC_BYTES: usize = 4;

/// One row of the tensor table: all that is needed to decode its payload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Row {
    pub(super) precision: Precision,
    pub(super) codec: Codec,
    pub(super) range: ValueRange,
    pub(super) elements: u32,
    pub(super) payload_bytes: u32,
}

/// A message whose frame is sound; what its payloads hold has not been looked at.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) cut: usize,
    pub(super) tensors: Vec<(Row, &'a [u8])>,
}

/// Bytes of a message that are not payload.
pub(super) const fn overhead_bytes(tensors: usize) -> usize {
    tensors
        .saturating_mul(ROW_BYTES)
        .saturating_add(PREFIX_BYTES + CRC_BYTES)
}

/// Bytes of all bit planes of a tensor: what a codec is given.
pub(super) const fn planes_bytes(elements: usize, precision: Precision) -> usize {
    let bits = match precision {
        Precision::Raw => u32::BITS,
        Precision::Levels(levels) => levels.bits(),
    };
    plane_bytes(elements).saturating_mul(bits as usize)
}

/// Bytes of a payload that no codec has made smaller: the bit planes, or fp32 as it is.
pub(super) const fn uncoded_bytes(elements: usize, precision: Precision) -> usize {
    match precision {
        Precision::Raw => elements.saturating_mul(4),
        Precision::Levels(_) => planes_bytes(elements, precision),
    }
}

/// Makes `message` the message: `payloads` holds those of all `rows`, one behind the other.
///
/// Fails with [`ErrorKind::InvalidArgument`] if the cut's index or its tensors are too many for
/// the format.
pub(super) fn write(
    cut: usize,
    rows: &[Row],
    payloads: &[u8],
    message: &mut Vec<u8>,
) -> Result<()> {
    let (Ok(index), Ok(tensors)) = (u16::try_from(cut), u8::try_from(rows.len())) else {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "cut {cut} with {} tensors cannot be packed: cuts up to {} with up to \
                 {MAX_TENSORS} tensors can",
                rows.len(),
                u16::MAX
            ),
        ));
    };
    message.clear();
    message.reserve(overhead_bytes(rows.len()) + payloads.len());
    message.extend(MAGIC);
    message.push(VERSION);
    message.extend(index.to_le_bytes());
    message.extend([tensors, 0]);
    for row in rows {
        row.write(message);
    }
    message.extend(payloads);
    message.extend(crc32fast::hash(message).to_le_bytes());
    Ok(())
}

/// Index of the cut that the first bytes of a message name.
pub(super) fn read_cut(message: &[u8]) -> Result<usize> {
    read_prefix(message).map(|(cut, ..)| cut)
}

/// Checks all of the frame: magic, version, CRC, reserved bits, every row, and that the payloads
/// fill the message exactly.
pub(super) fn read(message: &[u8]) -> Result<Message<'_>> {
    let (cut, tensor_count, rest) = read_prefix(message)?;
    let (rest, crc) = rest
        .split_last_chunk::<CRC_BYTES>()
        .ok_or_else(|| too_short(message))?;
    if crc32fast::hash(&message[..PREFIX_BYTES + rest.len()]) != u32::from_le_bytes(*crc) {
        return Err(invalid(
            "the CRC-32 does not fit: the packed activation was damaged or cut short on its way",
        ));
    }
    let (table, mut payloads) = rest
        .split_at_checked(tensor_count * ROW_BYTES)
        .ok_or_else(|| too_short(message))?;
    let mut tensors = Vec::with_capacity(tensor_count);
    for (i, row) in table.as_chunks::<ROW_BYTES>().0.iter().enumerate() {
        let row = Row::read(row).map_err(|e| e.context(format_args!("tensor {i}")))?;
        let (payload, rest) = payloads
            .split_at_checked(row.payload_bytes as usize)
            .ok_or_else(|| too_short(message))?;
        payloads = rest;
        tensors.push((row, payload));
    }
    if !payloads.is_empty() {
        return Err(invalid(format!(
            "{} bytes follow the last payload",
            payloads.len()
        )));
    }
    Ok(Message { cut, tensors })
}

/// Cut, number of tensors, and what follows.
fn read_prefix(message: &[u8]) -> Result<(usize, usize, &[u8])> {
    let Some((&[m0, m1, m2, version, cut0, cut1, tensors, reserved], rest)) =
        message.split_first_chunk::<PREFIX_BYTES>()
    else {
        return Err(too_short(message));
    };
    if [m0, m1, m2] != MAGIC {
        return Err(invalid(
            "these bytes are not a packed activation: they do not begin with 'DyN'",
        ));
    }
    if version != VERSION {
        return Err(unsupported(format!(
            "packed activation of version {version}: this build reads version {VERSION}"
        )));
    }
    if reserved != 0 {
        return Err(invalid("reserved bits of the header are set"));
    }
    Ok((
        u16::from_le_bytes([cut0, cut1]).into(),
        tensors.into(),
        rest,
    ))
}

impl Row {
    fn write(&self, message: &mut Vec<u8>) {
        let last_code = match self.precision {
            Precision::Raw => 0,
            Precision::Levels(levels) => levels.get() - 1,
        };
        // Levels end at 65,536, so the last code has two bytes.
        let [low, high, ..] = last_code.to_le_bytes();
        message.extend([codec_id(self.codec), 0, low, high]);
        message.extend(self.range.lo.to_le_bytes());
        message.extend(self.range.hi.to_le_bytes());
        message.extend(self.elements.to_le_bytes());
        message.extend(self.payload_bytes.to_le_bytes());
    }

    fn read(row: &[u8; ROW_BYTES]) -> Result<Self> {
        let &[
            [codec, reserved, low, high],
            lo,
            hi,
            elements,
            payload_bytes,
        ] = row.as_chunks::<4>().0
        else {
            return Err(too_short(row));
        };
        if reserved != 0 {
            return Err(invalid("reserved bits are set"));
        }
        let row = Self {
            precision: match u16::from_le_bytes([low, high]) {
                0 => Precision::Raw,
                last_code => Precision::Levels(Levels::new(u32::from(last_code) + 1)?),
            },
            codec: codec_of(codec)?,
            range: ValueRange {
                lo: f32::from_le_bytes(lo),
                hi: f32::from_le_bytes(hi),
            },
            elements: u32::from_le_bytes(elements),
            payload_bytes: u32::from_le_bytes(payload_bytes),
        };
        row.check_range()?;
        row.check_payload_bytes()?;
        Ok(row)
    }

    fn check_range(&self) -> Result<()> {
        let ValueRange { lo, hi } = self.range;
        match self.precision {
            Precision::Raw if lo.to_bits() | hi.to_bits() == 0 => Ok(()),
            Precision::Levels(_) if lo.is_finite() && hi.is_finite() && lo <= hi => Ok(()),
            Precision::Raw => Err(invalid("fp32 has no range, but the fields of one are set")),
            Precision::Levels(_) => Err(invalid(format!("{lo} to {hi} is not a range"))),
        }
    }

    fn check_payload_bytes(&self) -> Result<()> {
        let uncoded = uncoded_bytes(self.elements as usize, self.precision);
        let bytes = self.payload_bytes as usize;
        let plausible = match self.codec {
            Codec::Raw => bytes == uncoded,
            // What a codec does not make smaller is sent without it.
            Codec::Lz4 | Codec::Zstd => 0 < bytes && bytes < uncoded,
            // May be empty: all elements went as expected.
            Codec::Context | Codec::Shaped => {
                self.codec.can_code(self.precision) && bytes < uncoded
            }
        };
        if !plausible {
            return Err(invalid(format!(
                "a {} payload of {bytes} bytes cannot hold {} elements, {uncoded} bytes uncoded",
                self.codec, self.elements
            )));
        }
        Ok(())
    }
}

const fn codec_id(codec: Codec) -> u8 {
    match codec {
        Codec::Raw => 0,
        Codec::Lz4 => 1,
        Codec::Zstd => 2,
        // Shaping is the sender's affair.
        Codec::Context | Codec::Shaped => 3,
    }
}

fn codec_of(id: u8) -> Result<Codec> {
    Codec::ALL
        .iter()
        .copied()
        .find(|&codec| codec_id(codec) == id)
        .ok_or_else(|| {
            unsupported(format!(
                "codec {id}: this build reads raw (0), lz4 (1), zstd (2) and context (3)"
            ))
        })
}

fn too_short(message: &[u8]) -> Error {
    invalid(format!(
        "the packed activation ends too early, at {} bytes",
        message.len()
    ))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidActivation, message)
}

fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::UnsupportedActivation, message)
}
