//! One shard's connection.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use hyper_util::rt::TokioIo;
use shardline_proto::MAX_MESSAGE_BYTES;
use shardline_proto::v1::shard_client::ShardClient;
use shardline_proto::v1::{HealthRequest, HealthResponse, InfoRequest, InfoResponse, StepResponse};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tower::service_fn;

use crate::shard::codec::StepCodec;
use crate::shard::error::GroupError;

/// A shard that listens answers small questions within this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Steps that may wait for the connection; more than ever are in flight.
const SEND_QUEUE_STEPS: usize = 16;

/// Bytes a shard may send before it must wait: a large step's answer fits.
const WINDOW_BYTES: u32 = 8 << 20;

/// A connection to one rank, before its session.
#[derive(Debug)]
pub(super) struct Rank {
    rank: u32,
    channel: Channel,
}

/// The socket of a rank.
fn socket(prefix: &Path, rank: u32) -> PathBuf {
    let mut path = prefix.to_owned().into_os_string();
    path.push(format!("-{rank}"));
    PathBuf::from(path)
}

fn lost(rank: u32, cause: impl ToString) -> GroupError {
    GroupError::Lost {
        rank,
        cause: cause.to_string(),
    }
}

/// What a status of the shard means for the group.
pub(super) fn from_status(rank: u32, status: &Status) -> GroupError {
    match status.code() {
        Code::InvalidArgument => GroupError::Refused {
            rank,
            reason: status.message().to_owned(),
        },
        code => lost(rank, format!("{} ({code})", status.message())),
    }
}

impl Rank {
    /// Connects to the rank's socket.
    pub(super) async fn connect(prefix: &Path, rank: u32) -> Result<Self, GroupError> {
        let path = socket(prefix, rank);
        let connector = service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The host is never resolved; it only fills the `:authority` header.
        let channel = Endpoint::from_static("http://shard")
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .connect_with_connector(connector)
            .await
            .map_err(|error| lost(rank, error))?;
        Ok(Self { rank, channel })
    }

    fn client(&self) -> ShardClient<Channel> {
        ShardClient::new(self.channel.clone())
    }

    /// Where its start stands.
    pub(super) async fn health(&self) -> Result<HealthResponse, GroupError> {
        let mut client = self.client();
        match timeout(ANSWER_TIMEOUT, client.health(HealthRequest {})).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(from_status(self.rank, &status)),
            Err(_) => Err(lost(self.rank, "it listens and does not answer")),
        }
    }

    /// What it serves.
    pub(super) async fn info(&self) -> Result<InfoResponse, GroupError> {
        let mut client = self.client();
        match timeout(ANSWER_TIMEOUT, client.info(InfoRequest {})).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(from_status(self.rank, &status)),
            Err(_) => Err(lost(self.rank, "it does not say what it serves")),
        }
    }

    /// For questions beside the session.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Opens the rank's one session.
    pub(super) async fn execute(self) -> Result<RankSession, GroupError> {
        let (steps, receiver) = mpsc::channel(SEND_QUEUE_STEPS);
        let messages = ReceiverStream::new(receiver).flat_map(|parts: Vec<Bytes>| stream::iter(parts));
        let mut grpc = Grpc::new(self.channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let path = PathAndQuery::from_static("/shardline.v1.Shard/Execute");
        let opened = async {
            grpc.ready().await.map_err(|error| lost(self.rank, error))?;
            grpc.streaming(Request::new(messages), path, StepCodec)
                .await
                .map_err(|status| from_status(self.rank, &status))
        };
        match timeout(ANSWER_TIMEOUT, opened).await {
            Ok(opened) => Ok(RankSession {
                rank: self.rank,
                steps,
                responses: opened?.into_inner(),
                answered: 0,
            }),
            Err(_) => Err(lost(self.rank, "it does not open a session")),
        }
    }
}

/// One rank's half of a session.
#[derive(Debug)]
pub(super) struct RankSession {
    pub(super) rank: u32,
    steps: mpsc::Sender<Vec<Bytes>>,
    pub(super) responses: Streaming<StepResponse>,
    /// The last step it answered.
    answered: u64,
}

impl RankSession {
    /// Hands encoded parts of a step to the connection, without waiting.
    pub(super) fn send(&self, parts: Vec<Bytes>) -> Result<(), GroupError> {
        self.steps.try_send(parts).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => GroupError::Stuck { rank: self.rank },
            mpsc::error::TrySendError::Closed(_) => lost(self.rank, "its session ended"),
        })
    }

    /// Checks that the step after the last answered one is answered.
    pub(super) fn note_answer(&mut self, step: u64, sent: u64) -> Result<(), GroupError> {
        let expected = self.answered + 1;
        if step != expected || step > sent {
            return Err(GroupError::OutOfStep {
                rank: self.rank,
                got: step,
                expected,
            });
        }
        self.answered = step;
        Ok(())
    }
}
