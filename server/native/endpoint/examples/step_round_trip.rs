//! Times the round trip of an empty decode step, one at a time, from a client to a shard's runner and
//! back: `step_round_trip SOCKET [ROWS]`. `benchmark/step_round_trip.py` plays the runner in Python;
//! without a socket, a thread of this program plays it without Python.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use shardline_endpoint::{Endpoint, InfoResponse, KvGroup, Next, Outcome, Phase};
use shardline_proto::v1::shard_client::ShardClient;
use shardline_proto::v1::{BlockTable, NewSequence, Rows, StepRequest};
use tokio_stream::wrappers::ReceiverStream;

const STEPS: u64 = 3000;
const WARM_UP: usize = 500;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let socket = arguments.next().filter(|path| path != "-");
    let rows: u64 = arguments.next().map_or(256, |rows| rows.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = socket
        .clone()
        .unwrap_or_else(|| folder.path().join("shard").display().to_string());
    if socket.is_none() {
        let endpoint = ready_endpoint(&path);
        std::thread::spawn(move || play_runner(&endpoint));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut times = runtime.block_on(measure(&path, rows));
    times.drain(..WARM_UP);
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100].as_micros();
    println!(
        "{rows} rows: median {} us, 10 % {} us, 90 % {} us, 99 % {} us",
        at(50),
        at(10),
        at(90),
        at(99)
    );
}

async fn measure(path: &str, rows: u64) -> Vec<Duration> {
    let mut client = ShardClient::connect(format!("unix://{path}")).await.unwrap();
    let (steps, receiver) = tokio::sync::mpsc::channel(4);
    let mut responses = client
        .execute(ReceiverStream::new(receiver))
        .await
        .unwrap()
        .into_inner();
    let mut times = Vec::new();
    for step_id in 1..=STEPS {
        let step = step(step_id, rows);
        let start = Instant::now();
        steps.send(step).await.unwrap();
        let response = responses.message().await.unwrap().unwrap();
        times.push(start.elapsed());
        assert_eq!(response.step_id, step_id);
    }
    times
}

/// All rows decode one token; every eighth one gets a new block.
fn step(step_id: u64, rows: u64) -> StepRequest {
    let new_sequences = if step_id == 1 {
        (0..rows).map(sequence).collect()
    } else {
        Vec::new()
    };
    let counts: Vec<i32> = (0..rows).map(|row| i32::from(row % 8 == 0)).collect();
    let blocks = rows.div_ceil(8);
    StepRequest {
        step_id,
        session_epoch: 1,
        new_sequences,
        rows: Some(Rows {
            sequence_ids: (0..rows).flat_map(u64::to_le_bytes).collect(),
            num_tokens: (0..rows).flat_map(|_| 1_i32.to_le_bytes()).collect(),
            new_block_counts: counts.into_iter().flat_map(i32::to_le_bytes).collect(),
            new_blocks: (0..blocks).flat_map(|_| 1_i32.to_le_bytes()).collect(),
            num_draft_tokens: Bytes::new(),
        }),
        ..Default::default()
    }
}

fn sequence(sequence_id: u64) -> NewSequence {
    NewSequence {
        sequence_id,
        token_ids: Bytes::from_static(&[1, 0, 0, 0]),
        num_prompt_tokens: 1,
        block_tables: vec![BlockTable::default()],
        ..Default::default()
    }
}

fn ready_endpoint(path: &str) -> Endpoint {
    let endpoint = Endpoint::bind(path.as_ref()).unwrap();
    endpoint.set_info(InfoResponse {
        vocab_size: 49_152,
        max_step_tokens: 4096,
        max_sequences: 4096,
        kv_groups: vec![KvGroup {
            block_size: 16,
            num_blocks: 4096,
            bytes_per_block: 1,
        }],
        ..Default::default()
    });
    endpoint.set_phase(Phase::Ready, "");
    endpoint
}

fn play_runner(endpoint: &Endpoint) {
    loop {
        match endpoint.next(Duration::from_secs(1)) {
            Next::Frame(frame, _) => {
                let rows = frame.rows.sequence_ids.len() / 8;
                let outcome = Outcome {
                    sequence_ids: frame.rows.sequence_ids.clone(),
                    status: vec![0; rows].into(),
                    token_counts: frame.rows.num_tokens.clone(),
                    token_ids: frame.rows.num_tokens.clone(),
                    ..Outcome::default()
                };
                endpoint.send(&frame, outcome).unwrap();
            }
            Next::TimedOut => {}
            Next::Closed => return,
        }
    }
}
