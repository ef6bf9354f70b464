//! From an ONNX file to a bundle: read, find shapes and cuts, write, measure, check.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use sha2::{Digest, Sha256};

use super::content::{content_hash, describe_file, hex, list_file, partial};
use super::manifest::{BUNDLE_FORMAT, BundleHash, Cut, Manifest, Provenance};
use super::{
    Bundle, CALIBRATION_FILE, Calibration, GRAPH_FILE, MANIFEST_FILE, PROFILE_FILE, Profile,
    WEIGHTS_FILE, weights,
};
use crate::graph::proto::{GraphProto, ModelProto, ValueInfo, data_type};
use crate::graph::shapes::{self, Shapes};
use crate::graph::topology::Topology;
use crate::graph::{Model, cuts, flops};
use crate::pixels::Preprocess;
use crate::{ElementType, Error, ErrorKind, Result, TensorSpec};

/// What preparing is doing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Reading the model.
    Read,
    /// Running it once to learn every shape.
    Shapes,
    /// Finding cuts.
    Cuts,
    /// Writing the weights; counted in bytes.
    Weights,
    /// Measuring times on this machine; counted in cuts.
    Profile,
    /// Reading photos and running the whole model on them.
    Photos,
    /// Measuring what each precision costs; counted in cuts.
    Calibrate,
}

/// Told about every step: done and total, in units of the step (0 of 0 where there is no count).
pub type Progress<'a> = &'a dyn Fn(Step, u64, u64);

/// A model that has been read and cut, but not yet written.
#[derive(Debug)]
pub struct Draft {
    model: Model,
    source: PathBuf,
    graph: GraphProto,
    input: TensorSpec,
    outputs: Vec<TensorSpec>,
    cuts: Vec<Cut>,
}

/// What a bundle says besides what its model says.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// How a photo becomes the input.
    pub preprocess: Preprocess,
    /// Class names, or none.
    pub labels: Vec<String>,
    /// Threads to measure the profile with.
    pub threads: usize,
    /// Whether a bundle that is already there may be replaced.
    pub replace: bool,
}

impl Draft {
    /// Reads the model at `path` and finds its cuts. Runs it once on ONNX Runtime.
    ///
    /// `input_shape` (batch, then channels, height, width or height, width, channels) is needed
    /// where the file leaves dimensions open. Fails with [`ErrorKind::InvalidModel`] or
    /// [`ErrorKind::UnsupportedModel`], naming the node where there is one.
    pub fn read(
        path: &Path,
        input_shape: Option<&[usize]>,
        progress: Progress<'_>,
    ) -> Result<Self> {
        progress(Step::Read, 0, 0);
        let mut model = Model::open(path)?;
        let at = |error: Error| error.context(path.display());
        let input = model.fix_input(input_shape).map_err(at)?;
        progress(Step::Shapes, 0, 0);
        let (graph, shapes) = shapes::fix(&model, &input).map_err(at)?;
        progress(Step::Cuts, 0, 0);
        refuse_constant_outputs(&graph).map_err(at)?;
        let outputs = outputs(&graph, &shapes).map_err(at)?;
        let (graph, cuts) = cut_table(graph, &shapes, &input, &outputs);
        Ok(Self {
            model,
            source: path.to_owned(),
            graph,
            input,
            outputs,
            cuts,
        })
    }

    /// The model's input: f32, `[1, C, H, W]` or `[1, H, W, C]`.
    pub fn input(&self) -> &TensorSpec {
        &self.input
    }

    /// The model's outputs.
    pub fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    /// The cut table.
    pub fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    /// Writes the bundle to `folder`, whose name becomes the model's, and measures its profile.
    ///
    /// The folder appears complete or not at all. Fails with [`ErrorKind::InvalidArgument`] if
    /// something is there already (unless it is a bundle that may be replaced), or if the
    /// preprocessing does not make the model's input.
    pub fn write(
        &self,
        folder: &Path,
        options: &WriteOptions,
        progress: Progress<'_>,
    ) -> Result<Bundle> {
        self.write_calibrated(folder, options, progress, |_| Ok(None))
    }

    /// [`write`](Self::write), with the table that `calibrate` makes of the bundle before it is
    /// moved into place.
    pub fn write_calibrated(
        &self,
        folder: &Path,
        options: &WriteOptions,
        progress: Progress<'_>,
        calibrate: impl FnOnce(&Arc<Bundle>) -> Result<Option<Calibration>>,
    ) -> Result<Bundle> {
        let name = folder
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        self.check(folder, &name, options)?;
        let partial = partial(folder);
        let written = self
            .write_files(&partial, &name, options, progress)
            .and_then(|()| measure(&partial, options.threads, progress))
            .and_then(|bundle| match calibrate(&bundle)? {
                Some(calibration) => add_calibration(&bundle, &calibration),
                None => Ok(()),
            })
            .and_then(|()| move_into_place(&partial, folder));
        if written.is_err() {
            let _ = std::fs::remove_dir_all(&partial);
        }
        written.and_then(|()| Bundle::open(folder))
    }

    fn check(&self, folder: &Path, name: &str, options: &WriteOptions) -> Result<()> {
        options.preprocess.check()?;
        let makes = options.preprocess.input_shape();
        if makes.as_slice() != self.input.shape {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "the preprocessing makes {makes:?}, but input '{}' takes {:?}: set size and \
                     layout",
                    self.input.name, self.input.shape
                ),
            ));
        }
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(valid) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "'{name}' cannot be a model's name: use up to 64 letters, digits, dots, dashes \
                     and underscores for the bundle's folder"
                ),
            ));
        }
        let classes: usize = self.outputs.first().map_or(0, TensorSpec::elements);
        let labels = options.labels.len();
        if labels != 0 && labels != classes {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{labels} labels for an output of {classes} elements"),
            ));
        }
        let is_bundle = folder.join(MANIFEST_FILE).is_file();
        if folder.exists() && !(is_bundle && options.replace) {
            let hint = if is_bundle {
                ", or replace the bundle with --force"
            } else {
                ""
            };
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "{} exists already: choose another folder{hint}",
                    folder.display()
                ),
            ));
        }
        Ok(())
    }

    fn write_files(
        &self,
        folder: &Path,
        name: &str,
        options: &WriteOptions,
        progress: Progress<'_>,
    ) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e))?;
        let mut graph = self.graph.clone();
        let size = std::fs::metadata(&self.source).map_or(0, |m| m.len());
        weights::externalise(&self.model, &mut graph, folder, |bytes| {
            progress(Step::Weights, bytes, size.max(bytes));
        })?;
        let model = ModelProto {
            graph: Some(graph),
            ..self.model.proto.clone()
        };
        write_file(folder, GRAPH_FILE, &model.encode_to_vec())?;
        let mut manifest = Manifest {
            format: BUNDLE_FORMAT,
            model: name.to_owned(),
            hash: BundleHash::parse(&"0".repeat(64))?,
            input: self.input.clone(),
            outputs: self.outputs.clone(),
            preprocess: options.preprocess.clone(),
            labels: options.labels.clone(),
            cuts: self.cuts.clone(),
            files: vec![
                describe_file(folder, GRAPH_FILE)?,
                describe_file(folder, WEIGHTS_FILE)?,
            ],
            provenance: self.provenance()?,
        };
        manifest.hash = content_hash(&manifest)?;
        write_json(folder, MANIFEST_FILE, &manifest)
    }

    fn provenance(&self) -> Result<Provenance> {
        let source = std::fs::read(&self.source).map_err(|e| Error::io(&self.source, "read", e))?;
        let name = self
            .source
            .file_name()
            .map(|n| n.to_string_lossy().into_owned());
        Ok(Provenance {
            source: name.unwrap_or_default(),
            source_sha256: hex(&Sha256::digest(&source)),
            opset: self.model.opset(),
            dyno: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
}

/// They would cross no cut.
fn refuse_constant_outputs(graph: &GraphProto) -> Result<()> {
    let topology = Topology::new(graph);
    let constant = |output: &&ValueInfo| topology.life(output.label()).is_none();
    match graph.output.iter().find(constant) {
        Some(output) => Err(Error::new(
            ErrorKind::UnsupportedModel,
            format!(
                "output '{}' does not depend on the photo: export the model without it",
                output.label()
            ),
        )),
        None => Ok(()),
    }
}

fn outputs(graph: &GraphProto, shapes: &Shapes) -> Result<Vec<TensorSpec>> {
    let output = |value: &ValueInfo| {
        let unsupported = |what: &str| {
            let message = format!("output '{}' {what}", value.label());
            Error::new(ErrorKind::UnsupportedModel, message)
        };
        let (elem_type, shape) = shapes
            .get(value.label())
            .ok_or_else(|| unsupported("has no known shape"))?;
        let element = match *elem_type {
            data_type::FLOAT => ElementType::F32,
            data_type::INT64 => ElementType::I64,
            data_type::INT32 => ElementType::I32,
            data_type::UINT8 => ElementType::U8,
            data_type::INT8 => ElementType::I8,
            data_type::BOOL => ElementType::Bool,
            _ => {
                return Err(unsupported(
                    "has an unsupported element type: cast it to f32",
                ));
            }
        };
        let spec = TensorSpec {
            name: value.label().to_owned(),
            element,
            shape: shape.clone(),
        };
        spec.check_bounds()?;
        Ok(spec)
    };
    graph.output.iter().map(output).collect()
}

/// The rows of the cut table, and the graph with its outputs' types filled in.
fn cut_table(
    mut graph: GraphProto,
    shapes: &Shapes,
    input: &TensorSpec,
    outputs: &[TensorSpec],
) -> (GraphProto, Vec<Cut>) {
    for value in &mut graph.output {
        if let Some((elem_type, shape)) = shapes.get(value.label()) {
            *value = ValueInfo::fixed(value.label(), *elem_type, shape);
        }
    }
    let topology = Topology::new(&graph);
    let flops = flops::of_steps(&topology, shapes);
    let total = flops.iter().copied().fold(0, u64::saturating_add);
    let row = |index, position: usize, tensors, before: u64| Cut {
        index,
        after: position
            .checked_sub(1)
            .map_or("", |step| topology.step(step).label())
            .to_owned(),
        tensors,
        flops_before: before,
        flops_after: total - before,
    };
    let mut table = vec![row(0, 0, vec![input.clone()], 0)];
    for point in cuts::find(&topology, shapes, &flops) {
        table.push(row(
            table.len(),
            point.position,
            point.tensors,
            point.flops_before,
        ));
    }
    table.push(row(table.len(), topology.len(), outputs.to_vec(), total));
    (graph, table)
}

fn measure(folder: &Path, threads: usize, progress: Progress<'_>) -> Result<Arc<Bundle>> {
    let bundle = Arc::new(Bundle::open(folder)?);
    let profile = Profile::measure(&bundle, threads, |done, total| {
        progress(Step::Profile, done, total);
    })?;
    write_json(folder, PROFILE_FILE, &profile)?;
    Ok(bundle)
}

fn add_calibration(bundle: &Bundle, calibration: &Calibration) -> Result<()> {
    let (folder, mut manifest) = (bundle.folder(), bundle.manifest().clone());
    write_json(folder, CALIBRATION_FILE, calibration)?;
    list_file(folder, &mut manifest, CALIBRATION_FILE)?;
    write_json(folder, MANIFEST_FILE, &manifest)
}

/// A bundle that is replaced stays beside it until the new one is in place.
fn move_into_place(partial: &Path, folder: &Path) -> Result<()> {
    let mut replaced = partial.as_os_str().to_owned();
    replaced.push("-replaced");
    let replaced = Path::new(&replaced);
    if folder.exists() {
        std::fs::rename(folder, replaced).map_err(|e| Error::io(folder, "replace", e))?;
    }
    if let Err(error) = std::fs::rename(partial, folder) {
        // The old one is better than none.
        let _ = std::fs::rename(replaced, folder);
        return Err(Error::io(folder, "write", error));
    }
    if replaced.exists() {
        std::fs::remove_dir_all(replaced).map_err(|e| Error::io(replaced, "remove", e))?;
    }
    Ok(())
}

fn write_json(folder: &Path, name: &str, value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::with_source(ErrorKind::Internal, format!("cannot write {name}"), e))?;
    text.push(b'\n');
    write_file(folder, name, &text)
}

fn write_file(folder: &Path, name: &str, content: &[u8]) -> Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, content).map_err(|e| Error::io(&path, "write", e))
}
