//! Every route and every answer of the protocol, as `docs/protocol.md` states them.

use crate::common::{HASH, LOGITS, OUTPUTS, PACKED, assert_error, json, start};
use reqwest::StatusCode;

#[tokio::test]
async fn a_packed_activation_comes_back_as_outputs_with_times_and_load() {
    let server = start(|_| {}).await;
    let answer = server.infer("echo").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), OUTPUTS);
    assert_eq!(header("dyno-bundle"), HASH);
    assert_eq!(header("dyno-load"), "in-flight=1, capacity=4");
    let timing = header("server-timing");
    let times: Vec<_> = timing
        .split(", ")
        .map(|part| part.split_once(";dur=").unwrap())
        .collect();
    let names: Vec<_> = times.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["receive", "unpack", "queue", "infer"]);
    assert!(
        times
            .iter()
            .all(|(_, ms)| ms.parse::<f64>().unwrap() >= 0.0)
    );
    assert_eq!(times[3].1, "3.000", "as the engine said");
    let expected: Vec<u8> = LOGITS.iter().flat_map(|x| x.to_le_bytes()).collect();
    let checksum = format!("{:08x}", crc32fast::hash(&expected));
    assert_eq!(header("dyno-crc32"), checksum);
    assert_eq!(answer.bytes().await.unwrap(), expected);
}

#[tokio::test]
async fn a_photo_comes_back_as_labels() {
    let server = start(|_| {}).await;
    for (media, staged) in [
        ("image/jpeg", false),
        ("image/png", true),
        ("IMAGE/WebP; q=1", true),
    ] {
        let mut request = server.bare("photo").header("content-type", media);
        if staged {
            request = request.header("dyno-photo", "staged");
        }
        let answer = json(request.send().await.unwrap()).await;
        assert_eq!(answer["model"], "fake");
        assert_eq!(answer["bundle"], HASH);
        let top = answer["top"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert_eq!(top[0]["index"], 1);
        assert_eq!(top[0]["label"], "dog");
        assert!((top[0]["score"].as_f64().unwrap() - 0.843_79).abs() < 1e-4);
        assert_eq!(answer["ms"]["infer"], 3.0);
    }
}

#[tokio::test]
async fn the_form_of_the_answer_can_be_chosen() {
    let server = start(|_| {}).await;
    let labels = server.infer("echo").header("accept", "application/json");
    assert!(json(labels.send().await.unwrap()).await["top"].is_array());
    let raw = server
        .bare("photo")
        .header("content-type", "image/png")
        .header("accept", OUTPUTS);
    let raw = raw.send().await.unwrap();
    assert_eq!(raw.headers()["content-type"], OUTPUTS);
    assert_eq!(raw.bytes().await.unwrap().len(), 12);
    let html = server.infer("echo").header("accept", "text/html");
    assert_error(html.send().await.unwrap(), 406, "invalid_argument").await;
}

#[tokio::test]
async fn outputs_that_are_no_labels_are_described_or_sent_in_order() {
    let server = start(|_| {}).await;
    let infer = |accept: &str| {
        server
            .client
            .post(server.url("/v1/models/maps/infer"))
            .header("content-type", PACKED)
            .header("dyno-bundle", HASH)
            .header("accept", accept)
            .body("echo")
            .send()
    };
    let described = json(infer("application/json").await.unwrap()).await;
    assert_eq!(described["outputs"][0]["name"], "classes");
    assert_eq!(described["outputs"][0]["element"], "i64");
    assert_eq!(described["outputs"][0]["shape"], serde_json::json!([1, 2]));
    assert!(described["note"].as_str().unwrap().contains(OUTPUTS));
    let raw = infer(OUTPUTS).await.unwrap().bytes().await.unwrap();
    let mut expected = Vec::new();
    expected.extend(7i64.to_le_bytes());
    expected.extend((-1i64).to_le_bytes());
    expected.extend(0.5f32.to_le_bytes());
    assert_eq!(raw, expected);
}

#[tokio::test]
async fn models_are_listed_and_described() {
    let server = start(|_| {}).await;
    let list = json(server.get("/v1/models").send().await.unwrap()).await;
    assert_eq!(
        list["models"],
        serde_json::json!([{"model": "fake", "hash": HASH}, {"model": "maps", "hash": HASH}])
    );
    let answer = server.get("/v1/models/fake").send().await.unwrap();
    assert_eq!(answer.headers()["dyno-bundle"], HASH);
    let metadata = json(answer).await;
    assert_eq!(metadata["model"], "fake");
    assert_eq!(metadata["hash"], HASH);
    assert_eq!(metadata["input"]["shape"], serde_json::json!([1, 3, 4, 4]));
    assert_eq!(metadata["outputs"][0]["name"], "logits");
    assert_eq!(metadata["labels"][2], "eel");
    let cuts = metadata["cuts"].as_array().unwrap();
    assert_eq!(cuts.len(), 3);
    assert_eq!(cuts[1]["elements"], 8);
    let largest = cuts
        .iter()
        .filter_map(|cut| cut["max_activation_bytes"].as_u64());
    assert_eq!(
        largest.max(),
        metadata["limits"]["max_activation_bytes"].as_u64()
    );
    assert!(
        cuts[2].get("max_activation_bytes").is_none(),
        "nothing is left to run there"
    );
    assert_eq!(metadata["limits"]["max_photo_bytes"], 16 << 20);
}

#[tokio::test]
async fn a_bundle_is_downloaded_as_a_tar_of_known_length() {
    let server = start(|_| {}).await;
    let download = || server.get("/v1/models/fake/bundle");
    let answer = download().send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/x-tar");
    assert_eq!(answer.headers()["dyno-bundle"], HASH);
    let etag = answer.headers()["etag"].clone();
    assert_eq!(etag, format!("\"{HASH}\""));
    let promised = answer.content_length().unwrap();
    let tar = answer.bytes().await.unwrap();
    assert_eq!(tar.len() as u64, promised);
    let mut archive = tar::Archive::new(tar.as_ref());
    let files: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut content = String::new();
            std::io::Read::read_to_string(&mut entry, &mut content).unwrap();
            (name, content)
        })
        .collect();
    let file = |name: &str, content: &str| (name.to_owned(), content.to_owned());
    assert_eq!(
        files,
        [file("bundle.json", "{}"), file("model.onnx", "abc")]
    );

    let fresh = download()
        .header("if-none-match", etag)
        .send()
        .await
        .unwrap();
    assert_eq!(fresh.status(), StatusCode::NOT_MODIFIED);
    assert!(fresh.bytes().await.unwrap().is_empty());
    let other = download()
        .header("if-none-match", "\"other\"")
        .send()
        .await
        .unwrap();
    assert_eq!(other.status(), 200);
}

#[tokio::test]
async fn a_bundle_that_shrinks_under_a_download_breaks_it_off() {
    let server = start(|_| {}).await;
    std::fs::write(server.bundle_file("model.onnx"), b"a").unwrap();
    let answer = server.get("/v1/models/fake/bundle").send().await.unwrap();
    assert!(answer.bytes().await.is_err());
    server.assert_well().await;
}

#[tokio::test]
async fn health_is_told_apart() {
    let server = start(|_| {}).await;
    let live = json(server.get("/v2/health/live").send().await.unwrap()).await;
    assert_eq!(live, serde_json::json!({"live": true}));
    let ready = json(server.get("/v2/health/ready").send().await.unwrap()).await;
    assert_eq!(ready, serde_json::json!({"ready": true}));
}

#[tokio::test]
async fn what_is_not_there_is_404_in_json() {
    let server = start(|_| {}).await;
    for path in [
        "/",
        "/metrics",
        "/v1",
        "/v1/models/",
        "/v1/models/fake/other",
        "/v1/models/none",
    ] {
        let answer = server.get(path).send().await.unwrap();
        assert_error(answer, 404, "not_found").await;
    }
    let no_folder = server.get("/v1/models/maps/bundle").send().await.unwrap();
    assert_error(no_folder, 404, "not_found").await;
}

#[tokio::test]
async fn a_path_in_a_models_name_leads_nowhere() {
    let server = start(|_| {}).await;
    let long = "n".repeat(300);
    for name in [
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..%2ffake",
        "%2e%2e",
        "fake%2f..%2ffake",
        "fake%00",
        "fake%0d%0ainjected",
        "FAKE",
        "%20fake",
        "%ff%fe",
        "f%D0%B0ke",
        &long,
    ] {
        for tail in ["", "/bundle", "/infer"] {
            let url = server.url(&format!("/v1/models/{name}{tail}"));
            let request = if tail == "/infer" {
                server
                    .client
                    .post(url)
                    .header("content-type", PACKED)
                    .body("echo")
            } else {
                server.client.get(url)
            };
            let answer = request.send().await.unwrap();
            let text = assert_error(answer, 404, "not_found").await;
            assert!(!text.contains("passwd"), "the name is not echoed");
        }
    }
    server.assert_well().await;
}

#[tokio::test]
async fn another_method_is_405_and_the_right_one_is_named() {
    let server = start(|_| {}).await;
    let answer = server.get("/v1/models/fake/infer").send().await.unwrap();
    assert_eq!(answer.headers()["allow"], "POST");
    assert_error(answer, 405, "invalid_argument").await;
    let url = server.url("/v2/health/live");
    let answer = server.client.delete(url).send().await.unwrap();
    assert_eq!(answer.headers()["allow"], "GET,HEAD");
    assert_error(answer, 405, "invalid_argument").await;
}

#[tokio::test]
async fn another_bundle_is_a_mismatch_and_none_a_mistake() {
    let server = start(|_| {}).await;
    let packed = || server.bare("echo").header("content-type", PACKED);
    let other = packed().header("dyno-bundle", "f".repeat(64));
    let text = assert_error(other.send().await.unwrap(), 409, "bundle_mismatch").await;
    assert!(text.contains(HASH), "says which one it has: {text}");
    assert_error(packed().send().await.unwrap(), 400, "invalid_argument").await;
    for bad in ["", "f", &"F".repeat(64), &"g".repeat(64)] {
        let answer = packed().header("dyno-bundle", bad).send().await.unwrap();
        assert_error(answer, 400, "invalid_argument").await;
    }
    let twice = packed()
        .header("dyno-bundle", HASH)
        .header("dyno-bundle", HASH);
    assert_error(twice.send().await.unwrap(), 400, "invalid_argument").await;
    let photo = server
        .bare("photo")
        .header("content-type", "image/png")
        .header("dyno-bundle", "f".repeat(64));
    assert_error(photo.send().await.unwrap(), 409, "bundle_mismatch").await;
}

#[tokio::test]
async fn other_media_are_415() {
    let server = start(|_| {}).await;
    for media in ["application/json", "image/gif", "image/", ""] {
        let request = server.bare("echo").header("dyno-bundle", HASH);
        let answer = request.header("content-type", media).send().await.unwrap();
        assert_error(answer, 415, "invalid_argument").await;
    }
    let none = server
        .bare("echo")
        .header("dyno-bundle", HASH)
        .send()
        .await
        .unwrap();
    assert_error(none, 415, "invalid_argument").await;
    let zipped = server.infer("echo").header("content-encoding", "gzip");
    assert_error(zipped.send().await.unwrap(), 415, "invalid_argument").await;
    let photo = server.bare("photo").header("content-type", "image/png");
    let odd = photo.header("dyno-photo", "sideways");
    assert_error(odd.send().await.unwrap(), 400, "invalid_argument").await;
}

#[tokio::test]
async fn what_the_engine_finds_wrong_keeps_its_kind() {
    let server = start(|_| {}).await;
    for (body, status, kind) in [
        ("bad activation", 400, "invalid_activation"),
        ("bad codec", 415, "unsupported_activation"),
        ("bad photo", 400, "invalid_image"),
    ] {
        let answer = server.infer(body).send().await.unwrap();
        assert_eq!(answer.headers()["dyno-load"], "in-flight=0, capacity=4");
        assert_error(answer, status, kind).await;
    }
    server.assert_well().await;
}

#[tokio::test]
async fn a_failure_of_the_server_tells_an_id_and_no_details() {
    let server = start(|_| {}).await;
    for (body, kind) in [
        ("broken", "runtime"),
        ("panic", "internal"),
        ("wrong outputs", "internal"),
    ] {
        let answer = server.infer(body).send().await.unwrap();
        let id = answer.headers()["dyno-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let text = assert_error(answer, 500, kind).await;
        assert!(text.contains(&id), "{text}");
        assert!(
            !text.contains("secret") && !text.contains("as told"),
            "{text}"
        );
    }
    server.assert_well().await;
}
