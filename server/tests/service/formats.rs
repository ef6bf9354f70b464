//! The real decoders behind the real front: activations as phones pack them, photos as people send
//! them, and both after an accident. The engine gives back the first elements that it was given.

use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{HASH, OUTPUTS, PACKED, assert_error, client, config, json, manifest, spec};
use dyno_core::bundle::{Cut, Manifest};
use dyno_core::pack::Packer;
use dyno_core::runtime::{Activation, Cancel, Stack, TailRun};
use dyno_core::schedule::{Codec, Levels, Precision};
use dyno_core::{ElementType, Result, Tensor, TensorData};
use dyno_server::{Model, TailEngine};
use image::{ImageFormat, Rgb, RgbImage};
use reqwest::{Client, Response};
use tokio::sync::oneshot;

/// Elements given back.
const KEPT: usize = 8;
const FEATURES: [f32; KEPT] = [0.0, 0.25, 0.5, 0.75, 1.0, 0.125, 0.0, 2.0];
const COLOUR: [u8; 3] = [255, 51, 0];

struct Echo(Manifest);

impl TailEngine for Echo {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    fn run(&self, inputs: &Stack, _to: usize, _cancel: &Cancel) -> Result<TailRun> {
        let kept = inputs.get(0).unwrap()[0][..KEPT].to_vec();
        let kept = Tensor::new(vec![1, KEPT], TensorData::F32(kept))?;
        Ok(TailRun {
            outputs: vec![Activation::new(self.0.last_cut(), vec![kept])],
            elapsed: Duration::ZERO,
        })
    }
}

struct Echoing {
    addr: SocketAddr,
    client: Client,
    manifest: Manifest,
    _stop: oneshot::Sender<()>,
}

async fn echoing() -> Echoing {
    let kept = spec("kept", ElementType::F32, &[1, KEPT]);
    let manifest = manifest(vec![kept], &[]);
    let model = Model::new("echo", Arc::new(Echo(manifest.clone())), None).unwrap();
    let (addr, stop, _) = crate::common::run(config(), vec![model]).await;
    Echoing {
        addr,
        client: client(),
        manifest,
        _stop: stop,
    }
}

impl Echoing {
    async fn post(&self, media: &str, staged: bool, body: Vec<u8>) -> Response {
        let url = format!("http://{}/v1/models/echo/infer", self.addr);
        let mut request = self
            .client
            .post(url)
            .header("content-type", media)
            .header("dyno-bundle", HASH)
            .header("accept", OUTPUTS)
            .body(body);
        if staged {
            request = request.header("dyno-photo", "staged");
        }
        request.send().await.unwrap()
    }

    async fn outputs(&self, media: &str, staged: bool, body: Vec<u8>) -> Vec<f32> {
        let answer = self.post(media, staged, body).await;
        assert_eq!(answer.status(), 200, "{media}");
        let bytes = answer.bytes().await.unwrap();
        let TensorData::F32(elements) = TensorData::from_le_bytes(ElementType::F32, &bytes) else {
            panic!("asked for f32");
        };
        elements
    }

    fn features(&self) -> &Cut {
        &self.manifest.cuts[1]
    }
}

fn packed(cut: &Cut, elements: &[f32], precision: Precision, codec: Codec) -> Vec<u8> {
    let mut packer = Packer::default();
    packer.pack(cut, &[elements], precision, codec).unwrap()
}

fn photo(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_pixel(width, height, Rgb(COLOUR))
        .write_to(&mut bytes, format)
        .unwrap();
    bytes.into_inner()
}

#[tokio::test]
async fn what_a_phone_packs_arrives() {
    let server = echoing().await;
    for &codec in Codec::ALL {
        let exact = packed(server.features(), &FEATURES, Precision::Raw, codec);
        assert_eq!(server.outputs(PACKED, false, exact).await, FEATURES);
        let levels = Precision::Levels(Levels::EIGHT_BITS);
        let coarse = packed(server.features(), &FEATURES, levels, codec);
        let got = server.outputs(PACKED, false, coarse).await;
        for (got, sent) in got.iter().zip(FEATURES) {
            assert!(
                (got - sent).abs() <= 2.0 / 255.0,
                "{codec}: {got} for {sent}"
            );
        }
    }
}

#[tokio::test]
async fn a_damaged_activation_is_the_clients_error_wherever_the_damage_is() {
    let server = echoing().await;
    let levels = Precision::Levels(Levels::EIGHT_BITS);
    let whole = packed(server.features(), &FEATURES, levels, Codec::Lz4);
    let mut damaged: Vec<Vec<u8>> = (0..whole.len()).map(|n| whole[..n].to_vec()).collect();
    damaged.push([&whole[..], &[0]].concat());
    damaged.push([&whole[..], &whole[..]].concat());
    for i in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[i / 8] ^= 1 << (i % 8);
        damaged.push(flipped);
    }
    for body in damaged {
        let answer = server.post(PACKED, false, body).await;
        let status = answer.status();
        assert!([400, 415].contains(&status.as_u16()), "{status}");
        let kind = json(answer).await["kind"].clone();
        assert!(["invalid_activation", "unsupported_activation"].contains(&kind.as_str().unwrap()));
    }
    assert_eq!(server.outputs(PACKED, false, whole).await.len(), KEPT);
}

#[tokio::test]
async fn an_activation_of_another_shape_or_without_a_tail_is_refused() {
    let server = echoing().await;
    let mut larger = server.features().clone();
    larger.tensors = vec![spec("features", ElementType::F32, &[1, 9])];
    let body = packed(&larger, &[1.0; 9], Precision::Raw, Codec::Raw);
    assert_error(
        server.post(PACKED, false, body).await,
        400,
        "invalid_activation",
    )
    .await;

    for index in [2, 3, 60_000] {
        let mut behind = server.features().clone();
        behind.index = index;
        let body = packed(&behind, &FEATURES, Precision::Raw, Codec::Raw);
        assert_error(
            server.post(PACKED, false, body).await,
            400,
            "invalid_activation",
        )
        .await;
    }
}

#[tokio::test]
async fn photos_of_every_format_become_the_models_input() {
    let server = echoing().await;
    for (media, format) in [
        ("image/png", ImageFormat::Png),
        ("image/webp", ImageFormat::WebP),
        ("image/jpeg", ImageFormat::Jpeg),
    ] {
        // A large square photo fills the letterbox as well as one that is staged.
        for (side, staged) in [(4, true), (64, false)] {
            let body = photo(side, side, format);
            let red = server.outputs(media, staged, body).await;
            for value in red {
                assert!((value - 1.0).abs() < 0.03, "{media} {staged}: {value}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_photo_is_the_clients_error() {
    let server = echoing().await;
    let whole = photo(64, 64, ImageFormat::Png);
    let mut claims_too_much = whole.clone();
    claims_too_much[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    for body in [
        Vec::new(),
        b"GIF89a".to_vec(),
        b"not a photo at all".to_vec(),
        whole[..whole.len() / 2].to_vec(),
        claims_too_much,
    ] {
        for staged in [false, true] {
            let answer = server.post("image/png", staged, body.clone()).await;
            assert_error(answer, 400, "invalid_image").await;
        }
    }
    let unstaged = server.post("image/png", true, whole).await;
    assert_error(unstaged, 400, "invalid_image").await;
}
