//! `dyno export-tails`: the tails behind some cuts as a model repository in Triton's layout, which
//! `dyno-server --tail-engine` then has run (docs/oip.md).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use dyno_core::bundle::{Bundle, TailBatch, TailModel, TailPattern};
use dyno_core::{ElementType, TensorSpec};

/// The one version that is written: a changed bundle has another hash, and so another name.
const VERSION: &str = "1";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of the bundle; its name is the model's
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,

    /// Cuts whose tails are written
    #[arg(long, value_name = "N,...", value_delimiter = ',', required = true)]
    cuts: Vec<usize>,

    /// Folder of the model repository; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// The models' names there: the server's --tail-model
    #[arg(long, value_name = "PATTERN", default_value_t)]
    name: TailPattern,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = args
        .bundle
        .canonicalize()
        .unwrap_or_else(|_| args.bundle.clone());
    let Some(model) = folder.file_name().and_then(|name| name.to_str()) else {
        bail!(
            "{} has no name that a model could have",
            args.bundle.display()
        );
    };
    let bundle = Bundle::open(&args.bundle)?;
    for &cut in &args.cuts {
        let tail = bundle.tail_model(cut, TailBatch::One)?;
        let name = args.name.of(model, &bundle.manifest().hash, cut);
        let config = config(&name, &tail).with_context(|| format!("cut {cut}"))?;
        let model_folder = args.out.join(&name);
        let version = model_folder.join(VERSION);
        std::fs::create_dir_all(&version)
            .with_context(|| format!("cannot make {}", version.display()))?;
        write(&version.join("model.onnx"), &tail.onnx)?;
        write(&model_folder.join("config.pbtxt"), config.as_bytes())?;
        println!("{} ({} bytes)", model_folder.display(), tail.onnx.len());
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Triton's description of a model.
fn config(name: &str, tail: &TailModel) -> anyhow::Result<String> {
    let mut text = String::new();
    writeln!(text, "name: {}", quoted(name))?;
    writeln!(text, "backend: \"onnxruntime\"")?;
    writeln!(text, "max_batch_size: 0")?;
    for (field, specs) in [("input", &tail.inputs), ("output", &tail.outputs)] {
        for spec in specs {
            writeln!(text, "{field} {}", tensor(spec)?)?;
        }
    }
    Ok(text)
}

fn tensor(spec: &TensorSpec) -> anyhow::Result<String> {
    let data_type = match spec.element {
        ElementType::F32 => "TYPE_FP32",
        ElementType::I64 => "TYPE_INT64",
        ElementType::I32 => "TYPE_INT32",
        ElementType::U8 => "TYPE_UINT8",
        ElementType::I8 => "TYPE_INT8",
        ElementType::Bool => "TYPE_BOOL",
        other => bail!("Triton has no type for {other:?}"),
    };
    let dims: Vec<_> = spec.shape.iter().map(ToString::to_string).collect();
    Ok(format!(
        "{{ name: {} data_type: {data_type} dims: [ {} ] }}",
        quoted(&spec.name),
        dims.join(", ")
    ))
}

/// A string of protobuf's text form.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\{byte:03o}");
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_tritons() {
        let spec = |name: &str, element, shape: &[usize]| TensorSpec {
            name: name.into(),
            element,
            shape: shape.to_vec(),
        };
        let tail = TailModel {
            onnx: Vec::new(),
            inputs: vec![spec("/a/Relu\"\\é", ElementType::F32, &[1, 64, 8, 8])],
            outputs: vec![spec("out", ElementType::I64, &[1])],
        };
        assert_eq!(
            config("m_cut3", &tail).unwrap(),
            "name: \"m_cut3\"\nbackend: \"onnxruntime\"\nmax_batch_size: 0\n\
             input { name: \"/a/Relu\\\"\\\\\\303\\251\" data_type: TYPE_FP32 dims: [ 1, 64, 8, 8 ] }\n\
             output { name: \"out\" data_type: TYPE_INT64 dims: [ 1 ] }\n"
        );
    }
}
