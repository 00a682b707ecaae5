//! The `Shard` service over a `Session`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shardline_proto::MAX_MESSAGE_BYTES;
use shardline_proto::arrays::pack_u32;
use shardline_proto::parts::Assembler;
use shardline_proto::v1::shard_server::{Shard, ShardServer};
use shardline_proto::v1::{
    CompileGrammarRequest, CompileGrammarResponse, HealthRequest, HealthResponse, InfoRequest, InfoResponse,
    KvGroup, Phase, StartPhase, StartTimings, StepRequest, StepResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::grammar;
use crate::journal::{Gate, Journal};
use crate::options::MockOptions;
use crate::session::Session;

/// Steps and responses that may wait on the way.
const QUEUE_STEPS: usize = 64;

/// A sleep may end this much late without the steps after it being late too.
const SLEEP_OVERSHOOT: Duration = Duration::from_millis(1);

/// Bytes a block pretends to take.
const BYTES_PER_BLOCK: u64 = 65_536;

/// What the service shares with whoever started it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: MockOptions,
    pub(crate) journal: Journal,
    pub(crate) gate: Gate,
    pub(crate) started: Instant,
    pub(crate) session_open: AtomicBool,
    /// Asks the server to end at once.
    pub(crate) die: tokio::sync::Notify,
}

impl Shared {
    /// The phase that the time since the start falls into.
    fn health(&self) -> HealthResponse {
        let mut until = Duration::ZERO;
        for step in &self.options.start_phases {
            until += step.lasts;
            if step.phase == Phase::Failed || self.started.elapsed() < until {
                return HealthResponse {
                    phase: step.phase.into(),
                    message: step.message.clone(),
                };
            }
        }
        HealthResponse {
            phase: Phase::Ready.into(),
            message: String::new(),
        }
    }

    fn info(&self) -> InfoResponse {
        let options = &self.options;
        InfoResponse {
            model_type: "mock".to_owned(),
            dtype: "float32".to_owned(),
            device: "cpu".to_owned(),
            rank: options.rank,
            world_size: options.world_size,
            vocab_size: options.vocab_size,
            max_position: options.max_position,
            attention_backend: "mock".to_owned(),
            kv_groups: vec![KvGroup {
                block_size: options.block_size,
                num_blocks: options.num_blocks,
                bytes_per_block: BYTES_PER_BLOCK,
            }],
            max_step_tokens: options.max_step_tokens,
            max_sequences: options.max_sequences,
            step_token_edges: pack_u32(options.step_token_edges.iter().copied()),
            max_top_logprobs: options.max_top_logprobs,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            features: vec!["prompt_logprobs".to_owned(), "grammar".to_owned()],
            weight_bytes: 0,
            start: Some(StartTimings {
                phases: vec![StartPhase {
                    name: "read".to_owned(),
                    seconds: 0.25,
                }],
                ..StartTimings::default()
            }),
        }
    }
}

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct MockService(pub(crate) Arc<Shared>);

impl MockService {
    pub(crate) fn into_server(self) -> ShardServer<Self> {
        ShardServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

#[tonic::async_trait]
impl Shard for MockService {
    type ExecuteStream = ReceiverStream<Result<StepResponse, Status>>;

    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let health = self.0.health();
        if health.phase() != Phase::Ready {
            return Err(Status::unavailable(format!(
                "{}: {}",
                health.phase().as_str_name(),
                health.message
            )));
        }
        Ok(Response::new(self.0.info()))
    }

    async fn health(&self, _: Request<HealthRequest>) -> Result<Response<HealthResponse>, Status> {
        Ok(Response::new(self.0.health()))
    }

    async fn compile_grammar(
        &self,
        request: Request<CompileGrammarRequest>,
    ) -> Result<Response<CompileGrammarResponse>, Status> {
        Journal::add(&self.0.journal.grammars, 1);
        Ok(Response::new(grammar::judge(request.into_inner().grammar)))
    }

    async fn execute(
        &self,
        request: Request<Streaming<StepRequest>>,
    ) -> Result<Response<Self::ExecuteStream>, Status> {
        if self.0.session_open.swap(true, Ordering::SeqCst) {
            return Err(Status::already_exists("a session is open; one at a time"));
        }
        Journal::add(&self.0.journal.sessions, 1);
        let (step_sender, steps) = mpsc::channel(QUEUE_STEPS);
        let (response_sender, responses) = mpsc::channel(QUEUE_STEPS);
        let arrived = Arc::new(AtomicU64::new(0));
        tokio::spawn(receive(
            self.0.clone(),
            request.into_inner(),
            step_sender,
            arrived.clone(),
        ));
        let worker = Worker {
            shared: self.0.clone(),
            arrived,
            responses: response_sender,
        };
        std::thread::Builder::new()
            .name("mock-runner".to_owned())
            .spawn(move || worker.run(steps))
            .map_err(|error| Status::resource_exhausted(format!("no thread for the session: {error}")))?;
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}

/// Gathers parts and counts whole steps as they arrive, whatever the worker does.
async fn receive(
    shared: Arc<Shared>,
    mut incoming: Streaming<StepRequest>,
    steps: mpsc::Sender<Result<Arrived, Status>>,
    arrived: Arc<AtomicU64>,
) {
    let mut assembler = Assembler::default();
    loop {
        let message = match incoming.message().await {
            Ok(Some(part)) => assembler
                .push(part)
                .map_err(|error| Status::invalid_argument(error.to_string())),
            Ok(None) => return,
            Err(status) => Err(status),
        };
        let Some(step) = message.transpose() else { continue };
        let failed = step.is_err();
        if let Ok(step) = &step {
            arrived.fetch_add(1, Ordering::SeqCst);
            Journal::add(&shared.journal.arrived, 1);
            if shared.options.faults.die_at_step == Some(step.step_id) {
                shared.die.notify_one();
                return;
            }
        }
        if steps.send(step.map(|step| (step, Instant::now()))).await.is_err() || failed {
            return;
        }
    }
}

/// A whole step and when it was there.
type Arrived = (StepRequest, Instant);

/// The plain loop of one session, on a thread of its own as in a real shard.
struct Worker {
    shared: Arc<Shared>,
    arrived: Arc<AtomicU64>,
    responses: mpsc::Sender<Result<StepResponse, Status>>,
}

impl Worker {
    fn run(self, mut steps: mpsc::Receiver<Result<Arrived, Status>>) {
        let mut session = Session::new(self.shared.options.clone());
        let mut busy_until = Instant::now();
        while let Some(step) = steps.blocking_recv() {
            let answer = step.and_then(|(step, arrived)| {
                // A step that waited for the one before it begins when that one ended.
                let begins = busy_until.max(arrived);
                self.answer(&mut session, &step, begins, &mut busy_until)
            });
            let failed = answer.is_err();
            let silent = self.shared.options.faults.silent_from_step;
            if silent.is_some_and(|from| self.arrived.load(Ordering::SeqCst) >= from) && !failed {
                continue;
            }
            if !self.shared.gate.pass() {
                break;
            }
            let answered = Journal::get(&self.shared.journal.answered) + 1;
            if self.responses.blocking_send(answer).is_err() || failed {
                break;
            }
            Journal::set(&self.shared.journal.answered, answered);
        }
        self.shared.session_open.store(false, Ordering::SeqCst);
    }

    fn answer(
        &self,
        session: &mut Session,
        step: &StepRequest,
        begins: Instant,
        busy_until: &mut Instant,
    ) -> Result<StepResponse, Status> {
        let (mut response, summary) = session
            .step(step)
            .map_err(|violation| Status::invalid_argument(violation.to_string()))?;
        *busy_until = begins + self.shared.options.latency.of(summary.tokens);
        std::thread::sleep(busy_until.saturating_duration_since(Instant::now()));
        *busy_until = (*busy_until).max(Instant::now() - SLEEP_OVERSHOOT);
        if self.shared.options.faults.wrong_id_at_step == Some(step.step_id) {
            response.step_id += 1;
        }
        let journal = &self.shared.journal;
        Journal::add(&journal.tokens, summary.tokens.into());
        Journal::add(&journal.sampled, summary.sampled.into());
        Journal::add(&journal.cached_tokens, summary.cached_tokens.into());
        Journal::set(&journal.blocks_in_use, session.batch().blocks_in_use().into());
        Journal::set(&journal.sequences, session.batch().len() as u64);
        Ok(response)
    }
}
