//! TLS settings: ring, the web's root certificates, the operator's private roots. Verification is always
//! on; there is no switch to turn it off, because such switches stay on in production.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::ConfigError;

/// A connector that trusts the web's roots and those in `extra_roots_file` (PEM, may hold several).
pub(super) fn connector(extra_roots_file: Option<&Path>) -> Result<TlsConnector, ConfigError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = extra_roots_file {
        let text = std::fs::read(path)
            .map_err(|error| ConfigError::RootsRead { path: path.to_owned(), reason: error.to_string() })?;
        let mut found = 0;
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let added = certificate
                .map_err(|error| error.to_string())
                .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
            added.map_err(|reason| ConfigError::RootsRead { path: path.to_owned(), reason })?;
            found += 1;
        }
        if found == 0 {
            let reason = "it holds no certificate".to_owned();
            return Err(ConfigError::RootsRead { path: path.to_owned(), reason });
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
