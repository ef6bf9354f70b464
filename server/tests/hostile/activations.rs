//! Packed activations and photos that say what is not so (rows 8 to 13), and one that is said twice (27).

use dyno_core::schedule::{Codec, Levels, Precision};
use reqwest::Response;

use crate::bundle::{CONTEXT, Forged, LZ4, MODEL, ZSTD, manifest, packed, photo, small_cut};
use crate::child::Child;
use crate::common::{assert_error, json};

/// What the decoders may take at once, beyond what a sound request of this model takes.
const DECODER_KIB: u64 = 16 << 10;

fn elements() -> u32 {
    u32::try_from(small_cut().elements()).unwrap()
}

/// Sends each body as a packed activation, and expects what is beside it.
async fn refused(server: &Child, cases: &[(&str, Vec<u8>, u16, &str)]) {
    let sound = server.packed(Forged::sound().bytes()).await;
    assert_eq!(sound.status(), 200, "what is changed below is sound");
    server
        .endures(2, async || {
            for (name, body, status, kind) in cases {
                let answer = server.packed(body.clone()).await;
                let got = answer.status().as_u16();
                assert_eq!(got, *status, "{name}: {}", answer.text().await.unwrap());
                let text = json_of(server, body).await;
                assert_eq!(text["kind"], *kind, "{name}: {text}");
                server.assert_live().await;
            }
        })
        .await;
}

async fn json_of(server: &Child, body: &[u8]) -> serde_json::Value {
    json(server.packed(body.to_vec()).await).await
}

fn invalid(name: &'static str, body: Vec<u8>) -> (&'static str, Vec<u8>, u16, &'static str) {
    (name, body, 400, "invalid_activation")
}

/// Row 8: numbers of elements, tensors and bytes that would have to be allocated, and other shapes.
#[tokio::test]
async fn what_a_message_claims_is_not_allocated() {
    let server = Child::start(&[]).await;
    let before = server.held();
    let elements = elements();
    refused(
        &server,
        &[
            invalid(
                "2^32 - 1 elements",
                Forged::with(|m| m.row.elements = u32::MAX),
            ),
            invalid("2^31 elements", Forged::with(|m| m.row.elements = 1 << 31)),
            invalid(
                "elements that wrap as bytes",
                Forged::with(|m| m.row.elements = 1 << 30),
            ),
            invalid("no element", Forged::with(|m| m.row.elements = 0)),
            invalid(
                "one element more",
                Forged::with(|m| m.row.elements = elements + 1),
            ),
            invalid(
                "one element fewer",
                Forged::with(|m| m.row.elements = elements - 1),
            ),
            invalid(
                "4 GiB of payload",
                Forged::with(|m| m.row.payload_bytes = Some(u32::MAX)),
            ),
            invalid(
                "payload that wraps",
                Forged::with(|m| m.row.payload_bytes = Some(u32::MAX - 63)),
            ),
            invalid("no payload", Forged::with(|m| m.payload.clear())),
            invalid("no tensor", Forged::with(|m| m.tensors = 0)),
            invalid("17 tensors", Forged::with(|m| m.tensors = 17)),
            invalid("255 tensors", Forged::with(|m| m.tensors = u8::MAX)),
            invalid("another cut's shape", Forged::with(|m| m.cut = 1)),
            invalid("the last cut", Forged::with(|m| m.cut = last_cut())),
            invalid(
                "a cut behind the last",
                Forged::with(|m| m.cut = last_cut() + 1),
            ),
            invalid("cut 65535", Forged::with(|m| m.cut = u16::MAX)),
            invalid(
                "fp32 of another length",
                Forged::with(|m| m.row.last_code = 0),
            ),
        ],
    )
    .await;
    server.assert_peak(before, DECODER_KIB);
}

fn last_cut() -> u16 {
    u16::try_from(manifest().last_cut()).unwrap()
}

/// Row 8: photos that claim sizes.
#[tokio::test]
async fn what_a_photo_claims_is_not_allocated() {
    let server = Child::start(&[]).await;
    let sound = server.photo("image/jpeg", photo()).await;
    assert_eq!(sound.status(), 200);
    let before = server.held();
    let ppm = |size: &str| format!("P6\n{size}\n255\nxyz").into_bytes();
    let photos = [
        ppm("4294967296 4294967296"),
        ppm("65536 65536"),
        ppm("0 0"),
        ppm("-1 -1"),
        ppm("99999999999999999999 1"),
        ppm("128 128"),
        png(0x7fff_ffff, 0x7fff_ffff),
        png(0, 0),
        png(60_000, 60_000),
        b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x11\x00\x02\x11\x01\x03\x11\x01"
            .to_vec(),
        b"RIFF\xff\xff\xff\xffWEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff"
            .to_vec(),
    ];
    server
        .endures(2, async || {
            for photo in &photos {
                for media in ["image/jpeg", "image/x-portable-pixmap"] {
                    for staged in [false, true] {
                        let mut request = server
                            .client
                            .post(server.url(&format!("/v1/models/{MODEL}/infer")))
                            .header("content-type", media);
                        if staged {
                            request = request.header("dyno-photo", "staged");
                        }
                        let answer = request.body(photo.clone()).send().await.unwrap();
                        assert_client_error(answer, &["invalid_image", "too_large"]).await;
                    }
                }
                server.assert_live().await;
            }
        })
        .await;
    server.assert_peak(before, DECODER_KIB);
}

/// A PNG's header and a little of its data.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(&header);
    png.extend(crc32fast::hash(&header).to_be_bytes());
    png.extend(b"\0\0\0\x08IDAT\x78\x9c\x63\x60\x60\x60\x60\x60");
    png
}

async fn assert_client_error(answer: Response, kinds: &[&str]) {
    let status = answer.status().as_u16();
    let error = json(answer).await;
    assert!([400, 413].contains(&status), "{status}: {error}");
    let kind = error["kind"].as_str().unwrap();
    assert!(kinds.contains(&kind), "{status}: {error}");
}

/// Row 9: what another version of the format may be, named with what is read here.
#[tokio::test]
async fn an_unknown_version_or_codec_is_unsupported() {
    let server = Child::start(&[]).await;
    let unsupported = |name, body| (name, body, 415, "unsupported_activation");
    let cases = [
        unsupported("version 0", Forged::with(|m| m.version = 0)),
        unsupported("version 2", Forged::with(|m| m.version = 2)),
        unsupported("version 255", Forged::with(|m| m.version = 255)),
        unsupported("codec 4", Forged::with(|m| m.row.codec = 4)),
        unsupported("codec 255", Forged::with(|m| m.row.codec = 255)),
        invalid("another magic", Forged::with(|m| m.magic = *b"PNG")),
        invalid(
            "fp32 by the context codec",
            Forged::with(|m| {
                m.row.codec = CONTEXT;
                m.row.last_code = 0;
                m.row.lo = 0.0;
                m.row.hi = 0.0;
            }),
        ),
        // Every number of levels from 2 to 65,536 is one; the payload is then of another length.
        invalid("2 levels", Forged::with(|m| m.row.last_code = 1)),
        invalid("4 levels", Forged::with(|m| m.row.last_code = 3)),
        invalid("65536 levels", Forged::with(|m| m.row.last_code = u16::MAX)),
    ];
    refused(&server, &cases).await;
    for (change, supported) in [
        (Forged::with(|m| m.version = 9), "version 1"),
        (Forged::with(|m| m.row.codec = 9), "context"),
    ] {
        let error = json_of(&server, &change).await;
        let text = error["error"].as_str().unwrap();
        assert!(text.contains(supported), "{text}");
    }
}

/// Row 10: ranges that are none. The smallest floats are a range like any other.
#[tokio::test]
async fn a_range_that_is_none_is_invalid() {
    let server = Child::start(&[]).await;
    let range = |lo: f32, hi: f32| {
        Forged::with(|m| {
            m.row.lo = lo;
            m.row.hi = hi;
        })
    };
    refused(
        &server,
        &[
            invalid("NaN below", range(f32::NAN, 1.0)),
            invalid("NaN above", range(0.0, f32::NAN)),
            invalid("infinity above", range(0.0, f32::INFINITY)),
            invalid("infinity below", range(f32::NEG_INFINITY, 0.0)),
            invalid("upside down", range(1.0, 0.0)),
            invalid("upside down below zero", range(-1.0, -2.0)),
            invalid(
                "a range at fp32",
                Forged::with(|m| {
                    m.row.last_code = 0;
                    m.payload = vec![0; 4 * elements() as usize];
                }),
            ),
        ],
    )
    .await;
    let tiny = f32::from_bits(1);
    for (lo, hi) in [(0.0, 0.0), (-1.0, -1.0), (0.0, tiny), (f32::MIN, f32::MAX)] {
        let answer = server.packed(range(lo, hi)).await;
        assert_eq!(answer.status(), 200, "{lo} {hi}");
    }
    // At fp32 elements are what they are; a network may make infinities by itself.
    let nans = Forged::with(|m| {
        m.row = crate::bundle::ForgedRow {
            last_code: 0,
            lo: 0.0,
            hi: 0.0,
            ..m.row.clone()
        };
        m.payload = f32::NAN.to_le_bytes().repeat(elements() as usize);
    });
    assert_eq!(server.packed(nans).await.status(), 200);
}

/// Row 11: one activation has one form.
#[tokio::test]
async fn bytes_that_mean_nothing_are_invalid() {
    let server = Child::start(&[]).await;
    let trailing = Forged::with(|m| {
        m.row.payload_bytes = Some(u32::try_from(m.payload.len()).unwrap());
        m.payload.push(0);
    });
    let behind_the_crc = [&Forged::sound().bytes()[..], &[0]].concat();
    let twice = Forged::sound().bytes().repeat(2);
    let mut cases = vec![
        invalid("bytes behind the payload", trailing),
        invalid("a byte behind the checksum", behind_the_crc),
        invalid("two messages", twice),
        invalid(
            "a reserved byte of the message",
            Forged::with(|m| m.reserved = 1),
        ),
        invalid(
            "a reserved byte of the row",
            Forged::with(|m| m.row.reserved = 1),
        ),
        invalid(
            "a code above the last",
            Forged::with(|m| {
                m.row.last_code = 254;
                m.payload.fill(0xff);
            }),
        ),
        // What is not smaller than raw is written raw.
        invalid(
            "LZ4 that is longer than raw",
            Forged::with(|m| {
                m.row.codec = LZ4;
                m.payload = lz4_literals(&m.payload);
            }),
        ),
        invalid(
            "an empty payload of zstd",
            Forged::with(|m| {
                m.row.codec = ZSTD;
                m.payload.clear();
            }),
        ),
    ];
    let spare = 8 * (elements() as usize).div_ceil(8) - elements() as usize;
    if spare > 0 {
        cases.push(invalid(
            "a bit behind the last element",
            Forged::with(|m| {
                let plane = m.payload.len() / 8;
                m.payload[plane - 1] |= 0x80;
            }),
        ));
    }
    refused(&server, &cases).await;
}

/// An LZ4 block that is all literals: valid, and longer than what it holds.
fn lz4_literals(bytes: &[u8]) -> Vec<u8> {
    let mut block = vec![0xf0];
    let mut rest = bytes.len() - 15;
    while rest >= 255 {
        block.push(255);
        rest -= 255;
    }
    block.push(u8::try_from(rest).unwrap());
    block.extend(bytes);
    block
}

/// Row 12: a bit that flipped on its way.
#[tokio::test]
async fn a_checksum_that_does_not_fit_says_damaged() {
    let server = Child::start(&[]).await;
    let sound = packed(
        small_cut(),
        Precision::Levels(Levels::EIGHT_BITS),
        Codec::Zstd,
    );
    server
        .endures(2, async || {
            // The version and the magic are looked at before the checksum: they say what it is.
            for at in (4..sound.len()).step_by(sound.len() / 40 + 1) {
                let mut damaged = sound.clone();
                damaged[at] ^= 0x10;
                let answer = server.packed(damaged).await;
                let text = assert_error(answer, 400, "invalid_activation").await;
                assert!(text.contains("damaged") || at < 8, "{at}: {text}");
            }
            server.assert_live().await;
        })
        .await;
    assert_eq!(server.packed(sound).await.status(), 200);
}

/// Row 13: payloads that grow when they are unpacked.
#[tokio::test]
async fn a_payload_that_unpacks_to_more_than_the_tensor_is_invalid() {
    let server = Child::start(&[]).await;
    let planes = Forged::sound().payload.len();
    let zstd = |payload: Vec<u8>| {
        Forged::with(|m| {
            m.row.codec = ZSTD;
            m.payload = payload;
        })
    };
    let sound = server
        .packed(zstd(rle_frame(planes as u64, 7, planes)))
        .await;
    assert_eq!(sound.status(), 200, "a frame of its own size is taken");
    let before = server.held();

    let bomb = rle_frame_of_blocks(1 << 30, 8192, 128 << 10);
    assert!(bomb.len() < 64 << 10, "a gigabyte in {} bytes", bomb.len());
    // As many as fit where the payload must be shorter than the raw one.
    let most = planes / 9;
    let skippable = b"\x50\x2a\x4d\x18\x00\x00\x00\x00".repeat(most);
    let frames = rle_frame(1, 7, 1).repeat(most / 2);
    refused(
        &server,
        &[
            invalid("a gigabyte of one byte", zstd(bomb)),
            invalid(
                "one byte more",
                zstd(rle_frame(planes as u64 + 1, 7, planes + 1)),
            ),
            invalid(
                "one byte less",
                zstd(rle_frame(planes as u64 - 1, 7, planes - 1)),
            ),
            invalid("a claim of 2^62 bytes", zstd(rle_frame(1 << 62, 7, planes))),
            invalid(
                "a claim of 2^64 - 1 bytes",
                zstd(rle_frame(u64::MAX, 7, planes)),
            ),
            invalid(
                "more than it claims",
                zstd(rle_frame(planes as u64, 7, planes + 1)),
            ),
            invalid(
                "less than it claims",
                zstd(rle_frame(planes as u64, 7, planes - 1)),
            ),
            invalid("a window of 2^31", zstd(windowed_frame(21 << 3, planes))),
            invalid("a window of 2^41", zstd(windowed_frame(31 << 3, planes))),
            invalid("no size claimed", zstd(windowed_frame_without_size(planes))),
            invalid("frames that are skipped", zstd(skippable.clone())),
            invalid(
                "a frame behind skipped ones",
                zstd(
                    [
                        skippable[..80].to_vec(),
                        rle_frame(planes as u64, 7, planes),
                    ]
                    .concat(),
                ),
            ),
            invalid("a frame for each byte", zstd(frames)),
            invalid(
                "two frames",
                zstd(rle_frame(planes as u64 / 2, 7, planes / 2).repeat(2)),
            ),
            invalid("a dictionary", zstd(dictionary_frame(planes))),
            invalid("a checksum", zstd(checksum_frame(planes))),
            invalid(
                "an LZ4 bomb",
                Forged::with(|m| {
                    m.row.codec = LZ4;
                    m.payload = lz4_bomb(planes - 20);
                }),
            ),
            invalid(
                "an LZ4 block that looks back too far",
                Forged::with(|m| {
                    m.row.codec = LZ4;
                    m.payload = vec![0x1f, 7, 0xff, 0xff, 0, 0x50, 1, 2, 3, 4, 5];
                }),
            ),
            invalid(
                "lanes of the context codec that are longer than all",
                Forged::with(|m| {
                    m.row.codec = CONTEXT;
                    m.row.payload_bytes = Some(u32::MAX);
                    m.payload = vec![0xff; 16];
                }),
            ),
        ],
    )
    .await;
    server.assert_peak(before, DECODER_KIB);
}

/// zstd's frame in a single segment that claims `claimed` bytes and holds `held` times one byte
/// (RFC 8878 §3.1.1).
fn rle_frame(claimed: u64, byte: u8, held: usize) -> Vec<u8> {
    let mut frame = b"\x28\xb5\x2f\xfd".to_vec();
    // Size of 8 bytes, single segment.
    frame.push(0b1110_0000);
    frame.extend(claimed.to_le_bytes());
    frame.extend(rle_blocks(byte, held));
    frame
}

fn rle_blocks(byte: u8, held: usize) -> Vec<u8> {
    const MOST: usize = 128 << 10;
    let mut blocks = Vec::new();
    let mut left = held;
    loop {
        let now = left.min(MOST);
        left -= now;
        let block = u32::from(left == 0) | 1 << 1 | u32::try_from(now).unwrap() << 3;
        blocks.extend(&block.to_le_bytes()[..3]);
        blocks.push(byte);
        if left == 0 {
            return blocks;
        }
    }
}

fn rle_frame_of_blocks(claimed: u64, blocks: usize, bytes: usize) -> Vec<u8> {
    rle_frame(claimed, 0, blocks * bytes)
}

/// A frame with a window and a size of 8 bytes.
fn windowed_frame(window: u8, held: usize) -> Vec<u8> {
    let mut frame = b"\x28\xb5\x2f\xfd".to_vec();
    frame.push(0b1100_0000);
    frame.push(window);
    frame.extend((held as u64).to_le_bytes());
    frame.extend(rle_blocks(7, held));
    frame
}

fn windowed_frame_without_size(held: usize) -> Vec<u8> {
    let mut frame = b"\x28\xb5\x2f\xfd\x00\x50".to_vec();
    frame.extend(rle_blocks(7, held));
    frame
}

fn dictionary_frame(held: usize) -> Vec<u8> {
    let mut frame = b"\x28\xb5\x2f\xfd".to_vec();
    frame.push(0b1110_0011);
    frame.extend(1234u32.to_le_bytes());
    frame.extend((held as u64).to_le_bytes());
    frame.extend(rle_blocks(7, held));
    frame
}

/// With a checksum that does not fit.
fn checksum_frame(held: usize) -> Vec<u8> {
    let mut frame = rle_frame(held as u64, 7, held);
    frame[4] |= 0b100;
    frame.extend([0; 4]);
    frame
}

/// One byte and a match of itself that goes on for 255 times every further byte.
fn lz4_bomb(bytes: usize) -> Vec<u8> {
    let mut block = vec![0x1f, 7, 1, 0];
    block.resize(bytes, 255);
    block.extend([0, 0x50, 1, 2, 3, 4, 5]);
    block
}

/// Row 27: the same request twice is the same answer twice.
#[tokio::test]
async fn a_replayed_request_has_the_same_answer() {
    let server = Child::start(&[]).await;
    let body = packed(
        small_cut(),
        Precision::Levels(Levels::EIGHT_BITS),
        Codec::Context,
    );
    let mut answers = Vec::new();
    for _ in 0..20 {
        let answer = server.packed(body.clone()).await;
        assert_eq!(answer.status(), 200);
        let checksum = answer.headers()["dyno-crc32"].clone();
        answers.push((checksum, answer.bytes().await.unwrap()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    // Each is in the log.
    let requests = |log: &str| log.matches("/v1/models/{model}/infer").count();
    server.logs(|log| requests(log) == 20).await;
}
