//! Tensors as they pass between stages: a shape, an element type, and data in row-major order.
//!
//! A tensor either owns its elements or holds a value of ONNX Runtime's, so that one span's output
//! becomes the next span's input without a copy.

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// Most elements a tensor may have: 2^28 (1 GiB of f32). Bounds every allocation made from a shape.
pub const MAX_ELEMENTS: usize = 1 << 28;
/// Most dimensions a tensor may have.
pub const MAX_RANK: usize = 8;

/// Type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ElementType {
    /// 32-bit float: activations, and most outputs.
    F32,
    /// 64-bit signed integer: class maps, indices.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 8-bit unsigned integer.
    U8,
    /// 8-bit signed integer.
    I8,
    /// Boolean, one byte an element.
    Bool,
}

impl ElementType {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::U8 | Self::I8 | Self::Bool => 1,
        }
    }
}

/// Name, element type and fixed shape of a tensor in a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    /// Name in the graph.
    pub name: String,
    /// Element type.
    pub element: ElementType,
    /// Dimensions, outermost first; all known.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Number of elements; the largest `usize` if they are more.
    pub fn elements(&self) -> usize {
        elements(&self.shape)
    }

    /// Bytes of the elements; the largest `usize` if they are more.
    pub fn bytes(&self) -> usize {
        self.elements().saturating_mul(self.element.bytes())
    }

    /// Refuses ranks and sizes beyond [`MAX_RANK`] and [`MAX_ELEMENTS`], without overflow.
    pub fn check_bounds(&self) -> Result<()> {
        let elements = self
            .shape
            .iter()
            .try_fold(1usize, |n, &d| n.checked_mul(d))
            .unwrap_or(usize::MAX);
        if self.shape.len() > MAX_RANK || elements > MAX_ELEMENTS {
            return Err(Error::new(
                ErrorKind::UnsupportedModel,
                format!(
                    "tensor '{}' of shape {:?} is beyond the limits of {MAX_RANK} dimensions and \
                     {MAX_ELEMENTS} elements",
                    self.name, self.shape
                ),
            ));
        }
        Ok(())
    }
}

/// Elements of a tensor, owned.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum TensorData {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit signed integers.
    I64(Vec<i64>),
    /// 32-bit signed integers.
    I32(Vec<i32>),
    /// 8-bit unsigned integers.
    U8(Vec<u8>),
    /// 8-bit signed integers.
    I8(Vec<i8>),
    /// Booleans, one byte each (0 or 1).
    Bool(Vec<u8>),
}

impl TensorData {
    /// Type of the elements.
    pub fn element(&self) -> ElementType {
        match self {
            Self::F32(_) => ElementType::F32,
            Self::I64(_) => ElementType::I64,
            Self::I32(_) => ElementType::I32,
            Self::U8(_) => ElementType::U8,
            Self::I8(_) => ElementType::I8,
            Self::Bool(_) => ElementType::Bool,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::U8(v) | Self::Bool(v) => v.len(),
            Self::I8(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements in `parts` equal pieces, in order; what does not fill a piece is dropped.
    pub(crate) fn split(self, parts: usize) -> Vec<Self> {
        fn pieces<T: Clone>(
            all: &[T],
            parts: usize,
            wrap: fn(Vec<T>) -> TensorData,
        ) -> Vec<TensorData> {
            let each = (all.len() / parts.max(1)).max(1);
            all.chunks_exact(each)
                .map(|piece| wrap(piece.to_vec()))
                .collect()
        }
        match self {
            Self::F32(v) => pieces(&v, parts, Self::F32),
            Self::I64(v) => pieces(&v, parts, Self::I64),
            Self::I32(v) => pieces(&v, parts, Self::I32),
            Self::U8(v) => pieces(&v, parts, Self::U8),
            Self::I8(v) => pieces(&v, parts, Self::I8),
            Self::Bool(v) => pieces(&v, parts, Self::Bool),
        }
    }

    /// The elements as little-endian bytes, row-major.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        match self {
            Self::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::I64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::U8(v) | Self::Bool(v) => v.clone(),
            Self::I8(v) => v.iter().map(|x| x.to_le_bytes()[0]).collect(),
        }
    }

    /// The elements of `bytes`, which must be a whole number of little-endian elements.
    pub fn from_le_bytes(element: ElementType, bytes: &[u8]) -> Self {
        fn each<const N: usize, T>(bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
            bytes
                .as_chunks::<N>()
                .0
                .iter()
                .map(|chunk| from(*chunk))
                .collect()
        }
        match element {
            ElementType::F32 => Self::F32(each(bytes, f32::from_le_bytes)),
            ElementType::I64 => Self::I64(each(bytes, i64::from_le_bytes)),
            ElementType::I32 => Self::I32(each(bytes, i32::from_le_bytes)),
            ElementType::U8 => Self::U8(bytes.to_vec()),
            ElementType::I8 => Self::I8(each(bytes, i8::from_le_bytes)),
            ElementType::Bool => Self::Bool(bytes.to_vec()),
        }
    }
}

/// A tensor outside of ONNX Runtime: a shape and owned elements that fit it.
///
/// ```
/// use dyno_core::{Tensor, TensorData};
///
/// let tensor = Tensor::new(vec![2, 3], TensorData::F32(vec![0.0; 6]))?;
/// assert_eq!(tensor.shape(), [2, 3]);
/// assert!(Tensor::new(vec![2, 3], TensorData::F32(vec![0.0; 5])).is_err());
/// # Ok::<(), dyno_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

impl Tensor {
    /// Fails with [`ErrorKind::InvalidArgument`] if `data` does not have the shape's elements.
    pub fn new(shape: Vec<usize>, data: TensorData) -> Result<Self> {
        if elements(&shape) != data.len() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{} elements do not fill the shape {shape:?}", data.len()),
            ));
        }
        Ok(Self { shape, data })
    }

    /// Dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// The elements if they are f32.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            TensorData::F32(v) => Some(v),
            _ => None,
        }
    }

    /// Shape and elements.
    pub fn into_parts(self) -> (Vec<usize>, TensorData) {
        (self.shape, self.data)
    }
}

/// Elements of a shape, saturating: no tensor has that many.
fn elements(shape: &[usize]) -> usize {
    shape.iter().fold(1, |n, &d| n.saturating_mul(d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_type_survives_its_bytes() {
        for data in [
            TensorData::F32(vec![1.5, -0.0, f32::MAX]),
            TensorData::I64(vec![i64::MIN, 7]),
            TensorData::I32(vec![-1, 2]),
            TensorData::U8(vec![0, 255]),
            TensorData::I8(vec![-128, 127]),
            TensorData::Bool(vec![0, 1]),
        ] {
            let bytes = data.to_le_bytes();
            assert_eq!(bytes.len(), data.len() * data.element().bytes());
            assert_eq!(TensorData::from_le_bytes(data.element(), &bytes), data);
        }
    }

    #[test]
    fn a_shape_whose_product_overflows_is_refused() {
        let spec = TensorSpec {
            name: "x".into(),
            element: ElementType::F32,
            shape: vec![1 << 40, 1 << 40],
        };
        assert_eq!(
            spec.check_bounds().unwrap_err().kind(),
            ErrorKind::UnsupportedModel
        );
        assert_eq!((spec.elements(), spec.bytes()), (usize::MAX, usize::MAX));
        // The product is 2^64: 0 to those who let it wrap.
        let nothing = TensorData::F32(Vec::new());
        assert!(Tensor::new(vec![1 << 32, 1 << 32], nothing).is_err());
    }
}
