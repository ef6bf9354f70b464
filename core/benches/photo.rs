//! How fast a photo at the model's size is encoded and decoded at cut 0, and how many bytes it takes;
//! and how fast a camera's frame of 1080p is staged.
//!
//! `cargo bench -p dyno-core --bench photo`; the mean bytes and the mean error are printed before the times.
//! The photos are the first 20 of `$DYNO_TEST_DATA/images/photos`, or the shipped model's samples,
//! staged to 224x224.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dyno_core::pixels::{
    Colour, Fit, Frame, Layout, Orientation, Photo, PixelFormat, Pixels, Preprocess, Yuv420,
    YuvColour,
};
use dyno_core::schedule::PhotoCodec;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};

const PHOTOS: usize = 20;
const SIDE_PX: usize = 224;
const PREPROCESS: Preprocess = Preprocess {
    height: SIDE_PX,
    width: SIDE_PX,
    fit: Fit::Crop {
        crop_fraction: 0.875,
    },
    colour: Colour::Rgb,
    layout: Layout::Nchw,
    mean: [0.0; 3],
    std: [1.0; 3],
};

fn folder() -> PathBuf {
    match std::env::var_os("DYNO_TEST_DATA") {
        Some(data) => Path::new(&data).join("images/photos"),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/samples"),
    }
}

fn frames() -> Vec<Frame> {
    let mut files: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("jpg") || e.eq_ignore_ascii_case("jpeg"))
        })
        .collect();
    files.sort();
    files
        .iter()
        .take(PHOTOS)
        .map(|path| {
            let photo = Photo::decode(&std::fs::read(path).unwrap()).unwrap();
            Frame::stage(&photo.pixels().unwrap(), &PREPROCESS).unwrap()
        })
        .collect()
}

/// The `image` crate's JPEG (4:4:4, standard tables): what DynO's own is compared with.
fn jpeg_of_image_crate(frame: &Frame, quality: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let side = u32::try_from(SIDE_PX).unwrap();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .write_image(frame.rgb(), side, side, ExtendedColorType::Rgb8)
        .unwrap();
    bytes
}

/// Peak signal-to-noise ratio over all photos, in dB.
fn psnr_db(frames: &[Frame], coded: &[Vec<u8>]) -> f64 {
    let (mut squares, mut count) = (0.0, 0.0);
    for (frame, bytes) in frames.iter().zip(coded) {
        let decoded = Frame::decode(bytes, &PREPROCESS).unwrap();
        for (&a, &b) in frame.rgb().iter().zip(decoded.rgb()) {
            squares += f64::from(a.abs_diff(b)).powi(2);
            count += 1.0;
        }
    }
    10.0 * (255.0f64.powi(2) * count / squares).log10()
}

fn photo(c: &mut Criterion) {
    let frames = frames();
    let mut group = c.benchmark_group("photo");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2))
        .throughput(Throughput::Elements(frames.len() as u64));
    let mut measure = |name: String, encode: &dyn Fn(&Frame) -> Vec<u8>| {
        let coded: Vec<_> = frames.iter().map(encode).collect();
        let bytes = coded.iter().map(Vec::len).sum::<usize>() / frames.len();
        println!("{name}: {bytes} bytes, {:.1} dB", psnr_db(&frames, &coded));
        group.bench_function(BenchmarkId::new("encode", &name), |b| {
            b.iter(|| {
                for frame in &frames {
                    black_box(encode(black_box(frame)));
                }
            });
        });
        group.bench_function(BenchmarkId::new("decode", &name), |b| {
            b.iter(|| {
                for bytes in &coded {
                    black_box(Frame::decode(black_box(bytes), &PREPROCESS).unwrap());
                }
            });
        });
    };
    for quality in [50, 75, 90] {
        measure(format!("image crate's jpeg:{quality}"), &|frame| {
            jpeg_of_image_crate(frame, quality)
        });
        for codec in [PhotoCodec::Jpeg(quality), PhotoCodec::WebP(quality)] {
            measure(codec.to_string(), &|frame| frame.encode(codec).unwrap());
        }
    }
    for codec in [PhotoCodec::Png, PhotoCodec::WebPLossless] {
        measure(codec.to_string(), &|frame| frame.encode(codec).unwrap());
    }
    group.finish();
}

/// A frame of 1920x1080 held upright, as RGBA, as NV21 in one buffer, and as Android's `YUV_420_888`,
/// whose chroma planes end with their own last value.
fn stage(c: &mut Criterion) {
    const WIDTH: usize = 1920;
    const HEIGHT: usize = 1080;
    let bytes = |length: usize| -> Vec<u8> {
        let noise = |at: usize| at.wrapping_mul(0x9E37_79B1) >> 24;
        (0..length).map(|at| noise(at).to_le_bytes()[0]).collect()
    };
    let rgba = bytes(WIDTH * HEIGHT * 4);
    let luma = bytes(WIDTH * HEIGHT);
    let chroma = bytes(WIDTH * HEIGHT / 2);
    let nv21 = Yuv420 {
        y: &luma,
        u: &chroma[1..],
        v: &chroma,
        width: WIDTH,
        height: HEIGHT,
        y_row_stride_bytes: WIDTH,
        uv_row_stride_bytes: WIDTH,
        uv_pixel_stride_bytes: 2,
        colour: YuvColour::Bt601Full,
    };
    let android = Yuv420 {
        v: &chroma[..chroma.len() - 1],
        ..nv21
    };
    let rgba = Pixels::new(&rgba, WIDTH, HEIGHT, WIDTH * 4, PixelFormat::Rgba8);
    let mut group = c.benchmark_group("stage");
    for (name, pixels) in [
        ("rgba", rgba),
        ("nv21", Pixels::yuv420(nv21)),
        ("yuv_420_888", Pixels::yuv420(android)),
    ] {
        let pixels = pixels.unwrap().with_orientation(Orientation::Right);
        group.bench_function(BenchmarkId::new("1080p", name), |b| {
            b.iter(|| Frame::stage(black_box(&pixels), &PREPROCESS).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, photo, stage);
criterion_main!(benches);
