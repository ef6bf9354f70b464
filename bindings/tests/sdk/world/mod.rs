//! A world for the SDK's tests in every language: the shipped model's bundle, pictures in every
//! form, and servers that work, that want a token, that hold another bundle, that say nothing, and
//! that are not there.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use dyno_core::bundle::{Draft, WriteOptions};
use dyno_core::pixels::PreprocessFile;
use dyno_server::{Config, Server};
use image::RgbImage;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

/// Lets a client in at the server that has keys.
pub const TOKEN: &str = "5f2c-sdk-tests";
/// Name of the model on every server.
const MODEL: &str = "shapes12";
/// The shipped pictures that are handed over in every form.
const PICTURES: [(&str, &str); 3] = [
    ("01_cross", "cross"),
    ("05_star", "star"),
    ("10_gear", "gear"),
];

/// Where everything is; the servers run until it is dropped.
pub struct World {
    folder: tempfile::TempDir,
    pub up: String,
    pub keyed: String,
    pub other: String,
    pub silent: String,
    pub dead: String,
    pub pictures: Vec<Picture>,
    /// Takes connections in and never answers.
    _silence: TcpListener,
    _runtime: Runtime,
}

/// A picture and what it shows.
#[derive(Clone)]
pub struct Picture {
    pub name: String,
    pub label: String,
    pub width: u32,
    pub height: u32,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bundles = folder.path().join("bundles");
        prepare(&bundles.join(MODEL), [0.5; 3]);
        let others = folder.path().join("others");
        // Another mean makes another bundle.
        prepare(&others.join(MODEL), [0.25; 3]);
        let keys = folder.path().join("keys");
        std::fs::write(&keys, format!("tests {}\n", hex(&Sha256::digest(TOKEN)))).unwrap();
        let inputs = folder.path().join("inputs");
        std::fs::create_dir(&inputs).unwrap();
        let pictures = PICTURES.map(|(name, label)| write_picture(&inputs, name, label));
        write_index(&inputs, &pictures);

        let runtime = Runtime::new().unwrap();
        let serve = |config| {
            let server = runtime.block_on(Server::bind(config)).unwrap();
            let url = format!("http://{}", server.local_addr());
            runtime.spawn(server.run(std::future::pending()));
            url
        };
        let at = |bundles: &Path| {
            let mut config = Config::new(bundles);
            config.listen = "127.0.0.1:0".parse().unwrap();
            config
        };
        let mut with_keys = at(&bundles);
        with_keys.keys = Some(keys);
        let silence = TcpListener::bind("127.0.0.1:0").unwrap();
        // Bound and let go: nobody listens there.
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        Self {
            up: serve(at(&bundles)),
            keyed: serve(with_keys),
            other: serve(at(&others)),
            silent: format!("http://{}", silence.local_addr().unwrap()),
            dead: format!("http://{}", nobody.unwrap()),
            pictures: pictures.to_vec(),
            folder,
            _silence: silence,
            _runtime: runtime,
        }
    }

    /// The folder that a server of one's own would serve.
    pub fn bundles(&self) -> PathBuf {
        self.folder.path().join("bundles")
    }

    pub fn bundle(&self) -> PathBuf {
        self.bundles().join(MODEL)
    }

    /// `NAME.rgba`, `.bgra`, `.rgb`, `.i420`, `.nv21`, `.png` for each picture, and `inputs.json`.
    pub fn inputs(&self) -> PathBuf {
        self.folder.path().join("inputs")
    }
}

/// The table that every language plays through.
pub fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/scenarios.json")
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

fn prepare(out: &Path, mean: [f32; 3]) {
    std::fs::create_dir_all(out.parent().unwrap()).unwrap();
    let toml = std::fs::read_to_string(models().join("shapes12.toml")).unwrap();
    let mut said = PreprocessFile::from_toml(&toml).unwrap();
    said.mean = Some(mean);
    let labels = std::fs::read_to_string(models().join("labels.txt")).unwrap();
    let silent = |_, _, _| {};
    let draft = Draft::read(&models().join("shapes12.onnx"), None, &silent).unwrap();
    let options = WriteOptions {
        preprocess: said.complete(&draft.input().shape).unwrap(),
        labels: labels.lines().map(str::to_owned).collect(),
        threads: 1,
        replace: false,
    };
    draft.write(out, &options, &silent).unwrap();
}

fn write_picture(folder: &Path, name: &str, label: &str) -> Picture {
    let photo = image::open(models().join(format!("samples/{name}.jpg"))).unwrap();
    let rgb = photo.into_rgb8();
    let in_order = |order: &[usize]| -> Vec<u8> {
        let pixels = rgb
            .pixels()
            .map(|pixel| [pixel[0], pixel[1], pixel[2], 255]);
        pixels
            .flat_map(|pixel| order.iter().map(move |&at| pixel[at]))
            .collect()
    };
    let (i420, nv21) = yuv(&rgb);
    let write = |form: &str, bytes: &[u8]| {
        std::fs::write(folder.join(format!("{name}.{form}")), bytes).unwrap();
    };
    write("rgba", &in_order(&[0, 1, 2, 3]));
    write("bgra", &in_order(&[2, 1, 0, 3]));
    write("rgb", rgb.as_raw());
    write("i420", &i420);
    write("nv21", &nv21);
    rgb.save(folder.join(format!("{name}.png"))).unwrap();
    Picture {
        name: name.to_owned(),
        label: label.to_owned(),
        width: rgb.width(),
        height: rgb.height(),
    }
}

/// BT.601, full range, chroma at half the size each way (of even sizes): planes, and V and U
/// interleaved.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn yuv(rgb: &RgbImage) -> (Vec<u8>, Vec<u8>) {
    let (width, height) = rgb.dimensions();
    let byte = |value: f32| value.round().clamp(0.0, 255.0) as u8;
    let channels = |x: u32, y: u32| rgb.get_pixel(x, y).0.map(f32::from);
    let mut luma = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let [r, g, b] = channels(x, y);
            luma.push(byte(0.299 * r + 0.587 * g + 0.114 * b));
        }
    }
    let (mut u, mut v) = (Vec::new(), Vec::new());
    for y in (0..height).step_by(2) {
        for x in (0..width).step_by(2) {
            let [mut r, mut g, mut b] = [0.0; 3];
            for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                let [r1, g1, b1] = channels((x + dx).min(width - 1), (y + dy).min(height - 1));
                (r, g, b) = (r + r1 / 4.0, g + g1 / 4.0, b + b1 / 4.0);
            }
            u.push(byte(128.0 - 0.168_736 * r - 0.331_264 * g + 0.5 * b));
            v.push(byte(128.0 + 0.5 * r - 0.418_688 * g - 0.081_312 * b));
        }
    }
    let interleaved: Vec<u8> = v.iter().zip(&u).flat_map(|(&v, &u)| [v, u]).collect();
    (
        [&luma[..], &u, &v].concat(),
        [&luma[..], &interleaved].concat(),
    )
}

fn write_index(folder: &Path, pictures: &[Picture]) {
    let rows: Vec<_> = pictures
        .iter()
        .map(|picture| {
            serde_json::json!({
                "name": picture.name,
                "width": picture.width,
                "height": picture.height,
                "label": picture.label,
            })
        })
        .collect();
    let text = serde_json::to_string_pretty(&rows).unwrap();
    std::fs::write(folder.join("inputs.json"), text).unwrap();
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}
