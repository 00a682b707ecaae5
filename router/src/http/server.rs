//! Accepting connections, with a limit on everything that a client can hold on to.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::settings::TransportLimits;

/// Pause after a failed accept (no file descriptor left), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown` resolves, then takes no more connections and returns when those that
/// are open have answered what they were asked.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: TransportLimits,
    shutdown: impl Future<Output = ()>,
) {
    let builder = connection_builder(limits);
    let open = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
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
        let connection = Connection {
            stream,
            place,
            first_request: limits.header_timeout,
        };
        tokio::spawn(connection.run(builder.clone(), router.clone(), graceful.watcher()));
    }
    drop(listener);
    graceful.shutdown().await;
}

/// An accepted connection.
struct Connection {
    stream: TcpStream,
    /// One of the places for connections.
    place: OwnedSemaphorePermit,
    /// How long it may say nothing.
    first_request: Duration,
}

impl Connection {
    async fn run(self, builder: Builder<TokioExecutor>, router: Router, watcher: Watcher) {
        let peer = self.stream.peer_addr().ok();
        set_no_delay(&self.stream);
        let asked = Arc::new(AtomicBool::new(false));
        let service = TowerToHyperService::new(NoteFirst {
            router,
            asked: asked.clone(),
        });
        let connection = builder
            .serve_connection(TokioIo::new(self.stream), service)
            .into_owned();
        let mut connection = pin!(watcher.watch(connection));
        // The transport's own time limits begin when it knows which version is spoken.
        let result = match tokio::time::timeout(self.first_request, connection.as_mut()).await {
            Ok(result) => result,
            Err(_) if asked.load(Ordering::Relaxed) => connection.await,
            Err(_) => return,
        };
        // A client that breaks off is no news.
        if let Err(error) = result {
            tracing::debug!(?peer, %error, "connection broken");
        }
        drop(self.place);
    }
}

/// Notes that a request came.
#[derive(Clone)]
struct NoteFirst {
    router: Router,
    asked: Arc<AtomicBool>,
}

impl tower::Service<Request<Incoming>> for NoteFirst {
    type Response = Response;
    type Error = Infallible;
    type Future = axum::routing::future::RouteFuture<Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        <Router as tower::Service<Request<Incoming>>>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        self.asked.store(true, Ordering::Relaxed);
        self.router.call(request)
    }
}

fn connection_builder(limits: TransportLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(limits.headers)
        .max_buf_size(limits.header_bytes.max(8 * 1024));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.header_timeout);
    builder
}

/// A token is a small write that must not wait for the next.
fn set_no_delay(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot turn off Nagle's algorithm");
    }
}
