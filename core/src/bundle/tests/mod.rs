//! Bundles of small models, made, opened, cut and run on ONNX Runtime.

mod calibrated;
mod tampered;

use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::graph::proto::NodeProto;
use crate::graph::testing::{ModelBuilder, typical};
use crate::pixels::PreprocessFile;
use crate::{Tensor, TensorData};

struct Workshop {
    folder: tempfile::TempDir,
}

impl Workshop {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn draft(&self, model: &[u8], shape: Option<&[usize]>) -> Result<Draft> {
        let path = self.folder.path().join("model.onnx");
        std::fs::write(&path, model).unwrap();
        Draft::read(&path, shape, &|_, _, _| {})
    }

    fn bundle(&self, model: &[u8]) -> Arc<Bundle> {
        let draft = self.draft(model, None).unwrap();
        Arc::new(
            draft
                .write(&self.path(), &options(&draft), &|_, _, _| {})
                .unwrap(),
        )
    }

    /// In place of one that may be there.
    fn bundle_anew(&self) -> Arc<Bundle> {
        let _ = std::fs::remove_dir_all(self.path());
        self.bundle(&typical())
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("bundle")
    }
}

fn options(draft: &Draft) -> WriteOptions {
    WriteOptions {
        preprocess: PreprocessFile::default()
            .complete(&draft.input().shape)
            .unwrap(),
        labels: Vec::new(),
        threads: 1,
        replace: false,
    }
}

fn input(bundle: &Bundle) -> Tensor {
    let input = &bundle.manifest().input;
    let data = (0..input.elements()).map(|i| (i as f32 * 0.37).sin());
    Tensor::new(input.shape.clone(), TensorData::F32(data.collect())).unwrap()
}

/// Verifies and returns what crosses at each inner cut.
fn crossings(bundle: &Arc<Bundle>) -> Vec<Vec<String>> {
    let verification = verify(bundle, &[input(bundle)], 1, |_, _| {}).unwrap();
    assert!(verification.pass, "{verification:#?}");
    let cuts = &bundle.manifest().cuts;
    let names = |cut: &Cut| cut.tensors.iter().map(|t| t.name.clone()).collect();
    cuts[1..cuts.len() - 1].iter().map(names).collect()
}

#[test]
fn cuts_lie_behind_activations_and_never_inside_a_fused_group() {
    let bundle = Workshop::new();
    let bundle = bundle.bundle(&typical());
    let found = crossings(&bundle);
    let found: Vec<Vec<&str>> = found
        .iter()
        .map(|c| c.iter().map(String::as_str).collect())
        .collect();
    // Behind Conv+BN+Relu; inside the residual block with the skip; behind the block; behind the
    // SiLU; between the branches, then behind them; behind the pool.
    let expected: Vec<Vec<&str>> = vec![
        vec!["r1"],
        vec!["r1", "r2"],
        vec!["r3"],
        vec!["m1"],
        vec!["m1", "left_relu"],
        vec!["cat"],
        vec!["gap"],
    ];
    // "gap" has no operations of its own that set it apart from "cat" but its elements are fewer.
    for crossing in &found {
        assert!(
            expected.contains(crossing),
            "unexpected cut {crossing:?} in {found:?}"
        );
    }
    for needed in [
        &expected[0],
        &expected[1],
        &expected[2],
        &expected[3],
        &expected[4],
    ] {
        assert!(found.contains(needed), "no cut at {needed:?} in {found:?}");
    }
}

#[test]
fn a_quantised_pair_stays_whole_on_both_sides_of_a_cut() {
    let model = ModelBuilder::new(8)
        .quantisation("s", "z")
        .conv("x", (3, 4), "c1")
        .node("Relu", &["c1"], "r1")
        .node("QuantizeLinear", &["r1", "s", "z"], "q1")
        .node("DequantizeLinear", &["q1", "s", "z"], "d1")
        .conv("d1", (4, 4), "c2")
        .node("QuantizeLinear", &["c2", "s", "z"], "q2")
        .node("DequantizeLinear", &["q2", "s", "z"], "d2")
        .node("DequantizeLinear", &["q2", "s", "z"], "d3")
        .conv("d2", (4, 4), "c3")
        .node("Add", &["c3", "d3"], "y")
        .build(&["y"]);
    let found = crossings(&Workshop::new().bundle(&model));
    assert_eq!(found, [["q1/dequantised"], ["q2/dequantised"]]);
}

#[test]
fn an_output_that_is_made_early_and_a_skip_over_a_whole_span_pass_through() {
    let workshop = Workshop::new();
    let model = ModelBuilder::new(8)
        .conv("x", (3, 4), "c1")
        .node("Relu", &["c1"], "early")
        .conv("early", (4, 4), "c2")
        .node("Relu", &["c2"], "r2")
        .conv("r2", (4, 4), "c3")
        .node("Relu", &["c3"], "r3")
        .conv("r3", (4, 4), "c4")
        .node("Relu", &["c4"], "late")
        .build(&["early", "late"]);
    let bundle = workshop.bundle(&model);
    assert!(crossings(&bundle).contains(&vec!["early".to_owned(), "r2".to_owned()]));
    assert_eq!(bundle.manifest().outputs.len(), 2);
}

#[test]
fn computations_on_shapes_become_constants() {
    let model = ModelBuilder::new(0)
        .conv("x", (3, 4), "c1")
        .node("Relu", &["c1"], "r1")
        .node("Shape", &["r1"], "shape")
        .integers("zero", &[0])
        .integers("minus", &[-1])
        .node("Gather", &["shape", "zero"], "batch")
        .node("Concat", &["batch", "minus"], "target")
        .int("axis", 0)
        .node("Reshape", &["r1", "target"], "y")
        .build(&["y"]);
    let workshop = Workshop::new();
    let draft = workshop.draft(&model, Some(&[1, 3, 6, 5])).unwrap();
    assert_eq!(draft.outputs()[0].shape, [1, 4 * 6 * 5]);
    let bundle = draft
        .write(&workshop.path(), &options(&draft), &|_, _, _| {})
        .unwrap();
    let ops: Vec<&str> = bundle.graph.node.iter().map(NodeProto::op).collect();
    assert_eq!(ops, ["Conv", "Relu", "Reshape"]);
    crossings(&Arc::new(bundle));
}

#[test]
fn what_is_too_large_for_a_constant_is_computed_each_time() {
    let model = ModelBuilder::new(72)
        .conv("x", (3, 4), "c1")
        .node("Relu", &["c1"], "r1")
        .node("Shape", &["r1"], "shape")
        .node("ConstantOfShape", &["shape"], "zeros")
        .node("Add", &["r1", "zeros"], "sum")
        .node("Relu", &["sum"], "r2")
        .conv("r2", (4, 4), "c2")
        // Behind the cut too, where each side makes its own.
        .node("Add", &["c2", "zeros"], "again")
        .node("Relu", &["again"], "y")
        .build(&["y"]);
    let bundle = Workshop::new();
    let bundle = bundle.bundle(&model);
    let ops: Vec<&str> = bundle.graph.node.iter().map(NodeProto::op).collect();
    let expected = [
        "Conv",
        "Relu",
        "ConstantOfShape",
        "Add",
        "Relu",
        "Conv",
        "Add",
        "Relu",
    ];
    assert_eq!(ops, expected);
    assert!(crossings(&bundle).contains(&vec!["r2".to_owned()]));
}

#[test]
fn weights_beside_the_model_are_read_and_nothing_outside_its_folder() {
    use prost::Message;

    use crate::graph::proto::{ModelProto, StringEntry, TensorProto};

    let inline = typical();
    let mut proto = ModelProto::decode(inline.as_slice()).unwrap();
    let weight = &mut proto.graph.as_mut().unwrap().initializer[0];
    let data = weight.raw_data.take().unwrap();
    let entry = |key: &str, value: &str| StringEntry {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    weight.data_location = Some(TensorProto::EXTERNAL);
    weight.external_data = vec![entry("location", "w.bin"), entry("offset", "4")];
    let workshop = Workshop::new();
    let mut file = vec![9; 4];
    file.extend_from_slice(&data);
    std::fs::write(workshop.folder.path().join("w.bin"), file).unwrap();

    let external = workshop.bundle(&proto.encode_to_vec());
    let embedded = Workshop::new();
    let embedded = embedded.bundle(&inline);
    assert_eq!(
        external.manifest().files[1].sha256,
        embedded.manifest().files[1].sha256
    );

    for escape in ["../w.bin", "/etc/passwd", "a/../../w.bin"] {
        let weight = &mut proto.graph.as_mut().unwrap().initializer[0];
        weight.external_data = vec![entry("location", escape)];
        let workshop = Workshop::new();
        let draft = workshop.draft(&proto.encode_to_vec(), None);
        let error = draft
            .and_then(|d| {
                d.write(&workshop.path(), &options(&d), &|_, _, _| {})
                    .map(|_| ())
            })
            .unwrap_err();
        assert!(
            matches!(
                error.kind(),
                ErrorKind::InvalidModel | ErrorKind::UnsupportedModel
            ),
            "{escape}: {error}"
        );
        assert!(!workshop.path().exists());
    }
}

#[test]
fn a_model_that_cannot_be_taken_is_refused_with_its_node() {
    let conv = || ModelBuilder::new(8).conv("x", (3, 4), "c1");
    let cases: Vec<(Vec<u8>, ErrorKind, &str)> = vec![
        (
            b"GIF89a".to_vec(),
            ErrorKind::InvalidModel,
            "not an ONNX model",
        ),
        (
            typical()[..typical().len() / 2].to_vec(),
            ErrorKind::InvalidModel,
            "truncated",
        ),
        (
            conv().opset(10).build(&["c1"]),
            ErrorKind::UnsupportedModel,
            "opset 10",
        ),
        (
            conv().opset(999).build(&["c1"]),
            ErrorKind::UnsupportedModel,
            "opset",
        ),
        (
            conv().node("Frobnicate", &["c1"], "y").build(&["y"]),
            ErrorKind::UnsupportedModel,
            "node 'y' (Frobnicate)",
        ),
        (
            conv().node("NonZero", &["c1"], "y").build(&["y"]),
            ErrorKind::UnsupportedModel,
            "node 'y' (NonZero)",
        ),
        (
            conv()
                .node("If", &["c1"], "y")
                .nested("then_branch")
                .build(&["y"]),
            ErrorKind::UnsupportedModel,
            "node 'y' (If)",
        ),
        (
            conv().node("Relu", &["missing"], "y").build(&["y"]),
            ErrorKind::InvalidModel,
            "reads 'missing'",
        ),
        (
            conv().node("Relu", &["c1"], "c1").build(&["c1"]),
            ErrorKind::InvalidModel,
            "a second time",
        ),
        (
            conv().build(&["c1", "c1.weight"]),
            ErrorKind::UnsupportedModel,
            "output 'c1.weight' does not depend on the photo",
        ),
        (
            conv().build(&["nothing"]),
            ErrorKind::InvalidModel,
            "nothing makes the output",
        ),
        (
            ModelBuilder::new(0).conv("x", (3, 4), "c1").build(&["c1"]),
            ErrorKind::UnsupportedModel,
            "--input-shape",
        ),
    ];
    for (model, kind, text) in cases {
        let error = Workshop::new().draft(&model, None).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(
            error.to_string().contains(text),
            "'{error}' does not say '{text}'"
        );
    }
}

#[test]
fn a_shape_that_does_not_fit_the_input_is_refused() {
    let error = Workshop::new()
        .draft(&typical(), Some(&[1, 3, 17, 16]))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("[1, 3, 16, 16]"), "{error}");
}

#[test]
fn a_bundle_is_only_replaced_when_told_and_only_a_bundle() {
    let workshop = Workshop::new();
    let before = workshop.bundle(&typical()).manifest().hash.clone();
    let draft = workshop.draft(&typical(), None).unwrap();
    let mut options = options(&draft);
    let error = draft
        .write(&workshop.path(), &options, &|_, _, _| {})
        .unwrap_err();
    assert!(error.to_string().contains("--force"), "{error}");
    options.replace = true;
    let after = draft
        .write(&workshop.path(), &options, &|_, _, _| {})
        .unwrap();
    assert_eq!(after.manifest().hash, before);
    let error = draft
        .write(workshop.folder.path(), &options, &|_, _, _| {})
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}
