//! A model of a few nodes, written byte by byte: no shipped model has this one's vice.
//!
//! Field numbers are those of `onnx.proto`.

const FLOAT: u64 = 1;
const IR_VERSION: u64 = 8;
const OPSET: u64 = 13;

/// Relu, plus noise that nobody can repeat, then another Relu: `[1, 3, 8, 8]` in and out.
pub(crate) fn throws_dice() -> Vec<u8> {
    let nodes = [
        node("Relu", &["x"], "warm"),
        node("RandomNormalLike", &["warm"], "noise"),
        node("Add", &["warm", "noise"], "sum"),
        node("Relu", &["sum"], "y"),
    ];
    let graph = [
        nodes.map(|node| bytes(1, &node)).concat(),
        bytes(2, b"dice"),
        bytes(11, &value("x", &[1, 3, 8, 8])),
        bytes(12, &value("y", &[1, 3, 8, 8])),
    ];
    let opset = [bytes(1, b""), number(2, OPSET)].concat();
    [
        number(1, IR_VERSION),
        bytes(7, &graph.concat()),
        bytes(8, &opset),
    ]
    .concat()
}

fn node(op: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|i| bytes(1, i.as_bytes())).collect();
    let name = format!("make {output}");
    [
        inputs,
        bytes(2, output.as_bytes()),
        bytes(3, name.as_bytes()),
        bytes(4, op.as_bytes()),
    ]
    .concat()
}

fn value(name: &str, shape: &[u64]) -> Vec<u8> {
    let dimensions: Vec<u8> = shape
        .iter()
        .flat_map(|&d| bytes(1, &number(1, d)))
        .collect();
    let tensor = [number(1, FLOAT), bytes(2, &dimensions)].concat();
    [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat()
}

/// A field of bytes, a string or a message.
fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    [
        varint(field << 3 | 2),
        varint(content.len() as u64),
        content.to_vec(),
    ]
    .concat()
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    bytes
}
