//! Asking rank 0 to compile a grammar before a sequence needs it.

use std::time::Duration;

use shardline_proto::v1::shard_client::ShardClient;
use shardline_proto::v1::{self, CompileGrammarRequest, GrammarVerdict, grammar::Kind};
use tokio::time::timeout;
use tonic::transport::Channel;

/// The shard bounds a compilation by itself; this is for one that does not answer at all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What generated text must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar<'a> {
    /// A JSON schema.
    JsonSchema(&'a str),
    /// A regular expression.
    Regex(&'a str),
    /// A grammar in Lark's notation.
    Lark(&'a str),
}

impl Grammar<'_> {
    pub(super) fn to_wire(self) -> v1::Grammar {
        let kind = match self {
            Self::JsonSchema(source) => Kind::JsonSchema(source.to_owned()),
            Self::Regex(source) => Kind::Regex(source.to_owned()),
            Self::Lark(source) => Kind::Lark(source.to_owned()),
        };
        v1::Grammar { kind: Some(kind) }
    }
}

/// What the shard says of a grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is compiled.
    Compiled,
    /// A mistake in it, or something that is not supported; one sentence.
    Invalid(String),
    /// No text matches; one sentence.
    Unsatisfiable(String),
    /// Compiling or following it would cost too much; one sentence.
    TooComplex(String),
    /// As many as may wait are waiting.
    Busy,
}

/// A connection to rank 0 beside its session.
#[derive(Clone, Debug)]
pub struct GrammarCompiler {
    channel: Channel,
}

impl GrammarCompiler {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// Compiles; `None`: the shard does not answer.
    pub async fn compile(&self, grammar: Grammar<'_>) -> Option<Verdict> {
        let mut client = ShardClient::new(self.channel.clone());
        let request = CompileGrammarRequest {
            grammar: Some(grammar.to_wire()),
        };
        let answer = timeout(ANSWER_TIMEOUT, client.compile_grammar(request))
            .await
            .ok()?;
        match answer {
            Ok(response) => {
                let response = response.into_inner();
                Some(match response.verdict() {
                    GrammarVerdict::Ok => Verdict::Compiled,
                    GrammarVerdict::Invalid => Verdict::Invalid(response.message),
                    GrammarVerdict::Unsatisfiable => Verdict::Unsatisfiable(response.message),
                    GrammarVerdict::TooComplex => Verdict::TooComplex(response.message),
                    GrammarVerdict::Busy => Verdict::Busy,
                })
            }
            Err(status) => {
                tracing::debug!(%status, "a grammar was not compiled");
                None
            }
        }
    }
}
