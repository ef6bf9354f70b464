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
