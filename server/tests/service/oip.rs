//! The Open Inference Protocol over REST: metadata, the three forms of a request, and what is refused.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{
    HASH, LOGITS, TestServer, assert_error, client, config, json, manifest, spec, start,
};
use dyno_core::bundle::Manifest;
use dyno_core::runtime::{Activation, Cancel, Stack, TailRun};
use dyno_core::{ElementType, Result, TensorData};
use dyno_server::{BodyKind, Model, TailEngine};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

const JSON_BYTES: &str = "inference-header-content-length";
/// Elements of the input of the models in `common`.
const ELEMENTS: u16 = 3 * 4 * 4;

fn elements() -> Vec<f32> {
    (0..ELEMENTS).map(f32::from).collect()
}

fn bytes() -> Vec<u8> {
    TensorData::F32(elements()).to_le_bytes()
}

/// A request in JSON, for `common`'s models.
fn request() -> Value {
    json!({
        "inputs": [{
            "name": "input", "shape": [1, 3, 4, 4], "datatype": "FP32", "data": elements(),
        }],
    })
}

/// The same with the elements as bytes behind it, and how much of it is JSON.
fn binary(mut request: Value) -> (Vec<u8>, usize) {
    let input = request["inputs"][0].as_object_mut().unwrap();
    input.remove("data");
    input.insert(
        "parameters".into(),
        json!({"binary_data_size": 4 * ELEMENTS}),
    );
    let json = serde_json::to_vec(&request).unwrap();
    let json_bytes = json.len();
    ([json, bytes()].concat(), json_bytes)
}

trait Ask {
    fn ask(&self, model: &str, body: &Value) -> RequestBuilder;
    fn ask_raw(&self, model: &str, body: Vec<u8>, json_bytes: &str) -> RequestBuilder;
}

impl Ask for TestServer {
    fn ask(&self, model: &str, body: &Value) -> RequestBuilder {
        let url = self.url(&format!("/v2/models/{model}/infer"));
        self.client.post(url).body(body.to_string())
    }

    fn ask_raw(&self, model: &str, body: Vec<u8>, json_bytes: &str) -> RequestBuilder {
        let url = self.url(&format!("/v2/models/{model}/infer"));
        self.client
            .post(url)
            .header(JSON_BYTES, json_bytes)
            .body(body)
    }
}

/// An answer's JSON and the bytes behind it.
async fn parts(response: Response) -> (Value, Vec<u8>) {
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["content-type"],
        "application/octet-stream"
    );
    let length: usize = response.headers()[JSON_BYTES]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let body = response.bytes().await.unwrap();
    let (json, tail) = body.split_at(length);
    (serde_json::from_slice(json).unwrap(), tail.to_vec())
}

#[tokio::test]
async fn the_server_and_its_models_describe_themselves() {
    let server = start(|_| ()).await;
    let about = json(server.get("/v2").send().await.unwrap()).await;
    assert_eq!(
        about,
        json!({
            "name": "dyno-server",
            "version": env!("CARGO_PKG_VERSION"),
            "extensions": ["binary_tensor_data"],
        })
    );
    let model = json!({
        "name": "maps",
        "versions": [HASH],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 3, 4, 4]}],
        "outputs": [
            {"name": "classes", "datatype": "INT64", "shape": [1, 2]},
            {"name": "scores", "datatype": "FP32", "shape": [1]},
        ],
    });
    for path in [
        "/v2/models/maps".into(),
        format!("/v2/models/maps/versions/{HASH}"),
    ] {
        assert_eq!(json(server.get(&path).send().await.unwrap()).await, model);
        let ready = server.get(&format!("{path}/ready")).send().await.unwrap();
        assert_eq!(ready.status(), 200);
        assert_eq!(json(ready).await, json!({"name": "maps", "ready": true}));
    }
    for path in [
        "/v2/models/other",
        "/v2/models/other/ready",
        "/v2/models/maps/versions/1",
        "/v2/models/maps/versions/-1/ready",
        "/v2/models/maps/versions/99999999999999999999",
        "/v2/models/%2e%2e%2f/ready",
        "/v2/models",
        "/v2/models/maps/versions",
    ] {
        assert_error(server.get(path).send().await.unwrap(), 404, "not_found").await;
    }
}

#[tokio::test]
async fn a_model_that_is_not_warm_is_not_ready() {
    let (model, warm) = crate::common::cold("cold");
    let (addr, _stop, _end) = crate::common::run(config(), vec![model]).await;
    let client = client();
    let url = format!("http://{addr}/v2/models/cold/ready");
    let ready = async || client.get(&url).send().await.unwrap().status().as_u16();
    assert_eq!(ready().await, 503);
    warm.send(Ok(())).unwrap();
    crate::common::until(async || ready().await == 200).await;
}

#[tokio::test]
async fn all_forms_of_a_request_have_one_answer() {
    let server = start(|_| ()).await;
    let mut ask = request();
    ask["id"] = json!("a \"7\" \u{1f980}");
    let expected = json!({
        "model_name": "fake",
        "model_version": HASH,
        "id": "a \"7\" \u{1f980}",
        "outputs": [
            {"name": "logits", "datatype": "FP32", "shape": [1, 3], "data": LOGITS},
        ],
    });
    let plain = server.ask("fake", &ask).send().await.unwrap();
    for header in ["server-timing", "dyno-load", "dyno-request-id"] {
        assert!(plain.headers().contains_key(header), "{header}");
    }
    assert_eq!(plain.headers()["dyno-bundle"], HASH);
    assert_eq!(json(plain).await, expected);

    let (body, json_bytes) = binary(ask.clone());
    let answer = server.ask_raw("fake", body, &json_bytes.to_string());
    assert_eq!(json(answer.send().await.unwrap()).await, expected);

    let url = server.url(&format!("/v2/models/fake/versions/{HASH}/infer"));
    let answer = server.client.post(url).body(ask.to_string()).send().await;
    assert_eq!(json(answer.unwrap()).await, expected);

    ask["parameters"] = json!({"binary_data_output": true});
    let raw_outputs = TensorData::F32(LOGITS.to_vec()).to_le_bytes();
    let row = json!([{
        "name": "logits", "datatype": "FP32", "shape": [1, 3],
        "parameters": {"binary_data_size": 12},
    }]);
    let (head, tail) = parts(server.ask("fake", &ask).send().await.unwrap()).await;
    assert_eq!((&head["outputs"], &tail), (&row, &raw_outputs));
    assert_eq!(head["id"], expected["id"]);
    let raw = server.ask_raw("fake", bytes(), "0").send().await.unwrap();
    let (head, tail) = parts(raw).await;
    assert_eq!((&head["outputs"], &tail), (&row, &raw_outputs));
    assert_eq!(head.get("id"), None);
}

#[tokio::test]
async fn outputs_come_in_the_order_and_form_asked_for() {
    let server = start(|_| ()).await;
    let mut ask = request();
    ask["outputs"] = json!([
        {"name": "scores", "parameters": {"binary_data": true}},
        {"name": "classes"},
    ]);
    let (head, tail) = parts(server.ask("maps", &ask).send().await.unwrap()).await;
    assert_eq!(
        head["outputs"],
        json!([
            {"name": "scores", "datatype": "FP32", "shape": [1],
             "parameters": {"binary_data_size": 4}},
            {"name": "classes", "datatype": "INT64", "shape": [1, 2], "data": [7, -1]},
        ])
    );
    assert_eq!(tail, 0.5f32.to_le_bytes());
}

/// Gives back what it was given, so that a test sees it.
struct Echo(Manifest);

impl TailEngine for Echo {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    fn run(&self, inputs: &Stack, to: usize, _cancel: &Cancel) -> Result<TailRun> {
        let echo = |index| Activation {
            cut: to,
            ..inputs.activation(index).unwrap()
        };
        Ok(TailRun {
            outputs: (0..inputs.len()).map(echo).collect(),
            elapsed: Duration::ZERO,
        })
    }
}

#[tokio::test]
async fn elements_arrive_as_they_were_sent() {
    let same = spec("same", ElementType::F32, &[1, 3, 4, 4]);
    let engine = Arc::new(Echo(manifest(vec![same], &[])));
    let models = vec![Model::new("echo", engine, None).unwrap()];
    let (addr, _stop, _end) = crate::common::run(config(), models).await;
    let url = format!("http://{addr}/v2/models/echo/infer");
    let client = client();

    let mut ask = request();
    let values: Vec<f32> = [0.1, -0.0, 1.5e-42, f32::MAX, f32::MIN_POSITIVE, 1.0 / 3.0]
        .into_iter()
        .cycle()
        .take(ELEMENTS.into())
        .collect();
    ask["inputs"][0]["data"] = json!(values);
    let answer = client
        .post(&url)
        .body(ask.to_string())
        .send()
        .await
        .unwrap();
    let answer = json(answer).await;
    let back: Vec<f32> = serde_json::from_value(answer["outputs"][0]["data"].clone()).unwrap();
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&back), bits(&values));

    let mut odd = values;
    odd[7] = f32::NAN;
    odd[8] = f32::INFINITY;
    let sent = TensorData::F32(odd).to_le_bytes();
    let answer = client.post(&url).header(JSON_BYTES, "0").body(sent.clone());
    let (_, tail) = parts(answer.send().await.unwrap()).await;
    assert_eq!(tail, sent);

    let (body, json_bytes) = binary(request());
    let body = [&body[..json_bytes], &sent].concat();
    let answer = client.post(&url).header(JSON_BYTES, json_bytes).body(body);
    let text = assert_error(answer.send().await.unwrap(), 400, "invalid_argument").await;
    assert!(text.contains("binary_data"), "{text}");
}

#[tokio::test]
async fn bad_requests_are_refused_before_they_run() {
    let server = start(|_| ()).await;
    let with = |path: &str, value: Value| {
        let mut ask = request();
        *ask.pointer_mut(path).unwrap() = value;
        ask.to_string().into_bytes()
    };
    let input = request()["inputs"][0].clone();
    let (good, json_bytes) = binary(request());
    let cases: Vec<(Vec<u8>, Option<String>)> = vec![
        (b"".to_vec(), None),
        (b"{}".to_vec(), None),
        (vec![b'['; 60_000], None),
        (br#"{"a":"#.repeat(10_000), None),
        (vec![0xff; 100], None),
        (with("/inputs", json!([])), None),
        (with("/inputs", json!([input, input])), None),
        (with("/inputs/0/name", json!("other")), None),
        (with("/inputs/0/datatype", json!("FP16")), None),
        (with("/inputs/0/shape", json!([1, 3, 4, 5])), None),
        (with("/inputs/0/shape", json!([-1, 3, 4, 4])), None),
        (with("/inputs/0/shape", json!([0, 3, 4, 4])), None),
        (
            with(
                "/inputs/0/shape",
                json!([4_294_967_296_u64, 4_294_967_296_u64]),
            ),
            None,
        ),
        (with("/inputs/0/data", json!([1, 2])), None),
        (with("/inputs/0/data", json!([null])), None),
        (good.clone(), None),
        (good.clone(), Some((json_bytes + 1).to_string())),
        (good.clone(), Some((json_bytes - 1).to_string())),
        (good.clone(), Some("99999999999".into())),
        (good.clone(), Some("18446744073709551616".into())),
        (good.clone(), Some("-1".into())),
        (good.clone(), Some("+5".into())),
        (good.clone(), Some(String::new())),
        (
            good[..good.len() - 1].to_vec(),
            Some(json_bytes.to_string()),
        ),
        ([&good[..], b"x"].concat(), Some(json_bytes.to_string())),
        (bytes()[1..].to_vec(), Some("0".into())),
    ];
    for (body, json_bytes) in cases {
        let mut ask = server.client.post(server.url("/v2/models/fake/infer"));
        if let Some(json_bytes) = &json_bytes {
            ask = ask.header(JSON_BYTES, json_bytes);
        }
        let answer = ask.body(body).send().await.unwrap();
        assert_error(answer, 400, "invalid_argument").await;
    }
    assert_eq!(server.runs.load(std::sync::atomic::Ordering::SeqCst), 0);
    server.assert_well().await;
}

#[tokio::test]
async fn bodies_have_a_length_and_a_limit() {
    let server = start(|_| ()).await;
    let limit = server.limit("max_tensor_request_bytes").await;
    assert_eq!(limit, 32 * usize::from(ELEMENTS) + 65_536);
    let padded = |length: usize| {
        let mut body = request().to_string().into_bytes();
        body.resize(length, b' ');
        body
    };
    let url = server.url("/v2/models/fake/infer");
    let answer = server.client.post(&url).body(padded(limit)).send().await;
    assert_eq!(answer.unwrap().status(), 200);
    let answer = server
        .client
        .post(&url)
        .body(padded(limit + 1))
        .send()
        .await;
    assert_error(answer.unwrap(), 413, "too_large").await;
    let endless = futures_util::stream::iter([Ok::<_, std::io::Error>("{}")]);
    let endless = reqwest::Body::wrap_stream(endless);
    let answer = server.client.post(&url).body(endless).send().await.unwrap();
    assert_error(answer, 411, "invalid_argument").await;
    let zipped = server
        .ask("fake", &request())
        .header("content-encoding", "gzip");
    assert_error(zipped.send().await.unwrap(), 415, "invalid_argument").await;
    server.assert_well().await;
}

#[tokio::test]
async fn a_timeout_and_a_bundle_are_heeded() {
    let server = start(|_| ()).await;
    let mut ask = request();
    ask["parameters"] = json!({"timeout": 1});
    let late = server.ask("fake", &ask).send().await.unwrap();
    assert_error(late, 504, "deadline_exceeded").await;
    ask["parameters"] = json!({"timeout": u64::MAX});
    assert_eq!(server.ask("fake", &ask).send().await.unwrap().status(), 200);
    let other = server
        .ask("fake", &request())
        .header("dyno-bundle", "0".repeat(64));
    assert_error(other.send().await.unwrap(), 409, "bundle_mismatch").await;
    let missing = server.ask("other", &request()).send().await.unwrap();
    assert_error(missing, 404, "not_found").await;
}

#[tokio::test]
async fn a_full_server_refuses_and_a_stranger_learns_nothing() {
    let mut server = start(|config| config.max_in_flight = std::num::NonZeroU16::new(1)).await;
    let waiting = server.infer("wait").send();
    let waiting = tokio::spawn(waiting);
    server.heard("entered").await;
    let refused = server.ask("fake", &request()).send().await.unwrap();
    assert_error(refused, 503, "overloaded").await;
    server.release();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);

    let keys = crate::common::keys_file();
    let guarded = start(|config| config.keys = Some(keys.path().into())).await;
    for path in [
        "/v2",
        "/v2/models/fake",
        "/v2/models/fake/ready",
        "/v2/models/other",
    ] {
        let answer = guarded.get(path).send().await.unwrap();
        assert_error(answer, 401, "unauthorized").await;
    }
    let stranger = guarded.ask("fake", &request()).send().await.unwrap();
    assert_error(stranger, 401, "unauthorized").await;
    let known = guarded
        .ask("fake", &request())
        .bearer_auth(crate::common::SESAME);
    assert_eq!(known.send().await.unwrap().status(), 200);
}

/// The trait object's decode is the real one.
#[test]
fn the_input_tensor_is_a_body_of_its_own() {
    let echo = Echo(manifest(
        vec![spec("same", ElementType::F32, &[1, 3, 4, 4])],
        &[],
    ));
    let mut inputs = Stack::default();
    inputs.begin(&echo.manifest().cuts[0]).unwrap();
    let mut decode = |body: &[u8]| echo.decode(body, BodyKind::Tensor, &mut inputs);
    decode(&bytes()).unwrap();
    assert!(decode(&bytes()[1..]).is_err());
    assert_eq!(
        (inputs.len(), inputs.get(0)),
        (1, Some(vec![&elements()[..]]))
    );
}
