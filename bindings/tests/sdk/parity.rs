//! The scenarios that Kotlin and Swift play through as well, through the facade from Rust.

use std::sync::Arc;

use crate::world::{Picture, TOKEN, World};
use dyno_sdk::{
    ClientConfig, DynoError, ErrorKind, ExecutionMode, Frame, Inference, NativeClient, NetworkKind,
    Orientation, PixelFormat, PixelLayout, Plan, RanOn, ServerConfig, YuvColour, YuvLayout,
};
use serde::Deserialize;

/// How often a row is played whose server was late, or still busy with such a play: on a busy machine
/// the device may be faster, which is not what is asked.
const MAX_PLAYS: usize = 10;

/// A row of `parity/scenarios.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    name: String,
    mode: String,
    network: String,
    input: String,
    plan: Option<String>,
    expect: Expected,
}

#[derive(Debug, Deserialize, PartialEq, Eq, Default)]
#[serde(deny_unknown_fields, default)]
struct Expected {
    ran_on: Option<String>,
    fallback: Option<String>,
    error: Option<String>,
    open_error: Option<String>,
}

#[test]
fn every_scenario_ends_as_the_table_says() {
    let world = World::new();
    let text = std::fs::read_to_string(crate::world::scenarios()).unwrap();
    let scenarios: Vec<Scenario> = serde_json::from_str(&text).unwrap();
    let mut wrong = Vec::new();
    for (index, scenario) in scenarios.iter().enumerate() {
        let picture = &world.pictures[index % world.pictures.len()];
        let ended = (0..MAX_PLAYS)
            .map(|_| play(&world, scenario, picture))
            .find(|ended| ended == &scenario.expect || !is_late(ended))
            .unwrap_or_default();
        if ended != scenario.expect {
            wrong.push(format!(
                "{}: {ended:?} instead of {:?}",
                scenario.name, scenario.expect
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} scenarios", scenarios.len());
}

fn play(world: &World, scenario: &Scenario, picture: &Picture) -> Expected {
    let client = match NativeClient::open(config(world, scenario)) {
        Ok(client) => client,
        Err(error) => {
            return Expected {
                open_error: Some(name(error.kind())),
                ..Expected::default()
            };
        }
    };
    if scenario.network == "offline" {
        client.on_network_changed(NetworkKind::None, false).unwrap();
    }
    let outcome = stage(&client, world, &scenario.input, picture)
        .and_then(|frame| block_on(client.infer(frame)));
    client.shutdown().unwrap();
    match outcome {
        Err(error) => Expected {
            error: Some(name(error.kind())),
            ..Expected::default()
        },
        Ok(inference) => {
            assert_eq!(inference.top[0].label, picture.label, "{}", scenario.name);
            ended(&inference)
        }
    }
}

fn config(world: &World, scenario: &Scenario) -> ClientConfig {
    let server = |url: &str, token: Option<&str>| {
        Some(ServerConfig {
            url: url.to_owned(),
            model: None,
            token: token.map(str::to_owned),
            root_certificate_pem: None,
        })
    };
    ClientConfig {
        bundle: world.bundle().to_string_lossy().into_owned(),
        server: match scenario.network.as_str() {
            "none" => None,
            "up" | "offline" => server(&world.up, None),
            "keyed" => server(&world.keyed, Some(TOKEN)),
            "wrong_token" => server(&world.keyed, Some("wrong")),
            "silent" => server(&world.silent, None),
            "dead" => server(&world.dead, None),
            "other" => server(&world.other, None),
            network => panic!("{network}?"),
        },
        mode: match scenario.mode.as_str() {
            "AUTO" => ExecutionMode::Auto,
            "PREFER_ON_DEVICE" => ExecutionMode::PreferOnDevice,
            "PREFER_CLOUD" => ExecutionMode::PreferCloud,
            "ONLY_ON_DEVICE" => ExecutionMode::OnlyOnDevice,
            "ONLY_CLOUD" => ExecutionMode::OnlyCloud,
            mode => panic!("{mode}?"),
        },
        objective: None,
        plan: scenario.plan.as_deref().map(plan),
        top_k: 3,
        threads: 1,
        raw_outputs: false,
        remote_deadline_max_ms: if scenario.network == "silent" {
            300
        } else {
            5000
        },
        onnxruntime: None,
    }
}

fn is_late(ended: &Expected) -> bool {
    matches!(
        ended.fallback.as_deref(),
        Some("deadline_exceeded" | "overloaded")
    )
}

/// `device`, `photo:CODEC`, `split:CUT:LEVELS:CODEC`.
fn plan(text: &str) -> Plan {
    match *text.split(':').collect::<Vec<_>>() {
        ["device"] => Plan::Device,
        ["photo", codec] => Plan::Photo {
            codec: codec.to_owned(),
        },
        ["split", cut, levels, codec] => Plan::Split {
            cut: cut.parse().unwrap(),
            levels: Some(levels.parse().unwrap()),
            codec: codec.to_owned(),
        },
        _ => panic!("{text}?"),
    }
}

fn stage(
    client: &NativeClient,
    world: &World,
    input: &str,
    picture: &Picture,
) -> Result<Arc<Frame>, DynoError> {
    let read = |form: &str| {
        std::fs::read(world.inputs().join(format!("{}.{form}", picture.name))).unwrap()
    };
    let interleaved = |format, bytes_per_pixel: u32| PixelLayout {
        width: picture.width,
        height: picture.height,
        row_stride_bytes: picture.width * bytes_per_pixel,
        format,
        orientation: Orientation::Up,
        region: None,
    };
    let yuv = |uv_row_stride_bytes, uv_pixel_stride_bytes| YuvLayout {
        width: picture.width,
        height: picture.height,
        y_row_stride_bytes: picture.width,
        uv_row_stride_bytes,
        uv_pixel_stride_bytes,
        colour: YuvColour::Bt601Full,
        orientation: Orientation::Up,
        region: None,
    };
    let luma = (picture.width * picture.height) as usize;
    let chroma_width = picture.width.div_ceil(2);
    let chroma = (chroma_width * picture.height.div_ceil(2)) as usize;
    match input {
        "rgba" => client.stage(&read("rgba"), interleaved(PixelFormat::Rgba8, 4)),
        "bgra" => client.stage(&read("bgra"), interleaved(PixelFormat::Bgra8, 4)),
        "rgb" => client.stage(&read("rgb"), interleaved(PixelFormat::Rgb8, 3)),
        "i420" => {
            let bytes = read("i420");
            let (y, uv) = bytes.split_at(luma);
            let (u, v) = uv.split_at(chroma);
            client.stage_yuv(y, u, v, yuv(chroma_width, 1))
        }
        "nv21" => {
            let bytes = read("nv21");
            let (y, vu) = bytes.split_at(luma);
            client.stage_yuv(y, &vu[1..], vu, yuv(chroma_width * 2, 2))
        }
        "encoded" => client.stage_encoded(&read("png")),
        "short_buffer" => {
            let bytes = read("rgba");
            client.stage(
                &bytes[..bytes.len() - 1],
                interleaved(PixelFormat::Rgba8, 4),
            )
        }
        "not_an_image" => client.stage_encoded(b"not an image"),
        input => panic!("{input}?"),
    }
}

fn ended(inference: &Inference) -> Expected {
    let ran_on = match inference.ran_on {
        RanOn::Device => "device",
        RanOn::Split => "split",
        RanOn::Server => "server",
    };
    Expected {
        ran_on: Some(ran_on.to_owned()),
        fallback: inference
            .fallback
            .as_ref()
            .map(|fallback| name(fallback.kind)),
        ..Expected::default()
    }
}

/// The stable name of a kind, as core and the server's JSON write it.
fn name(kind: ErrorKind) -> String {
    let same = |core: &&dyno_core::ErrorKind| ErrorKind::from(**core) == kind;
    dyno_core::ErrorKind::ALL
        .iter()
        .find(same)
        .unwrap()
        .to_string()
}

/// As on a phone, calls are polled by a thread that the SDK's runtime knows nothing of.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    futures_executor::block_on(future)
}
