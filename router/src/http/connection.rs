//! One connection, and how long a client may hold on to it.
//!
//! The transport's own limits end a client that sends its headers drop by drop. What they do not
//! see is watched here: a connection on which nothing is asked, and an answer that nobody reads.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::Watcher;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::http::settings::TransportLimits;

/// How long one client is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For what how long.
    pub limits: TransportLimits,
    /// When the client came.
    pub since: Instant,
}

impl Patience {
    /// Until when the first request must have come.
    #[must_use]
    pub fn first_request(&self) -> Instant {
        self.since + self.limits.header_timeout
    }
}

/// Serves one connection until either side ends it or it is held for too long.
pub async fn serve<S>(
    stream: S,
    builder: Builder<TokioExecutor>,
    router: Router,
    patience: Patience,
    watcher: Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pulse = Arc::new(Pulse::new(patience.since));
    let service = TowerToHyperService::new(Watched {
        router,
        pulse: pulse.clone(),
    });
    // Boxed as it is made: a future keeps room for every place that a large value has been moved to.
    let mut connection = Box::pin(
        watcher.watch(
            builder
                .serve_connection(TokioIo::new(stream), service)
                .into_owned(),
        ),
    );
    loop {
        let look = match pulse.overdue(&patience.limits) {
            Ok(look) => look,
            Err(why) => {
                tracing::debug!(why, "connection cut off");
                return;
            }
        };
        tokio::select! {
            result = connection.as_mut() => {
                // A client that breaks off is no news.
                if let Err(error) = result {
                    tracing::debug!(%error, "connection broken");
                }
                return;
            }
            () = tokio::time::sleep_until(look) => {}
        }
    }
}

/// What happens on a connection, in milliseconds since it began.
#[derive(Debug)]
struct Pulse {
    began: Instant,
    /// Requests without the end of their answer.
    at_work: AtomicUsize,
    /// When the last one came or ended; 0: none came.
    last_ms: AtomicU64,
    /// For each answer under way, when its next piece was last asked for.
    answers: Mutex<Vec<Arc<AtomicU64>>>,
}

impl Pulse {
    fn new(began: Instant) -> Self {
        Self {
            began,
            at_work: AtomicUsize::new(0),
            last_ms: AtomicU64::new(0),
            answers: Mutex::default(),
        }
    }

    /// Milliseconds, at least 1.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .max(1)
    }

    fn answers(&self) -> MutexGuard<'_, Vec<Arc<AtomicU64>>> {
        // A push or a removal leaves nothing half done, so a poisoned lock still guards a good value.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When to look again, or what was held for too long.
    fn overdue(&self, limits: &TransportLimits) -> Result<Instant, &'static str> {
        let now = Instant::now();
        let at = |milliseconds: u64| self.began + Duration::from_millis(milliseconds);
        let last_ms = self.last_ms.load(Ordering::Relaxed);
        let silence = match (self.at_work.load(Ordering::Relaxed), last_ms) {
            (0, 0) => Some((limits.header_timeout, "no request came")),
            (0, _) => Some((limits.idle_timeout, "no further request came")),
            _ => None,
        };
        if let Some((patience, why)) = silence {
            let due = at(last_ms) + patience;
            return if due > now { Ok(due) } else { Err(why) };
        }
        let oldest = self
            .answers()
            .iter()
            .map(|asked| asked.load(Ordering::Relaxed))
            .min();
        let due = oldest.map_or(now, at) + limits.stall_timeout;
        if due > now {
            Ok(due)
        } else {
            Err("an answer is not read")
        }
    }
}

/// A request from its first byte to the end of its answer.
struct AtWork(Arc<Pulse>);

impl AtWork {
    fn begin(pulse: &Arc<Pulse>) -> Self {
        pulse.at_work.fetch_add(1, Ordering::Relaxed);
        pulse.last_ms.store(pulse.now_ms(), Ordering::Relaxed);
        Self(pulse.clone())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.last_ms.store(self.0.now_ms(), Ordering::Relaxed);
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The routes of one connection.
#[derive(Clone)]
struct Watched {
    router: Router,
    pulse: Arc<Pulse>,
}

impl tower::Service<Request<Incoming>> for Watched {
    type Response = Response<WatchedBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        <Router as tower::Service<Request<Incoming>>>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let at_work = AtWork::begin(&self.pulse);
        let answer = self.router.call(request);
        Box::pin(async move {
            answer
                .await
                .map(|response| response.map(|body| WatchedBody::new(body, at_work)))
        })
    }
}

/// A body that notes when it is asked for its next piece. Whoever reads slowly is not asked on
/// behalf of, and bodies of events ask to be asked again at least every few seconds.
struct WatchedBody {
    body: Body,
    asked: Arc<AtomicU64>,
    at_work: AtWork,
}

impl WatchedBody {
    fn new(body: Body, at_work: AtWork) -> Self {
        let pulse = &at_work.0;
        let asked = Arc::new(AtomicU64::new(pulse.now_ms()));
        pulse.answers().push(asked.clone());
        Self { body, asked, at_work }
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        self.at_work
            .0
            .answers()
            .retain(|other| !Arc::ptr_eq(other, &self.asked));
    }
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let body = self.get_mut();
        body.asked.store(body.at_work.0.now_ms(), Ordering::Relaxed);
        Pin::new(&mut body.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
