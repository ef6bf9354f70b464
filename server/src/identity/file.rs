//! Files of who is let in: small, and never quoted in a message.

use std::fmt::Display;
use std::io::Read as _;
use std::path::Path;

use dyno_core::{Error, ErrorKind, Result};

/// Most bytes of such a file.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads a file and makes something of it. Blocking.
///
/// Fails with [`ErrorKind::InvalidArgument`], naming the file and what it is, if it cannot be read,
/// has more than [`MAX_FILE_BYTES`], or `parse` fails.
pub(super) fn read<T>(
    what: &str,
    path: &Path,
    parse: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<T> {
    let bad = |why: &dyn Display| {
        let message = format!("the file of {what} {}: {why}", path.display());
        Error::new(ErrorKind::InvalidArgument, message)
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| bad(&error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(bad(&format_args!("more than {MAX_FILE_BYTES} bytes")));
    }
    parse(&bytes).map_err(|why| bad(&why))
}
