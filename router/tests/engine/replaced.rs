//! Shards that a launcher replaces: awaited for as long as it takes, asked for where they hang.

use std::time::Duration;

use shardline_mock_shard::{Faults, MockOptions, MockShard};
use shardline_router::engine::api::{EngineState, Finish, Generate};
use shardline_router::engine::{EngineConfig, EngineHandle, Generation};

use crate::support::*;

/// A launcher watches, and no time is given to shards that might come back by themselves.
fn supervised(place: &Place) -> EngineConfig {
    EngineConfig {
        supervised: true,
        recovery_grace: Duration::ZERO,
        ..place.config()
    }
}

fn stuck(state: &EngineState) -> bool {
    matches!(state, EngineState::Recovering { stuck: true, .. })
}

fn faulty(place: &Place, faults: Faults) -> MockOptions {
    MockOptions {
        faults,
        ..place.options()
    }
}

/// Shards that died under a stream, which waits for those that follow.
struct Died {
    place: Place,
    shard: MockShard,
    engine: EngineHandle,
    generation: Generation,
}

impl Died {
    async fn under(request: Generate) -> Self {
        let place = Place::new();
        let faults = Faults {
            die_at_step: Some(4),
            ..Faults::default()
        };
        let (shard, engine) = serve_with(faulty(&place, faults), supervised(&place)).await;
        let generation = engine.submit(request).await.unwrap();
        until(&engine, stuck).await;
        Self {
            place,
            shard,
            engine,
            generation,
        }
    }
}

#[tokio::test]
async fn shards_that_hang_are_asked_nothing_until_they_are_replaced() {
    let requests = [request(100, 20, 10)];
    let expected = undisturbed(&requests).await;
    let place = Place::new();
    let faults = Faults {
        silent_from_step: Some(4),
        ..Faults::default()
    };
    let config = EngineConfig {
        // Long enough for the shards that follow on a busy machine.
        step_timeout: Duration::from_secs(2),
        ..supervised(&place)
    };
    let (hanging, engine) = serve_with(faulty(&place, faults), config).await;
    let [request] = requests;
    let generation = engine.submit(request).await.unwrap();
    let state = until(&engine, stuck).await;
    let EngineState::Recovering { cause, .. } = state else {
        panic!("{state:?}")
    };
    assert!(cause.contains("was not answered within"), "{cause}");
    assert_eq!(engine.group().0, 1);
    drop(hanging);
    let _shard = MockShard::start(place.options()).unwrap();
    engine.replaced(2, "they hung".to_owned()).await;
    assert_eq!(answer(generation).await, expected[0]);
    assert_eq!(engine.group(), (2, EngineState::Ready));
}

#[tokio::test]
async fn shards_that_stay_away_are_asked_for_and_then_awaited_without_end() {
    let requests = [request(100, 20, 10)];
    let expected = undisturbed(&requests).await;
    let [request] = requests;
    let Died {
        place,
        shard,
        engine,
        generation,
    } = Died::under(request).await;
    drop(shard);
    engine.replaced(2, "shard-0 was killed".to_owned()).await;
    until(&engine, |state| {
        matches!(state, EngineState::Recovering { stuck: false, .. })
    })
    .await;
    let _shard = MockShard::start(place.options()).unwrap();
    assert_eq!(answer(generation).await, expected[0]);
}

/// The launcher may know before the connection does.
#[tokio::test]
async fn a_session_ends_when_its_shards_are_said_to_be_dead() {
    let place = Place::new();
    let (shard, engine) = serve_with(place.options(), supervised(&place)).await;
    assert_eq!(engine.group(), (1, EngineState::Ready));
    engine.replaced(2, "shard-0 was killed".to_owned()).await;
    let mut changes = engine.watch_state();
    while engine.group() != (2, EngineState::Ready) {
        changes.changed().await.unwrap();
    }
    drop(shard);
}

#[tokio::test]
async fn a_launcher_that_gives_up_ends_the_streams_with_its_cause() {
    let died = Died::under(request(100, 20, 10)).await;
    died.engine.fail("shard-0 was killed too often".to_owned()).await;
    let (_, finish) = answer(died.generation).await;
    let Finish::ShardLost { cause } = finish else {
        panic!("{finish:?}")
    };
    assert!(cause.contains("shard-0 was killed too often"), "{cause}");
}

#[tokio::test]
async fn a_drain_does_not_wait_longer_than_its_grace_for_shards() {
    let died = Died::under(request(100, 20, 10)).await;
    died.engine.drain(Duration::ZERO).await;
    assert_eq!(answer(died.generation).await.1, Finish::Cancelled);
}
