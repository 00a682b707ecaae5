//! Accepting connections, with a limit on everything that a client can hold on to.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use crate::http::connection::{self, Patience};
use crate::http::settings::TransportLimits;
use crate::http::tls::Tls;

/// Pause after a failed accept (no file descriptor left), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections that wait to be taken in; the system may have a lower limit of its own. Beyond it a client
/// is not answered, and tries again only a second later.
const WAITING: u32 = 4096;

/// Listens with a long queue, so that a burst waits there while all threads are busy.
///
/// # Errors
/// When the address is taken, or is not this machine's.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A restart need not wait for the last connections of the process before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

/// Where connections come in.
#[derive(Debug)]
pub struct Door {
    /// The port.
    pub listener: TcpListener,
    /// What is spoken on it below HTTP; `None`: nothing.
    pub tls: Option<Tls>,
}

/// Serves until `shutdown` resolves, then takes no more connections and returns when those that
/// are open have answered what they were asked.
pub async fn serve(door: Door, router: Router, limits: TransportLimits, shutdown: impl Future<Output = ()>) {
    let Door { listener, tls } = door;
    let visitor = Arc::new(Visitor {
        tls: tls.as_ref().map(Tls::acceptor),
        builder: connection_builder(limits),
        router,
        limits,
    });
    let open = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let (close, closing) = watch::channel(());
    tokio::pin!(shutdown);
    loop {
        // Waiting for a free place leaves new connections in the kernel's own bounded queue.
        let accepted = async {
            let place = open.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        let (stream, place) = tokio::select! {
            (accepted, place) = accepted => match (accepted, place) {
                (Ok((stream, _)), Ok(place)) => (stream, place),
                (Err(error), _) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
                (_, Err(_)) => break,
            },
            () = &mut shutdown => break,
        };
        let visit = visitor
            .clone()
            .receive(stream, graceful.watcher(), closing.clone());
        tokio::spawn(async move {
            visit.await;
            drop(place);
        });
    }
    drop(listener);
    drop(close);
    graceful.shutdown().await;
}

/// Serves on a socket of this machine that only its owner reaches, until it is dropped.
pub async fn serve_local(listener: UnixListener, router: Router) {
    // It ends with its listener, which ends never.
    let _ = axum::serve(listener, router).await;
}

/// What every connection gets.
struct Visitor {
    tls: Option<TlsAcceptor>,
    builder: Builder<TokioExecutor>,
    router: Router,
    limits: TransportLimits,
}

impl Visitor {
    /// Waits for the first byte, and only then makes what a connection needs, which is kilobytes:
    /// ten thousand clients that say nothing cost little more than their sockets.
    async fn receive(self: Arc<Self>, stream: TcpStream, watcher: Watcher, mut closing: watch::Receiver<()>) {
        set_no_delay(&stream);
        let patience = Patience {
            limits: self.limits,
            since: Instant::now(),
        };
        let mut byte = [0];
        let first_byte = timeout_at(patience.first_request(), stream.peek(&mut byte));
        let spoke = tokio::select! {
            spoke = first_byte => matches!(spoke, Ok(Ok(1))),
            // It ends with its sender.
            _ = closing.changed() => false,
        };
        if spoke {
            Box::pin(self.converse(stream, watcher, patience)).await;
        } else {
            tracing::debug!("nothing came on a connection");
        }
    }

    async fn converse(&self, stream: TcpStream, watcher: Watcher, patience: Patience) {
        let Some(tls) = &self.tls else {
            return self.serve(stream, watcher, patience).await;
        };
        match timeout_at(patience.first_request(), tls.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream, watcher, patience).await,
            Ok(Err(error)) => tracing::debug!(%error, "no TLS on a connection"),
            Err(_) => tracing::debug!("TLS took too long on a connection"),
        }
    }

    /// Boxed: a plain connection does not carry the room for one with TLS.
    fn serve<S>(
        &self,
        stream: S,
        watcher: Watcher,
        patience: Patience,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (builder, router) = (self.builder.clone(), self.router.clone());
        Box::pin(connection::serve(stream, builder, router, patience, watcher))
    }
}

fn connection_builder(limits: TransportLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout)
        .max_headers(limits.headers)
        .max_buf_size(limits.header_bytes.max(8 * 1024));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.idle_timeout)
        .keep_alive_timeout(limits.idle_timeout);
    builder
}

/// A token is a small write that must not wait for the next.
fn set_no_delay(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot turn off Nagle's algorithm");
    }
}
