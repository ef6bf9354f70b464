//! `dyno bench server`: what it counts adds up, whatever the machine's speed.

use serde_json::Value;

use crate::fixture::{bundle, bundles, folder, models};
use crate::processes::{Server, dyno};

/// A run on the shipped model and its samples, with more flags.
fn load(flags: &[&str]) -> Value {
    let (bundle, images) = (bundle(), models().join("samples"));
    let mut arguments = vec!["bench", "server", "--json", "--bundle"];
    arguments.push(bundle.to_str().unwrap());
    arguments.extend(["--images", images.to_str().unwrap()]);
    arguments.extend(flags);
    dyno(arguments).ok().json()
}

/// The sum of a map's numbers.
fn sum(counts: &Value) -> u64 {
    let counts = counts.as_object().unwrap().values();
    counts.map(|count| count.as_u64().unwrap()).sum()
}

#[test]
fn every_request_is_accounted_for() {
    let picture = folder();
    let picture = picture.path().join("load.svg");
    let report = load(&[
        "--cuts=0,5,13",
        "--levels=4,16",
        "--codecs=lz4,context",
        "--limit=3",
        "--rate=60",
        "--percent-of-capacity=50",
        "--seconds=1",
        "--warm-up-seconds=0.2",
        "--connections=4",
        "--cancel=10%",
        "--bad=10%",
        "--plot",
        picture.to_str().unwrap(),
    ]);
    assert!(report["capacity_rps"].as_f64().unwrap() > 0.0);
    assert_eq!(report["bodies"]["cuts"], serde_json::json!([0, 5, 13]));
    assert_eq!(report["server"]["started"], true);
    let steps = report["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["alone", "saturated", "60/s", "50 %"]);
    for step in steps {
        let ordinary = step["ordinary"].as_u64().unwrap();
        // Unsent requests may be of any manner: a machine may be too slow for the rate.
        let unsent = step["unsent"].as_u64().unwrap();
        let ended = sum(&step["answers"]) + sum(&step["failures"]);
        assert!((ended..=ended + unsent).contains(&ordinary), "{step}");
        let good = step["answers"]["200"].as_u64().unwrap();
        assert_eq!(step["accepted_ms"]["count"], good, "{step}");
        assert_eq!(step["server_ms"]["infer"]["count"], good, "{step}");
        let mut offered = ordinary;
        for manner in step["misbehaved"].as_array().unwrap() {
            let due = manner["due"].as_u64().unwrap();
            offered += due;
            let answers = &manner["answers"];
            let ended = sum(answers) + sum(&manner["failures"]);
            let ended = ended + manner["cancelled"].as_u64().unwrap();
            assert!((ended..=ended + unsent).contains(&due), "{step}");
            if manner["manner"] == "bad" {
                let refused = answers.as_object().unwrap();
                // 503: even a bad body is not read where there is no room.
                let known = |status: &String| ["400", "415", "503"].contains(&status.as_str());
                assert!(refused.keys().all(known), "{manner}");
            }
        }
        assert_eq!(step["offered"], offered, "{step}");
    }
    let open = &steps[2];
    assert!(open["misbehaved"].as_array().unwrap().len() == 2, "{open}");
    let drawn = std::fs::read_to_string(picture).unwrap();
    roxmltree::Document::parse(&drawn).unwrap();
}

#[test]
fn a_server_that_runs_already_is_loaded_with_what_misbehaves() {
    let server = Server::start(bundles());
    let url = format!("http://{}", server.address);
    let report = load(&[
        "--server",
        &url,
        "--cuts=5",
        "--limit=1",
        "--rate=20",
        "--seconds=1",
        "--warm-up-seconds=0",
        "--slow-readers=50%",
        "--slow-drip=50%",
    ]);
    assert_eq!(report["server"]["started"], false);
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 1, "{report}");
    assert_eq!(steps[0]["ordinary"], 0);
    for manner in steps[0]["misbehaved"].as_array().unwrap() {
        assert!(sum(&manner["answers"]) > 0, "{manner}");
        assert_eq!(sum(&manner["failures"]), 0, "{manner}");
    }
}

#[test]
fn a_rate_or_a_cut_that_makes_no_sense_is_refused() {
    let (bundle, images) = (bundle(), models().join("samples"));
    let complaint = |flags: &[&str]| {
        let mut arguments = vec!["bench", "server", "--bundle", bundle.to_str().unwrap()];
        arguments.extend(["--images", images.to_str().unwrap()]);
        arguments.extend(flags);
        dyno(arguments).complaint(1)
    };
    assert!(complaint(&["--rate=0"]).contains("rates"));
    assert!(complaint(&["--server=http://127.0.0.1:9", "--cuts=99"]).contains("cut 99"));
    assert!(complaint(&["--cancel=60%", "--bad=60%"]).contains("100 %"));
    assert!(complaint(&["--server=https://127.0.0.1:9"]).contains("http://"));
}
