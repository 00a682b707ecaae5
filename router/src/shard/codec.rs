//! Sends messages that are encoded already, so that a step is encoded once for all ranks.

use bytes::{BufMut, Bytes};
use prost::Message;
use shardline_proto::v1::StepResponse;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Encoded steps out, decoded responses in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StepCodec;

impl Codec for StepCodec {
    type Encode = Bytes;
    type Decode = StepResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for StepCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, destination: &mut EncodeBuf<'_>) -> Result<(), Status> {
        destination.put(item);
        Ok(())
    }
}

impl Decoder for StepCodec {
    type Item = StepResponse;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<StepResponse>, Status> {
        StepResponse::decode(source)
            .map(Some)
            .map_err(|error| Status::internal(format!("the response cannot be decoded: {error}")))
    }
}
