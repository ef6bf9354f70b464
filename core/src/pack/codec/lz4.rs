//! LZ4 blocks, the paper's codec: no header, so the size comes from the cut alone.

use std::fmt;

use lz4_flex::block as lz4;

use super::planes::ByteCodec;
use super::{failed, invalid};
use crate::Result;
use crate::schedule::Codec;

/// LZ4, with the buffer that it writes to.
#[derive(Default)]
pub(super) struct Lz4 {
    coded: Vec<u8>,
    /// Made when first used.
    table: Option<Box<lz4::CompressTable>>,
}

impl fmt::Debug for Lz4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lz4").finish_non_exhaustive()
    }
}

impl ByteCodec for Lz4 {
    fn encode(&mut self, plain: &[u8], payload: &mut Vec<u8>) -> Result<()> {
        let bound = lz4::get_maximum_output_size(plain.len());
        self.coded.resize(bound.max(self.coded.len()), 0);
        let table = self.table.get_or_insert_default();
        let written = lz4::compress_into_with_table(plain, &mut self.coded, table)
            .map_err(|e| failed(Codec::Lz4, e))?;
        payload.extend(&self.coded[..written]);
        Ok(())
    }

    fn decode(&mut self, payload: &[u8], plain: &mut [u8]) -> Result<()> {
        let expected = plain.len();
        let written = lz4::decompress_into(payload, plain)
            .map_err(|e| invalid(format!("not an LZ4 block of {expected} bytes: {e}")))?;
        if written != expected {
            return Err(invalid(format!(
                "the lz4 payload holds {written} bytes, expected {expected}"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_runs_past_its_buffer_is_refused() {
        let refused = |payload: &[u8], plain_bytes: usize| {
            let error = Lz4::default()
                .decode(payload, &mut vec![0; plain_bytes])
                .unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidActivation);
        };
        // One literal, then a match of a length that goes on and on.
        let bomb = [&[0x1F, 0, 1, 0][..], &[0xFF; 4000], &[0]].concat();
        refused(&bomb, 1000);
        // A match that begins before the output does.
        refused(&[0x10, 0, 9, 0], 100);
        refused(&[], 1);
    }
}
