//! TLS between the two programs: trusted when told so, and never silently done without.

use crate::fixture::{assert_right, bundles, folder, infer, photos, samples};
use crate::processes::{Server, dyno, refused_server};

#[test]
fn a_certificate_that_the_client_was_given_is_trusted_and_no_other() {
    let folder = folder();
    let (certificate, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let tls = ["--tls-cert", certificate, "--tls-key", key];
    let server = Server::start_with(bundles(), &tls);
    let base = format!("https://localhost:{}", server.address.port());

    let trusting = ["--server", &base, "--root-certificate", certificate];
    let flags = [&trusting[..], &["--mode", "ONLY_CLOUD", "--cut", "9"]].concat();
    let lines = infer(&flags, &photos(3)).ok().json_lines();
    assert_right(&lines, &samples()[..3]);
    assert!(
        lines.iter().all(|line| line["ran_on"] == "split"),
        "{lines:?}"
    );

    let lines = infer(&["--server", &base, "--cut", "9"], &photos(1))
        .ok()
        .json_lines();
    assert_eq!(lines[0]["ran_on"], "device");
    assert_eq!(lines[0]["fallback"]["kind"], "unreachable");

    let out = folder.path().join("shapes12");
    let out = out.to_str().unwrap();
    let fetch = ["fetch", "--server", &base, "shapes12", "--out", out];
    let complaint = dyno(fetch).complaint(1);
    assert!(complaint.contains("shapes12/bundle"), "{complaint}");
    dyno([&fetch[..], &["--root-certificate", certificate]].concat()).ok();

    let plain = format!("http://localhost:{}", server.address.port());
    let lines = infer(&["--server", &plain, "--cut", "9"], &photos(1))
        .ok()
        .json_lines();
    assert_eq!(lines[0]["fallback"]["kind"], "unreachable");
}

#[test]
fn a_root_certificate_that_is_none_is_refused() {
    let base = "https://localhost:1";
    let photo = photos(1).remove(0);
    let file = photo.to_str().unwrap();
    let flags = ["--server", base, "--root-certificate", file];
    let complaint = infer(&flags, &photos(1)).complaint(1);
    assert!(complaint.contains("certificate"), "{complaint}");
}

#[test]
fn other_machines_are_not_served_in_the_clear() {
    let (code, log) = refused_server(bundles(), &["--listen", "0.0.0.0:0"]);
    assert_eq!(code, Some(1), "{log}");
    for flag in ["--tls-cert", "--tls-key", "--allow-plaintext"] {
        assert!(log.contains(flag), "{log}");
    }
    assert!(!log.contains('\x1b'), "colours in a file: {log}");
}
