//! Downloads against a real server on the loopback that behaves and misbehaves.

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::test_server::{Answer, Request, TestServer};
use super::*;

const ETAG: &str = "\"version-1\"";
const PATH: &str = "/model.onnx";

/// A file of 100,000 bytes, its hash, and a folder to put it in.
struct Fixture {
    folder: TempDir,
    content: Vec<u8>,
    sha256: String,
}

impl Fixture {
    fn new() -> Self {
        let content: Vec<u8> = (0..100_000u32)
            .flat_map(|i| (i * 7919).to_le_bytes())
            .take(100_000)
            .collect();
        Self {
            folder: tempfile::tempdir().unwrap(),
            sha256: download::hex(Sha256::new_with_prefix(&content)),
            content,
        }
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("cache").join("model.onnx")
    }

    fn part(&self) -> PathBuf {
        self.folder.path().join("cache").join("model.onnx.part")
    }

    fn leave_part(&self, content: &[u8]) {
        fs::create_dir_all(self.folder.path().join("cache")).unwrap();
        fs::write(self.part(), content).unwrap();
    }

    fn pull(&self, bases: &[&str]) -> Result<(), PullError> {
        let job = Job {
            target: self.target(),
            addresses: bases.iter().map(|base| format!("{base}{PATH}")).collect(),
            pin: Pin {
                bytes: self.content.len() as u64,
                sha256: &self.sha256,
            },
        };
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(job.run(&ProgressBar::hidden()))
    }

    fn assert_pulled(&self) {
        assert_eq!(fs::read(self.target()).unwrap(), self.content);
        let left = fs::read_dir(self.folder.path().join("cache")).unwrap();
        assert_eq!(left.count(), 1, "nothing but the model is left behind");
    }

    fn assert_nothing_left(&self) {
        let left = fs::read_dir(self.folder.path().join("cache")).unwrap();
        assert_eq!(left.count(), 0);
    }

    fn serve(&self) -> Answer {
        Answer::Serve {
            content: self.content.clone(),
            etag: ETAG,
        }
    }

    fn cut_after(&self, bytes: usize) -> Answer {
        Answer::CutAfter {
            content: self.content.clone(),
            etag: ETAG,
            bytes,
        }
    }
}

fn plain() -> Request {
    Request {
        path: PATH.to_owned(),
        ..Request::default()
    }
}

fn from(start: usize) -> Request {
    Request {
        range: Some(format!("bytes={start}-")),
        ..plain()
    }
}

#[test]
fn a_file_is_downloaded_once_and_then_found_in_the_cache() {
    let fixture = Fixture::new();
    let server = TestServer::start(vec![fixture.serve()]);
    fixture.pull(&[&server.url]).unwrap();
    fixture.assert_pulled();
    assert_eq!(server.requests(), [plain()]);
    fixture.pull(&["http://127.0.0.1:9"]).unwrap();
}

#[test]
fn a_spoilt_file_in_the_cache_is_fetched_anew() {
    let fixture = Fixture::new();
    fixture.leave_part(&[]);
    fs::write(fixture.target(), b"spoilt").unwrap();
    let server = TestServer::start(vec![fixture.serve()]);
    fixture.pull(&[&server.url]).unwrap();
    fixture.assert_pulled();
}

#[test]
fn a_download_goes_on_where_it_was_cut_off() {
    let fixture = Fixture::new();
    let server = TestServer::start(vec![
        fixture.cut_after(30_000),
        fixture.cut_after(50_000),
        fixture.serve(),
    ]);
    for expected in [30_000, 80_000] {
        let error = fixture.pull(&[&server.url]).unwrap_err();
        let PullError::CutOff { got, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(got, expected);
        assert_eq!(fs::metadata(fixture.part()).unwrap().len(), expected);
    }
    fixture.pull(&[&server.url]).unwrap();
    fixture.assert_pulled();
    let unchanged = |start| Request {
        if_range: Some(ETAG.to_owned()),
        ..from(start)
    };
    assert_eq!(
        server.requests(),
        [plain(), unchanged(30_000), unchanged(80_000)]
    );
}

#[test]
fn a_validator_makes_a_changed_file_start_over() {
    let fixture = Fixture::new();
    let server = TestServer::start(vec![fixture.serve()]);
    fixture.leave_part(b"the start of another version");
    let noted = format!("{}{PATH}\n\"version-0\"", server.url);
    fs::write(fixture.part().with_extension("part.etag"), noted).unwrap();
    fixture.pull(&[&server.url]).unwrap();
    fixture.assert_pulled();
    let conditional = Request {
        if_range: Some("\"version-0\"".to_owned()),
        ..from(28)
    };
    assert_eq!(server.requests(), [conditional]);
}

#[test]
fn a_file_of_another_length_is_refused_before_it_is_downloaded() {
    let fixture = Fixture::new();
    let server = TestServer::start(vec![Answer::Serve {
        content: fixture.content[..40_000].to_vec(),
        etag: ETAG,
    }]);
    let error = fixture.pull(&[&server.url]).unwrap_err();
    assert!(
        matches!(
            error,
            PullError::WrongLength {
                offered: 40_000,
                ..
            }
        ),
        "{error}"
    );
    fixture.assert_nothing_left();
}

#[test]
fn a_server_that_ignores_ranges_sends_all_of_it() {
    let fixture = Fixture::new();
    fixture.leave_part(&fixture.content[..10]);
    let server = TestServer::start(vec![Answer::IgnoreRange {
        content: fixture.content.clone(),
    }]);
    fixture.pull(&[&server.url]).unwrap();
    fixture.assert_pulled();
    assert_eq!(server.requests(), [from(10)]);
}

#[test]
fn a_range_that_was_not_asked_for_makes_it_start_over() {
    for odd in [
        Answer::WrongRange,
        Answer::Status("416 Range Not Satisfiable"),
    ] {
        let fixture = Fixture::new();
        fixture.leave_part(&fixture.content[..10]);
        let server = TestServer::start(vec![odd, fixture.serve()]);
        fixture.pull(&[&server.url]).unwrap();
        fixture.assert_pulled();
        assert_eq!(server.requests(), [from(10), plain()]);
    }
}

#[test]
fn a_part_that_is_too_long_is_thrown_away() {
    let fixture = Fixture::new();
    fixture.leave_part(&vec![7; fixture.content.len() + 1]);
    let server = TestServer::start(vec![fixture.serve()]);
    fixture.pull(&[&server.url]).unwrap();
    fixture.assert_pulled();
    assert_eq!(server.requests(), [plain()]);
}

#[test]
fn a_part_that_is_whole_needs_no_request() {
    let fixture = Fixture::new();
    fixture.leave_part(&fixture.content);
    fixture.pull(&["http://127.0.0.1:9"]).unwrap();
    fixture.assert_pulled();
}

#[test]
fn other_content_is_deleted_and_both_hashes_are_named() {
    let fixture = Fixture::new();
    let wrong = vec![1; fixture.content.len()];
    let wrong_sha256 = download::hex(Sha256::new_with_prefix(&wrong));
    let server = TestServer::start(vec![Answer::Serve {
        content: wrong,
        etag: ETAG,
    }]);
    let error = fixture.pull(&[&server.url]).unwrap_err();
    assert!(matches!(error, PullError::WrongHash { .. }));
    let message = error.to_string();
    assert!(
        message.contains(&fixture.sha256) && message.contains(&wrong_sha256),
        "{message}"
    );
    fixture.assert_nothing_left();
}

#[test]
fn no_more_than_the_pinned_length_is_taken() {
    let fixture = Fixture::new();
    let content = vec![1; 10 * fixture.content.len()];
    let server = TestServer::start(vec![
        Answer::IgnoreRange {
            content: content.clone(),
        },
        Answer::NoLength { content },
    ]);
    let error = fixture.pull(&[&server.url]).unwrap_err();
    assert!(
        matches!(
            error,
            PullError::WrongLength {
                offered: 1_000_000,
                ..
            }
        ),
        "{error}"
    );
    let error = fixture.pull(&[&server.url]).unwrap_err();
    assert!(matches!(error, PullError::WrongLength { .. }), "{error}");
    fixture.assert_nothing_left();
}

#[test]
fn a_body_without_a_length_is_taken_if_it_is_the_file() {
    let fixture = Fixture::new();
    let server = TestServer::start(vec![Answer::NoLength {
        content: fixture.content.clone(),
    }]);
    fixture.pull(&[&server.url]).unwrap();
    fixture.assert_pulled();
}

#[test]
fn the_next_address_is_tried_and_goes_on_with_the_part() {
    let fixture = Fixture::new();
    let first = TestServer::start(vec![fixture.cut_after(20_000)]);
    let second = TestServer::start(vec![fixture.serve()]);
    fixture.pull(&[&first.url, &second.url]).unwrap();
    fixture.assert_pulled();
    assert_eq!(second.requests(), [from(20_000)]);
}

#[test]
fn an_error_status_is_named_and_the_part_is_kept() {
    let fixture = Fixture::new();
    fixture.leave_part(&fixture.content[..10]);
    let server = TestServer::start(vec![Answer::Status("404 Not Found")]);
    let error = fixture.pull(&[&server.url]).unwrap_err().to_string();
    assert!(
        error.contains("/model.onnx answered 404 Not Found"),
        "{error}"
    );
    assert_eq!(fs::read(fixture.part()).unwrap(), &fixture.content[..10]);
}

#[test]
fn a_server_that_is_not_there_is_unreachable() {
    let fixture = Fixture::new();
    let server = TestServer::start(vec![]);
    let url = server.url.clone();
    server.requests();
    let error = fixture.pull(&[&url]).unwrap_err();
    assert!(matches!(error, PullError::Unreachable { .. }), "{error}");
}

#[test]
fn two_downloads_of_one_file_do_not_mix() {
    let fixture = Fixture::new();
    fixture.leave_part(&[]);
    let other = fs::File::open(fixture.part()).unwrap();
    other.lock().unwrap();
    let error = fixture.pull(&["http://127.0.0.1:9"]).unwrap_err();
    assert!(matches!(error, PullError::Busy { .. }), "{error}");
}

#[test]
fn hints_are_left_beside_the_model_but_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let model = &MODELS[0];
    let target = folder.path().join(model.file_name());
    let hints = folder.path().join(format!("{}.toml", model.name));
    write_hints(model, &target).unwrap();
    assert_eq!(fs::read_to_string(&hints).unwrap(), model.preprocess);
    fs::write(&hints, "edited").unwrap();
    write_hints(model, &target).unwrap();
    assert_eq!(fs::read_to_string(&hints).unwrap(), "edited");
}
