//! The server to whoever speaks HTTP/2 to it: what `curl` shows.

use crate::fixture::{LAST_CUT, MODEL, bundle, bundles, hash, photos, samples};
use crate::http::{get, post};
use crate::processes::Server;

#[test]
fn health_models_and_metadata() {
    let server = Server::start(bundles());
    assert_eq!(get(&server.url("/v2/health/live")).json()["live"], true);
    assert_eq!(get(&server.url("/v2/health/ready")).json()["ready"], true);

    let models = get(&server.url("/v1/models")).json();
    let listed = serde_json::json!([{"model": MODEL, "hash": hash(&bundle())}]);
    assert_eq!(models["models"], listed);

    let model = get(&server.url("/v1/models/shapes12")).json();
    assert_eq!(model["hash"], hash(&bundle()));
    assert_eq!(model["labels"].as_array().unwrap().len(), 12);
    let cuts = model["cuts"].as_array().unwrap();
    assert_eq!(cuts.len() as u64, LAST_CUT + 1);
    assert_eq!(cuts[1]["elements"], 16 * 64 * 64);
    assert!(model["limits"]["max_photo_bytes"].is_u64());
}

#[test]
fn a_photo_gets_labels() {
    let server = Server::start(bundles());
    for sample in samples().iter().take(3) {
        let answer = post(
            &server.url("/v1/models/shapes12/infer"),
            &[
                ("content-type", "image/jpeg"),
                ("accept", "application/json"),
            ],
            std::fs::read(&sample.file).unwrap(),
        );
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        assert_eq!(body["top"][0]["label"], sample.name);
        assert_eq!(body["top"][0]["index"], sample.class);
        assert_eq!(body["bundle"], hash(&bundle()));
        assert!(answer.headers.contains_key("server-timing"));
        assert!(answer.headers.contains_key("dyno-load"));
    }
}

#[test]
fn refusals_are_json_with_a_kind() {
    let server = Server::start(bundles());
    let photo = std::fs::read(&photos(1)[0]).unwrap();
    let jpeg = [("content-type", "image/jpeg")];
    let activation = [
        ("content-type", "application/vnd.dyno.activation"),
        ("dyno-bundle", &hash(&bundle())),
    ];
    for (path, headers, body, status, kind) in [
        (
            "/v1/models/nobody/infer",
            &jpeg[..],
            &photo[..],
            404,
            "not_found",
        ),
        (
            "/v1/models/..%2f..%2fetc/infer",
            &jpeg,
            &photo,
            404,
            "not_found",
        ),
        (
            "/v1/models/shapes12/infer",
            &jpeg,
            b"no photo",
            400,
            "invalid_image",
        ),
        (
            "/v1/models/shapes12/infer",
            &activation,
            &photo,
            400,
            "invalid_activation",
        ),
        (
            "/v1/models/shapes12/infer",
            &jpeg,
            &vec![0; 17 << 20],
            413,
            "too_large",
        ),
    ] {
        let answer = post(&server.url(path), headers, body.to_vec());
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(answer.json()["kind"], kind, "{path}");
        assert!(!answer.json()["error"].as_str().unwrap().is_empty());
    }
    assert_eq!(get(&server.url("/v2/health/ready")).status, 200);
}
