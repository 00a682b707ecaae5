//! A real client against a real endpoint over a socket, without Python. The test's own thread plays
//! the runner, which blocks; the client's connection runs on the workers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use shardline_endpoint::{
    Endpoint, Frame, InfoResponse, KvGroup, MAX_MESSAGE_BYTES, Next, Outcome, Phase, SendResult,
};
use shardline_proto::v1::shard_client::ShardClient;
use shardline_proto::v1::{self, StepRequest, StepResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

const SOON: Duration = Duration::from_secs(30);

struct Shard {
    endpoint: Endpoint,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

fn shard() -> Shard {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shard-0");
    let endpoint = Endpoint::bind(&path).unwrap();
    Shard {
        endpoint,
        path,
        _folder: folder,
    }
}

fn ready_shard() -> Shard {
    let shard = shard();
    shard.endpoint.set_info(InfoResponse {
        model_type: "llama".to_owned(),
        vocab_size: 1 << 30,
        kv_groups: vec![KvGroup {
            block_size: 16,
            num_blocks: 1024,
            bytes_per_block: 1,
        }],
        max_step_tokens: 4096,
        max_sequences: 256,
        ..Default::default()
    });
    shard.endpoint.set_phase(Phase::Ready, "");
    shard
}

impl Shard {
    async fn client(&self) -> ShardClient<Channel> {
        let uri = format!("unix://{}", self.path.display());
        ShardClient::connect(uri)
            .await
            .unwrap()
            .max_encoding_message_size(2 * MAX_MESSAGE_BYTES)
            .max_decoding_message_size(2 * MAX_MESSAGE_BYTES)
    }

    async fn session(&self) -> Result<Session, Status> {
        Session::open(&mut self.client().await).await
    }

    fn next(&self) -> Frame {
        match self.endpoint.next(SOON) {
            Next::Frame(frame, _) => *frame,
            other => panic!("no frame: {other:?}"),
        }
    }
}

struct Session {
    steps: mpsc::Sender<StepRequest>,
    responses: Streaming<StepResponse>,
}

impl Session {
    async fn open(client: &mut ShardClient<Channel>) -> Result<Self, Status> {
        let (steps, receiver) = mpsc::channel(64);
        let responses = client.execute(ReceiverStream::new(receiver)).await?.into_inner();
        Ok(Self { steps, responses })
    }

    async fn step(&self, step_id: u64, session_epoch: u64) {
        self.send(StepRequest {
            step_id,
            session_epoch,
            ..Default::default()
        })
        .await;
    }

    async fn send(&self, step: StepRequest) {
        self.steps.send(step).await.unwrap();
    }

    async fn response(&mut self) -> Result<Option<StepResponse>, Status> {
        tokio::time::timeout(SOON, self.responses.message())
            .await
            .expect("a response or an end")
    }

    async fn refusal(&mut self) -> Status {
        self.response().await.expect_err("the session ends with an error")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_answers_from_the_first_moment_and_info_when_ready() {
    let shard = shard();
    let mut client = shard.client().await;
    let health = client.health(v1::HealthRequest {}).await.unwrap().into_inner();
    assert_eq!(health.phase(), Phase::Starting);
    shard
        .endpoint
        .set_phase(Phase::Loading, "reading model.safetensors");
    let health = client.health(v1::HealthRequest {}).await.unwrap().into_inner();
    assert_eq!(
        (health.phase(), health.message.as_str()),
        (Phase::Loading, "reading model.safetensors")
    );
    let refused = client.info(v1::InfoRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(
        refused.message(),
        "the shard is not ready (PHASE_LOADING): reading model.safetensors"
    );
    assert_eq!(shard.session().await.err().unwrap().code(), Code::Unavailable);
    let ready = ready_shard();
    let info = ready
        .client()
        .await
        .info(v1::InfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.model_type, "llama");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_are_answered_in_order_with_two_in_flight() {
    let shard = ready_shard();
    let mut session = shard.session().await.unwrap();
    session.step(1, 5).await;
    session.step(2, 5).await;
    let (first, second) = (shard.next(), shard.next());
    assert_eq!((first.step_id, first.new_session), (1, true));
    assert_eq!((second.step_id, second.new_session), (2, false));
    for frame in [&first, &second] {
        assert_eq!(
            shard.endpoint.send(frame, Outcome::default()).unwrap(),
            SendResult::Sent
        );
    }
    assert_eq!(session.response().await.unwrap().unwrap().step_id, 1);
    assert_eq!(session.response().await.unwrap().unwrap().step_id, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn input_that_ends_is_answered_to_its_end() {
    let shard = ready_shard();
    let mut session = shard.session().await.unwrap();
    session.step(1, 5).await;
    let frame = shard.next();
    let Session { steps, responses } = session;
    drop(steps);
    session = Session {
        steps: mpsc::channel(1).0,
        responses,
    };
    shard.endpoint.send(&frame, Outcome::default()).unwrap();
    assert_eq!(session.response().await.unwrap().unwrap().step_id, 1);
    assert_eq!(session.response().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_session_beside_a_living_one_is_refused() {
    let shard = ready_shard();
    let mut first = shard.session().await.unwrap();
    let refused = shard.session().await.err().unwrap();
    assert_eq!(refused.code(), Code::AlreadyExists);
    first.step(1, 5).await;
    let frame = shard.next();
    shard.endpoint.send(&frame, Outcome::default()).unwrap();
    assert_eq!(first.response().await.unwrap().unwrap().step_id, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_gone_leaves_the_shard_to_the_next_and_its_steps_are_discarded() {
    let shard = ready_shard();
    let mut client = shard.client().await;
    let first = Session::open(&mut client).await.unwrap();
    first.step(1, 5).await;
    let running = shard.next();
    first.step(2, 5).await;
    drop(first);
    let mut second = Session::open(&mut client).await.unwrap();
    assert_eq!(
        shard.endpoint.send(&running, Outcome::default()).unwrap(),
        SendResult::SessionOver
    );
    second.step(1, 6).await;
    let frame = shard.next();
    assert_eq!(
        (frame.session_epoch, frame.step_id, frame.new_session),
        (6, 1, true)
    );
    shard.endpoint.send(&frame, Outcome::default()).unwrap();
    assert_eq!(second.response().await.unwrap().unwrap().step_id, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_connection_breaks_leaves_the_shard_to_the_next() {
    let shard = ready_shard();
    let first = shard.session().await.unwrap();
    first.step(1, 5).await;
    shard.next();
    drop(first);
    let second = shard.session().await.unwrap();
    second.step(1, 5).await;
    assert!(shard.next().new_session);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_step_ends_the_session_with_the_field_named() {
    let shard = ready_shard();
    let mut session = shard.session().await.unwrap();
    let rows = v1::Rows {
        sequence_ids: Bytes::from_static(&[1, 2, 3]),
        ..Default::default()
    };
    session
        .send(StepRequest {
            step_id: 1,
            rows: Some(rows),
            ..Default::default()
        })
        .await;
    let refused = session.refusal().await;
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(
        refused.message(),
        "rows.sequence_ids has 3 bytes, which is not a multiple of the 8 bytes of an element"
    );
    let again = shard.session().await.unwrap();
    again.step(1, 5).await;
    assert!(shard.next().new_session);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_fails_ends_the_session_with_its_cause() {
    let shard = ready_shard();
    let mut session = shard.session().await.unwrap();
    session.step(1, 5).await;
    session.step(2, 5).await;
    let frame = shard.next();
    shard.endpoint.fail("CUDA error: an illegal memory access");
    let status = session.refusal().await;
    assert_eq!(
        (status.code(), status.message()),
        (Code::Internal, "CUDA error: an illegal memory access")
    );
    assert_eq!(
        shard.endpoint.send(&frame, Outcome::default()).unwrap(),
        SendResult::SessionOver
    );
    assert_eq!(
        shard.endpoint.next(Duration::ZERO),
        Next::TimedOut,
        "the second step is discarded"
    );
}

/// One step of about `bytes` bytes.
fn big_step(bytes: usize) -> StepRequest {
    let sequence = v1::NewSequence {
        sequence_id: 1,
        token_ids: vec![0; bytes / 4 * 4].into(),
        num_prompt_tokens: 1,
        ..Default::default()
    };
    StepRequest {
        step_id: 1,
        new_sequences: vec![sequence],
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_almost_the_limit_passes_and_a_larger_one_is_refused() {
    let shard = ready_shard();
    let session = shard.session().await.unwrap();
    session.send(big_step(MAX_MESSAGE_BYTES - 1024)).await;
    let frame = shard.next();
    assert_eq!(frame.new_sequences[0].token_ids.len(), MAX_MESSAGE_BYTES - 1024);
    drop(session);
    let mut session = shard.session().await.unwrap();
    session.send(big_step(MAX_MESSAGE_BYTES)).await;
    let refused = session.refusal().await;
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(
        refused.message().contains(&MAX_MESSAGE_BYTES.to_string()),
        "{}",
        refused.message()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_in_parts_is_one_frame_and_parts_of_two_steps_do_not_mix() {
    let shard = ready_shard();
    let mut session = shard.session().await.unwrap();
    let part = |step_id, sequence_id| {
        let mut step = big_step(64);
        step.step_id = step_id;
        step.new_sequences[0].sequence_id = sequence_id;
        step
    };
    session
        .send(StepRequest {
            more: true,
            ..part(1, 1)
        })
        .await;
    session.send(part(1, 2)).await;
    assert_eq!(shard.next().new_sequences.len(), 2);
    session
        .send(StepRequest {
            more: true,
            ..part(2, 3)
        })
        .await;
    session.send(part(3, 4)).await;
    let refused = session.refusal().await;
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.message(), "step 3 came before the last part of step 2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_steps_pass_a_queue_that_is_shorter() {
    const STEPS: u64 = 1000;
    let shard = ready_shard();
    let mut session = shard.session().await.unwrap();
    let client = tokio::spawn(async move {
        for step in 1..=STEPS {
            session.step(step, 5).await;
            if step > 20 {
                assert_eq!(session.response().await.unwrap().unwrap().step_id, step - 20);
            }
        }
        session
    });
    for step in 1..=STEPS {
        let frame = shard.next();
        assert_eq!(frame.step_id, step);
        shard.endpoint.send(&frame, Outcome::default()).unwrap();
    }
    drop(client.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_no_responses_is_cut_off() {
    let shard = ready_shard();
    let session = shard.session().await.unwrap();
    let outcome = Outcome {
        prompt_logprobs: vec![shardline_endpoint::PromptLogprobs {
            logprobs: vec![0; 4 << 20].into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut cut_off = false;
    for step in 1..=200 {
        session.step(step, 5).await;
        let frame = shard.next();
        if shard.endpoint.send(&frame, outcome.clone()).unwrap() == SendResult::SessionOver {
            cut_off = true;
            break;
        }
    }
    assert!(cut_off, "200 unread responses of 4 MiB were all kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_ends_the_session_and_the_wait_and_removes_the_socket() {
    let shard = ready_shard();
    let mut session = shard.session().await.unwrap();
    session.step(1, 5).await;
    shard.next();
    shard.endpoint.close();
    let status = session.refusal().await;
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "the shard shuts down")
    );
    assert_eq!(shard.endpoint.next(SOON), Next::Closed);
    assert!(!shard.path.exists());
}
