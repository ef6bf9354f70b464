//! The real process and its signals: it drains under load, and takes new bundles on SIGHUP.

use std::error::Error as _;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::shapes::{copy, photo, put, versions};
use crate::common::{OUTPUTS, PACKED, PATIENCE, crypto, json, until};
use bytes::Bytes;
use h2::client::SendRequest;
use reqwest::{Client, RequestBuilder, Response};
use tokio::net::TcpStream;

const MODEL: &str = "shapes";

struct Process {
    child: Child,
    addr: SocketAddr,
    log: tempfile::NamedTempFile,
}

impl Process {
    async fn start(bundles: &Path, flags: &[&str]) -> Self {
        Self::start_with(bundles, flags, &[]).await
    }

    /// With these variables of its environment.
    async fn start_with(bundles: &Path, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_dyno-server"))
            .env_remove("GLIBC_TUNABLES")
            .envs(variables.iter().copied())
            .args([
                "--listen",
                "127.0.0.1:0",
                "--workers",
                "2",
                "--max-in-flight",
                "64",
            ])
            .arg("--bundles")
            .arg(bundles)
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let addr = line.trim().strip_prefix("listening on ");
        let process = Self {
            addr: addr.unwrap_or_else(|| panic!("{line}")).parse().unwrap(),
            child,
            log,
        };
        let client = client();
        let ready = process.url("/v2/health/ready");
        until(async || client.get(&ready).send().await.unwrap().status() == 200).await;
        process
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    async fn end(&mut self) -> ExitStatus {
        let mut status = None;
        until(async || {
            tokio::time::sleep(Duration::from_millis(5)).await;
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that shows what reqwest would mend by itself.
fn client() -> Client {
    crypto();
    Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .timeout(PATIENCE)
        .retry(reqwest::retry::never())
        .build()
        .unwrap()
}

/// Whether the protocol says that the server has not begun with the request, so that it may be sent
/// to another one (RFC 9113 §8.7), or that it was never sent.
fn is_refusal(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.reason() == Some(h2::Reason::REFUSED_STREAM)
                || (error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR));
        }
        if error
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_canceled)
        {
            return true;
        }
        cause = error.source();
    }
    error.is_connect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_loses_no_request() {
    const CLIENTS: usize = 8;
    /// Requests that each client makes before and after the move.
    const REQUESTS: usize = 12;

    let bundles = tempfile::tempdir().unwrap();
    copy(&versions()[0].folder, &bundles.path().join(MODEL));
    // However slow this machine is: nobody is refused for the queue.
    let patient = ["--max-queue-wait", "30s"];
    let flags = [&["--drain-delay", "200ms"], &patient[..]].concat();
    let mut leaving = Process::start(bundles.path(), &flags).await;
    let staying = Process::start(bundles.path(), &patient).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let refused = Arc::new(AtomicUsize::new(0));
    let hammers: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let urls = [&leaving, &staying].map(|p| p.url("/v1/models/shapes/infer"));
            let (answered, refused) = (Arc::clone(&answered), Arc::clone(&refused));
            tokio::spawn(async move {
                let client = client();
                let (mut server, mut turn, mut moved) = (0, number, 0);
                while moved < REQUESTS {
                    turn += 1;
                    match request(&client, &urls[server], turn).send().await {
                        Ok(response) if response.status() == 503 && server == 0 => {
                            assert!(response.headers().contains_key("retry-after"));
                            server = 1;
                        }
                        Ok(response) => {
                            whole(response).await;
                            answered.fetch_add(1, Ordering::Relaxed);
                            moved += server;
                        }
                        Err(error) => {
                            assert!(server == 0 && is_refusal(&error), "lost: {error:?}");
                            refused.fetch_add(1, Ordering::Relaxed);
                            server = 1;
                        }
                    }
                }
            })
        })
        .collect();
    until(async || {
        tokio::task::yield_now().await;
        answered.load(Ordering::Relaxed) >= CLIENTS * REQUESTS
    })
    .await;
    leaving.signal("TERM");
    let status = leaving.end().await;
    for hammer in hammers {
        hammer.await.unwrap();
    }
    println!(
        "{} answered, {} refused by the protocol",
        answered.load(Ordering::Relaxed),
        refused.load(Ordering::Relaxed)
    );
    assert_eq!(status.code(), Some(0), "{}", leaving.log());
}

fn request(client: &Client, url: &str, turn: usize) -> RequestBuilder {
    let version = &versions()[0];
    let post = client.post(url).header("accept", OUTPUTS);
    if turn.is_multiple_of(4) {
        return post.header("content-type", "image/jpeg").body(photo());
    }
    post.header("content-type", PACKED)
        .header("dyno-bundle", &version.hash)
        .body(version.packed[turn % version.packed.len()].clone())
}

/// The answer is there to its last byte.
async fn whole(response: Response) {
    assert_eq!(response.status(), 200, "{response:?}");
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    let checksum = u32::from_str_radix(&header("dyno-crc32"), 16).unwrap();
    assert_eq!(header("dyno-bundle"), versions()[0].hash);
    let body = response.bytes().await.unwrap();
    assert_eq!(crc32fast::hash(&body), checksum);
}

#[tokio::test]
async fn an_upload_under_way_is_answered_and_idle_connections_are_not_waited_for() {
    let bundles = tempfile::tempdir().unwrap();
    copy(&versions()[0].folder, &bundles.path().join(MODEL));
    let patient = ["--drain-timeout", "60m", "--body-idle-timeout", "60m"];
    let mut server = Process::start(bundles.path(), &patient).await;
    // One that speaks HTTP/2 once, and never again.
    let mut silent = TcpStream::connect(server.addr).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    tokio::io::AsyncWriteExt::write_all(&mut silent, preface)
        .await
        .unwrap();

    let tcp = TcpStream::connect(server.addr).await.unwrap();
    let (send, connection) = h2::client::handshake(tcp).await.unwrap();
    let ended = tokio::spawn(connection);
    let mut send: SendRequest<Bytes> = send.ready().await.unwrap();
    let photo = Bytes::from(photo());
    let post = http::Request::post(server.url("/v1/models/shapes/infer"))
        .header("content-type", "image/jpeg")
        .header("content-length", photo.len())
        .body(())
        .unwrap();
    let (answer, mut body) = send.send_request(post, false).unwrap();
    let half = photo.len() / 2;
    body.send_data(photo.slice(..half), false).unwrap();
    // The server has the request once it counts two.
    let client = client();
    let load = async || {
        let probe = client
            .post(server.url("/v1/probe"))
            .body("x")
            .send()
            .await
            .unwrap();
        probe.headers()["dyno-load"].to_str().unwrap().to_owned()
    };
    until(async || load().await.starts_with("in-flight=2,")).await;

    server.signal("TERM");
    // The connection is told to go while its request goes on.
    until(async || send.clone().ready().await.is_err()).await;
    until(async || TcpStream::connect(server.addr).await.is_err()).await;
    body.send_data(photo.slice(half..), true).unwrap();
    let answer = tokio::time::timeout(PATIENCE, answer)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.status(), 200);
    let mut outputs = answer.into_body();
    assert!(outputs.data().await.unwrap().is_ok());
    ended.await.unwrap().unwrap();
    assert_eq!(server.end().await.code(), Some(0), "{}", server.log());
}

#[tokio::test]
async fn what_outlasts_the_drain_is_counted_in_the_log() {
    let bundles = tempfile::tempdir().unwrap();
    copy(&versions()[0].folder, &bundles.path().join(MODEL));
    let mut server = Process::start(bundles.path(), &["--drain-timeout", "50ms"]).await;
    let tcp = TcpStream::connect(server.addr).await.unwrap();
    let (send, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    let mut send: SendRequest<Bytes> = send.ready().await.unwrap();
    let post = || {
        http::Request::post(server.url("/v1/probe"))
            .header("content-length", 4)
            .body(())
            .unwrap()
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(send.send_request(post(), false).unwrap());
    }
    let client = client();
    let load = async || {
        let probe = client
            .post(server.url("/v1/probe"))
            .body("x")
            .send()
            .await
            .unwrap();
        probe.headers()["dyno-load"].to_str().unwrap().to_owned()
    };
    until(async || load().await.starts_with("in-flight=4,")).await;
    server.signal("TERM");
    assert_eq!(server.end().await.code(), Some(1));
    assert!(
        server.log().contains("3 requests were still under way"),
        "{}",
        server.log()
    );
}

#[tokio::test]
async fn a_hangup_takes_the_new_bundle() {
    let [first, second] = versions();
    let bundles = tempfile::tempdir().unwrap();
    put(&first.folder, &bundles.path().join(MODEL));
    let mut server = Process::start(bundles.path(), &["--reload-interval", "0s"]).await;
    let client = client();
    let hash = async || {
        let model = client
            .get(server.url("/v1/models/shapes"))
            .send()
            .await
            .unwrap();
        json(model).await["hash"].as_str().unwrap().to_owned()
    };
    assert_eq!(hash().await, first.hash);
    put(&second.folder, &bundles.path().join(MODEL));
    server.signal("HUP");
    until(async || hash().await == second.hash).await;
    server.signal("TERM");
    assert_eq!(server.end().await.code(), Some(0), "{}", server.log());
    let log = server.log();
    assert!(
        log.contains("model taken") && log.contains(&second.hash),
        "{log}"
    );
}

/// Starting again with another environment is all that puts a heap on huge pages; tunables of somebody else's are left alone.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[tokio::test]
async fn memory_is_on_huge_pages_unless_it_is_not_to_be() {
    let offer = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    if offer.is_ok_and(|said| said.contains("[never]")) {
        eprintln!("skipped: this system has no huge pages");
        return;
    }
    let bundles = tempfile::tempdir().unwrap();
    copy(&versions()[0].folder, &bundles.path().join(MODEL));
    let theirs = "glibc.malloc.tcache_count=64:glibc.malloc.hugetlb=1:glibc.malloc.arena_max=2";
    for (flag, tunables, expected) in [
        ("on", None, true),
        ("off", None, false),
        ("on", Some("glibc.malloc.tcache_count=64"), false),
        // Where a start that looked for its own would go on forever.
        ("on", Some(theirs), false),
    ] {
        let flags = ["--huge-pages", flag];
        let variables = tunables.map(|said: &str| ("GLIBC_TUNABLES", said));
        let process = Process::start_with(bundles.path(), &flags, variables.as_slice()).await;
        let environment = format!("/proc/{}/environ", process.child.id());
        let environment = String::from_utf8(std::fs::read(environment).unwrap()).unwrap();
        // glibc before 2.39 ends each with a zero, in place.
        let environment = environment.replace('\0', ":");
        let ours = "GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.arena_max=2:";
        assert_eq!(environment.contains(ours), expected, "{flag}, {tunables:?}");
    }
}

#[tokio::test]
async fn what_a_killed_server_left_goes_with_the_next() {
    let bundles = tempfile::tempdir().unwrap();
    copy(&versions()[0].folder, &bundles.path().join(MODEL));
    let temporary = tempfile::tempdir().unwrap();
    let left = || std::fs::read_dir(temporary.path()).unwrap().count();
    let variables = [("TMPDIR", temporary.path().to_str().unwrap())];
    for signal in ["KILL", "KILL", "TERM"] {
        let mut server = Process::start_with(bundles.path(), &[], &variables).await;
        assert_eq!(left(), 1, "its own");
        server.signal(signal);
        server.end().await;
    }
    assert_eq!(left(), 0);
}
