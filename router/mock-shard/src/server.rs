//! Starting and ending a mock shard.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::journal::{Gate, Journal};
use crate::options::MockOptions;
use crate::service::{MockService, Shared};

/// A running mock shard on a thread of its own. Dropping it is its sudden death: connections break
/// in the middle and the socket file stays behind, as with a killed process.
#[derive(Debug)]
pub struct MockShard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl MockShard {
    /// Binds the socket, so that a client can connect as soon as this returns, and serves.
    ///
    /// # Errors
    /// When the socket cannot be bound.
    pub fn start(options: MockOptions) -> io::Result<Self> {
        let listener = bind(&options.socket())?;
        let shared = Arc::new(Shared {
            options,
            journal: Journal::default(),
            gate: Gate::default(),
            started: Instant::now(),
            session_open: AtomicBool::new(false),
            die: Notify::new(),
        });
        let served = shared.clone();
        let thread = std::thread::Builder::new()
            .name("mock-shard".to_owned())
            .spawn(move || serve(listener, served))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// What happened so far.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// Where its answers can be held back.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    /// Blocks until the shard has died of a fault or failed to serve.
    ///
    /// # Errors
    /// What the transport said.
    pub fn wait(mut self) -> io::Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the mock shard's thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for MockShard {
    fn drop(&mut self) {
        self.shared.gate.shut_down();
        self.shared.die.notify_one();
        if let Some(thread) = self.thread.take() {
            // Whatever it returns, it is over.
            let _ = thread.join();
        }
    }
}

fn bind(path: &PathBuf) -> io::Result<std::os::unix::net::UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn serve(listener: std::os::unix::net::UnixListener, shared: Arc<Shared>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ending = shared.clone();
    let result = runtime.block_on(async move {
        let incoming = UnixListenerStream::new(UnixListener::from_std(listener)?);
        let server = Server::builder().add_service(MockService(shared.clone()).into_server());
        tokio::select! {
            served = server.serve_with_incoming(incoming) => served.map_err(io::Error::other),
            () = shared.die.notified() => Ok(()),
        }
    });
    // Lets a held session end; then everything on the runtime is dropped where it stands.
    ending.gate.shut_down();
    runtime.shutdown_background();
    result
}
