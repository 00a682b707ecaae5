//! What a mock shard says of grammars. It follows none: a few sources get the verdicts that a router
//! must handle, every other one is fine.

use shardline_proto::v1::grammar::Kind;
use shardline_proto::v1::{CompileGrammarResponse, Grammar, GrammarVerdict};

/// The verdict on a grammar, by its source alone.
pub(crate) fn judge(grammar: Option<Grammar>) -> CompileGrammarResponse {
    let (verdict, message) = match grammar.and_then(|grammar| grammar.kind) {
        None => (GrammarVerdict::Invalid, "it is empty"),
        Some(Kind::JsonSchema(source)) if source == "false" => {
            (GrammarVerdict::Unsatisfiable, "no text matches")
        }
        Some(Kind::Regex(source)) if source == "(" => (GrammarVerdict::Invalid, "a group is not closed"),
        Some(Kind::Regex(source)) if source == "busy" => (GrammarVerdict::Busy, ""),
        Some(Kind::Lark(source)) if source == "start: start" => (GrammarVerdict::TooComplex, "it never ends"),
        Some(_) => (GrammarVerdict::Ok, ""),
    };
    CompileGrammarResponse {
        verdict: verdict.into(),
        message: message.to_owned(),
    }
}
