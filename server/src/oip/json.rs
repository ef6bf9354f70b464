//! The JSON part of a request, as far as its form goes: every field known, every list bounded,
//! nothing nested but the elements of a tensor.
//!
//! What is read takes memory in proportion to the bytes that were sent. Fields that nobody knows are
//! refused: a misspelt `outputs` would otherwise be an answer that the client did not ask for.

use std::fmt;
use std::marker::PhantomData;

use dyno_core::MAX_RANK;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

/// Most parameters of one object.
const MAX_PARAMETERS: usize = 32;
/// Most inputs that are looked at: a model has one.
const MAX_INPUTS: usize = 8;
/// Most outputs that a request may list.
const MAX_OUTPUTS: usize = 256;

/// A request's JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) parameters: Parameters,
    pub(super) inputs: List<Input, MAX_INPUTS>,
    #[serde(default)]
    pub(super) outputs: Option<List<Output, MAX_OUTPUTS>>,
}

/// A tensor that is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) shape: List<u64, MAX_RANK>,
    pub(super) datatype: String,
    #[serde(default)]
    pub(super) parameters: Parameters,
    /// Absent if the elements follow the JSON as bytes.
    pub(super) data: Option<Elements>,
}

/// A tensor that is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Output {
    pub(super) name: String,
    #[serde(default)]
    pub(super) parameters: Parameters,
}

/// A list of at most `MOST`.
#[derive(Debug)]
pub(super) struct List<T, const MOST: usize>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for List<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each<T, const MOST: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Each<T, MOST> {
            type Value = List<T, MOST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MOST}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    if items.len() == MOST {
                        return Err(A::Error::invalid_length(MOST + 1, &self));
                    }
                    items.push(item);
                }
                Ok(List(items))
            }
        }

        deserializer.deserialize_seq(Each(PhantomData))
    }
}

/// Parameters in the order they came, no name twice.
#[derive(Debug, Default)]
pub(super) struct Parameters(pub(super) Vec<(String, Scalar)>);

/// What a parameter may be.
#[derive(Debug, PartialEq)]
pub(super) enum Scalar {
    Bool(bool),
    Unsigned(u64),
    Text(String),
    /// A number that no known parameter takes: negative or broken.
    Number,
}

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Parameters;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_PARAMETERS} parameters")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parameters, A::Error> {
                let mut known: Vec<(String, Scalar)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if known.len() == MAX_PARAMETERS {
                        return Err(A::Error::invalid_length(MAX_PARAMETERS + 1, &self));
                    }
                    if known.iter().any(|(other, _)| *other == name) {
                        return Err(A::Error::custom("a parameter is there twice"));
                    }
                    known.push((name, map.next_value()?));
                }
                Ok(Parameters(known))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;

        impl Visitor<'_> for One {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a boolean, a number or a text")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar::Bool(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar::Unsigned(value))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Scalar, E> {
                Ok(Scalar::Number)
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Scalar, E> {
                Ok(Scalar::Number)
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(value.to_owned()))
            }
        }

        deserializer.deserialize_any(One)
    }
}

/// The elements of a tensor, flat or nested; all f32.
#[derive(Debug, Default)]
pub(super) struct Elements {
    pub(super) values: Vec<f32>,
    /// Length of the lists at each depth, as they were nested.
    pub(super) nesting: Vec<usize>,
}

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut reading = Reading::default();
        deserializer.deserialize_seq(Nested {
            reading: &mut reading,
            depth: 0,
        })?;
        Ok(Self {
            values: reading.values,
            nesting: reading.lengths.iter().map_while(|length| *length).collect(),
        })
    }
}

#[derive(Debug, Default)]
struct Reading {
    values: Vec<f32>,
    /// Set by the first list of each depth that ends.
    lengths: [Option<usize>; MAX_RANK],
    /// How deep the numbers are; set by the first.
    numbers_at: Option<usize>,
}

/// What is `depth` lists deep: a number or one more list.
struct Nested<'r> {
    reading: &'r mut Reading,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Nested<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "numbers, flat or nested in at most {MAX_RANK} lists of equal lengths"
        )
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        #[allow(clippy::cast_possible_truncation, reason = "checked below")]
        let element = value as f32;
        if !element.is_finite() {
            return Err(E::custom("a number is beyond what FP32 holds"));
        }
        if *self.reading.numbers_at.get_or_insert(self.depth) != self.depth {
            return Err(E::custom("the elements are not nested evenly"));
        }
        self.reading.values.push(element);
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { reading, depth } = self;
        if depth == MAX_RANK {
            let expected = Nested { reading, depth };
            return Err(A::Error::invalid_type(de::Unexpected::Seq, &expected));
        }
        let mut length = 0;
        loop {
            let inner = Nested {
                reading,
                depth: depth + 1,
            };
            if list.next_element_seed(inner)?.is_none() {
                break;
            }
            length += 1;
        }
        if *reading.lengths[depth].get_or_insert(length) != length {
            return Err(A::Error::custom("the elements are not nested evenly"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(json: &str) -> Option<Elements> {
        serde_json::from_str(json).ok()
    }

    #[test]
    fn elements_come_flat_or_nested_evenly() {
        let cases: [(&str, &[usize]); 5] = [
            ("[1, 2.5, -3, 1e2]", &[4]),
            ("[[1, 2.5], [-3, 100]]", &[2, 2]),
            ("[[[1], [2.5]], [[-3], [100]]]", &[2, 2, 1]),
            ("[[[[[[[[1, 2.5, -3, 100]]]]]]]]", &[1, 1, 1, 1, 1, 1, 1, 4]),
            ("[1, 2.5, -3.0, 100]", &[4]),
        ];
        for (json, nesting) in cases {
            let elements = elements(json).unwrap();
            assert_eq!(elements.values, [1.0, 2.5, -3.0, 100.0], "{json}");
            assert_eq!(elements.nesting, nesting, "{json}");
        }
        assert_eq!(elements("[]").unwrap().nesting, [0]);
    }

    #[test]
    fn what_is_no_even_nest_of_numbers_is_refused() {
        for json in [
            "1",
            "{}",
            "[[1, 2], [3]]",
            "[[1], 2]",
            "[1, [2]]",
            "[[], [1]]",
            "[null]",
            "[true]",
            "[\"1\"]",
            "[NaN]",
            "[1e39]",
            "[-1e39]",
            "[1e400]",
            "[[[[[[[[[1]]]]]]]]]",
            "[1,]",
        ] {
            assert!(elements(json).is_none(), "{json}");
        }
    }

    #[test]
    fn depth_is_nobodys_stack() {
        for open in ["[", "{\"a\":"] {
            let deep = open.repeat(250_000);
            for json in [
                deep.clone(),
                format!(r#"{{"inputs": {deep}"#),
                format!(r#"{{"id": {deep}"#),
                format!(r#"{{"parameters": {deep}"#),
                format!(r#"{{"parameters": {{"a": {deep}"#),
                format!(r#"{{"inputs": [{{"data": {deep}"#),
                format!(r#"{{"unknown": {deep}"#),
            ] {
                assert!(serde_json::from_str::<Head>(&json).is_err());
            }
        }
    }
}
