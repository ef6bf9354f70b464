//! The tensors at a cut, in memory: what one span leaves and the next one takes.

use ort::value::DynValue;

use crate::bundle::Cut;
use crate::{Error, ErrorKind, Result, Tensor, TensorData};

/// One tensor of an [`Activation`]: owned, or still in ONNX Runtime's hands.
#[derive(Debug)]
pub struct SpanTensor(pub(crate) Held);

#[derive(Debug)]
pub(crate) enum Held {
    Owned(Tensor),
    Ort(DynValue),
}

impl SpanTensor {
    /// The f32 elements, row-major, without a copy.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] if the elements are of another type.
    pub fn as_f32(&self) -> Result<&[f32]> {
        let elements = match &self.0 {
            Held::Owned(tensor) => tensor.as_f32(),
            Held::Ort(value) => value.try_extract_tensor::<f32>().ok().map(|(_, data)| data),
        };
        elements.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                "the tensor's elements are not f32",
            )
        })
    }

    /// The tensor with elements of its own (copied out of ONNX Runtime if they are there).
    pub fn into_tensor(self) -> Result<Tensor> {
        match self.0 {
            Held::Owned(tensor) => Ok(tensor),
            Held::Ort(value) => copy_out(&value),
        }
    }
}

impl From<Tensor> for SpanTensor {
    fn from(tensor: Tensor) -> Self {
        Self(Held::Owned(tensor))
    }
}

/// The tensors that cross a cut.
#[derive(Debug)]
pub struct Activation {
    /// Index in the bundle's cut table.
    pub cut: usize,
    /// In the order of the cut table's row.
    pub tensors: Vec<SpanTensor>,
}

impl Activation {
    /// An activation of owned tensors.
    pub fn new(cut: usize, tensors: Vec<Tensor>) -> Self {
        Self {
            cut,
            tensors: tensors.into_iter().map(SpanTensor::from).collect(),
        }
    }

    /// Zeros of the shapes that cross a cut: what machines are timed with.
    ///
    /// Fails as [`Tensor::new`] does.
    pub fn zeros(cut: &Cut) -> Result<Self> {
        let tensors = cut.tensors.iter().map(|spec| {
            let data = TensorData::F32(vec![0.0; spec.elements()]);
            Tensor::new(spec.shape.clone(), data)
        });
        let tensors: Result<Vec<Tensor>> = tensors.collect();
        Ok(Self::new(cut.index, tensors?))
    }

    /// The f32 elements of every tensor, without a copy.
    pub fn as_f32(&self) -> Result<Vec<&[f32]>> {
        self.tensors.iter().map(SpanTensor::as_f32).collect()
    }

    /// The tensors with elements of their own.
    pub fn into_tensors(self) -> Result<Vec<Tensor>> {
        self.tensors
            .into_iter()
            .map(SpanTensor::into_tensor)
            .collect()
    }
}

pub(super) fn copy_out(value: &DynValue) -> Result<Tensor> {
    use ort::value::TensorElementType as T;

    fn unsupported(what: &dyn std::fmt::Display) -> Error {
        Error::new(
            ErrorKind::UnsupportedModel,
            format!("outputs of type {what} are not supported: cast them to f32 or int64"),
        )
    }
    let dtype = value.dtype();
    let element = dtype.tensor_type().ok_or_else(|| unsupported(dtype))?;
    let (shape, data) = match element {
        T::Float32 => extract(value, |v: &[f32]| TensorData::F32(v.to_vec()))?,
        T::Int64 => extract(value, |v: &[i64]| TensorData::I64(v.to_vec()))?,
        T::Int32 => extract(value, |v: &[i32]| TensorData::I32(v.to_vec()))?,
        T::Uint8 => extract(value, |v: &[u8]| TensorData::U8(v.to_vec()))?,
        T::Int8 => extract(value, |v: &[i8]| TensorData::I8(v.to_vec()))?,
        T::Bool => extract(value, |v: &[bool]| {
            TensorData::Bool(v.iter().map(|&b| b.into()).collect())
        })?,
        other => return Err(unsupported(&other)),
    };
    Tensor::new(shape, data)
}

/// A value of shape `[n, ...]` as `n` tensors of shape `[1, ...]`; one is the value, of whatever shape.
pub(super) fn split(value: DynValue, n: usize) -> Result<Vec<SpanTensor>> {
    if n == 1 {
        return Ok(vec![SpanTensor(Held::Ort(value))]);
    }
    let (mut shape, data) = copy_out(&value)?.into_parts();
    match shape.first_mut() {
        Some(batch) if *batch == n => *batch = 1,
        _ => {
            return Err(Error::new(
                ErrorKind::Internal,
                "a batch came out in another number than it went in",
            ));
        }
    }
    data.split(n)
        .into_iter()
        .map(|part| Tensor::new(shape.clone(), part).map(SpanTensor::from))
        .collect()
}

fn extract<T: ort::value::PrimitiveTensorElementType>(
    value: &DynValue,
    wrap: impl FnOnce(&[T]) -> TensorData,
) -> Result<(Vec<usize>, TensorData)> {
    let (shape, data) = value.try_extract_tensor::<T>().map_err(super::ort_error)?;
    let shape = shape
        .iter()
        .map(|&d| usize::try_from(d).unwrap_or(0))
        .collect();
    Ok((shape, wrap(data)))
}
