//! Outputs as the protocol's answer: JSON, and behind it the bytes of those wanted as bytes.

use axum::response::{IntoResponse as _, Response};
use dyno_core::bundle::Manifest;
use dyno_core::{Error, ErrorKind, Result, Tensor, TensorData, TensorSpec};
use http::HeaderName;
use http::header::CONTENT_TYPE;
use serde::ser::SerializeSeq as _;
use serde::{Serialize, Serializer};

use super::{Output, name_of};

/// Bytes of the JSON that begins a body; tensors follow it.
pub(crate) const JSON_BYTES: HeaderName =
    HeaderName::from_static("inference-header-content-length");

/// An answer's body.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Vec<u8>,
    /// How much of it is JSON, if not all is.
    json_bytes: Option<usize>,
}

impl Answer {
    /// `outputs` are the model's, checked against its bundle.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] if numbers are to be in JSON that JSON has no
    /// words for (NaN and the infinities).
    pub(crate) fn encode(
        model: &str,
        id: Option<&str>,
        wanted: &[Output],
        outputs: &[Tensor],
        manifest: &Manifest,
    ) -> Result<Self> {
        let mut rows = Vec::with_capacity(wanted.len());
        for output in wanted {
            let (Some(spec), Some(tensor)) = (
                manifest.outputs.get(output.index),
                outputs.get(output.index),
            ) else {
                return Err(Error::new(ErrorKind::Internal, "no such output"));
            };
            rows.push(Row::new(spec, tensor.data(), output.binary)?);
        }
        let binary = wanted.iter().any(|output| output.binary);
        let mut body = serde_json::to_vec(&Body {
            model_name: model,
            model_version: manifest.hash.as_str(),
            id,
            outputs: rows,
        })
        .map_err(|error| Error::with_source(ErrorKind::Internal, "cannot write JSON", error))?;
        let json_bytes = binary.then_some(body.len());
        for output in wanted.iter().filter(|output| output.binary) {
            if let Some(tensor) = outputs.get(output.index) {
                body.extend_from_slice(&tensor.data().to_le_bytes());
            }
        }
        Ok(Self { body, json_bytes })
    }

    pub(crate) fn into_response(self) -> Response {
        match self.json_bytes {
            None => ([(CONTENT_TYPE, "application/json")], self.body).into_response(),
            Some(bytes) => (
                [
                    (CONTENT_TYPE, "application/octet-stream".to_owned()),
                    (JSON_BYTES, bytes.to_string()),
                ],
                self.body,
            )
                .into_response(),
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<RowParameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Numbers<'a>>,
}

#[derive(Serialize)]
struct RowParameters {
    binary_data_size: usize,
}

impl<'a> Row<'a> {
    fn new(spec: &'a TensorSpec, data: &'a TensorData, binary: bool) -> Result<Self> {
        if let TensorData::F32(values) = data
            && !binary
            && !values.iter().all(|value| value.is_finite())
        {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "the output '{}' has values that JSON cannot hold (NaN or infinite): ask for \
                     it with binary_data",
                    spec.name
                ),
            ));
        }
        Ok(Self {
            name: &spec.name,
            datatype: name_of(spec.element),
            shape: &spec.shape,
            parameters: binary.then(|| RowParameters {
                binary_data_size: spec.bytes(),
            }),
            data: (!binary).then_some(Numbers(data)),
        })
    }
}

/// Elements as a flat list.
struct Numbers<'a>(&'a TensorData);

impl Serialize for Numbers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            TensorData::F32(values) => values.serialize(serializer),
            TensorData::I64(values) => values.serialize(serializer),
            TensorData::I32(values) => values.serialize(serializer),
            TensorData::U8(values) => values.serialize(serializer),
            TensorData::I8(values) => values.serialize(serializer),
            TensorData::Bool(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    list.serialize_element(&(*value != 0))?;
                }
                list.end()
            }
            _ => Err(serde::ser::Error::custom("elements of an unknown type")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(element: dyno_core::ElementType, data: &TensorData, binary: bool) -> String {
        let spec = TensorSpec {
            name: "out".into(),
            element,
            shape: vec![1, data.len()],
        };
        serde_json::to_string(&Row::new(&spec, data, binary).unwrap()).unwrap()
    }

    #[test]
    fn elements_are_written_by_type() {
        let cases = [
            (TensorData::F32(vec![0.1, -2.0]), "FP32", "[0.1,-2.0]"),
            (
                TensorData::I64(vec![i64::MIN, 1]),
                "INT64",
                "[-9223372036854775808,1]",
            ),
            (TensorData::I32(vec![-1, 1]), "INT32", "[-1,1]"),
            (TensorData::U8(vec![0, 255]), "UINT8", "[0,255]"),
            (TensorData::I8(vec![-128, 127]), "INT8", "[-128,127]"),
            (TensorData::Bool(vec![0, 1]), "BOOL", "[false,true]"),
        ];
        for (data, datatype, numbers) in cases {
            let element = data.element();
            assert_eq!(
                row(element, &data, false),
                format!(
                    r#"{{"name":"out","datatype":"{datatype}","shape":[1,2],"data":{numbers}}}"#
                )
            );
            let bytes = 2 * element.bytes();
            assert_eq!(
                row(element, &data, true),
                format!(
                    r#"{{"name":"out","datatype":"{datatype}","shape":[1,2],"parameters":{{"binary_data_size":{bytes}}}}}"#
                )
            );
        }
    }

    #[test]
    fn what_json_cannot_hold_has_to_be_asked_for_as_bytes() {
        let spec = TensorSpec {
            name: "out".into(),
            element: dyno_core::ElementType::F32,
            shape: vec![1, 1],
        };
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let data = TensorData::F32(vec![value]);
            let refused = Row::new(&spec, &data, false).err().unwrap();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
            assert!(Row::new(&spec, &data, true).is_ok());
        }
    }
}
