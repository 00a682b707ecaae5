//! Connecting → Serving and Recovering → Serving: how the actor gets a group of shards.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::engine::actor::{Actor, End, Loss, until};
use crate::engine::api::EngineState;
use crate::engine::handle::Board;
use crate::engine::patience::Patience;
use crate::engine::sizing::same_model;
use crate::shard::{GroupError, GroupInfo, GroupOptions, Phase, ShardGroup, Start};

/// Between two tries to connect when the shards were there and then were not.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// Sessions in a row that may be lost without a single outcome before the engine gives up: a step
/// that kills the shards would kill them for ever.
const MAX_FRUITLESS_SESSIONS: u32 = 3;

/// What came of a try to connect.
enum Try {
    Connected(Box<(ShardGroup, GroupInfo)>),
    /// What is awaited has changed.
    Again,
    Failed(GroupError),
}

impl Actor {
    /// Waits for the group as long as `patience` lasts, and takes commands meanwhile.
    pub(super) async fn connect(&mut self, mut patience: Patience) -> Result<(ShardGroup, GroupInfo), End> {
        loop {
            self.accept_replacement(&mut patience);
            match self.try_to_connect(&mut patience).await? {
                Try::Connected(connected) => return Ok(*connected),
                Try::Again => {}
                Try::Failed(error) if patience.bears(&error, self.config.supervised) => {
                    tracing::debug!(%error, "the shards are not there yet");
                    sleep(RECONNECT_PAUSE).await;
                }
                Try::Failed(error) => return Err(End::Failed(error.to_string())),
            }
        }
    }

    async fn try_to_connect(&mut self, patience: &mut Patience) -> Result<Try, End> {
        let options = GroupOptions {
            shard_uds_path: self.config.shard_uds_path.clone(),
            num_shard: self.config.num_shard,
        };
        self.epoch += 1;
        let (board, epoch, may_connect) = (self.board.clone(), self.epoch, patience.may_connect());
        let mut connecting = Box::pin(async move {
            if !may_connect {
                std::future::pending::<()>().await;
            }
            ShardGroup::connect(&options, epoch, |start| report(&board, &start)).await
        });
        loop {
            let cancellations = self.board.cancellations.clone();
            let drain = self.draining.as_ref().map(|draining| draining.deadline);
            tokio::select! {
                connected = &mut connecting => return Ok(match connected {
                    Ok(connected) => Try::Connected(Box::new(connected)),
                    Err(error) => Try::Failed(error),
                }),
                command = self.commands.recv() => self.take(command)?,
                () = cancellations.requested() => self.cancel_requested(),
                () = until(drain) => self.cancel_all(),
                () = until(patience.deadline()) => {
                    let Some(next) = patience.after(self.config.supervised) else {
                        return Err(End::Failed("the shards did not come back in time".to_owned()));
                    };
                    *patience = next;
                    self.show_stuck(true);
                    return Ok(Try::Again);
                }
            }
            if self.is_drained() {
                return Err(End::Drained);
            }
            if self.replacement.is_some() {
                return Ok(Try::Again);
            }
        }
    }

    /// What the launcher has said of new shards holds from here on.
    fn accept_replacement(&mut self, patience: &mut Patience) {
        if let Some(replacement) = self.replacement.take() {
            *patience = Patience::Replaced;
            self.show_stuck(false);
            self.board.group.store(replacement.group, Ordering::Release);
        }
    }

    fn show_stuck(&self, now: bool) {
        self.board.state.send_if_modified(|state| match state {
            EngineState::Recovering { stuck, .. } => std::mem::replace(stuck, now) != now,
            _ => false,
        });
    }

    /// Waits for the group to come back and lets every sequence go on.
    pub(super) async fn recover(&mut self, loss: &Loss, before: &GroupInfo) -> Result<ShardGroup, End> {
        let cause = loss.to_string();
        tracing::warn!(%cause, "the shards are lost");
        if self.fruitless_sessions >= MAX_FRUITLESS_SESSIONS {
            return Err(End::Failed(cause));
        }
        if let Some(core) = &mut self.core {
            core.reset(before.num_blocks);
            core.deliver();
        }
        // Shards that do not answer do not end by themselves either.
        let stuck = self.config.supervised && matches!(loss, Loss::Group(GroupError::Silent { .. }));
        if self.draining.is_none() {
            let cause = cause.clone();
            self.board
                .state
                .send_replace(EngineState::Recovering { cause, stuck });
        }
        let patience = match stuck {
            true => Patience::Replacement,
            false => Patience::Grace(Instant::now() + self.config.recovery_grace),
        };
        let (group, after) = self.connect(patience).await.map_err(|end| match end {
            End::Failed(why) => End::Failed(format!("{cause}; {why}")),
            other => other,
        })?;
        if !same_model(before, &after) {
            return Err(End::Failed(format!("{cause}; another model came back")));
        }
        if let Some(core) = &mut self.core {
            core.reset(after.num_blocks);
        }
        self.open();
        tracing::info!("the shards are back");
        Ok(group)
    }
}

/// Shows how far the shards' start is, as long as the engine has not served yet. While there is no
/// shard to ask, what the launcher said last stands: it may be downloading.
fn report(board: &Board, start: &Start) {
    if start.phase == Phase::Starting && start.message.is_empty() {
        return;
    }
    board.report_phase(start.phase.name(), &start.message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::handle::handle;

    #[test]
    fn shards_that_are_not_there_do_not_hide_the_download() {
        let (handle, board, _commands) = handle(1);
        let shown = || match handle.state() {
            EngineState::Starting { phase, .. } => phase,
            other => panic!("{other:?}"),
        };
        let start = |phase| Start {
            phase,
            message: String::new(),
        };
        handle.report_phase("download", "1 of 2 files");
        report(&board, &start(Phase::Starting));
        assert_eq!(shown(), "download");
        report(&board, &start(Phase::Loading));
        assert_eq!(shown(), "loading");
    }
}
