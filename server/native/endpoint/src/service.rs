//! The calls of `shardline.v1.Shard`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use shardline_proto::parts::Assembler;
use shardline_proto::v1::shard_server::Shard;
use shardline_proto::v1::{self, StepRequest, StepResponse};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use crate::decode::Decoder;
use crate::grammar;
use crate::session::{Ending, Shared};

/// Serves from the state shared with the runner.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) shared: Arc<Shared>,
}

#[tonic::async_trait]
impl Shard for Service {
    type ExecuteStream = Responses;

    async fn info(&self, _: Request<v1::InfoRequest>) -> Result<Response<v1::InfoResponse>, Status> {
        self.shared.info().map(Response::new)
    }

    async fn health(&self, _: Request<v1::HealthRequest>) -> Result<Response<v1::HealthResponse>, Status> {
        Ok(Response::new(self.shared.health()))
    }

    async fn compile_grammar(
        &self,
        request: Request<v1::CompileGrammarRequest>,
    ) -> Result<Response<v1::CompileGrammarResponse>, Status> {
        let compiler = self.shared.compiler()?;
        let kind = request.into_inner().grammar.and_then(|grammar| grammar.kind);
        let Some(kind) = kind else {
            return Err(Status::invalid_argument("grammar: it is missing"));
        };
        let compiled = compiler.compile(grammar::grammar(kind)).await;
        Ok(Response::new(grammar::response(compiled)))
    }

    async fn execute(&self, request: Request<Streaming<StepRequest>>) -> Result<Response<Responses>, Status> {
        let opened = self.shared.open().await?;
        let responses = Responses {
            shared: Arc::clone(&self.shared),
            session: opened.number,
            receiver: opened.responses,
            ending: Arc::clone(&opened.ending),
            finished: false,
        };
        let reader = Reader {
            shared: Arc::clone(&self.shared),
            session: opened.number,
            decoder: Decoder::new(opened.number, opened.limits),
        };
        tokio::spawn(async move {
            tokio::select! {
                () = reader.run(request.into_inner()) => {}
                () = opened.ending.over() => {}
            }
        });
        Ok(Response::new(responses))
    }
}

/// Reads one session's steps until its input or the session ends.
struct Reader {
    shared: Arc<Shared>,
    session: u64,
    decoder: Decoder,
}

impl Reader {
    async fn run(mut self, mut steps: Streaming<StepRequest>) {
        let mut assembler = Assembler::default();
        loop {
            let part = match steps.message().await {
                Ok(Some(part)) => part,
                Ok(None) => return self.shared.input_ended(self.session),
                Err(status) => return self.shared.end(self.session, Some(status)),
            };
            let step = match assembler.push(part) {
                Ok(Some(step)) => step,
                Ok(None) => continue,
                Err(error) => {
                    let status = Status::invalid_argument(error.to_string());
                    return self.shared.end(self.session, Some(status));
                }
            };
            match self.decoder.decode(step) {
                Ok(frame) => {
                    if !self.shared.push(frame).await {
                        return;
                    }
                }
                Err(invalid) => {
                    let status = Status::invalid_argument(invalid.to_string());
                    return self.shared.end(self.session, Some(status));
                }
            }
        }
    }
}

/// One session's responses. Dropping it (the client is gone) ends the session.
#[derive(Debug)]
pub(crate) struct Responses {
    shared: Arc<Shared>,
    session: u64,
    receiver: mpsc::Receiver<StepResponse>,
    ending: Arc<Ending>,
    finished: bool,
}

impl Stream for Responses {
    type Item = Result<StepResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.finished {
            return Poll::Ready(None);
        }
        if let Some(response) = ready!(self.receiver.poll_recv(context)) {
            return Poll::Ready(Some(Ok(response)));
        }
        self.finished = true;
        Poll::Ready(self.ending.status().map(|status| Err(status.clone())))
    }
}

impl Drop for Responses {
    fn drop(&mut self) {
        self.shared.end(self.session, None);
    }
}
