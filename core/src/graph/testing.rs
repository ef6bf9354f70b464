//! Small models built node by node, for the tests of this crate.

use prost::Message;

use super::proto::{
    AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetId, TensorProto,
    TensorShape, TensorType, TypeProto, ValueInfo, data_type,
};

/// Builds a model; weights are small pseudo-random numbers, the same on every run.
#[derive(Debug)]
pub(crate) struct ModelBuilder {
    graph: GraphProto,
    opset: i64,
    random: u64,
}

impl ModelBuilder {
    /// A model with the input `x` of shape `[1, 3, side, side]`; a side of 0 is left open.
    pub(crate) fn new(side: usize) -> Self {
        let mut input = ValueInfo::fixed("x", data_type::FLOAT, &[1, 3, side, side]);
        if side == 0 {
            let open = |name: &str| Dimension {
                dim_value: None,
                dim_param: Some(name.to_owned()),
            };
            let batch = Dimension {
                dim_value: Some(1),
                dim_param: None,
            };
            let channels = Dimension {
                dim_value: Some(3),
                dim_param: None,
            };
            input.r#type = Some(TypeProto {
                tensor_type: Some(TensorType {
                    elem_type: Some(data_type::FLOAT),
                    shape: Some(TensorShape {
                        dim: vec![batch, channels, open("h"), open("w")],
                    }),
                }),
                sequence_type: None,
                map_type: None,
            });
        }
        let graph = GraphProto {
            name: Some("test".to_owned()),
            input: vec![input],
            ..GraphProto::default()
        };
        Self {
            graph,
            opset: 13,
            random: 1,
        }
    }

    pub(crate) fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    /// A node that is named after its output.
    pub(crate) fn node(mut self, op: &str, inputs: &[&str], output: &str) -> Self {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&i| i.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: Some(output.to_owned()),
            op_type: Some(op.to_owned()),
            ..NodeProto::default()
        });
        self
    }

    /// An integer-list attribute of the last node.
    pub(crate) fn ints(self, name: &str, ints: &[i64]) -> Self {
        self.attribute(AttributeProto {
            name: Some(name.to_owned()),
            ints: ints.to_vec(),
            r#type: Some(7),
            ..AttributeProto::default()
        })
    }

    /// An integer attribute of the last node.
    pub(crate) fn int(self, name: &str, value: i64) -> Self {
        self.attribute(AttributeProto {
            name: Some(name.to_owned()),
            i: Some(value),
            r#type: Some(2),
            ..AttributeProto::default()
        })
    }

    /// A graph attribute of the last node, as control flow has it.
    pub(crate) fn nested(self, name: &str) -> Self {
        self.attribute(AttributeProto {
            name: Some(name.to_owned()),
            g: Some(GraphProto::default()),
            r#type: Some(5),
            ..AttributeProto::default()
        })
    }

    fn attribute(mut self, attribute: AttributeProto) -> Self {
        if let Some(node) = self.graph.node.last_mut() {
            node.attribute.push(attribute);
        }
        self
    }

    /// A 3x3 convolution that keeps the map's size, with weights of its own.
    pub(crate) fn conv(self, input: &str, channels: (usize, usize), output: &str) -> Self {
        let weights = format!("{output}.weight");
        let shape = [channels.1, channels.0, 3, 3];
        self.floats(&weights, &shape)
            .node("Conv", &[input, &weights], output)
            .ints("kernel_shape", &[3, 3])
            .ints("pads", &[1, 1, 1, 1])
    }

    /// A batch normalisation with parameters of its own.
    pub(crate) fn batch_norm(mut self, input: &str, channels: usize, output: &str) -> Self {
        let names: Vec<String> = ["scale", "bias", "mean", "var"]
            .iter()
            .map(|p| format!("{output}.{p}"))
            .collect();
        for name in &names {
            let values = vec![
                if name.ends_with("scale") || name.ends_with("var") {
                    1.0
                } else {
                    0.1
                };
                channels
            ];
            self = self.constant(name, &[channels], &values);
        }
        let inputs: Vec<&str> = [input]
            .into_iter()
            .chain(names.iter().map(String::as_str))
            .collect();
        self.node("BatchNormalization", &inputs, output)
    }

    /// Pseudo-random f32 weights.
    pub(crate) fn floats(mut self, name: &str, shape: &[usize]) -> Self {
        let values: Vec<f32> = (0..shape.iter().product::<usize>())
            .map(|_| {
                self.random = self
                    .random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (self.random >> 40) as f32 / (1u32 << 24) as f32 - 0.5
            })
            .collect();
        self.constant(name, shape, &values)
    }

    /// f32 weights of these values.
    pub(crate) fn constant(self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.raw(name, data_type::FLOAT, shape, raw)
    }

    /// int64 constants.
    pub(crate) fn integers(self, name: &str, values: &[i64]) -> Self {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.raw(name, data_type::INT64, &[values.len()], raw)
    }

    /// A scale and a zero point of uint8 quantisation.
    pub(crate) fn quantisation(self, scale: &str, zero: &str) -> Self {
        self.constant(scale, &[], &[0.05])
            .raw(zero, data_type::UINT8, &[], vec![128])
    }

    fn raw(mut self, name: &str, element: i32, shape: &[usize], raw: Vec<u8>) -> Self {
        self.graph.initializer.push(TensorProto {
            dims: shape.iter().map(|&d| i64::try_from(d).unwrap()).collect(),
            data_type: Some(element),
            name: Some(name.to_owned()),
            raw_data: Some(raw.into()),
            ..TensorProto::default()
        });
        self
    }

    /// The file's bytes; these tensors are the outputs.
    pub(crate) fn build(mut self, outputs: &[&str]) -> Vec<u8> {
        self.graph.output = outputs
            .iter()
            .map(|&name| ValueInfo {
                name: Some(name.to_owned()),
                r#type: Some(TypeProto {
                    tensor_type: Some(TensorType {
                        elem_type: Some(data_type::FLOAT),
                        shape: None,
                    }),
                    sequence_type: None,
                    map_type: None,
                }),
            })
            .collect();
        let model = ModelProto {
            ir_version: Some(8),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetId {
                domain: None,
                version: Some(self.opset),
            }],
            ..ModelProto::default()
        };
        model.encode_to_vec()
    }
}

/// Conv+BatchNorm+Relu, a residual block, a SiLU, and a branch that is concatenated.
pub(crate) fn typical() -> Vec<u8> {
    ModelBuilder::new(16)
        .conv("x", (3, 8), "c1")
        .batch_norm("c1", 8, "b1")
        .node("Relu", &["b1"], "r1")
        .conv("r1", (8, 8), "c2")
        .node("Relu", &["c2"], "r2")
        .conv("r2", (8, 8), "c3")
        .node("Add", &["c3", "r1"], "a1")
        .node("Relu", &["a1"], "r3")
        .conv("r3", (8, 8), "c4")
        .node("Sigmoid", &["c4"], "s1")
        .node("Mul", &["c4", "s1"], "m1")
        .conv("m1", (8, 4), "left")
        .node("Relu", &["left"], "left_relu")
        .conv("m1", (8, 4), "right")
        .node("Relu", &["right"], "right_relu")
        .node("Concat", &["left_relu", "right_relu"], "cat")
        .int("axis", 1)
        .node("GlobalAveragePool", &["cat"], "gap")
        .node("Flatten", &["gap"], "y")
        .build(&["y"])
}
