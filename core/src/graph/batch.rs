//! Opening a span's first dimension, so that one session runs any number of activations together.
//!
//! A bundle's graph is for one photo: its shapes are fixed, and some are constants that name the 1.
//! What is written here is a guess about them that holds for image models; whoever uses the opened
//! span compares it with the closed one (`runtime::tails`), and does without where it was wrong.

use bytes::Bytes;

use super::proto::{Dimension, GraphProto, NodeProto, TensorProto, ValueInfo, data_type};
use super::span::SpanModel;

/// Name of the open dimension.
const BATCH: &str = "dyno_batch";
/// The span's number of activations, as a tensor of one int64.
const SIZE: &str = "dyno_batch/size";

/// The span for any number of activations, stacked along the first dimension; none if a tensor of
/// its cuts has no first dimension of 1 to open.
pub(crate) fn open(span: &SpanModel) -> Option<SpanModel> {
    let mut opened = span.clone();
    let graph = opened.proto.graph.as_mut()?;
    let input = graph.input.first()?.label().to_owned();
    for value in graph.input.iter_mut().chain(&mut graph.output) {
        open_value(value)?;
    }
    open_shapes(graph, &input);
    Some(opened)
}

fn open_value(value: &mut ValueInfo) -> Option<()> {
    let shape = value
        .r#type
        .as_mut()?
        .tensor_type
        .as_mut()?
        .shape
        .as_mut()?;
    let first = shape.dim.first_mut()?;
    if first.dim_value != Some(1) {
        return None;
    }
    *first = Dimension {
        dim_value: None,
        dim_param: Some(BATCH.to_owned()),
    };
    Some(())
}

/// Shapes among the constants that begin with 1 are made anew in the graph, from the size of the
/// batch and the rest.
fn open_shapes(graph: &mut GraphProto, input: &str) {
    let mut made = Vec::new();
    let mut constants = Vec::new();
    for node in &mut graph.node {
        let Some(place) = shape_input(node) else {
            continue;
        };
        let name = node.input[place].clone();
        let constant = graph.initializer.iter().find(|t| t.label() == name);
        let values = constant.and_then(shape_values).unwrap_or_default();
        let [1, rest @ ..] = values.as_slice() else {
            continue;
        };
        let opened = format!("dyno_batch/{}/{place}", constants.len());
        if rest.is_empty() {
            SIZE.clone_into(&mut node.input[place]);
            constants.push(None);
            continue;
        }
        let rest_name = format!("{opened}/rest");
        constants.push(Some(int64s(&rest_name, rest)));
        made.push(node_of("Concat", &[SIZE, &rest_name], &opened));
        if let Some(concat) = made.last_mut() {
            concat.attribute.push(axis());
        }
        node.input[place] = opened;
    }
    if constants.is_empty() {
        return;
    }
    let zero = format!("{SIZE}/index");
    let shape = format!("{SIZE}/of");
    let mut nodes = vec![
        node_of("Shape", &[input], &shape),
        node_of("Gather", &[&shape, &zero], SIZE),
    ];
    nodes.append(&mut made);
    nodes.append(&mut graph.node);
    graph.node = nodes;
    graph.initializer.push(int64s(&zero, &[0]));
    graph.initializer.extend(constants.into_iter().flatten());
}

/// Which input of a node is a shape that it gives its output.
fn shape_input(node: &NodeProto) -> Option<usize> {
    let place = match node.op() {
        "Reshape" | "Expand" => 1,
        "Resize" => 3,
        "ConstantOfShape" => 0,
        _ => return None,
    };
    node.input
        .get(place)
        .is_some_and(|name| !name.is_empty())
        .then_some(place)
}

/// The values of a constant list of int64; none if it is anything else or lies in another file.
fn shape_values(tensor: &TensorProto) -> Option<Vec<i64>> {
    if tensor.data_type != Some(data_type::INT64) || tensor.dims.len() != 1 {
        return None;
    }
    if !tensor.int64_data.is_empty() {
        return Some(tensor.int64_data.clone());
    }
    let raw = tensor.raw_data.as_ref()?;
    let (values, rest) = raw.as_chunks::<8>();
    rest.is_empty()
        .then(|| values.iter().map(|v| i64::from_le_bytes(*v)).collect())
}

fn int64s(name: &str, values: &[i64]) -> TensorProto {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    TensorProto {
        dims: vec![i64::try_from(values.len()).unwrap_or(i64::MAX)],
        data_type: Some(data_type::INT64),
        name: Some(name.to_owned()),
        raw_data: Some(Bytes::from(bytes)),
        ..TensorProto::default()
    }
}

fn node_of(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        name: Some(output.to_owned()),
        op_type: Some(op.to_owned()),
        ..NodeProto::default()
    }
}

fn axis() -> super::proto::AttributeProto {
    super::proto::AttributeProto {
        name: Some("axis".to_owned()),
        i: Some(0),
        r#type: Some(2),
        ..super::proto::AttributeProto::default()
    }
}
