//! TLS between services, with certificates that the tests generate.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh::config::{Listen, ServerConfig};
use mesh::endpoint::Endpoint;
use mesh::health::Readiness;
use mesh::listener::Listener;
use mesh::server::Grpc;
use mesh::shutdown::Tasks;
use mesh::tls::{ClientTls, ClientTlsConfigFiles, ServerTlsConfig};
use mesh::{Dialer, Error};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_util::sync::CancellationToken;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// A certificate authority whose files are in a directory.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
    name: &'static str,
}

impl Authority {
    fn new(dir: &Path, name: &'static str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("self-signed");
        std::fs::write(dir.join(format!("{name}.pem")), issuer.pem()).expect("written");
        Self { issuer, dir: dir.to_owned(), name }
    }

    fn file(&self) -> PathBuf {
        self.dir.join(format!("{}.pem", self.name))
    }

    /// A certificate for `localhost` and its key.
    fn issue(&self, to: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let (cert_file, key_file) = (self.dir.join(format!("{to}.pem")), self.dir.join(format!("{to}.key")));
        std::fs::write(&cert_file, certificate.pem()).expect("written");
        std::fs::write(&key_file, key.serialize_pem()).expect("written");
        (cert_file, key_file)
    }
}

#[tokio::test]
async fn mutual_tls_admits_clients_with_a_certificate_of_the_ca() {
    mesh::tls::install_crypto();
    let dir = tempfile::tempdir().expect("a directory");
    let (ours, theirs) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "theirs"));
    let (cert, key) = ours.issue("server");
    let server = ServerTlsConfig { cert, key, client_ca: Some(ours.file()) };

    let (readiness, tasks) = (Readiness::default(), Tasks::default());
    let router =
        Grpc::default().build(&ServerConfig::default(), &prometheus::Registry::new(), &readiness, &tasks);
    let listener = Listener::bind(&Listen::Tcp(([127, 0, 0, 1], 0).into())).await.expect("a free port");
    let port = listener.tcp_address().expect("TCP").port();
    let listener = listener.with_tls(Some(server.acceptor().expect("valid files")));
    assert!(listener.endpoint().expect("bound").to_string().starts_with("https://"));
    let draining = CancellationToken::new();
    let serving = tokio::spawn(listener.serve(router, draining.clone(), Duration::from_secs(5)));
    let endpoint: Endpoint = format!("https://localhost:{port}").parse().expect("an endpoint");

    let call = |files: ClientTlsConfigFiles| {
        let tls = ClientTls::read(&files).expect("valid files");
        let channel = Dialer::new(None, Some(tls)).dial(&endpoint).expect("dials");
        async move { HealthClient::new(channel).check(HealthCheckRequest::default()).await }
    };
    let trusting = |ca: &Authority, identity: Option<(PathBuf, PathBuf)>| {
        let (cert, key) = identity.unzip();
        ClientTlsConfigFiles { ca: Some(ca.file()), cert, key }
    };
    call(trusting(&ours, Some(ours.issue("client")))).await.expect("admitted");
    call(trusting(&ours, None)).await.expect_err("no certificate");
    call(trusting(&ours, Some(theirs.issue("stranger")))).await.expect_err("a certificate of another CA");
    let untrusted =
        call(trusting(&theirs, Some(ours.issue("client")))).await.expect_err("an untrusted server");
    assert!(Error::from(untrusted).not_started());
    draining.cancel();
    serving.await.expect("the server ends");
}

#[test]
fn errors_name_missing_files() {
    let server = ServerTlsConfig { cert: "/no/such.pem".into(), key: "/no/such.key".into(), client_ca: None };
    let error = server.acceptor().err().expect("no files");
    assert!(format!("{error:#}").contains("/no/such.pem"), "{error:#}");
    let half = ClientTlsConfigFiles { cert: Some("/no/such.pem".into()), ..ClientTlsConfigFiles::default() };
    let error = ClientTls::read(&half).expect_err("no key");
    assert!(error.to_string().contains("cert and key go together"));
}
