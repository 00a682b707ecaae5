//! A peer that speaks nonsense: it is refused or cut off, and the next one is served.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use proptest::prelude::*;
use shardline_endpoint::{Endpoint, InfoResponse, Phase};
use shardline_proto::v1;
use shardline_proto::v1::shard_client::ShardClient;
use tokio_stream::StreamExt;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// Messages as bytes, whatever they say.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

struct Shard {
    path: PathBuf,
    _endpoint: Endpoint,
    _folder: tempfile::TempDir,
}

impl Shard {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard-0");
        let endpoint = Endpoint::bind(&path).unwrap();
        endpoint.set_info(InfoResponse::default());
        endpoint.set_phase(Phase::Ready, "");
        Self {
            path,
            _endpoint: endpoint,
            _folder: folder,
        }
    }

    async fn channel(&self) -> Channel {
        let uri = format!("unix://{}", self.path.display());
        let endpoint = tonic::transport::Endpoint::new(uri).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// The status with which a message in a session is answered.
    async fn send(&self, message: Bytes) -> Option<Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel().await);
        grpc.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static("/shardline.v1.Shard/Execute");
        let request = Request::new(tokio_stream::once(message));
        let mut answers = match grpc.streaming(request, path, Raw).await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return Some(status),
        };
        // What is no refusal waits for a runner, and none is here.
        match tokio::time::timeout(Duration::from_millis(200), answers.next()).await {
            Ok(Some(Err(status))) => Some(status),
            _ => None,
        }
    }

    async fn serves(&self) {
        let mut client = ShardClient::new(self.channel().await);
        assert!(client.health(v1::HealthRequest {}).await.is_ok());
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

/// A protobuf field: its key and the bytes that follow.
fn field(number: u8, wire_type: u8, rest: &[u8]) -> Vec<u8> {
    [&[number << 3 | wire_type], rest].concat()
}

#[test]
fn messages_that_are_no_steps_are_refused() {
    let shard = Shard::new();
    let gigabytes = [0xff, 0xff, 0xff, 0xff, 0x07];
    let negative = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let mut deep = Vec::new();
    for _ in 0..10_000 {
        // A group that opens and never closes, of a field that nobody knows.
        deep.extend(field(15, 3, &[]));
    }
    runtime().block_on(async {
        for message in [
            field(4, 2, &gigabytes),
            field(3, 2, &negative),
            field(1, 0, &[0xff; 11]),
            field(4, 2, &[2, 0x12, 0x7f]),
            field(5, 7, &[]),
            vec![0xff; 1000],
            deep,
        ] {
            let status = shard.send(Bytes::from(message.clone())).await;
            let code = status.as_ref().map(Status::code);
            assert!(
                matches!(code, Some(Code::Internal | Code::InvalidArgument)),
                "{:?}: {status:?}",
                &message[..message.len().min(12)]
            );
        }
        shard.serves().await;
    });
}

#[test]
fn fields_of_a_later_version_pass() {
    let shard = Shard::new();
    let step = field(1, 0, &[1]);
    let later = [step.clone(), field(14, 0, &[7]), field(15, 2, &[2, 1, 2])].concat();
    let told = |status: Option<Status>| status.map(|status| (status.code(), status.message().to_owned()));
    runtime().block_on(async {
        let known = told(shard.send(Bytes::from(step)).await);
        assert_eq!(
            told(shard.send(Bytes::from(later)).await),
            known,
            "as if they were not there"
        );
    });
}

#[test]
fn metadata_of_a_megabyte_is_refused() {
    let shard = Shard::new();
    runtime().block_on(async {
        let mut client = ShardClient::new(shard.channel().await);
        let mut request = Request::new(v1::HealthRequest {});
        let long = "x".repeat(1 << 20).parse().unwrap();
        request.metadata_mut().insert("x-long", long);
        assert!(client.health(request).await.is_err());
        shard.serves().await;
    });
}

#[test]
fn bytes_that_are_no_protocol_are_cut_off() {
    let shard = Shard::new();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let oversized = [&preface[..], &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat();
    for sent in [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], &[0; 4096], &oversized] {
        let mut stream = UnixStream::connect(&shard.path).unwrap();
        let _ = stream.write_all(sent);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    runtime().block_on(shard.serves());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_leave_it_alive(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let shard = Shard::new();
        runtime().block_on(async {
            let _ = shard.send(Bytes::from(bytes)).await;
            shard.serves().await;
        });
    }
}
