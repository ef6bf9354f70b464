//! Faults of the server's own on a request (row 30): 500 with an id and nothing else, and the next
//! request is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dyno_core::bundle::Manifest;
use dyno_core::runtime::{Activation, Cancel, Stack, TailRun};
use dyno_core::schedule::{Codec, Precision};
use dyno_core::{Result, Tensor, TensorData};
use dyno_server::{BodyKind, Model, TailEngine};

use crate::bundle::{MODEL, bundles, manifest, packed};
use crate::child::Child;
use crate::common::{self, HASH, PACKED, assert_error, classifier, client, config};

/// Panics where bodies are decoded, if it is told to.
struct Fragile(Manifest, Arc<AtomicBool>);

impl TailEngine for Fragile {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    fn entry(&self, _body: &[u8], _kind: BodyKind) -> Result<usize> {
        Ok(1)
    }

    fn decode(&self, body: &[u8], _kind: BodyKind, inputs: &mut Stack) -> Result<()> {
        assert!(!self.1.load(Ordering::SeqCst), "secret {body:?}");
        inputs.push_with(|_| Ok(()))
    }

    fn run(&self, _inputs: &Stack, _to: usize, _cancel: &Cancel) -> Result<TailRun> {
        let logits = Tensor::new(vec![1, 3], TensorData::F32(vec![0.0; 3]))?;
        Ok(TailRun {
            outputs: vec![Activation::new(self.0.last_cut(), vec![logits])],
            elapsed: Duration::ZERO,
        })
    }
}

/// Row 30: a panic while a body is unpacked, more often than there are workers and places.
#[tokio::test]
async fn a_panic_while_unpacking_costs_that_request_only() {
    let panics = Arc::new(AtomicBool::new(false));
    let engine = Fragile(classifier(), Arc::clone(&panics));
    let model = Model::new("fragile", Arc::new(engine), None).unwrap();
    let (addr, _stop, _end) = common::run(config(), vec![model]).await;
    let client = client();
    let infer = || {
        client
            .post(format!("http://{addr}/v1/models/fragile/infer"))
            .header("content-type", PACKED)
            .header("dyno-bundle", HASH)
            .body("body")
            .send()
    };
    assert_eq!(infer().await.unwrap().status(), 200);
    panics.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        let answer = infer().await.unwrap();
        let id = answer.headers()["dyno-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let text = assert_error(answer, 500, "internal").await;
        assert!(text.contains(&id) && !text.contains("secret"), "{text}");
    }
    panics.store(false, Ordering::SeqCst);
    let answer = infer().await.unwrap();
    assert_eq!(answer.status(), 200);
    let load = answer.headers()["dyno-load"].to_str().unwrap();
    assert!(load.starts_with("in-flight=1,"), "no place is lost: {load}");
}

/// Row 30: what ONNX Runtime needs of the disk it has had before the server is ready.
#[tokio::test]
async fn weights_that_go_from_the_disk_are_not_missed() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join(MODEL);
    std::fs::create_dir(&bundle).unwrap();
    for file in std::fs::read_dir(bundles().join(MODEL)).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), bundle.join(file.file_name())).unwrap();
    }
    let server = Child::start_in(folder.path(), &[]).await;
    std::fs::rename(bundle.join("weights.bin"), bundle.join("aside")).unwrap();
    let manifest = manifest();
    for cut in &manifest.cuts[..manifest.last_cut()] {
        let body = packed(cut, Precision::Raw, Codec::Raw);
        assert_eq!(server.packed(body).await.status(), 200, "cut {}", cut.index);
    }
    server.assert_live().await;
}
