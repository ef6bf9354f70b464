//! Bringing a graph into the form the rest of this module works on, or saying why not.

use std::collections::HashSet;

use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfo, data_type};
use crate::{Error, ErrorKind, Result};

/// Most nodes of a graph.
pub const MAX_NODES: usize = 50_000;

/// One f32 input, nodes in topological order with names of their own, constants among the
/// initialisers, no nested graphs.
pub(super) fn normalise(mut graph: GraphProto) -> Result<GraphProto> {
    if graph.node.len() > MAX_NODES {
        return Err(Error::new(
            ErrorKind::UnsupportedModel,
            format!(
                "{} nodes; at most {MAX_NODES} are supported",
                graph.node.len()
            ),
        ));
    }
    if !graph.sparse_initializer.is_empty() {
        return Err(Error::new(
            ErrorKind::UnsupportedModel,
            "sparse initialisers are not supported: export dense weights",
        ));
    }
    name_nodes(&mut graph.node);
    refuse_nested_graphs(&graph.node)?;
    constants_to_initialisers(&mut graph)?;
    keep_real_inputs(&mut graph)?;
    check_order(&graph)?;
    Ok(graph)
}

/// Nodes need names, unique ones: cuts are stored by the name of the node they follow.
fn name_nodes(nodes: &mut [NodeProto]) {
    let mut seen = HashSet::new();
    for (index, node) in nodes.iter_mut().enumerate() {
        if node.label().is_empty() || seen.contains(node.label()) {
            let base = if node.label().is_empty() {
                node.op()
            } else {
                node.label()
            };
            node.name = Some(format!("{base}#{index}"));
        }
        seen.insert(node.label().to_owned());
    }
}

fn refuse_nested_graphs(nodes: &[NodeProto]) -> Result<()> {
    let nested = nodes.iter().find(|n| {
        n.attribute
            .iter()
            .any(|a| a.g.is_some() || !a.graphs.is_empty())
    });
    match nested {
        Some(node) => Err(Error::new(
            ErrorKind::UnsupportedModel,
            format!(
                "node '{}' ({}) holds a graph of its own; control flow is not supported: export \
                 the model without it",
                node.label(),
                node.op()
            ),
        )),
        None => Ok(()),
    }
}

fn constants_to_initialisers(graph: &mut GraphProto) -> Result<()> {
    let (constants, nodes): (Vec<_>, Vec<_>) = std::mem::take(&mut graph.node)
        .into_iter()
        .partition(|n| n.op() == "Constant");
    graph.node = nodes;
    for node in constants {
        let output = node.output.first().cloned().unwrap_or_default();
        let mut tensor = node
            .attribute
            .iter()
            .find_map(constant_value)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::UnsupportedModel,
                    format!(
                        "node '{}' (Constant) holds a value of an unsupported kind",
                        node.label()
                    ),
                )
            })?;
        tensor.name = Some(output);
        graph.initializer.push(tensor);
    }
    Ok(())
}

fn constant_value(attribute: &AttributeProto) -> Option<TensorProto> {
    let count = |n: usize| vec![i64::try_from(n).unwrap_or(i64::MAX)];
    let floats = |dims, floats: &[f32]| TensorProto {
        dims,
        data_type: Some(data_type::FLOAT),
        float_data: floats.to_vec(),
        ..TensorProto::default()
    };
    let ints = |dims, ints: &[i64]| TensorProto {
        dims,
        data_type: Some(data_type::INT64),
        int64_data: ints.to_vec(),
        ..TensorProto::default()
    };
    match attribute.name.as_deref()? {
        "value" => attribute.t.clone(),
        "value_float" => Some(floats(vec![], &[attribute.f?])),
        "value_floats" => Some(floats(count(attribute.floats.len()), &attribute.floats)),
        "value_int" => Some(ints(vec![], &[attribute.i?])),
        "value_ints" => Some(ints(count(attribute.ints.len()), &attribute.ints)),
        _ => None,
    }
}

pub(super) fn no_input() -> Error {
    Error::new(ErrorKind::UnsupportedModel, "the model has no input")
}

/// Old exporters list the weights among the inputs; what remains must be one image.
fn keep_real_inputs(graph: &mut GraphProto) -> Result<()> {
    let weights: HashSet<&str> = graph.initializer.iter().map(TensorProto::label).collect();
    graph.input.retain(|input| !weights.contains(input.label()));
    let input = match graph.input.as_slice() {
        [input] => input,
        [] => return Err(no_input()),
        several => {
            let names: Vec<&str> = several.iter().map(ValueInfo::label).collect();
            return Err(Error::new(
                ErrorKind::UnsupportedModel,
                format!(
                    "the model has {} inputs ({}); one is supported",
                    names.len(),
                    names.join(", ")
                ),
            ));
        }
    };
    let elem_type = input.tensor().and_then(|t| t.elem_type);
    if elem_type != Some(data_type::FLOAT) {
        return Err(Error::new(
            ErrorKind::UnsupportedModel,
            format!(
                "input '{}' is not an f32 tensor: export the model in fp32",
                input.label()
            ),
        ));
    }
    if graph.output.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidModel,
            "the model has no output",
        ));
    }
    Ok(())
}

/// Every input of a node must come from before it: ONNX's own rule, and what cuts rely on.
fn check_order(graph: &GraphProto) -> Result<()> {
    let mut known: HashSet<&str> = graph.initializer.iter().map(TensorProto::label).collect();
    known.extend(graph.input.iter().map(ValueInfo::label));
    let invalid = |node: &NodeProto, what: String| {
        let message = format!("node '{}' ({}) {what}", node.label(), node.op());
        Error::new(ErrorKind::InvalidModel, message)
    };
    for node in &graph.node {
        for input in node.input.iter().filter(|i| !i.is_empty()) {
            if !known.contains(input.as_str()) {
                return Err(invalid(
                    node,
                    format!("reads '{input}', which nothing before it makes"),
                ));
            }
        }
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            if !known.insert(output) {
                return Err(invalid(node, format!("makes '{output}' a second time")));
            }
        }
    }
    match graph.output.iter().find(|o| !known.contains(o.label())) {
        Some(output) => Err(Error::new(
            ErrorKind::InvalidModel,
            format!("nothing makes the output '{}'", output.label()),
        )),
        None => Ok(()),
    }
}
