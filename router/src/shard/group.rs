//! All ranks as one: a step goes to each, an outcome comes from rank 0, the others acknowledge.

use std::future::poll_fn;
use std::path::PathBuf;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use shardline_proto::MAX_MESSAGE_BYTES;
use shardline_proto::v1::StepResponse;

use crate::shard::connect::{Start, wait_until_ready};
use crate::shard::decode::StepOutcome;
use crate::shard::error::GroupError;
use crate::shard::grammar::GrammarCompiler;
use crate::shard::info::GroupInfo;
use crate::shard::rank::{Rank, RankSession, from_status};
use crate::shard::step::StepBuilder;

/// Where the group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOptions {
    /// Sockets are `PREFIX-RANK`.
    pub shard_uds_path: PathBuf,
    /// Ranks, at least one.
    pub num_shard: u32,
}

/// An open session with every rank. Dropping it ends the sessions.
#[derive(Debug)]
pub struct ShardGroup {
    ranks: Vec<RankSession>,
    epoch: u64,
    sent: u64,
    vocab_size: u32,
    compiler: GrammarCompiler,
}

impl ShardGroup {
    /// Waits until every rank is ready, checks that they agree, and opens a session of `epoch`.
    /// Waits without end for a rank that is not there; the caller limits the time.
    ///
    /// # Errors
    /// When a rank failed, disagrees, or is lost on the way.
    pub async fn connect(
        options: &GroupOptions,
        epoch: u64,
        on_start: impl FnMut(Start),
    ) -> Result<(Self, GroupInfo), GroupError> {
        let ranks = wait_until_ready(&options.shard_uds_path, options.num_shard, on_start).await?;
        let infos = try_join_all(ranks.iter().map(Rank::info)).await?;
        let info = GroupInfo::join(&infos)?;
        let Some(compiler) = ranks.first().map(|rank| GrammarCompiler::new(rank.channel())) else {
            return Err(GroupError::Unusable("the group has no shard".to_owned()));
        };
        let ranks = try_join_all(ranks.into_iter().map(Rank::execute)).await?;
        Ok((
            Self {
                ranks,
                epoch,
                sent: 0,
                vocab_size: info.vocab_size,
                compiler,
            },
            info,
        ))
    }

    /// Compiles grammars for the sequences of this session.
    #[must_use]
    pub fn compiler(&self) -> GrammarCompiler {
        self.compiler.clone()
    }

    /// Sends a step to every rank. Steps are numbered from 1.
    ///
    /// # Errors
    /// When it fits no message or a rank takes no more.
    pub fn send(&mut self, step: StepBuilder) -> Result<(), GroupError> {
        self.sent = step.step();
        let parts = step.encode(self.epoch, MAX_MESSAGE_BYTES)?;
        // A copy of the list shares the encoded bytes.
        self.ranks.iter().try_for_each(|rank| rank.send(parts.clone()))
    }

    /// The next step's outcome. May be dropped and called again without losing any.
    ///
    /// # Errors
    /// When a rank is lost, refuses a step or answers the wrong one.
    pub async fn next(&mut self) -> Result<StepOutcome, GroupError> {
        poll_fn(|context| self.poll_outcome(context)).await
    }

    fn poll_outcome(&mut self, context: &mut Context<'_>) -> Poll<Result<StepOutcome, GroupError>> {
        let Some((first, others)) = self.ranks.split_first_mut() else {
            return Poll::Ready(Err(GroupError::Unusable("the group has no shard".to_owned())));
        };
        for rank in others {
            while let Poll::Ready(answer) = poll_answer(rank, self.sent, context) {
                if let Err(error) = answer {
                    return Poll::Ready(Err(error));
                }
            }
        }
        poll_answer(first, self.sent, context).map(|answer| {
            StepOutcome::read(&answer?, self.vocab_size).map_err(|error| GroupError::Malformed {
                rank: first.rank,
                error,
            })
        })
    }
}

fn poll_answer(
    session: &mut RankSession,
    sent: u64,
    context: &mut Context<'_>,
) -> Poll<Result<StepResponse, GroupError>> {
    let rank = session.rank;
    session
        .responses
        .poll_next_unpin(context)
        .map(|answer| match answer {
            Some(Ok(response)) => session.note_answer(response.step_id, sent).map(|()| response),
            Some(Err(status)) => Err(from_status(rank, &status)),
            None => Err(GroupError::Lost {
                rank,
                cause: "it ended the session".to_owned(),
            }),
        })
}
