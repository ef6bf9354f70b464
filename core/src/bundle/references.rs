//! What a bundle's graph may refer to outside of itself: the bundle's weights and no other file.
//!
//! A graph names the files of its weights. One from a server that means ill could name any file
//! of the phone's, and so have its content sent back as an activation.

use super::WEIGHTS_FILE;
use crate::graph::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};
use crate::{Error, ErrorKind, Result};

/// Fails with [`ErrorKind::InvalidBundle`] if a tensor anywhere in `model` lies in another file
/// than the bundle's weights.
pub(super) fn check(model: &ModelProto) -> Result<()> {
    model.graph.iter().try_for_each(check_graph)?;
    model.functions.iter().try_for_each(|function| {
        function
            .attribute_proto
            .iter()
            .try_for_each(check_attribute)?;
        check_nodes(&function.node)
    })
}

fn check_graph(graph: &GraphProto) -> Result<()> {
    let sparse = &graph.sparse_initializer;
    let sparse = sparse
        .iter()
        .flat_map(|s| s.values.iter().chain(&s.indices));
    graph
        .initializer
        .iter()
        .chain(sparse)
        .try_for_each(check_tensor)?;
    check_nodes(&graph.node)
}

fn check_nodes(nodes: &[NodeProto]) -> Result<()> {
    nodes
        .iter()
        .flat_map(|node| &node.attribute)
        .try_for_each(check_attribute)
}

/// Graphs within graphs are as deep as the protobuf reader lets them be: 100 messages.
fn check_attribute(attribute: &AttributeProto) -> Result<()> {
    let sparse = attribute
        .sparse_tensor
        .iter()
        .chain(&attribute.sparse_tensors);
    let sparse = sparse.flat_map(|s| s.values.iter().chain(&s.indices));
    let tensors = attribute.t.iter().chain(&attribute.tensors);
    tensors.chain(sparse).try_for_each(check_tensor)?;
    let graphs = attribute.g.iter().chain(&attribute.graphs);
    graphs.into_iter().try_for_each(check_graph)
}

fn check_tensor(tensor: &TensorProto) -> Result<()> {
    let inside =
        tensor.data_location != Some(TensorProto::EXTERNAL) && tensor.external_data.is_empty();
    let mut locations = tensor
        .external_data
        .iter()
        .filter(|entry| entry.key.as_deref() == Some("location"));
    let in_weights = locations.next().and_then(|entry| entry.value.as_deref())
        == Some(WEIGHTS_FILE)
        && locations.next().is_none();
    if inside || in_weights {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidBundle,
        format!(
            "the weights of '{}' lie outside of {WEIGHTS_FILE}: do not use this bundle, and find \
             out where it comes from",
            tensor.label()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::proto::{FunctionProto, SparseTensor, StringEntry};

    fn tensor(locations: &[&str]) -> TensorProto {
        let entry = |location: &&str| StringEntry {
            key: Some("location".to_owned()),
            value: Some((*location).to_owned()),
        };
        TensorProto {
            name: Some("w".to_owned()),
            data_location: Some(TensorProto::EXTERNAL),
            external_data: locations.iter().map(entry).collect(),
            ..TensorProto::default()
        }
    }

    fn with_initialiser(tensor: TensorProto) -> GraphProto {
        GraphProto {
            initializer: vec![tensor],
            ..GraphProto::default()
        }
    }

    fn with_attribute(attribute: AttributeProto) -> GraphProto {
        GraphProto {
            node: vec![NodeProto {
                attribute: vec![attribute],
                ..NodeProto::default()
            }],
            ..GraphProto::default()
        }
    }

    fn model(graph: GraphProto) -> ModelProto {
        ModelProto {
            graph: Some(graph),
            ..ModelProto::default()
        }
    }

    #[test]
    fn weights_lie_in_the_graph_or_in_the_weights_file() {
        let inline = TensorProto::default();
        assert!(check(&model(with_initialiser(inline))).is_ok());
        let one = |locations: &[&str]| check(&model(with_initialiser(tensor(locations))));
        assert!(one(&[WEIGHTS_FILE]).is_ok());
        for locations in [
            &["../secret"][..],
            &["/etc/passwd"],
            &["./weights.bin"],
            &[""],
            &[],
            &[WEIGHTS_FILE, "../secret"],
        ] {
            let error = one(locations).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidBundle, "{locations:?}");
        }
        let unmarked = TensorProto {
            data_location: None,
            ..tensor(&["../secret"])
        };
        assert!(check(&model(with_initialiser(unmarked))).is_err());
    }

    #[test]
    fn every_corner_of_a_model_is_looked_into() {
        let bad = || tensor(&["../secret"]);
        let sparse = || SparseTensor {
            indices: Some(bad()),
            ..SparseTensor::default()
        };
        let attribute = AttributeProto::default;
        let corners = [
            AttributeProto {
                t: Some(bad()),
                ..attribute()
            },
            AttributeProto {
                tensors: vec![bad()],
                ..attribute()
            },
            AttributeProto {
                sparse_tensor: Some(sparse()),
                ..attribute()
            },
            AttributeProto {
                sparse_tensors: vec![sparse()],
                ..attribute()
            },
            AttributeProto {
                g: Some(with_initialiser(bad())),
                ..attribute()
            },
            AttributeProto {
                graphs: vec![with_initialiser(bad())],
                ..attribute()
            },
        ];
        for corner in corners {
            let graph = with_attribute(corner.clone());
            let function = FunctionProto {
                node: graph.node.clone(),
                ..FunctionProto::default()
            };
            let default = FunctionProto {
                attribute_proto: vec![corner],
                ..FunctionProto::default()
            };
            assert!(check(&model(graph)).is_err());
            for function in [function, default] {
                let functions = ModelProto {
                    functions: vec![function],
                    ..ModelProto::default()
                };
                assert!(check(&functions).is_err());
            }
        }
        let sparse = GraphProto {
            sparse_initializer: vec![sparse()],
            ..GraphProto::default()
        };
        assert!(check(&model(sparse)).is_err());
    }
}
