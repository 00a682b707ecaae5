//! Starting the engine.

use std::io;
use std::sync::Arc;

use crate::engine::actor::Actor;
use crate::engine::api::EngineState;
use crate::engine::config::EngineConfig;
use crate::engine::handle::{Board, EngineHandle, handle};

/// Starts the engine and gives its handle. It ends when every handle is dropped.
///
/// The actor and its connections live on a thread of their own: hundreds of streams that write to
/// their clients do not delay the next step, and a step never waits for another thread to poll a
/// socket.
///
/// # Errors
/// When the system gives no thread.
pub fn start(config: EngineConfig) -> io::Result<EngineHandle> {
    let (handle, board, commands) = handle(config.max_concurrent_requests);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let actor = Actor::new(config, board.clone(), commands);
    std::thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || {
            let _guard = Obituary(board);
            runtime.block_on(actor.run());
        })?;
    Ok(handle)
}

/// Tells the handles when the actor ends without a last word, which only a defect can cause.
struct Obituary(Arc<Board>);

impl Drop for Obituary {
    fn drop(&mut self) {
        self.0.state.send_if_modified(|state| {
            let silent = !matches!(state, EngineState::Failed { .. } | EngineState::Draining);
            if silent {
                *state = EngineState::Failed {
                    cause: "the engine stopped".to_owned(),
                };
            }
            silent
        });
    }
}
