//! Connections: accepted, with TLS or without, bounded in number and in the time for a request's head and to take its answer, and brought to
//! an end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use distune::{Error, Result};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

use crate::serve::Stop;
use crate::state::State;

/// How long open connections may still bring requests when the server is asked to end. What they get says that it is the last one.
const LINGER: Duration = Duration::from_millis(300);
/// How long connections that the system has accepted already may take to come, one after the other; [`LINGER`] in all, as those that
/// clients open anew come as well.
const ACCEPTED_BEFORE: Duration = Duration::from_millis(10);
/// Bytes of a request's head at most, and of what a connection reads or writes at once.
const BUFFER: usize = 64 * 1024;
/// How long to wait when no connection can be accepted, as when there are too many open files.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Reads the certificate chain and the key.
pub(crate) fn tls(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let hint = "Give PEM files: --tls-cert the certificate and its chain, --tls-key its private key";
    let failed =
        |path: &Path, error: &dyn std::fmt::Display| Error::file(path, format!("cannot be used: {error}"), hint);
    let chain = CertificateDer::pem_file_iter(certificate).map_err(|error| failed(certificate, &error))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|error| failed(certificate, &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(certificate, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| failed(certificate, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// As [`tls`], where it is wanted.
pub(crate) fn acceptor(files: Option<&(PathBuf, PathBuf)>) -> Result<Option<TlsAcceptor>> {
    files.map(|(certificate, key)| tls(certificate, key)).transpose()
}

/// What every connection needs.
#[derive(Clone)]
struct Connections {
    router: Router,
    tls: Option<TlsAcceptor>,
    read_timeout: Duration,
}

/// Serves until it is asked to stop, then answers what has come.
pub(crate) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, router: Router, state: &State, stop: &Stop) {
    let limits = &state.options.limits;
    let connections = Connections { router, tls, read_timeout: limits.read_timeout };
    let graceful = GracefulShutdown::new();
    // more wait for a free place before they are accepted
    let places = Arc::new(Semaphore::new(2 * limits.max_concurrent_requests + 64));
    loop {
        let place = places.clone().acquire_owned();
        let accepted = async {
            let place = place.await;
            (place, listener.accept().await)
        };
        tokio::select! {
            (place, accepted) = accepted => match (accepted, place) {
                (Ok((stream, _)), Ok(place)) => connections.open(stream, graceful.watcher(), Some(place)),
                (Err(error), _) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(AFTER_FAILURE).await;
                }
                _ => {}
            },
            () = stop.requested() => break,
        }
    }
    state.drain();
    tracing::info!("asked to stop: answering what has come");
    let last = Instant::now() + LINGER;
    while Instant::now() < last
        && let Ok(Ok((stream, _))) = timeout(ACCEPTED_BEFORE, listener.accept()).await
    {
        connections.open(stream, graceful.watcher(), None);
    }
    drop(listener);
    sleep(LINGER).await;
    if timeout(limits.read_timeout + limits.read_timeout + limits.request_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("some clients have not taken their answers");
    }
}

impl Connections {
    /// Serves a connection beside the others.
    fn open(&self, stream: TcpStream, watcher: Watcher, place: Option<OwnedSemaphorePermit>) {
        let connections = self.clone();
        tokio::spawn(async move {
            let _place = place;
            // small answers go out at once
            let _ = stream.set_nodelay(true);
            let mut stream = Box::pin(TimeoutStream::new(stream));
            // who takes nothing of an answer for so long does not want it
            stream.as_mut().set_write_timeout_pinned(Some(connections.read_timeout));
            match &connections.tls {
                None => connections.serve(stream, watcher).await,
                Some(tls) => match timeout(connections.read_timeout, tls.accept(stream)).await {
                    Ok(Ok(stream)) => connections.serve(stream, watcher).await,
                    Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
                    Err(_) => tracing::debug!("TLS took too long"),
                },
            }
        });
    }

    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, watcher: Watcher) {
        let service = TowerToHyperService::new(self.router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.read_timeout)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "a connection ended");
        }
    }
}
