//! Which tensors lie inside a group of nodes that a runtime executes as one.
//!
//! ONNX Runtime fuses Conv+BatchNorm+activation, Conv+Add(+activation), an activation written as
//! several nodes (SiLU as x·sigmoid(x)), and QDQ groups. A cut through such a group loses the
//! fusion on both sides, and always has a cheaper neighbour behind the group.

use super::topology::{Life, Topology};

/// Longest chain of pointwise nodes that is followed to recognise a written-out activation.
const MAX_CHAIN: usize = 8;

/// Whether `tensor`, alive at position `p`, is inside a fused group that `p` would split.
pub(crate) fn splits_group(topology: &Topology<'_>, tensor: &Life<'_>, p: usize) -> bool {
    let Some(maker) = tensor.maker else {
        return false;
    };
    let maker = topology.step(maker).op();
    let later: Vec<usize> = tensor.readers.iter().copied().filter(|&r| r >= p).collect();
    let reads = |step: usize| topology.step(step).op();

    if maker == "DequantizeLinear" || later.iter().any(|&r| reads(r) == "QuantizeLinear") {
        return true;
    }
    if later
        .iter()
        .any(|&reader| gates_itself(topology, tensor.name, reader))
    {
        return true;
    }
    // A fusion into the next node needs that node to be the only reader.
    let only_reader = match tensor.readers.as_slice() {
        [reader] if !tensor.is_output && *reader >= p => *reader,
        _ => return false,
    };
    let next = reads(only_reader);
    let continues = is_activation(topology, only_reader) || next == "BatchNormalization";
    let adds = matches!(next, "Add" | "Sum");
    (is_linear(maker) && (continues || adds)) || (is_pointwise(maker) && continues)
}

fn is_linear(op: &str) -> bool {
    matches!(
        op,
        "Conv"
            | "ConvTranspose"
            | "Gemm"
            | "MatMul"
            | "FusedConv"
            | "QLinearConv"
            | "ConvInteger"
            | "BatchNormalization"
            | "InstanceNormalization"
            | "GroupNormalization"
            | "LayerNormalization"
    )
}

fn is_unary_pointwise(op: &str) -> bool {
    matches!(
        op,
        "Relu"
            | "Clip"
            | "LeakyRelu"
            | "PRelu"
            | "Sigmoid"
            | "HardSigmoid"
            | "HardSwish"
            | "Swish"
            | "Tanh"
            | "Elu"
            | "Selu"
            | "Celu"
            | "Gelu"
            | "Mish"
            | "Softplus"
            | "Softsign"
            | "ThresholdedRelu"
            | "Erf"
            | "Exp"
            | "Log"
            | "Sqrt"
            | "Abs"
            | "Neg"
    )
}

fn is_binary_pointwise(op: &str) -> bool {
    matches!(
        op,
        "Mul" | "Add" | "Sub" | "Div" | "Pow" | "Min" | "Max" | "Sum"
    )
}

fn is_pointwise(op: &str) -> bool {
    is_unary_pointwise(op) || is_binary_pointwise(op)
}

/// A unary function, or a binary one whose other operand is constant (part of an activation that
/// is written out, or of a folded batch normalisation).
fn is_activation(topology: &Topology<'_>, step: usize) -> bool {
    let node = topology.step(step);
    is_unary_pointwise(node.op())
        || (is_binary_pointwise(node.op())
            && node
                .input
                .iter()
                .filter(|i| topology.life(i).is_some())
                .count()
                == 1)
}

/// Whether `step` combines `tensor` with pointwise functions of nothing but `tensor`.
fn gates_itself(topology: &Topology<'_>, tensor: &str, step: usize) -> bool {
    let node = topology.step(step);
    is_binary_pointwise(node.op())
        && node
            .input
            .iter()
            .any(|i| i != tensor && topology.life(i).is_some())
        && node
            .input
            .iter()
            .filter(|input| topology.life(input).is_some())
            .all(|input| is_function_of(topology, input, tensor))
}

fn is_function_of(topology: &Topology<'_>, name: &str, tensor: &str) -> bool {
    let mut name = name;
    for _ in 0..MAX_CHAIN {
        if name == tensor {
            return true;
        }
        let Some(maker) = topology.life(name).and_then(|life| life.maker) else {
            return false;
        };
        if !is_activation(topology, maker) {
            return false;
        }
        match topology
            .step(maker)
            .input
            .iter()
            .find(|i| topology.life(i).is_some())
        {
            Some(input) => name = input,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Model;
    use crate::graph::testing::ModelBuilder;

    /// Names of the tensors behind whose step nothing that is alive is inside a group.
    fn cuttable(model: Vec<u8>) -> Vec<String> {
        let model = Model::from_bytes(model).unwrap();
        let topology = Topology::new(&model.graph);
        let whole = |p: usize| {
            !topology
                .live(p)
                .iter()
                .any(|t| splits_group(&topology, t, p))
        };
        (1..topology.len())
            .filter(|&position| whole(position))
            .map(|position| topology.step(position - 1).output[0].clone())
            .collect()
    }

    #[test]
    fn a_convolution_goes_with_its_normalisation_and_activation() {
        let model = ModelBuilder::new(8)
            .conv("x", (3, 4), "conv")
            .batch_norm("conv", 4, "norm")
            .node("Clip", &["norm"], "clip")
            .node("MaxPool", &["clip"], "pool")
            .ints("kernel_shape", &[2, 2])
            .conv("pool", (4, 4), "last")
            .build(&["last"]);
        assert_eq!(cuttable(model), ["clip", "pool"]);
    }

    #[test]
    fn a_linear_bottleneck_may_be_cut_where_it_is_read_twice() {
        let model = ModelBuilder::new(8)
            .conv("x", (3, 4), "bottleneck")
            .conv("bottleneck", (4, 8), "expand")
            .node("Relu", &["expand"], "relu")
            .conv("relu", (8, 4), "project")
            .node("Add", &["project", "bottleneck"], "add")
            .conv("add", (4, 4), "last")
            .build(&["last"]);
        // Not "project": it is added to the residual in one fused step.
        assert_eq!(cuttable(model), ["bottleneck", "relu", "add"]);
    }

    #[test]
    fn an_activation_written_as_several_nodes_is_one() {
        let hard_swish = ModelBuilder::new(8)
            .constant("three", &[], &[3.0])
            .constant("six", &[], &[6.0])
            .conv("x", (3, 4), "conv")
            .node("Add", &["conv", "three"], "shifted")
            .node("Clip", &["shifted"], "clipped")
            .node("Mul", &["conv", "clipped"], "product")
            .node("Div", &["product", "six"], "swish")
            .conv("swish", (4, 4), "last")
            .build(&["last"]);
        assert_eq!(cuttable(hard_swish), ["swish"]);
    }

    #[test]
    fn a_gate_computed_from_pooled_features_is_no_activation() {
        let squeeze_excite = ModelBuilder::new(8)
            .conv("x", (3, 4), "conv")
            .node("Relu", &["conv"], "relu")
            .node("GlobalAveragePool", &["relu"], "pooled")
            .conv("pooled", (4, 4), "fc")
            .node("Sigmoid", &["fc"], "gate")
            .node("Mul", &["relu", "gate"], "scaled")
            .conv("scaled", (4, 4), "last")
            .build(&["last"]);
        let found = cuttable(squeeze_excite);
        assert_eq!(found, ["relu", "pooled", "gate", "scaled"]);
    }
}
