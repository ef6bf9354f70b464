//! Taking the steps between two cuts out of a graph, as a model of their own.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::cuts::dequantised_name;
use super::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfo, data_type};
use super::topology::{Life, Topology};
use crate::{Error, ErrorKind, Result, TensorSpec};

/// A span as a model that ONNX Runtime can load, and how its values relate to the cuts' tensors.
#[derive(Debug, Clone)]
pub(crate) struct SpanModel {
    /// The model; its initialisers refer to the same external data as the graph's.
    pub(crate) proto: ModelProto,
    /// The tensors of the first cut.
    pub(crate) entry: Vec<TensorSpec>,
    /// For each input of the model: which tensor of the first cut it is.
    pub(crate) inputs: Vec<usize>,
    /// For each tensor of the last cut: where it comes from.
    pub(crate) outputs: Vec<Source>,
}

/// Where a tensor of a span's last cut comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// An output of the model.
    Computed(usize),
    /// A tensor of the span's first cut, unchanged: a skip connection over the whole span.
    Passed(usize),
}

/// One end of a span.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End<'a> {
    /// Steps before it.
    pub(crate) position: usize,
    /// The tensors of its row in the cut table.
    pub(crate) tensors: &'a [TensorSpec],
}

/// Extracts the steps between two cuts of `whole` (a model without its graph).
///
/// Fails with [`ErrorKind::InvalidBundle`] if the cut table and the graph do not agree.
pub(crate) fn extract(
    whole: &ModelProto,
    topology: &Topology<'_>,
    from: End<'_>,
    to: End<'_>,
) -> Result<SpanModel> {
    let entries = crossing(topology, from)?;
    let exits = crossing(topology, to)?;
    let mut builder = Builder {
        topology,
        nodes: Vec::new(),
        constants: BTreeSet::new(),
    };
    let mut graph = GraphProto {
        name: Some("span".to_owned()),
        ..GraphProto::default()
    };

    let mut inputs = Vec::new();
    for (index, (entry, spec)) in entries.iter().zip(from.tensors).enumerate() {
        let reads = |&step: &usize| (from.position..to.position).contains(&step);
        if !entry.life.readers.iter().any(reads) {
            // It is read behind the span: one of the exits passes it on.
            continue;
        }
        inputs.push(index);
        graph
            .input
            .push(ValueInfo::fixed(&spec.name, data_type::FLOAT, &spec.shape));
        if let Some(maker) = entry.quantiser {
            builder.quantise(maker, &spec.name, entry.life.name);
        }
    }
    for step in from.position..to.position {
        builder.add(topology.step(step));
    }
    let mut outputs = Vec::new();
    for (exit, spec) in exits.iter().zip(to.tensors) {
        if let Some(entry) = entries.iter().position(|e| e.life.name == exit.life.name) {
            outputs.push(Source::Passed(entry));
            continue;
        }
        if let Some(maker) = exit.quantiser {
            builder.dequantise(maker, exit.life.name, &spec.name);
        }
        outputs.push(Source::Computed(graph.output.len()));
        graph.output.push(ValueInfo {
            name: Some(spec.name.clone()),
            r#type: output_type(topology, spec),
        });
    }
    builder.finish(&mut graph);
    let proto = ModelProto {
        graph: Some(graph),
        ..whole.clone()
    };
    Ok(SpanModel {
        proto,
        entry: from.tensors.to_vec(),
        inputs,
        outputs,
    })
}

/// A tensor at a cut.
struct Crossing<'t, 'g> {
    life: &'t Life<'g>,
    /// The `QuantizeLinear` that made it, if it crosses dequantised.
    quantiser: Option<&'g NodeProto>,
}

/// The tensors alive at a cut, checked against its row.
fn crossing<'t, 'g>(topology: &'t Topology<'g>, end: End<'_>) -> Result<Vec<Crossing<'t, 'g>>> {
    let live = topology.live(end.position);
    let found = end.tensors.iter().map(|spec| {
        live.iter().copied().find_map(|life| {
            if life.name == spec.name {
                return Some(Crossing {
                    life,
                    quantiser: None,
                });
            }
            let name = dequantised_name(topology, life, end.position)?;
            let quantiser = life.maker.map(|step| topology.step(step));
            (name == spec.name).then_some(Crossing { life, quantiser })
        })
    });
    let found: Option<Vec<Crossing<'_, '_>>> = found.collect();
    found
        .filter(|found| found.len() == live.len())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidBundle,
                "the bundle's cut table does not fit its graph: prepare the model again",
            )
        })
}

/// Declared type of an output of the graph; inner tensors are f32 of the row's shape.
fn output_type(topology: &Topology<'_>, spec: &TensorSpec) -> Option<super::proto::TypeProto> {
    let declared = topology
        .graph
        .output
        .iter()
        .find(|o| o.label() == spec.name);
    match declared {
        Some(output) => output.r#type.clone(),
        None => ValueInfo::fixed(&spec.name, data_type::FLOAT, &spec.shape).r#type,
    }
}

struct Builder<'t, 'g> {
    topology: &'t Topology<'g>,
    nodes: Vec<NodeProto>,
    /// Constant nodes that the span needs.
    constants: BTreeSet<usize>,
}

impl Builder<'_, '_> {
    fn add(&mut self, node: &NodeProto) {
        for input in &node.input {
            self.topology.constant_nodes(input, &mut self.constants);
        }
        self.nodes.push(node.clone());
    }

    /// The second half of a QDQ pair at the head's end.
    fn dequantise(&mut self, quantiser: &NodeProto, from: &str, to: &str) {
        // `saturate` and `output_dtype` belong to the quantiser alone.
        let attribute = quantiser
            .attribute
            .iter()
            .filter(|a| a.name.as_deref() == Some("axis"))
            .cloned();
        let node = NodeProto {
            op_type: Some("DequantizeLinear".to_owned()),
            attribute: attribute.collect(),
            ..pair_half(quantiser, from, to)
        };
        self.add(&node);
    }

    /// The first half again at the tail's start: exact, since the values lie on its grid.
    fn quantise(&mut self, quantiser: &NodeProto, from: &str, to: &str) {
        let node = NodeProto {
            op_type: quantiser.op_type.clone(),
            attribute: quantiser.attribute.clone(),
            ..pair_half(quantiser, from, to)
        };
        self.add(&node);
    }

    /// Puts the nodes into `graph`, and the initialisers that they read.
    fn finish(self, graph: &mut GraphProto) {
        let whole = self.topology.graph;
        let constants = self
            .constants
            .iter()
            .map(|&index| whole.node[index].clone());
        graph.node = constants.chain(self.nodes).collect();
        let read: HashSet<&str> = graph
            .node
            .iter()
            .flat_map(|n| &n.input)
            .map(String::as_str)
            .collect();
        let weights: HashMap<&str, &TensorProto> =
            whole.initializer.iter().map(|t| (t.label(), t)).collect();
        let mut names: Vec<&str> = read
            .into_iter()
            .filter(|n| weights.contains_key(n))
            .collect();
        names.sort_unstable();
        graph.initializer = names
            .into_iter()
            .map(|name| weights[name].clone())
            .collect();
    }
}

fn pair_half(quantiser: &NodeProto, from: &str, to: &str) -> NodeProto {
    let mut input = quantiser.input.clone();
    if let Some(first) = input.first_mut() {
        from.clone_into(first);
    }
    NodeProto {
        input,
        output: vec![to.to_owned()],
        name: Some(format!("{to}/cut")),
        domain: quantiser.domain.clone(),
        ..NodeProto::default()
    }
}
