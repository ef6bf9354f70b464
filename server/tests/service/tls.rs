//! TLS over a socket: clients' certificates, and the server's own replaced while it runs.

use std::path::PathBuf;
use std::sync::Arc;

use crate::common::{
    HASH, PACKED, PATIENCE, SESAME, SESAME_HASH, TestServer, crypto, start, until,
};
use dyno_server::Config;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use reqwest::Client;
use rustls::HandshakeKind;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// HTTP/2's first bytes, and settings without any.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// An authority, and the folder where the files of a server are.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

/// A certificate and its key, in PEM.
struct Issued {
    cert: String,
    key: String,
}

impl Issued {
    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()
    }

    /// SHA-256 of the certificate, as openssl prints it but for the colons.
    fn fingerprint(&self) -> String {
        let hash: [u8; 32] = Sha256::digest(self.der()).into();
        let [left, right] =
            [&hash[..16], &hash[16..]].map(|half| u128::from_be_bytes(half.try_into().unwrap()));
        format!("{left:032X}{right:032X}")
    }
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let authority = Self { issuer, folder };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
    }

    fn issue(&self, usage: ExtendedKeyUsagePurpose) -> Issued {
        let names = ["localhost", "127.0.0.1"].map(String::from);
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![usage];
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        Issued {
            cert: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// Puts a new certificate of the server's, and its key, in place.
    fn certify_server(&self) -> CertificateDer<'static> {
        let server = self.issue(ExtendedKeyUsagePurpose::ServerAuth);
        self.write("cert.pem", &server.cert);
        self.write("key.pem", &server.key);
        server.der()
    }

    async fn start(&self, configure: impl FnOnce(&mut Config)) -> TestServer {
        start(|config| {
            config.tls_cert = Some(self.file("cert.pem"));
            config.tls_key = Some(self.file("key.pem"));
            configure(config);
        })
        .await
    }

    /// A client that trusts this authority; a new one opens a new connection.
    fn client(&self, identity: Option<&Issued>) -> Client {
        crypto();
        let root = reqwest::Certificate::from_pem(self.issuer.pem().as_bytes()).unwrap();
        let mut client = Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .tls_certs_only([root]);
        if let Some(Issued { cert, key }) = identity {
            let pem = format!("{cert}{key}");
            client = client.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        }
        client.build().unwrap()
    }

    /// What a client needs for handshakes of its own; it remembers tickets.
    fn tls(&self) -> Arc<rustls::ClientConfig> {
        crypto();
        let mut roots = rustls::RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.issuer.pem().as_bytes());
        roots.add(root.unwrap()).unwrap();
        let mut tls = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(tls)
    }
}

/// A connection of its own: the kind of its handshake, and the server's certificate.
async fn handshake(
    server: &TestServer,
    tls: &Arc<rustls::ClientConfig>,
) -> (HandshakeKind, CertificateDer<'static>) {
    let tcp = TcpStream::connect(server.addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(tls));
    let mut stream = connector.connect(name, tcp).await.unwrap();
    // Tickets come before the server's first bytes.
    stream.write_all(HELLO).await.unwrap();
    stream.read_exact(&mut [0]).await.unwrap();
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().unwrap()[0].clone();
    (session.handshake_kind().unwrap(), certificate.into_owned())
}

/// The status of an inference; none if there is no connection to be had.
async fn status(server: &TestServer, client: &Client, token: Option<&str>) -> Option<u16> {
    let mut request = client
        .post(server.url("/v1/models/fake/infer"))
        .header("content-type", PACKED)
        .header("dyno-bundle", HASH)
        .body("echo");
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.ok()?;
    Some(answer.status().as_u16())
}

#[tokio::test]
async fn a_certificate_is_renewed_while_clients_stay() {
    let authority = Authority::new();
    let first = authority.certify_server();
    let server = authority.start(|_| {}).await;
    let tls = authority.tls();
    assert_eq!(handshake(&server, &tls).await.1, first);
    let stays = authority.client(None);
    assert_eq!(status(&server, &stays, None).await, Some(200));

    let second = authority.certify_server();
    server.reloader.reload();
    until(async || handshake(&server, &authority.tls()).await.1 == second).await;
    assert_eq!(status(&server, &stays, None).await, Some(200));

    // Nobody asks for it: the change is noticed.
    let third = authority.certify_server();
    until(async || handshake(&server, &authority.tls()).await.1 == third).await;

    authority.write("key.pem", "rubbish");
    server.reloader.reload();
    authority.write("cert.pem", "rubbish");
    server.reloader.reload();
    for _ in 0..3 {
        assert_eq!(handshake(&server, &authority.tls()).await.1, third);
    }
    let new = authority.client(None);
    assert_eq!(status(&server, &new, None).await, Some(200));
    assert_eq!(status(&server, &stays, None).await, Some(200));
}

#[tokio::test]
async fn a_client_that_comes_again_resumes_its_session() {
    let authority = Authority::new();
    authority.certify_server();
    let server = authority.start(|_| {}).await;
    let tls = authority.tls();
    assert_eq!(handshake(&server, &tls).await.0, HandshakeKind::Full);
    assert_eq!(handshake(&server, &tls).await.0, HandshakeKind::Resumed);
    assert_eq!(handshake(&server, &tls).await.0, HandshakeKind::Resumed);
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_authority_are_let_in() {
    let authority = Authority::new();
    authority.certify_server();
    let ca = authority.file("ca.pem");
    let server = authority.start(|c| c.tls_client_ca = Some(ca)).await;
    let good = authority.issue(ExtendedKeyUsagePurpose::ClientAuth);
    let good = authority.client(Some(&good));
    assert_eq!(status(&server, &good, None).await, Some(200));
    assert_eq!(status(&server, &good, Some("whatever")).await, Some(200));

    let other = Authority::new().issue(ExtendedKeyUsagePurpose::ClientAuth);
    let servers = authority.issue(ExtendedKeyUsagePurpose::ServerAuth);
    let mut old = CertificateParams::new(Vec::new()).unwrap();
    old.not_before = rcgen::date_time_ymd(2020, 1, 1);
    old.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let old = authority.sign(&old);
    for (why, identity) in [
        ("none", None),
        ("another authority", Some(&other)),
        ("not for clients", Some(&servers)),
        ("expired", Some(&old)),
    ] {
        let client = authority.client(identity);
        assert_eq!(status(&server, &client, None).await, None, "{why}");
    }
    assert_eq!(status(&server, &good, None).await, Some(200));

    // Another authority, which nobody's certificate is of.
    authority.write("ca.pem", &Authority::new().issuer.pem());
    server.reloader.reload();
    let again = authority.issue(ExtendedKeyUsagePurpose::ClientAuth);
    until(async || {
        let client = authority.client(Some(&again));
        status(&server, &client, None).await.is_none()
    })
    .await;
}

#[tokio::test]
async fn with_keys_a_certificate_is_no_token_unless_it_is_among_them() {
    let authority = Authority::new();
    authority.certify_server();
    let [known, other] = [(); 2].map(|()| authority.issue(ExtendedKeyUsagePurpose::ClientAuth));
    let lines = format!(
        "phone {SESAME_HASH}\nkiosk {} models=fake\n",
        known.fingerprint()
    );
    authority.write("keys", &lines);
    let [ca, keys] = ["ca.pem", "keys"].map(|name| authority.file(name));
    let server = authority
        .start(|config| {
            config.tls_client_ca = Some(ca);
            config.keys = Some(keys);
        })
        .await;
    let [known, other] = [known, other].map(|issued| authority.client(Some(&issued)));
    assert_eq!(status(&server, &known, None).await, Some(200));
    let maps = known.get(server.url("/v1/models/maps")).send().await;
    assert_eq!(maps.unwrap().status(), 403);
    assert_eq!(status(&server, &other, None).await, Some(401));
    assert_eq!(status(&server, &other, Some(SESAME)).await, Some(200));
    assert_eq!(status(&server, &known, Some("stranger")).await, Some(401));
    // A token alone is not enough: there is no connection to send it on.
    let bare = authority.client(None);
    assert_eq!(status(&server, &bare, Some(SESAME)).await, None);
}
