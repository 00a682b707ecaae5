//! HTTPS.

use std::path::Path;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use shardline_router::http::{Tls, TlsError, TlsFiles, TransportLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::support::*;
use crate::transport::{Listening, listen_at};

/// Writes a new certificate for `localhost` and its key.
fn certify(folder: &Path) -> TlsFiles {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    std::fs::write(&files.certificate, cert.pem()).unwrap();
    std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
    files
}

/// Asks for `/health`, trusting the certificate of the files alone.
async fn ask(listening: &Listening, files: &TlsFiles) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&files.certificate).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(listening.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream
        .write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn https_is_spoken_and_a_renewed_certificate_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let files = certify(folder.path());
    let tls = Tls::open(files.clone()).unwrap();
    let listening = listen_at(Setup::new(), TransportLimits::default(), Some(tls.clone())).await;
    assert!(ask(&listening, &files).await.unwrap().starts_with("HTTP/1.1 200"));
    let plain = listening
        .exchange(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    assert!(!plain.contains("HTTP/1.1 200"), "{plain}");
    let renewed = certify(folder.path());
    assert!(
        ask(&listening, &renewed).await.is_err(),
        "the old one is still shown"
    );
    tls.reload().unwrap();
    assert!(
        ask(&listening, &renewed)
            .await
            .unwrap()
            .starts_with("HTTP/1.1 200")
    );
    std::fs::write(&files.key, "no key").unwrap();
    assert!(tls.reload().is_err());
    assert!(
        ask(&listening, &renewed).await.is_ok(),
        "a broken file changes nothing"
    );
}

#[test]
fn files_that_do_not_fit_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let files = certify(folder.path());
    let other = tempfile::tempdir().unwrap();
    let key = certify(other.path()).key;
    let mismatch = Tls::open(TlsFiles { key, ..files.clone() }).unwrap_err();
    assert!(matches!(mismatch, TlsError::Mismatch { .. }), "{mismatch}");
    std::fs::write(&files.certificate, "nothing").unwrap();
    let empty = Tls::open(files.clone()).unwrap_err().to_string();
    assert!(empty.contains("cert.pem"), "{empty}");
    std::fs::remove_file(&files.key).unwrap();
    let missing = Tls::open(files).unwrap_err().to_string();
    assert!(missing.contains(".pem"), "{missing}");
}
