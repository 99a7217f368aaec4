//! A certificate that is renewed while the server runs, in the ways in which certificates are renewed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use server::http::{Tls, serve};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::harness::Server;

const OLD: &str = "localhost";
const NEW: &str = "renewed";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/tls").join(name)
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(fixture(&format!("{name}.crt"))).unwrap()
}

/// A server with TLS whose files can be changed, and a client that keeps its sessions.
struct Renewed {
    server: Server,
    address: std::net::SocketAddr,
    tls: Tls,
    folder: TempDir,
    client: TlsConnector,
}

impl Renewed {
    /// Serves with the files that `place` puts into the folder as `tls.crt` and `tls.key`.
    async fn start(place: impl FnOnce(&Path)) -> Renewed {
        let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
        place(folder.path());
        let tls = Tls::from_pem_files(&folder.path().join("tls.crt"), &folder.path().join("tls.key")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = server::http::router(server.services.clone());
        let settings = server.services.settings.clone();
        tokio::spawn(serve(listener, router, Some(tls.clone()), CancellationToken::new(), settings));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate(OLD)).unwrap();
        roots.add(certificate(NEW)).unwrap();
        let mut config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Renewed { server, address, tls, folder, client: Arc::new(config).into() }
    }

    /// A new connection, and the certificate that the server has on it.
    async fn connect(&self) -> (SendRequest<Empty<bytes::Bytes>>, CertificateDer<'static>) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let stream = self.client.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        (sender, shown)
    }

    async fn shown(&self) -> CertificateDer<'static> {
        let (mut sender, shown) = self.connect().await;
        // Session tickets come after the handshake: read them, so that the next connection could resume.
        assert_eq!(ask(&mut sender).await, StatusCode::UNAUTHORIZED);
        shown
    }

    /// Replaces one file with another in one step.
    fn rename(&self, from: &str, to: &str) {
        let new = self.folder.path().join("new");
        fs::copy(fixture(from), &new).unwrap();
        fs::rename(new, self.folder.path().join(to)).unwrap();
    }
}

async fn ask(sender: &mut SendRequest<Empty<bytes::Bytes>>) -> StatusCode {
    let request = Request::get("https://localhost/v1/operations").body(Empty::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    assert_eq!(response.headers()["strict-transport-security"], "max-age=31536000");
    response.into_body().collect().await.unwrap();
    status
}

fn copies(folder: &Path) {
    fs::copy(fixture("localhost.crt"), folder.join("tls.crt")).unwrap();
    fs::copy(fixture("localhost.key"), folder.join("tls.key")).unwrap();
}

#[tokio::test]
async fn files_that_are_replaced_are_shown_to_new_connections_and_open_ones_live_on() {
    let renewed = Renewed::start(copies).await;
    let (mut open, shown) = renewed.connect().await;
    assert_eq!(shown, certificate(OLD));
    assert!(!renewed.tls.renew(false).unwrap(), "nothing has changed");
    assert!(renewed.tls.renew(true).unwrap(), "and is read all the same when somebody asks for it");
    assert_eq!(renewed.shown().await, certificate(OLD));

    // Halfway: the certificate is new, the key is not.
    renewed.rename("renewed.crt", "tls.crt");
    let refused = renewed.tls.renew(false).unwrap_err();
    assert!(refused.to_string().contains("cannot be used together"), "{refused}");
    assert!(!renewed.tls.renew(false).unwrap(), "told once");
    assert_eq!(renewed.shown().await, certificate(OLD));

    renewed.rename("renewed.key", "tls.key");
    assert!(renewed.tls.renew(false).unwrap());
    assert_eq!(renewed.shown().await, certificate(NEW), "also to a client that has a session of the old one");
    assert_eq!(ask(&mut open).await, StatusCode::UNAUTHORIZED, "an open connection is still served");
    drop(renewed.server);
}

#[tokio::test]
async fn a_link_that_leads_elsewhere_is_followed_as_kubernetes_does_it() {
    let renewed = Renewed::start(|folder| {
        for (name, of) in [("..1", OLD), ("..2", NEW)] {
            fs::create_dir(folder.join(name)).unwrap();
            fs::copy(fixture(&format!("{of}.crt")), folder.join(name).join("tls.crt")).unwrap();
            fs::copy(fixture(&format!("{of}.key")), folder.join(name).join("tls.key")).unwrap();
        }
        symlink("..1", folder.join("..data")).unwrap();
        symlink("..data/tls.crt", folder.join("tls.crt")).unwrap();
        symlink("..data/tls.key", folder.join("tls.key")).unwrap();
    })
    .await;
    assert_eq!(renewed.shown().await, certificate(OLD));
    let folder = renewed.folder.path();
    symlink("..2", folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    assert!(renewed.tls.renew(false).unwrap());
    assert_eq!(renewed.shown().await, certificate(NEW));
}

#[tokio::test]
async fn what_cannot_be_read_changes_nothing_and_is_taken_once_it_can() {
    let renewed = Renewed::start(copies).await;
    for broken in ["", "-----BEGIN CERTIFICATE-----\nnot base64\n-----END CERTIFICATE-----\n"] {
        // Into the file itself, as a text editor may do it.
        fs::write(renewed.folder.path().join("tls.crt"), broken).unwrap();
        assert!(renewed.tls.renew(false).is_err(), "{broken:?}");
        assert_eq!(renewed.shown().await, certificate(OLD));
    }
    fs::remove_file(renewed.folder.path().join("tls.key")).unwrap();
    assert!(renewed.tls.renew(false).is_err());
    assert!(renewed.tls.renew(true).is_err(), "who asks again is told again");
    renewed.rename("renewed.crt", "tls.crt");
    renewed.rename("renewed.key", "tls.key");
    assert!(renewed.tls.renew(false).unwrap());
    assert_eq!(renewed.shown().await, certificate(NEW));
}
