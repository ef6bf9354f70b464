//! Who makes and who reads each tensor of a graph, and what is alive between two nodes.
//!
//! Nodes fall into two classes. *Constant* nodes depend on weights alone (a weight's
//! `DequantizeLinear`, say); they are copied into every span that reads them. The others are
//! *steps*: their order is the order of the file, and a *position* p means "after p steps".

use std::collections::{BTreeSet, HashMap, HashSet};

use super::proto::{GraphProto, NodeProto, TensorProto};

/// An index over a graph; borrows it.
#[derive(Debug)]
pub(crate) struct Topology<'g> {
    pub(crate) graph: &'g GraphProto,
    /// Indices into `graph.node` of the steps, in order.
    steps: Vec<usize>,
    /// Node that makes each tensor of the constant nodes.
    constant_makers: HashMap<&'g str, usize>,
    /// Everything that depends on the input, in the order it is made.
    tensors: Vec<Life<'g>>,
    by_name: HashMap<&'g str, usize>,
}

/// Where a tensor is made and read, in positions.
#[derive(Debug)]
pub(crate) struct Life<'g> {
    pub(crate) name: &'g str,
    /// Step that makes it; none for the graph's input.
    pub(crate) maker: Option<usize>,
    /// Steps that read it, ascending.
    pub(crate) readers: Vec<usize>,
    /// Whether it is an output of the graph.
    pub(crate) is_output: bool,
}

impl Life<'_> {
    /// Whether it is made before position `p` and needed at or after it.
    fn crosses(&self, p: usize) -> bool {
        let made = self.maker.is_none_or(|maker| maker < p);
        made && (self.is_output || self.readers.last().is_some_and(|&reader| reader >= p))
    }
}

impl<'g> Topology<'g> {
    pub(crate) fn new(graph: &'g GraphProto) -> Self {
        let mut constants: HashSet<&str> =
            graph.initializer.iter().map(TensorProto::label).collect();
        let mut topology = Self {
            graph,
            steps: Vec::new(),
            constant_makers: HashMap::new(),
            tensors: Vec::new(),
            by_name: HashMap::new(),
        };
        for input in &graph.input {
            topology.add(input.label(), None);
        }
        for (index, node) in graph.node.iter().enumerate() {
            let outputs = node
                .output
                .iter()
                .map(String::as_str)
                .filter(|o| !o.is_empty());
            if is_constant(node, &constants) {
                for output in outputs {
                    constants.insert(output);
                    topology.constant_makers.insert(output, index);
                }
                continue;
            }
            let step = topology.steps.len();
            topology.steps.push(index);
            for input in inputs(node) {
                if let Some(&tensor) = topology.by_name.get(input) {
                    let readers = &mut topology.tensors[tensor].readers;
                    if readers.last() != Some(&step) {
                        readers.push(step);
                    }
                }
            }
            for output in outputs {
                topology.add(output, Some(step));
            }
        }
        for output in &graph.output {
            if let Some(&tensor) = topology.by_name.get(output.label()) {
                topology.tensors[tensor].is_output = true;
            }
        }
        topology
    }

    fn add(&mut self, name: &'g str, maker: Option<usize>) {
        self.by_name.insert(name, self.tensors.len());
        self.tensors.push(Life {
            name,
            maker,
            readers: Vec::new(),
            is_output: false,
        });
    }

    /// Number of steps: positions go from 0 to this.
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// The node of a step.
    pub(crate) fn step(&self, step: usize) -> &'g NodeProto {
        &self.graph.node[self.steps[step]]
    }

    /// The step of the node with this name.
    pub(crate) fn step_named(&self, name: &str) -> Option<usize> {
        (0..self.len()).find(|&step| self.step(step).label() == name)
    }

    /// Life of a tensor that depends on the input; none for constants.
    pub(crate) fn life(&self, name: &str) -> Option<&Life<'g>> {
        self.by_name.get(name).map(|&tensor| &self.tensors[tensor])
    }

    /// The tensors that are made before position `p` and needed from it on, in the order they
    /// are made. At the end these are the graph's outputs.
    pub(crate) fn live(&self, p: usize) -> Vec<&Life<'g>> {
        self.tensors.iter().filter(|life| life.crosses(p)).collect()
    }

    /// Adds the constant nodes that make `name`, directly or by way of others. In ascending order
    /// their makers come first, as in the file.
    pub(crate) fn constant_nodes(&self, name: &str, found: &mut BTreeSet<usize>) {
        let mut open = vec![name];
        while let Some(name) = open.pop() {
            if let Some(&index) = self.constant_makers.get(name)
                && found.insert(index)
            {
                open.extend(inputs(&self.graph.node[index]));
            }
        }
    }
}

fn is_constant(node: &NodeProto, constants: &HashSet<&str>) -> bool {
    // Nodes without inputs make random numbers or the like: those are steps.
    let mut inputs = inputs(node).peekable();
    inputs.peek().is_some() && inputs.all(|input| constants.contains(input))
}

/// The inputs that are not left out; one that is read twice is there twice.
fn inputs(node: &NodeProto) -> impl Iterator<Item = &str> {
    node.input
        .iter()
        .map(String::as_str)
        .filter(|input| !input.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        }
    }

    fn graph(nodes: Vec<NodeProto>) -> GraphProto {
        GraphProto {
            node: nodes,
            initializer: vec![TensorProto {
                name: Some("w".to_owned()),
                ..TensorProto::default()
            }],
            ..GraphProto::default()
        }
    }

    fn constant_nodes(graph: &GraphProto, name: &str) -> Vec<usize> {
        let mut found = BTreeSet::new();
        Topology::new(graph).constant_nodes(name, &mut found);
        found.into_iter().collect()
    }

    #[test]
    fn constant_nodes_come_once_and_makers_first() {
        let nodes = vec![
            node(&["w"], "a"),
            node(&["w"], "unread"),
            node(&["a", "w"], "b"),
            node(&["b", "a", "b"], "c"),
        ];
        assert_eq!(constant_nodes(&graph(nodes), "c"), [0, 2, 3]);
    }

    #[test]
    fn a_chain_of_constants_may_be_as_long_as_a_graph() {
        let name = |i: usize| if i == 0 { "w".into() } else { format!("c{i}") };
        let links = crate::graph::MAX_NODES;
        let nodes = (0..links).map(|i| node(&[&name(i)], &name(i + 1)));
        let found = constant_nodes(&graph(nodes.collect()), &name(links));
        assert_eq!(found.len(), links);
    }

    #[test]
    fn a_constant_that_a_damaged_graph_makes_from_itself_ends_the_search() {
        let nodes = vec![node(&["w"], "a"), node(&["a"], "a")];
        assert_eq!(constant_nodes(&graph(nodes), "a"), [1]);
    }

    #[test]
    fn a_tensor_that_a_node_reads_twice_has_one_reader() {
        let mut graph = graph(vec![node(&["x", "w", "x"], "y")]);
        graph.input = vec![crate::graph::proto::ValueInfo::fixed("x", 1, &[1])];
        let topology = Topology::new(&graph);
        assert_eq!(topology.life("x").unwrap().readers, [0]);
    }
}
