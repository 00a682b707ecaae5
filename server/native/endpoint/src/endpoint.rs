//! The handle that the runner holds.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use shardline_proto::v1::shard_server::ShardServer;
use shardline_proto::v1::{InfoResponse, Phase};
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Status;
use tonic::transport::Server;

use crate::MAX_MESSAGE_BYTES;
use crate::frame::Frame;
use crate::grammar::CompileGrammar;
use crate::respond::{InvalidOutcome, Outcome};
use crate::service::Service;
use crate::session::{Next, SendResult, Shared};
use crate::socket::{self, SocketError};

/// Bytes that a peer may send before it must wait for an acknowledgement: a large step does not
/// crawl in portions of 64 KiB.
const WINDOW_BYTES: u32 = 16 << 20;
/// How long open calls may take to end once the endpoint closes.
const CLOSE_GRACE: Duration = Duration::from_millis(500);

/// Why the endpoint did not start.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// No socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// No thread, or no event queue.
    #[error("cannot start the endpoint's thread: {0}")]
    Thread(#[from] io::Error),
}

/// A listening shard. Dropping it closes it.
#[derive(Debug)]
pub struct Endpoint {
    shared: Arc<Shared>,
    path: PathBuf,
    server: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    shutdown: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Endpoint {
    /// Binds the socket at `path` and serves it from a thread of its own. `Health` answers at once,
    /// with the phase `PHASE_STARTING`.
    pub fn bind(path: &Path) -> Result<Self, EndpointError> {
        let listener = socket::bind(path)?;
        let shared = Arc::new(Shared::new());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let (shutdown, closed) = oneshot::channel();
        let service = Service {
            shared: Arc::clone(&shared),
        };
        let failed = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("shard-endpoint".to_owned())
            .spawn(move || {
                if let Err(cause) = runtime.block_on(serve(listener, service, closed)) {
                    failed.set_phase(Phase::Failed, cause);
                    failed.close();
                }
            })?;
        Ok(Self {
            shared,
            path: path.to_owned(),
            server: Mutex::new(Some(Running { shutdown, thread })),
        })
    }

    /// What `Health` answers from now on; `Info` and `Execute` are served in `Phase::Ready` only.
    pub fn set_phase(&self, phase: Phase, message: &str) {
        self.shared.set_phase(phase, message.to_owned());
    }

    /// What `Info` answers, and the limits that steps are checked against.
    pub fn set_info(&self, info: InfoResponse) {
        self.shared.set_info(info);
    }

    /// What `CompileGrammar` asks; without one it is not implemented.
    pub fn set_compiler(&self, compiler: Arc<dyn CompileGrammar>) {
        self.shared.set_compiler(compiler);
    }

    /// Blocks for the next step, at most for `timeout`.
    pub fn next(&self, timeout: Duration) -> Next {
        self.shared.next(timeout)
    }

    /// Answers a step. A response to a session that is over is dropped.
    pub fn send(&self, frame: &Frame, outcome: Outcome) -> Result<SendResult, InvalidOutcome> {
        self.answer(frame.session, frame.step_id, outcome)
    }

    /// [`Endpoint::send`] for a frame known by its session and step.
    pub fn answer(&self, session: u64, step_id: u64, outcome: Outcome) -> Result<SendResult, InvalidOutcome> {
        Ok(self.shared.respond(session, outcome.into_response(step_id)?))
    }

    /// Ends the living session with INTERNAL and the cause.
    pub fn fail(&self, message: &str) {
        self.shared.end_any(Status::internal(message));
    }

    /// Stops serving: the living session ends with UNAVAILABLE, `next` returns `Next::Closed`, and
    /// the socket is gone. Safe to call from another thread than the runner's, and twice.
    pub fn close(&self) {
        self.shared.close();
        let running = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { shutdown, thread }) = running else {
            return;
        };
        // The thread may have ended already; then nobody listens.
        let _ = shutdown.send(());
        // A panic there was reported by the thread itself.
        let _ = thread.join();
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.close();
    }
}

async fn serve(
    listener: UnixListener,
    service: Service,
    closed: oneshot::Receiver<()>,
) -> Result<(), String> {
    let listener = tokio::net::UnixListener::from_std(listener).map_err(|error| error.to_string())?;
    let shard = ShardServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let (stop_accepting, stopped) = oneshot::channel::<()>();
    let served = Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .add_service(shard)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async {
            // An error says that the sender is gone, which means the same.
            let _ = stopped.await;
        });
    let grace = async {
        let _ = closed.await;
        drop(stop_accepting);
        tokio::time::sleep(CLOSE_GRACE).await;
    };
    tokio::select! {
        result = served => result.map_err(|error| format!("the endpoint's server ended: {error}")),
        () = grace => Ok(()),
    }
}
