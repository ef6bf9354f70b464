//! The protocol's names for element types.

use dyno_core::ElementType;

/// The datatype of an input or output.
///
/// Element types that this build does not name cannot come out of a bundle.
pub(crate) const fn name_of(element: ElementType) -> &'static str {
    match element {
        ElementType::F32 => "FP32",
        ElementType::I64 => "INT64",
        ElementType::I32 => "INT32",
        ElementType::U8 => "UINT8",
        ElementType::I8 => "INT8",
        ElementType::Bool => "BOOL",
        _ => "BYTES",
    }
}
