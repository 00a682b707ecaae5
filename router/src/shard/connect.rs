//! From no shard to a group that is ready.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use shardline_proto::v1;
use tokio::time::sleep;

use crate::shard::error::GroupError;
use crate::shard::rank::Rank;

/// How often a start is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How far a shard's start has come, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The process starts, or is not there yet.
    Starting,
    /// It reads the weights.
    Loading,
    /// It tries the model.
    Warmup,
    /// It serves.
    Ready,
}

impl Phase {
    /// Its name for people and `/health`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Loading => "loading",
            Self::Warmup => "warmup",
            Self::Ready => "ready",
        }
    }
}

/// Where the start of the group stands: where its slowest rank does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The phase.
    pub phase: Phase,
    /// One sentence for a person, possibly empty.
    pub message: String,
}

/// Waits until all ranks are ready, telling `on_start` how far they are.
pub(super) async fn wait_until_ready(
    prefix: &Path,
    num_shard: u32,
    mut on_start: impl FnMut(Start),
) -> Result<Vec<Rank>, GroupError> {
    let mut ranks: Vec<Option<Rank>> = (0..num_shard).map(|_| None).collect();
    loop {
        let looks = ranks
            .iter_mut()
            .enumerate()
            .map(|(rank, slot)| look(prefix, rank as u32, slot));
        let mut slowest = Start {
            phase: Phase::Ready,
            message: String::new(),
        };
        for start in join_all(looks).await {
            let start = start?;
            if start.phase < slowest.phase {
                slowest = start;
            }
        }
        if slowest.phase == Phase::Ready {
            return Ok(ranks.into_iter().flatten().collect());
        }
        on_start(slowest);
        sleep(POLL_INTERVAL).await;
    }
}

/// Looks at one rank, connecting first where there is no connection. A rank that is not there yet
/// is starting; one that says that it failed ends the wait.
async fn look(prefix: &Path, rank: u32, slot: &mut Option<Rank>) -> Result<Start, GroupError> {
    let health = match slot {
        Some(connected) => connected.health().await,
        None => match Rank::connect(prefix, rank).await {
            Ok(connected) => slot.insert(connected).health().await,
            Err(error) => Err(error),
        },
    };
    let Ok(health) = health else {
        *slot = None;
        return Ok(Start {
            phase: Phase::Starting,
            message: String::new(),
        });
    };
    let phase = match health.phase() {
        v1::Phase::Failed => {
            return Err(GroupError::FailedStart {
                rank,
                message: health.message,
            });
        }
        v1::Phase::Unspecified | v1::Phase::Starting => Phase::Starting,
        v1::Phase::Loading => Phase::Loading,
        v1::Phase::Warmup => Phase::Warmup,
        v1::Phase::Ready => Phase::Ready,
    };
    Ok(Start {
        phase,
        message: health.message,
    })
}
