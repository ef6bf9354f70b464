//! Moving a graph's weights into one file that every session maps.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use bytes::Bytes;

use super::WEIGHTS_FILE;
use crate::graph::Model;
use crate::graph::proto::{GraphProto, StringEntry, TensorProto};
use crate::{Error, ErrorKind, Result};

/// Weights begin at multiples of this, for aligned loads from the mapping.
const ALIGNMENT_BYTES: u64 = 64;
/// Constants up to this size stay in the graph: shapes and axes, which ONNX Runtime reads while it
/// works out the graph.
const INLINE_MAX_BYTES: usize = 1024;

/// Writes the initialisers of `graph` to `weights.bin` in `folder`, and makes them refer to it.
/// `written` is told the bytes after each tensor.
pub(crate) fn externalise(
    model: &Model,
    graph: &mut GraphProto,
    folder: &Path,
    mut written: impl FnMut(u64),
) -> Result<()> {
    let path = folder.join(WEIGHTS_FILE);
    let io = |e| Error::io(&path, "write", e);
    let mut file = BufWriter::new(File::create(&path).map_err(io)?);
    let mut offset = 0u64;
    for tensor in &mut graph.initializer {
        let Some(data) = raw_bytes(model, tensor)? else {
            continue;
        };
        if data.len() <= INLINE_MAX_BYTES {
            set_inline(tensor, data);
            continue;
        }
        let padding = offset.next_multiple_of(ALIGNMENT_BYTES) - offset;
        for _ in 0..padding {
            file.write_all(&[0]).map_err(io)?;
        }
        offset += padding;
        file.write_all(&data).map_err(io)?;
        set_external(tensor, offset, data.len());
        offset += data.len() as u64;
        written(offset);
    }
    file.into_inner()
        .map_err(|e| io(e.into_error()))?
        .sync_all()
        .map_err(io)
}

/// The tensor's elements as little-endian bytes; none for types that only exist inline (strings).
fn raw_bytes(model: &Model, tensor: &TensorProto) -> Result<Option<Bytes>> {
    if tensor.data_location == Some(TensorProto::EXTERNAL) {
        return model.read_external(tensor).map(Some);
    }
    if let Some(raw) = &tensor.raw_data {
        return Ok(Some(raw.clone()));
    }
    let bytes: Vec<u8> = if !tensor.float_data.is_empty() {
        tensor
            .float_data
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect()
    } else if !tensor.int64_data.is_empty() {
        tensor
            .int64_data
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect()
    } else if !tensor.double_data.is_empty() {
        tensor
            .double_data
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect()
    } else if !tensor.uint64_data.is_empty() || !tensor.string_data.is_empty() {
        // uint64_data also carries uint32, string_data has no fixed width: both stay as they are.
        return Ok(None);
    } else if !tensor.int32_data.is_empty() {
        return narrow_bytes(tensor).map(Some);
    } else {
        return Ok(None);
    };
    Ok(Some(bytes.into()))
}

/// `int32_data` carries every integer of up to 32 bits, and halves.
fn narrow_bytes(tensor: &TensorProto) -> Result<Bytes> {
    let element = tensor.data_type.unwrap_or(0);
    // ONNX's numbers: uint8, int8, bool; uint16, int16, float16, bfloat16; int32.
    let width = match element {
        2 | 3 | 9 => 1,
        4 | 5 | 10 | 16 => 2,
        6 => 4,
        _ => {
            return Err(Error::new(
                ErrorKind::UnsupportedModel,
                format!(
                    "weights '{}' have an unsupported element type {element}",
                    tensor.label()
                ),
            ));
        }
    };
    let bytes = tensor
        .int32_data
        .iter()
        .flat_map(|x| x.to_le_bytes().into_iter().take(width));
    Ok(bytes.collect::<Vec<u8>>().into())
}

fn clear_data(tensor: &mut TensorProto) {
    tensor.float_data = Vec::new();
    tensor.int32_data = Vec::new();
    tensor.int64_data = Vec::new();
    tensor.double_data = Vec::new();
    tensor.raw_data = None;
    tensor.external_data = Vec::new();
    tensor.data_location = None;
}

fn set_inline(tensor: &mut TensorProto, data: Bytes) {
    clear_data(tensor);
    tensor.raw_data = Some(data);
}

fn set_external(tensor: &mut TensorProto, offset: u64, length: usize) {
    let entry = |key: &str, value: String| StringEntry {
        key: Some(key.to_owned()),
        value: Some(value),
    };
    clear_data(tensor);
    tensor.data_location = Some(TensorProto::EXTERNAL);
    tensor.external_data = vec![
        entry("location", WEIGHTS_FILE.to_owned()),
        entry("offset", offset.to_string()),
        entry("length", length.to_string()),
    ];
}
