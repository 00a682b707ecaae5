//! The one exclusive session and the queues between the server's thread and the runner.
//!
//! ## Vacant → Living
//! `open` takes the slot. The session's first step is flagged, so that the runner forgets everything.
//! ## Living → Vacant
//! The client is gone (its response stream is dropped), its input ended and every step is answered,
//! a step was invalid, the runner failed, or the endpoint closes. Frames still queued are discarded
//! and later responses to the session are dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use shardline_proto::v1::{self, Phase};
use tokio::sync::{Notify, mpsc};
use tonic::Status;

use crate::decode::Limits;
use crate::frame::Frame;
use crate::grammar::CompileGrammar;

/// Most steps that wait for the runner; the client's stream is held back beyond.
pub const FRAME_QUEUE_CAPACITY: usize = 8;
/// Most responses that wait for the client; one more ends its session.
pub const RESPONSE_QUEUE_CAPACITY: usize = 64;
/// A client that reconnects may arrive before the end of its old stream was noticed: for this long
/// a new session waits for the old one to end.
const HANDOVER: Duration = Duration::from_millis(250);

/// What a wait for the next step brought.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// A step, and how long it was waited for.
    Frame(Box<Frame>, Duration),
    /// Nothing came in time.
    TimedOut,
    /// The endpoint is closed: nothing will ever come.
    Closed,
}

/// Where a response went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendResult {
    /// On its way to the client.
    Sent,
    /// Dropped: its session is over.
    SessionOver,
}

/// State shared by the server's thread and the runner.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    frame_ready: Condvar,
    queue_has_room: Notify,
    vacated: Notify,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    message: String,
    info: Option<v1::InfoResponse>,
    compiler: Option<Arc<dyn CompileGrammar>>,
    sessions_opened: u64,
    session: Option<Session>,
    frames: VecDeque<Frame>,
    closed: bool,
}

#[derive(Debug)]
struct Session {
    number: u64,
    responses: mpsc::Sender<v1::StepResponse>,
    ending: Arc<Ending>,
    unanswered: u64,
    input_ended: bool,
}

/// How a session ended, seen by its reader and its response stream.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    status: OnceLock<Status>,
    over: Notify,
}

impl Ending {
    /// The error that ended the session, if it was one.
    pub(crate) fn status(&self) -> Option<&Status> {
        self.status.get()
    }

    /// Completes once the session is over (for its one reader).
    pub(crate) async fn over(&self) {
        self.over.notified().await;
    }
}

enum Push {
    Queued,
    Full(Box<Frame>),
    SessionOver,
}

/// A session just opened: what its reader and its response stream need.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) number: u64,
    pub(crate) limits: Limits,
    pub(crate) responses: mpsc::Receiver<v1::StepResponse>,
    pub(crate) ending: Arc<Ending>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Starting,
                message: String::new(),
                info: None,
                compiler: None,
                sessions_opened: 0,
                session: None,
                frames: VecDeque::with_capacity(FRAME_QUEUE_CAPACITY),
                closed: false,
            }),
            frame_ready: Condvar::new(),
            queue_has_room: Notify::new(),
            vacated: Notify::new(),
        }
    }

    /// The state is valid between any two statements, so that a panic elsewhere cannot spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_phase(&self, phase: Phase, message: String) {
        let mut state = self.lock();
        state.phase = phase;
        state.message = message;
    }

    pub(crate) fn health(&self) -> v1::HealthResponse {
        let state = self.lock();
        v1::HealthResponse {
            phase: state.phase.into(),
            message: state.message.clone(),
        }
    }

    pub(crate) fn set_info(&self, info: v1::InfoResponse) {
        self.lock().info = Some(info);
    }

    pub(crate) fn set_compiler(&self, compiler: Arc<dyn CompileGrammar>) {
        self.lock().compiler = Some(compiler);
    }

    /// What compiles grammars: UNAVAILABLE while the shard is not ready, UNIMPLEMENTED when it follows none.
    pub(crate) fn compiler(&self) -> Result<Arc<dyn CompileGrammar>, Status> {
        let state = self.lock();
        if state.phase != Phase::Ready {
            return Err(state.not_ready());
        }
        state
            .compiler
            .clone()
            .ok_or_else(|| Status::unimplemented("this shard follows no grammars"))
    }

    /// What is served, or UNAVAILABLE while it is not ready.
    pub(crate) fn info(&self) -> Result<v1::InfoResponse, Status> {
        let state = self.lock();
        match (&state.info, state.phase) {
            (Some(info), Phase::Ready) => Ok(info.clone()),
            _ => Err(state.not_ready()),
        }
    }

    /// Takes the slot of the one session.
    pub(crate) async fn open(&self) -> Result<Opened, Status> {
        let deadline = tokio::time::Instant::now() + HANDOVER;
        loop {
            let mut vacated = std::pin::pin!(self.vacated.notified());
            vacated.as_mut().enable();
            let opened = self.lock().try_open();
            match opened {
                Err(status) if status.code() == tonic::Code::AlreadyExists => {
                    tokio::time::timeout_at(deadline, vacated)
                        .await
                        .map_err(|_| status)?;
                }
                other => return other,
            }
        }
    }

    /// Queues a frame for the runner, waiting for room; false when its session is over.
    pub(crate) async fn push(&self, mut frame: Frame) -> bool {
        loop {
            let mut room = std::pin::pin!(self.queue_has_room.notified());
            room.as_mut().enable();
            match self.try_push(frame) {
                Push::Queued => return true,
                Push::SessionOver => return false,
                Push::Full(back) => frame = *back,
            }
            room.await;
        }
    }

    fn try_push(&self, frame: Frame) -> Push {
        let mut state = self.lock();
        let full = state.frames.len() >= FRAME_QUEUE_CAPACITY;
        let Some(session) = state.session_of(frame.session) else {
            return Push::SessionOver;
        };
        if full {
            return Push::Full(Box::new(frame));
        }
        session.unanswered += 1;
        state.frames.push_back(frame);
        self.frame_ready.notify_one();
        Push::Queued
    }

    /// Blocks for the next frame, at most for `timeout`.
    pub(crate) fn next(&self, timeout: Duration) -> Next {
        let start = Instant::now();
        let mut state = self.lock();
        loop {
            if let Some(frame) = state.frames.pop_front() {
                drop(state);
                self.queue_has_room.notify_waiters();
                return Next::Frame(Box::new(frame), start.elapsed());
            }
            if state.closed {
                return Next::Closed;
            }
            let Some(left) = timeout.checked_sub(start.elapsed()) else {
                return Next::TimedOut;
            };
            state = self
                .frame_ready
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Hands a response to the session's stream.
    pub(crate) fn respond(&self, number: u64, response: v1::StepResponse) -> SendResult {
        let mut state = self.lock();
        let Some(session) = state.session_of(number) else {
            return SendResult::SessionOver;
        };
        session.unanswered = session.unanswered.saturating_sub(1);
        let finished = session.input_ended && session.unanswered == 0;
        let sent = session.responses.try_send(response);
        drop(state);
        if sent.is_err() {
            let cause =
                format!("{RESPONSE_QUEUE_CAPACITY} responses wait for the client, which does not read them");
            self.end(number, Some(Status::resource_exhausted(cause)));
            return SendResult::SessionOver;
        }
        if finished {
            self.end(number, None);
        }
        SendResult::Sent
    }

    /// The client sends no more steps: the session lives until all are answered.
    pub(crate) fn input_ended(&self, number: u64) {
        let mut state = self.lock();
        let Some(session) = state.session_of(number) else {
            return;
        };
        session.input_ended = true;
        let finished = session.unanswered == 0;
        drop(state);
        if finished {
            self.end(number, None);
        }
    }

    /// Ends the session of this number if it is the living one, with an error for the client or
    /// orderly.
    pub(crate) fn end(&self, number: u64, status: Option<Status>) {
        let mut state = self.lock();
        if state.session_of(number).is_some() {
            self.vacate(&mut state, status);
        }
    }

    /// Ends the living session, whichever it is.
    pub(crate) fn end_any(&self, status: Status) {
        let mut state = self.lock();
        self.vacate(&mut state, Some(status));
    }

    fn vacate(&self, state: &mut State, status: Option<Status>) {
        let Some(session) = state.session.take() else {
            return;
        };
        if let Some(status) = status {
            // The first cause is the one that counts.
            let _ = session.ending.status.set(status);
        }
        session.ending.over.notify_one();
        state.frames.clear();
        self.queue_has_room.notify_waiters();
        self.vacated.notify_waiters();
    }

    /// No more frames: `next` returns `Closed`.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.vacate(&mut state, Some(Status::unavailable("the shard shuts down")));
        self.frame_ready.notify_all();
    }
}

impl State {
    fn session_of(&mut self, number: u64) -> Option<&mut Session> {
        self.session.as_mut().filter(|session| session.number == number)
    }

    fn try_open(&mut self) -> Result<Opened, Status> {
        let limits = match (&self.info, self.phase) {
            (Some(info), Phase::Ready) if !self.closed => Limits::of(info),
            _ => return Err(self.not_ready()),
        };
        let Some(limits) = limits else {
            return Err(Status::internal("Info must describe exactly one KV group"));
        };
        if let Some(session) = &self.session {
            let number = session.number;
            let cause = format!("session {number} lives; a shard serves one client at a time");
            return Err(Status::already_exists(cause));
        }
        self.sessions_opened += 1;
        let (sender, responses) = mpsc::channel(RESPONSE_QUEUE_CAPACITY);
        let ending = Arc::new(Ending::default());
        self.session = Some(Session {
            number: self.sessions_opened,
            responses: sender,
            ending: Arc::clone(&ending),
            unanswered: 0,
            input_ended: false,
        });
        Ok(Opened {
            number: self.sessions_opened,
            limits,
            responses,
            ending,
        })
    }

    fn not_ready(&self) -> Status {
        let phase = self.phase.as_str_name();
        Status::unavailable(format!("the shard is not ready ({phase}): {}", self.message))
    }
}
