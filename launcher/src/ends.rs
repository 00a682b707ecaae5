//! How a server can end.

use crate::process::CannotStart;
use crate::restarts::Reason;

/// How a server ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Running requests got their time.
    Drained,
    /// Ctrl-C while they had it cut them off.
    CutOff,
}

/// Why a server ended.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A child could not be started.
    #[error(transparent)]
    CannotStart(#[from] CannotStart),
    /// There is no model.
    #[error("{0}")]
    NoModel(String),
    /// A child ended by itself.
    #[error("{who} {how}{}{}", reason(*.why), quoted(.last_words))]
    Died {
        /// The child.
        who: String,
        /// How it ended.
        how: String,
        /// Why it is not started again.
        why: Option<Reason>,
        /// What it said last.
        last_words: Vec<String>,
    },
    /// The shards live and do not answer.
    #[error("the shards are stuck: {cause}{}", reason(*.why))]
    Stuck {
        /// What the router said.
        cause: String,
        /// Why they are not started again.
        why: Option<Reason>,
    },
    /// The system refused signals.
    #[error("cannot listen for signals: {0}")]
    Signals(#[from] std::io::Error),
}

impl Failure {
    /// What clients are told: the sentence without a child's last words.
    pub fn summary(&self) -> String {
        match self {
            Self::Died { who, how, why, .. } => format!("{who} {how}{}", reason(*why)),
            other => other.to_string(),
        }
    }

    /// The same, told as the end of the server.
    #[must_use]
    pub fn for_good(mut self, reason: Reason) -> Self {
        if let Self::Died { why, .. } | Self::Stuck { why, .. } = &mut self {
            *why = Some(reason);
        }
        self
    }
}

fn reason(why: Option<Reason>) -> String {
    why.map_or_else(String::new, |reason| reason.to_string())
}

fn quoted(last_words: &[String]) -> String {
    match last_words {
        [] => ", without a word".to_owned(),
        lines => format!("; its last words:\n    {}", lines.join("\n    ")),
    }
}
