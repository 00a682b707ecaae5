//! A whole router in this process, with a mock shard behind it and no socket in front.

use std::time::Duration;

use shardline_mock_shard::{EndOfText, TokenSource};
use shardline_parse::{ReasoningFormat, ToolFormat};
use shardline_router::config::{ParserChoice, Parsers};
use tokio::runtime::{Builder, Runtime};

use crate::support::{Answer, IM_END, Server, Setup};

/// Longest that one request may take; requests here need milliseconds.
const PATIENCE: Duration = Duration::from_secs(4);

/// A server and the runtime that it lives in, which runs while a request is waited for.
pub struct House {
    runtime: Runtime,
    server: Server,
}

impl House {
    /// A server that takes anything and says little.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn plain() -> Self {
        Self::open(|mut setup| {
            setup.shard.max_position = 1024;
            setup.shard.end_of_text = end(Some(6));
            setup
        })
    }

    /// A server that says what it is asked, and reads it as this kind of model's output.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn parrot(tools: &str, reasoning: &str) -> Self {
        fn choice<T>(found: Option<T>) -> ParserChoice<T> {
            found.map_or(ParserChoice::Off, ParserChoice::Named)
        }
        let parsers = Parsers {
            tools: choice(ToolFormat::named(tools)),
            reasoning: choice(ReasoningFormat::named(reasoning)),
        };
        // The tools are not told, so the prompt is the message alone.
        let template = "{# tools #}{{ messages[-1].content }}";
        Self::open(|setup| {
            let mut setup = setup.template(template);
            setup.shard.max_position = 2048;
            setup.shard.tokens = TokenSource::Prompt;
            setup.shard.end_of_text = end(None);
            setup.settings.parsers = parsers;
            setup
        })
    }

    fn open(change: impl FnOnce(Setup) -> Setup) -> Self {
        // Before the setup makes one that writes everything.
        let silent = tracing::subscriber::NoSubscriber::default();
        let _ = tracing::subscriber::set_global_default(silent);
        // One thread: what an input does is not shaken by what the one before left running.
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let server = runtime.block_on(change(Setup::new()).start());
        Self { runtime, server }
    }

    /// The answer to a body.
    ///
    /// # Panics
    /// When there is none within four seconds.
    #[must_use]
    pub fn post(&self, path: &str, body: Vec<u8>) -> Answer {
        let posted = self.server.post_text(path, body);
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, posted).await });
        answer.unwrap_or_else(|_| panic!("{path}: no answer within {PATIENCE:?}"))
    }

    /// Waits until nothing runs.
    pub fn settle(&self) {
        self.runtime.block_on(self.server.settled());
    }
}

fn end(after: Option<u32>) -> Option<EndOfText> {
    Some(EndOfText {
        token: IM_END,
        after,
        probability: 0.0,
    })
}
