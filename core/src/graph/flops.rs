//! Operations of a node, from its shapes. A multiply-add counts as two; copies count as none.

use super::proto::NodeProto;
use super::shapes::Shapes;
use super::topology::Topology;

/// Operations of each step.
pub(crate) fn of_steps(topology: &Topology<'_>, shapes: &Shapes) -> Vec<u64> {
    let shape = |name: &String| {
        shapes
            .get(name)
            .map_or(&[][..], |(_, shape)| shape.as_slice())
    };
    let count = |step| {
        let node = topology.step(step);
        let inputs: Vec<&[usize]> = node.input.iter().map(shape).collect();
        let outputs: Vec<&[usize]> = node.output.iter().map(shape).collect();
        flops(node, &inputs, &outputs)
    };
    (0..topology.len()).map(count).collect()
}

/// Floating-point operations of `node`, given the shapes of its inputs and outputs; the largest
/// `u64` if they are more, as files may claim.
fn flops(node: &NodeProto, inputs: &[&[usize]], outputs: &[&[usize]]) -> u64 {
    let elements = |shape: &[usize]| product(shape.iter().map(|&d| d as u64));
    let made = outputs
        .iter()
        .map(|s| elements(s))
        .fold(0, u64::saturating_add);
    let input = inputs.first().copied().unwrap_or_default();
    match node.op() {
        "Conv" | "QLinearConv" | "ConvInteger" | "FusedConv" => {
            // weights: [out, in / groups, kernel…]; QLinearConv has them fourth.
            let at = if node.op() == "QLinearConv" { 3 } else { 1 };
            let weights = inputs.get(at).copied().unwrap_or_default();
            let per_output = weights.get(1..).map_or(0, elements);
            product([2, per_output, made])
        }
        "ConvTranspose" => {
            // weights: [in, out / groups, kernel…]: each input element meets all but the first.
            let per_input = inputs.get(1).and_then(|w| w.get(1..)).map_or(0, elements);
            product([2, per_input, elements(input)])
        }
        "Gemm" | "MatMul" | "QLinearMatMul" | "MatMulInteger" => {
            let transposed = node.op() == "Gemm" && node.int("transA") == Some(1);
            let inner = if transposed {
                input.first()
            } else {
                input.last()
            };
            product([2, inner.map_or(0, |&k| k as u64), made])
        }
        "MaxPool" | "AveragePool" | "LpPool" => {
            let window = node.ints("kernel_shape").iter();
            let window = window.map(|&k| u64::try_from(k).unwrap_or(0));
            product(window.chain([made]))
        }
        "GlobalAveragePool" | "GlobalMaxPool" | "ReduceMean" | "ReduceSum" | "ReduceMax"
        | "ReduceMin" | "ReduceL2" | "ArgMax" | "ArgMin" => elements(input),
        "BatchNormalization" => product([2, made]),
        "Resize"
        | "Upsample"
        | "LRN"
        | "InstanceNormalization"
        | "LayerNormalization"
        | "GroupNormalization"
        | "Softmax"
        | "LogSoftmax" => product([5, made]),
        "Identity" | "Dropout" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose"
        | "Concat" | "Slice" | "Split" | "Gather" | "Pad" | "Cast" | "Expand" | "Tile"
        | "DepthToSpace" | "SpaceToDepth" | "Shape" | "Size" => 0,
        _ => made,
    }
}

fn product(factors: impl IntoIterator<Item = u64>) -> u64 {
    factors.into_iter().fold(1, u64::saturating_mul)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str) -> NodeProto {
        NodeProto {
            op_type: Some(op.to_owned()),
            ..NodeProto::default()
        }
    }

    #[test]
    fn a_convolution_counts_two_for_each_weight_and_output() {
        let (x, w, y) = ([1, 3, 224, 224], [64, 3, 7, 7], [1, 64, 112, 112]);
        let counted = flops(&node("Conv"), &[&x, &w], &[&y]);
        assert_eq!(counted, 2 * 3 * 7 * 7 * 64 * 112 * 112);
    }

    #[test]
    fn a_depthwise_convolution_counts_one_channel_a_group() {
        let (x, w, y) = ([1, 32, 10, 10], [32, 1, 3, 3], [1, 32, 10, 10]);
        assert_eq!(flops(&node("Conv"), &[&x, &w], &[&y]), 2 * 9 * 32 * 100);
    }

    #[test]
    fn a_matrix_product_counts_its_inner_dimension() {
        assert_eq!(
            flops(&node("Gemm"), &[&[1, 512], &[512, 10]], &[&[1, 10]]),
            2 * 512 * 10
        );
    }

    #[test]
    fn operations_beyond_counting_are_the_most_there_are() {
        const HUGE: &[usize] = &[1, 1 << 40, 1 << 40];
        for op in [
            "Conv",
            "ConvTranspose",
            "Softmax",
            "BatchNormalization",
            "Relu",
        ] {
            let counted = flops(&node(op), &[HUGE, HUGE], &[HUGE, HUGE]);
            assert_eq!(counted, u64::MAX, "{op}");
        }
    }
}
