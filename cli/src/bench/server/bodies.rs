//! Requests made before the run: real photos through real heads, packed; sending one costs the
//! generator a copy of its headers.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use dyno_core::bundle::{Bundle, Cut};
use dyno_core::client::Token;
use dyno_core::pack::Packer;
use dyno_core::pixels::Frame;
use dyno_core::runtime::{Activation, Cancel, SpanOptions, SpanStore};
use dyno_core::schedule::{Codec, Levels, PhotoCodec, Precision, can_be_packed};
use http::{HeaderValue, Request};
use serde::Serialize;

use super::schedule::Random;
use crate::verify::{image_files, read_photo};

const PACKED_TYPE: &str = "application/vnd.dyno.activation";
const OUTPUTS_TYPE: &str = "application/vnd.dyno.outputs";
/// Of photos that are sent at cut 0.
const JPEG_QUALITY: u8 = 85;
/// Most bytes of all bodies together.
const MAX_BYTES: usize = 1 << 30;
/// Bodies in each way of being bad.
const BAD_OF_EACH: usize = 4;

/// What is sent, and as what.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct BodyArgs {
    /// Cuts, by turns: 0 is the photo as JPEG; all those with a tail unless told.
    #[arg(long, value_delimiter = ',', value_name = "CUTS")]
    cuts: Option<Vec<usize>>,
    /// Levels of the activations, by turns; 0 is fp32.
    #[arg(long, value_delimiter = ',', default_value = "16")]
    levels: Vec<u32>,
    /// Codecs, by turns: raw, lz4, zstd, context or shaped.
    #[arg(long, value_delimiter = ',', default_value = "lz4")]
    codecs: Vec<Codec>,
    /// Folder of photos.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Photos to make bodies of.
    #[arg(long, default_value_t = 8, value_name = "PHOTOS")]
    limit: usize,
}

/// A request that is ready to go.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) head: Request<()>,
    pub(super) body: Bytes,
}

/// All requests of a run.
#[derive(Debug)]
pub(super) struct Bodies {
    pub(super) good: Vec<Prepared>,
    pub(super) bad: Vec<Prepared>,
    pub(super) summary: Summary,
}

/// What the bodies are, for the report.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Summary {
    pub(super) cuts: Vec<usize>,
    levels: Vec<u32>,
    codecs: Vec<&'static str>,
    photos: usize,
    pub(super) bytes_mean: f64,
}

/// Where requests go, and with which headers.
#[derive(Debug)]
pub(super) struct Destination<'a> {
    /// Without a slash at its end.
    pub(super) url: &'a str,
    pub(super) model: &'a str,
    pub(super) token: Option<&'a Token>,
    pub(super) deadline_ms: Option<u32>,
}

impl BodyArgs {
    /// The cuts that were asked for.
    ///
    /// Fails if one of them has nothing to send, or no tail.
    pub(super) fn chosen(&self, bundle: &Bundle) -> Result<Vec<usize>> {
        let manifest = bundle.manifest();
        let last = manifest.last_cut();
        let has_tail = |cut: &&Cut| cut.index < last && (cut.index == 0 || can_be_packed(cut));
        let known: Vec<usize> = manifest
            .cuts
            .iter()
            .filter(has_tail)
            .map(|c| c.index)
            .collect();
        let Some(chosen) = &self.cuts else {
            return Ok(known);
        };
        if let Some(cut) = chosen.iter().find(|cut| !known.contains(cut)) {
            bail!("nothing can be sent at cut {cut}: dyno inspect lists the cuts");
        }
        Ok(chosen.clone())
    }

    fn plans(&self) -> Result<Vec<(Precision, Codec)>> {
        let mut plans = Vec::new();
        for &levels in &self.levels {
            let precision = match levels {
                0 => Precision::Raw,
                levels => Precision::Levels(Levels::new(levels)?),
            };
            plans.extend(self.codecs.iter().map(|&codec| (precision, codec)));
        }
        if plans.is_empty() {
            bail!("name at least one of --levels and one of --codecs");
        }
        Ok(plans)
    }

    /// Runs the heads and packs: a body for every cut and photo, or for every precision and codec
    /// where there are more of those.
    pub(super) fn make(&self, bundle: &Arc<Bundle>, to: &Destination<'_>) -> Result<Bodies> {
        let manifest = bundle.manifest();
        let cuts = self.chosen(bundle)?;
        let plans = self.plans()?;
        let frames = image_files(&self.images, self.limit)?
            .iter()
            .map(|path| {
                Ok(Frame::stage(
                    &read_photo(path)?.pixels()?,
                    &manifest.preprocess,
                )?)
            })
            .collect::<Result<Vec<Frame>>>()?;
        if frames.is_empty() {
            bail!("there are no photos in {}", self.images.display());
        }
        let heads = SpanStore::new(
            Arc::clone(bundle),
            SpanOptions {
                threads: 1,
                capacity: 1,
            },
        )?;
        let mut packer = Packer::default().with_shaping(bundle.shaping());
        let (mut good, mut bytes) = (Vec::new(), 0);
        for &cut in &cuts {
            let row = bundle.cut(cut)?;
            let bodies = if cut == 0 {
                photos(&frames)?
            } else {
                let run = |frame: &Frame| {
                    let input = frame.to_tensor(&manifest.preprocess)?;
                    let input = Activation::new(0, vec![input]);
                    Ok(heads.run(input, cut, &Cancel::new())?.output)
                };
                let activations: Result<Vec<Activation>> = frames.iter().map(run).collect();
                packed(&mut packer, row, &activations?, &plans)?
            };
            for body in bodies {
                bytes += body.len();
                good.push(to.request(bundle, cut, body)?);
            }
            if bytes > MAX_BYTES {
                bail!("the bodies take more than 1 GiB: name fewer --cuts, or a smaller --limit");
            }
        }
        let bad = bad(&good, manifest.last_cut(), bundle, to)?;
        let summary = Summary {
            bytes_mean: bytes as f64 / good.len().max(1) as f64,
            cuts,
            levels: self.levels.clone(),
            codecs: self.codecs.iter().map(|codec| codec.as_str()).collect(),
            photos: frames.len(),
        };
        Ok(Bodies { good, bad, summary })
    }
}

fn photos(frames: &[Frame]) -> Result<Vec<Vec<u8>>> {
    let codec = PhotoCodec::jpeg(JPEG_QUALITY)?;
    frames
        .iter()
        .map(|frame| Ok(frame.encode(codec)?))
        .collect()
}

/// By turns over what is packed and how it is: every pair that the longer list allows.
fn packed(
    packer: &mut Packer,
    cut: &Cut,
    activations: &[Activation],
    plans: &[(Precision, Codec)],
) -> Result<Vec<Vec<u8>>> {
    let pack = |i: usize| {
        let (precision, codec) = plans[i % plans.len()];
        let tensors = activations[i % activations.len()].as_f32()?;
        Ok(packer.pack(cut, &tensors, precision, codec)?)
    };
    (0..activations.len().max(plans.len())).map(pack).collect()
}

impl Destination<'_> {
    fn request(&self, bundle: &Bundle, cut: usize, body: Vec<u8>) -> Result<Prepared> {
        let uri = format!("{}/v1/models/{}/infer", self.url, self.model);
        let mut head = Request::post(uri)
            .header("accept", OUTPUTS_TYPE)
            .header("content-length", body.len())
            .header("dyno-bundle", bundle.manifest().hash.as_str());
        head = match cut {
            0 => head
                .header("content-type", "image/jpeg")
                .header("dyno-photo", "staged"),
            _ => head.header("content-type", PACKED_TYPE),
        };
        if let Some(deadline_ms) = self.deadline_ms {
            head = head.header("dyno-deadline-ms", deadline_ms);
        }
        if let Some(token) = self.token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.reveal()))?;
            value.set_sensitive(true);
            head = head.header("authorization", value);
        }
        Ok(Prepared {
            head: head
                .body(())
                .context("the server's address makes no request")?,
            body: body.into(),
        })
    }
}

/// Bodies that a server has to refuse with 400 or 415: cut short, of bytes that mean nothing, of a
/// cut behind which there is no tail, and a photo that is none.
fn bad(
    good: &[Prepared],
    last_cut: usize,
    bundle: &Bundle,
    to: &Destination<'_>,
) -> Result<Vec<Prepared>> {
    let mut random = Random::new(0);
    let mut bad = Vec::new();
    // What the first request is packed like: any cut that is not 0 sends the type of activations.
    let packed = last_cut.max(1);
    for i in 0..BAD_OF_EACH {
        let Some(model) = good.get(random.below(good.len())) else {
            break;
        };
        let short = model.body[..model.body.len() * (i + 1) / (BAD_OF_EACH + 1)].to_vec();
        let noise: Vec<u8> = (0..model.body.len().max(1))
            .map(|_| random.bits().to_le_bytes()[0])
            .collect();
        bad.push(to.request(bundle, packed, short)?);
        bad.push(to.request(bundle, packed, noise.clone())?);
        bad.push(to.request(bundle, packed, Vec::new())?);
        bad.push(to.request(bundle, 0, noise)?);
    }
    Ok(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_photo_and_every_precision_has_its_turn() {
        use dyno_core::{ElementType, Tensor, TensorData, TensorSpec};
        let cut = Cut {
            index: 1,
            after: "relu".into(),
            tensors: vec![TensorSpec {
                name: "x".into(),
                element: ElementType::F32,
                shape: vec![1, 4],
            }],
            flops_before: 0,
            flops_after: 0,
        };
        let activation = |value: f32| {
            let data = TensorData::F32(vec![0.0, 1.0, 2.0, value]);
            Activation::new(1, vec![Tensor::new(vec![1, 4], data).unwrap()])
        };
        let plans = [
            (Precision::Raw, Codec::Raw),
            (Precision::Levels(Levels::new(4).unwrap()), Codec::Raw),
            (Precision::Levels(Levels::new(16).unwrap()), Codec::Raw),
        ];
        let activations = [activation(3.0), activation(4.0)];
        let bodies = packed(&mut Packer::default(), &cut, &activations, &plans).unwrap();
        let precisions: Vec<usize> = bodies.iter().map(Vec::len).collect();
        assert_eq!(bodies.len(), 3);
        assert!(precisions[0] > precisions[2] && precisions[2] > precisions[1]);
        let many: Vec<Activation> = (0..5u8).map(|i| activation(f32::from(i))).collect();
        let bodies = packed(&mut Packer::default(), &cut, &many, &plans[..1]).unwrap();
        assert_eq!(bodies.len(), 5);
    }
}
