//! The seam to whatever compiles grammars.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use shardline_proto::v1::{self, GrammarVerdict, grammar::Kind};

use crate::frame::Grammar;

/// Why a grammar cannot be followed; the text is one sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrammarRefusal {
    /// A mistake in it, or something that is not supported.
    Invalid(String),
    /// No text matches it.
    Unsatisfiable(String),
    /// Compiling or following it would cost too much.
    TooComplex(String),
    /// As many as may wait are waiting.
    Busy,
}

/// A compilation on its way.
pub type Compilation = Pin<Box<dyn Future<Output = Result<(), GrammarRefusal>> + Send>>;

/// Compiles grammars somewhere else than in the endpoint's thread, and keeps them for sequences.
pub trait CompileGrammar: Debug + Send + Sync {
    /// Begins at once; the future may be dropped.
    fn compile(&self, grammar: Grammar) -> Compilation;
}

/// The grammar in a message.
pub(crate) fn grammar(kind: Kind) -> Grammar {
    match kind {
        Kind::JsonSchema(source) => Grammar::JsonSchema(source),
        Kind::Regex(source) => Grammar::Regex(source),
        Kind::Lark(source) => Grammar::Lark(source),
    }
}

/// The answer to a compilation.
pub(crate) fn response(compiled: Result<(), GrammarRefusal>) -> v1::CompileGrammarResponse {
    let (verdict, message) = match compiled {
        Ok(()) => (GrammarVerdict::Ok, String::new()),
        Err(GrammarRefusal::Invalid(message)) => (GrammarVerdict::Invalid, message),
        Err(GrammarRefusal::Unsatisfiable(message)) => (GrammarVerdict::Unsatisfiable, message),
        Err(GrammarRefusal::TooComplex(message)) => (GrammarVerdict::TooComplex, message),
        Err(GrammarRefusal::Busy) => (GrammarVerdict::Busy, String::new()),
    };
    v1::CompileGrammarResponse {
        verdict: verdict.into(),
        message,
    }
}
