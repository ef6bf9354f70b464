//! How fast activations are packed and unpacked, in bytes of fp32 a second, and how small they get.
//!
//! `cargo bench -p dyno-core --features internals --bench pack`; the sizes are printed before the times. The tensors are
//! made here: smooth maps with some noise, cut off at zero (ResNet-18's layer1) or not (a
//! linear bottleneck).
#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dyno_core::bundle::Cut;
use dyno_core::pack::internals::KernelSet;
use dyno_core::pack::{Packer, unpack};
use dyno_core::schedule::{Codec, Levels, Precision};
use dyno_core::{ElementType, TensorSpec};
use std::hint::black_box;

struct Sample {
    name: &'static str,
    cut: Cut,
    values: Vec<f32>,
}

impl Sample {
    /// Waves of each channel's own frequency, noise, and a bias that moves zero.
    fn new(name: &'static str, shape: [usize; 4], bias: f32, relu: bool) -> Self {
        let [_, channels, height, width] = shape;
        let mut values = Vec::with_capacity(channels * height * width);
        let mut state = 0x9E37_79B9_u32;
        for c in 0..channels {
            let frequency = 0.05 + 0.01 * c as f32;
            for y in 0..height {
                for x in 0..width {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let noise = (state >> 16) as f32 / 65_536.0 - 0.5;
                    let wave = (frequency * x as f32).sin() + (frequency * 1.7 * y as f32).cos();
                    let value = wave + 0.3 * noise + bias;
                    values.push(if relu { value.max(0.0) } else { value });
                }
            }
        }
        let cut = Cut {
            index: 1,
            after: name.into(),
            tensors: vec![TensorSpec {
                name: name.into(),
                element: ElementType::F32,
                shape: shape.into(),
            }],
            flops_before: 0,
            flops_after: 0,
        };
        Self { name, cut, values }
    }
}

fn pack(c: &mut Criterion) {
    let samples = [
        Sample::new("relu 200704", [1, 64, 56, 56], -0.5, true),
        Sample::new("signed 7840", [1, 160, 7, 7], 0.0, false),
    ];
    let levels = |n| Precision::Levels(Levels::new(n).unwrap());
    let plans = [
        ("16 lz4", levels(16), Codec::Lz4),
        ("16 zstd", levels(16), Codec::Zstd),
        ("256 lz4", levels(256), Codec::Lz4),
        ("256 zstd", levels(256), Codec::Zstd),
        ("256 raw", levels(256), Codec::Raw),
        ("fp32 raw", Precision::Raw, Codec::Raw),
    ];
    let mut packer = Packer::default();
    for sample in &samples {
        let mut group = c.benchmark_group(sample.name);
        group.throughput(Throughput::Bytes(sample.values.len() as u64 * 4));
        for (plan, precision, codec) in plans {
            let tensors = [sample.values.as_slice()];
            let message = packer
                .pack(&sample.cut, &tensors, precision, codec)
                .unwrap();
            println!("{} / {plan}: {} bytes", sample.name, message.len());
            group.bench_function(BenchmarkId::new("pack", plan), |b| {
                b.iter(|| {
                    packer
                        .pack(&sample.cut, black_box(&tensors), precision, codec)
                        .unwrap()
                });
            });
            group.bench_function(BenchmarkId::new("unpack", plan), |b| {
                b.iter(|| unpack(black_box(&message), &sample.cut).unwrap());
            });
        }
        group.finish();
    }
}

/// What comes before and after the codec, with every set of kernels that the CPU can run: range,
/// quantise and shuffle in one go, and the way back.
fn kernels(c: &mut Criterion) {
    let sample = Sample::new("relu 200704", [1, 64, 56, 56], -0.5, true);
    let mut planes = Vec::new();
    let mut values = vec![0.0; sample.values.len()];
    for set in KernelSet::available() {
        let mut group = c.benchmark_group(format!("kernels {}", set.name()));
        group.throughput(Throughput::Bytes(sample.values.len() as u64 * 4));
        for levels in [16, 256, 65_536] {
            let levels = Levels::new(levels).unwrap();
            let range = set.quantise(&sample.values, levels, &mut planes).unwrap();
            group.bench_function(BenchmarkId::new("quantise", levels.get()), |b| {
                b.iter(|| set.quantise(black_box(&sample.values), levels, &mut planes));
            });
            group.bench_function(BenchmarkId::new("dequantise", levels.get()), |b| {
                b.iter(|| set.dequantise(black_box(&planes), range, levels, &mut values));
            });
        }
        group.bench_function("shuffle fp32", |b| {
            b.iter(|| set.shuffle(black_box(&sample.values), &mut planes));
        });
        group.bench_function("unshuffle fp32", |b| {
            b.iter(|| set.unshuffle(black_box(&planes), &mut values));
        });
        group.finish();
    }
}

criterion_group!(benches, kernels, pack);
criterion_main!(benches);
