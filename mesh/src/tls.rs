//! TLS between services: certificates from files, mutual TLS if the server has a client CA. And TLS for HTTP
//! clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde::Deserialize;

/// Installs *ring* as the process' TLS crypto provider. May be called repeatedly.
pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The TLS certificates of a server, and the CA of its clients. PEM files.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTlsConfig {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// The CA that must have issued the clients' certificates. Absent: clients need no certificate.
    pub client_ca: Option<PathBuf>,
}

/// The TLS certificates of a client, and the CA that it trusts. PEM files.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientTlsConfigFiles {
    /// The CA of the servers' certificates.
    pub ca: Option<PathBuf>,
    /// The client's certificate chain, for mutual TLS.
    pub cert: Option<PathBuf>,
    /// The key of `cert`.
    pub key: Option<PathBuf>,
}

impl ServerTlsConfig {
    /// Reads the files.
    pub fn acceptor(&self) -> anyhow::Result<tokio_rustls::TlsAcceptor> {
        let chain = certificates(&self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .with_context(|| format!("tls.key: no private key in {}", self.key.display()))?;
        let builder = rustls::ServerConfig::builder();
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = rustls::RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate)?;
                }
                builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build()?)
            }
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config).into())
    }
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    read().with_context(|| format!("tls: no certificates in {}", path.display()))
}

/// The client certificate and the CA of a [`crate::Dialer`].
#[derive(Clone, Default)]
pub struct ClientTls {
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl ClientTls {
    /// Reads the files.
    pub fn read(files: &ClientTlsConfigFiles) -> anyhow::Result<Self> {
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("client_tls: cannot read {}", path.display()))
        };
        let identity = match (&files.cert, &files.key) {
            (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
            (None, None) => None,
            _ => anyhow::bail!("client_tls: cert and key go together"),
        };
        Ok(Self { ca: files.ca.as_ref().map(read).transpose()?, identity })
    }

    /// Connects to HTTP/2 servers.
    pub(crate) fn connector(&self) -> anyhow::Result<tokio_rustls::TlsConnector> {
        install_crypto();
        let mut roots = rustls::RootCertStore::empty();
        if let Some(ca) = &self.ca {
            let certificates: Vec<_> = CertificateDer::pem_slice_iter(ca).collect::<Result<_, _>>()?;
            roots.add_parsable_certificates(certificates);
        }
        let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<_, _>>()?;
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config).into())
    }
}

/// TLS for HTTP clients: trusts this machine's CA certificates, or Mozilla's if there are none, as on many
/// small machines and in minimal containers.
pub fn web() -> rustls::ClientConfig {
    install_crypto();
    rustls::ClientConfig::builder().with_root_certificates(web_roots()).with_no_client_auth()
}

fn web_roots() -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").field("mutual", &self.identity.is_some()).finish_non_exhaustive()
    }
}
