//! The shape of every tensor, found by running the model once.
//!
//! Running it answers for every operator that ONNX Runtime knows, with no shape rules of our own,
//! and the same run gives the values that depend on shapes alone (`Shape` → `Gather` → `Concat` →
//! `Reshape`), which then become constants: the input's shape is fixed, so they never change.

use std::collections::{HashMap, HashSet};

use prost::Message;

use super::model::Model;
use super::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfo, data_type};
use crate::runtime::{Probe, ProbeOutput};
use crate::{Error, ErrorKind, Result, TensorData, TensorSpec};

/// Element type (ONNX's number) and fixed shape of every tensor.
pub(crate) type Shapes = HashMap<String, (i32, Vec<usize>)>;

/// Tensors fetched in one run: bounds the memory that a large model's activations take.
const FETCHED_PER_RUN: usize = 16;

/// Operators whose output's shape depends on the input's values.
const DATA_DEPENDENT: &[&str] = &[
    "NonZero",
    "NonMaxSuppression",
    "Unique",
    "Compress",
    "StringSplit",
];

/// Shapes of all tensors, and a graph in which no node computes with shapes any more.
pub(crate) fn fix(model: &Model, input: &TensorSpec) -> Result<(GraphProto, Shapes)> {
    refuse_data_dependent(&model.graph)?;
    let derived = shape_derived(&model.graph);
    let mut shapes = Shapes::new();
    let mut values = HashMap::new();
    shapes.insert(input.name.clone(), (data_type::FLOAT, input.shape.clone()));
    for output in run(model, input)? {
        if derived.contains(output.name.as_str()) {
            let value = output
                .value
                .as_ref()
                .and_then(|data| tensor_proto(&output, data));
            values.extend(value.map(|v| (output.name.clone(), v)));
        }
        shapes.insert(output.name, (output.elem_type, output.shape));
    }
    for tensor in &model.graph.initializer {
        let dims = tensor
            .dims
            .iter()
            .map(|&d| usize::try_from(d).unwrap_or(0))
            .collect();
        shapes.insert(
            tensor.label().to_owned(),
            (tensor.data_type.unwrap_or(0), dims),
        );
    }
    Ok((fold(&model.graph, &values), shapes))
}

/// Runs the model with every tensor that a node makes as an output, a few at a time.
fn run(model: &Model, input: &TensorSpec) -> Result<Vec<ProbeOutput>> {
    let names: Vec<&str> = model
        .graph
        .node
        .iter()
        .flat_map(|n| &n.output)
        .map(String::as_str)
        .filter(|o| !o.is_empty())
        .collect();
    let mut graph = model.graph.clone();
    graph.output = names
        .iter()
        .map(|&name| ValueInfo {
            name: Some(name.to_owned()),
            r#type: None,
        })
        .collect();
    let proto = ModelProto {
        graph: Some(graph),
        ..model.proto.clone()
    };
    let mut probe = Probe::new(&proto.encode_to_vec(), model.folder())
        .map_err(|error| name_the_node(model, error))?;
    let mut found = Vec::with_capacity(names.len());
    for chunk in names.chunks(FETCHED_PER_RUN) {
        found.extend(
            probe
                .run(input, chunk)
                .map_err(|error| name_the_node(model, error))?,
        );
    }
    Ok(found)
}

/// ONNX Runtime names the operator it cannot take, sometimes without its node: add that.
fn name_the_node(model: &Model, error: Error) -> Error {
    let text = error.to_string();
    let unknown_op =
        text.contains("not a registered function/op") || text.contains("No Op registered");
    let quoted = |name: &str| {
        ["'", "\""]
            .iter()
            .any(|q| text.contains(&format!("{q}{name}{q}")))
    };
    let nodes = || model.graph.node.iter();
    let node = nodes()
        .find(|n| unknown_op && names_op(&text, n.op()))
        .or_else(|| nodes().find(|n| quoted(n.label())));
    let place = node.map_or_else(
        || "this model".to_owned(),
        |n| format!("node '{}' ({})", n.label(), n.op()),
    );
    Error::with_source(
        ErrorKind::UnsupportedModel,
        format!("ONNX Runtime cannot run {place}"),
        error,
    )
}

fn names_op(text: &str, op: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|word| word == op)
}

fn refuse_data_dependent(graph: &GraphProto) -> Result<()> {
    match graph.node.iter().find(|n| DATA_DEPENDENT.contains(&n.op())) {
        Some(node) => Err(Error::new(
            ErrorKind::UnsupportedModel,
            format!(
                "node '{}' ({}) makes a tensor whose shape depends on the photo: export the model \
                 without it (for detectors: without non-maximum suppression)",
                node.label(),
                node.op()
            ),
        )),
        None => Ok(()),
    }
}

/// Tensors that depend on shapes and constants, and on at least one shape.
fn shape_derived(graph: &GraphProto) -> HashSet<&str> {
    let mut fixed: HashSet<&str> = graph.initializer.iter().map(TensorProto::label).collect();
    let mut derived = HashSet::new();
    for node in &graph.node {
        let inputs = || {
            node.input
                .iter()
                .map(String::as_str)
                .filter(|i| !i.is_empty())
        };
        let takes_shape = matches!(node.op(), "Shape" | "Size");
        let is_fixed = inputs().next().is_some() && inputs().all(|i| fixed.contains(i));
        let is_derived = takes_shape || (is_fixed && inputs().any(|i| derived.contains(i)));
        let named = |output: &&str| !output.is_empty();
        for output in node.output.iter().map(String::as_str).filter(named) {
            if takes_shape || is_fixed {
                fixed.insert(output);
            }
            if is_derived {
                derived.insert(output);
            }
        }
    }
    derived
}

/// Puts values in the place of the nodes that computed them. Nodes whose values were not kept, large tables that are made from
/// shapes for instance, stay as they are: their inputs are values then.
fn fold(graph: &GraphProto, values: &HashMap<String, TensorProto>) -> GraphProto {
    let named = |node: &NodeProto| node.output.iter().any(|output| !output.is_empty());
    let is_known = |output: &String| output.is_empty() || values.contains_key(output);
    let folds = |node: &NodeProto| named(node) && node.output.iter().all(is_known);
    let mut folded = graph.clone();
    folded.node.retain(|node| !folds(node));
    let read: HashSet<&str> = folded
        .node
        .iter()
        .flat_map(|n| &n.input)
        .map(String::as_str)
        .chain(graph.output.iter().map(ValueInfo::label))
        .collect();
    let made = graph.node.iter().filter(|n| folds(n));
    let needed = made
        .flat_map(|n| &n.output)
        .filter(|o| read.contains(o.as_str()));
    let constants: Vec<TensorProto> = needed.filter_map(|o| values.get(o).cloned()).collect();
    folded.initializer.extend(constants);
    folded.initializer.retain(|t| read.contains(t.label()));
    folded
}

fn tensor_proto(output: &ProbeOutput, data: &TensorData) -> Option<TensorProto> {
    let dims: Option<Vec<i64>> = output
        .shape
        .iter()
        .map(|&d| i64::try_from(d).ok())
        .collect();
    Some(TensorProto {
        dims: dims?,
        data_type: Some(output.elem_type),
        name: Some(output.name.clone()),
        raw_data: Some(data.to_le_bytes().into()),
        ..TensorProto::default()
    })
}
