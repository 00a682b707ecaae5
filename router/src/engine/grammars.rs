//! Compiling grammars before their sequences are submitted: the shard keeps what it compiled, so that
//! no step waits for it, and a client learns at once what is wrong with its grammar.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::engine::api::{EngineState, Grammar, GrammarError};
use crate::shard::{Grammar as Wire, GrammarCompiler, Verdict};

/// How long a client waits for shards that are lost to come back.
const RECOVERY_WAIT: Duration = Duration::from_secs(30);

/// Where the compiler of the living session is put.
#[derive(Debug)]
pub(super) struct Compilers(watch::Sender<Option<GrammarCompiler>>);

impl Default for Compilers {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Compilers {
    /// A session began with `Some`, or was lost with `None`.
    pub(super) fn set(&self, compiler: Option<GrammarCompiler>) {
        self.0.send_replace(compiler);
    }

    /// Compiles with the living session's shard, waiting for one within limits.
    pub(super) async fn compile(
        &self,
        grammar: &Grammar,
        state: impl Fn() -> EngineState,
    ) -> Result<(), GrammarError> {
        let mut current = self.0.subscribe();
        let answered = timeout(RECOVERY_WAIT, async {
            loop {
                let compiler = current.borrow_and_update().clone();
                if let Some(compiler) = compiler
                    && let Some(verdict) = compiler.compile(to_wire(grammar)).await
                {
                    return Some(verdict);
                }
                // Lost on the way: the next session's shard compiles it.
                current.changed().await.ok()?;
            }
        });
        match answered.await {
            Ok(Some(Verdict::Compiled)) => Ok(()),
            Ok(Some(Verdict::Invalid(message))) => Err(GrammarError::Invalid { message }),
            Ok(Some(Verdict::Unsatisfiable(message))) => Err(GrammarError::Unsatisfiable { message }),
            Ok(Some(Verdict::TooComplex(message))) => Err(GrammarError::TooComplex { message }),
            Ok(Some(Verdict::Busy)) => Err(GrammarError::Busy),
            Ok(None) | Err(_) => Err(GrammarError::NotReady { state: state() }),
        }
    }
}

/// The same grammar in the shard client's words.
pub(super) fn to_wire(grammar: &Grammar) -> Wire<'_> {
    match grammar {
        Grammar::JsonSchema(source) => Wire::JsonSchema(source),
        Grammar::Regex(source) => Wire::Regex(source),
        Grammar::Lark(source) => Wire::Lark(source),
    }
}
