use std::time::Duration;

use shardline_mock_shard::{Faults, Journal, MockOptions, MockShard};
use shardline_router::engine::api::{EngineState, Finish};
use shardline_router::engine::{EngineConfig, start};

use crate::support::*;

fn failed(state: &EngineState) -> bool {
    matches!(state, EngineState::Failed { .. })
}

#[tokio::test]
async fn a_row_that_is_not_a_number_fails_alone() {
    let place = Place::new();
    let faults = Faults {
        nan_token: Some(666),
        ..Faults::default()
    };
    let (_shard, engine) = serve(
        &place,
        MockOptions {
            faults,
            ..place.options()
        },
    )
    .await;
    let good = engine.submit(request(100, 5, 30)).await.unwrap();
    let bad = engine.submit(request(660, 20, 30)).await.unwrap();
    assert_eq!(answer(bad).await, (vec![], Finish::InvalidLogits));
    let (tokens, finish) = answer(good).await;
    assert_eq!((tokens.len(), finish), (30, Finish::Length));
    // Its blocks are not offered to others: the mock shard would refuse a hit.
    assert_eq!(
        generate(&engine, request(660, 20, 30)).await.1,
        Finish::InvalidLogits
    );
    settled(&engine).await;
}

#[tokio::test]
async fn a_group_that_dies_and_comes_back_changes_no_stream() {
    let requests: Vec<_> = (0..6).map(|n| request(1_000 * n, 10 + 9 * n, 25)).collect();
    let expected = undisturbed(&requests).await;
    let place = Place::new();
    let faults = Faults {
        die_at_step: Some(9),
        ..Faults::default()
    };
    let dying = MockOptions {
        faults,
        num_blocks: 60,
        ..place.options()
    };
    let (shard, engine) = serve(&place, dying).await;
    let mut generations = Vec::new();
    for request in requests {
        generations.push(engine.submit(request).await.unwrap());
    }
    until(&engine, |state| matches!(state, EngineState::Recovering { .. })).await;
    drop(shard);
    // A sequence may come while the shards are away; it waits with the others.
    let late = engine.submit(request(50, 3, 5)).await.unwrap();
    let shard = MockShard::start(MockOptions {
        num_blocks: 40,
        ..place.options()
    })
    .unwrap();
    for (generation, expected) in generations.into_iter().zip(expected) {
        assert_eq!(answer(generation).await, expected);
    }
    assert_eq!(answer(late).await.0.len(), 5);
    assert_eq!(engine.state(), EngineState::Ready);
    assert_eq!(engine.stats().blocks_total, 40);
    assert_eq!(Journal::get(&shard.journal().sessions), 1);
}

#[tokio::test]
async fn a_stream_dropped_while_the_shards_are_away_is_forgotten() {
    let place = Place::new();
    let faults = Faults {
        die_at_step: Some(3),
        ..Faults::default()
    };
    let (shard, engine) = serve(
        &place,
        MockOptions {
            faults,
            ..place.options()
        },
    )
    .await;
    let leaving = engine.submit(request(100, 5, 500)).await.unwrap();
    until(&engine, |state| matches!(state, EngineState::Recovering { .. })).await;
    drop((shard, leaving));
    let shard = MockShard::start(place.options()).unwrap();
    assert_eq!(generate(&engine, request(900, 5, 3)).await.0.len(), 3);
    assert!(
        Journal::get(&shard.journal().sampled) <= 4,
        "only the second request ran"
    );
}

#[tokio::test]
async fn a_group_that_stays_away_ends_its_streams_with_the_cause() {
    let place = Place::new();
    let faults = Faults {
        die_at_step: Some(2),
        ..Faults::default()
    };
    let config = EngineConfig {
        recovery_grace: Duration::ZERO,
        ..place.config()
    };
    let (_shard, engine) = serve_with(
        MockOptions {
            faults,
            ..place.options()
        },
        config,
    )
    .await;
    let (_, finish) = generate(&engine, request(100, 5, 20)).await;
    let Finish::ShardLost { cause } = finish else {
        panic!("{finish:?}")
    };
    assert!(cause.contains("shard 0"), "{cause}");
    until(&engine, failed).await;
    assert!(engine.submit(request(1, 1, 1)).await.is_err());
}

#[tokio::test]
async fn a_group_that_does_not_answer_is_lost() {
    let place = Place::new();
    let faults = Faults {
        silent_from_step: Some(1),
        ..Faults::default()
    };
    let config = EngineConfig {
        step_timeout: Duration::from_millis(20),
        recovery_grace: Duration::ZERO,
        ..place.config()
    };
    let (_shard, engine) = serve_with(
        MockOptions {
            faults,
            ..place.options()
        },
        config,
    )
    .await;
    let (tokens, finish) = generate(&engine, request(100, 5, 20)).await;
    assert!(tokens.is_empty());
    let Finish::ShardLost { cause } = finish else {
        panic!("{finish:?}")
    };
    assert!(cause.contains("step 1 was not answered"), "{cause}");
}

#[tokio::test]
async fn an_answer_to_another_step_ends_the_session_and_not_the_stream() {
    let requests = [request(100, 20, 10)];
    let expected = undisturbed(&requests).await;
    let place = Place::new();
    let faults = Faults {
        wrong_id_at_step: Some(4),
        ..Faults::default()
    };
    let (shard, engine) = serve(
        &place,
        MockOptions {
            faults,
            ..place.options()
        },
    )
    .await;
    let [request] = requests;
    assert_eq!(generate(&engine, request).await, expected[0]);
    assert!(
        Journal::get(&shard.journal().sessions) >= 3,
        "three tokens a session"
    );
}

#[tokio::test]
async fn a_step_that_kills_every_session_is_not_tried_for_ever() {
    let place = Place::new();
    let faults = Faults {
        wrong_id_at_step: Some(1),
        ..Faults::default()
    };
    let (shard, engine) = serve(
        &place,
        MockOptions {
            faults,
            ..place.options()
        },
    )
    .await;
    let (_, finish) = generate(&engine, request(100, 5, 20)).await;
    assert!(matches!(finish, Finish::ShardLost { .. }));
    until(&engine, failed).await;
    assert_eq!(Journal::get(&shard.journal().sessions), 3);
}

fn rank(place: &Place, rank: u32) -> MockOptions {
    MockOptions {
        rank,
        world_size: 3,
        ..place.options()
    }
}

#[tokio::test]
async fn three_ranks_answer_as_one_and_share_the_smallest_cache() {
    let requests = [request(100, 20, 30), request(900, 40, 20)];
    let expected = undisturbed(&requests).await;
    let place = Place::new();
    let shards: Vec<_> = [100, 30, 200]
        .into_iter()
        .enumerate()
        .map(|(index, num_blocks)| MockOptions {
            num_blocks,
            ..rank(&place, index as u32)
        })
        .map(|options| MockShard::start(options).unwrap())
        .collect();
    let engine = start(EngineConfig {
        num_shard: 3,
        ..place.config()
    })
    .unwrap();
    until(&engine, |state| *state == EngineState::Ready).await;
    assert_eq!(engine.stats().blocks_total, 30);
    for (request, expected) in requests.into_iter().zip(expected) {
        assert_eq!(generate(&engine, request).await, expected);
    }
    let tokens: Vec<_> = shards
        .iter()
        .map(|shard| Journal::get(&shard.journal().tokens))
        .collect();
    assert!(tokens[0] > 0);
    assert!(tokens[1] <= tokens[0] && tokens[2] <= tokens[0], "{tokens:?}");
}

#[tokio::test]
async fn a_rank_that_serves_another_model_is_named() {
    let place = Place::new();
    let _shards: Vec<_> = [32_000, 32_000, 31_000]
        .into_iter()
        .enumerate()
        .map(|(index, vocab_size)| MockOptions {
            vocab_size,
            ..rank(&place, index as u32)
        })
        .map(|options| MockShard::start(options).unwrap())
        .collect();
    let engine = start(EngineConfig {
        num_shard: 3,
        ..place.config()
    })
    .unwrap();
    let state = until(&engine, failed).await;
    let EngineState::Failed { cause } = state else {
        panic!("{state:?}")
    };
    assert!(
        cause.contains("shard 2 has vocabulary size 31000 where the group has 32000"),
        "{cause}"
    );
}

#[tokio::test]
async fn a_rank_that_dies_or_falls_out_of_step_fails_the_group_with_its_name() {
    let faults = [
        Faults {
            die_at_step: Some(5),
            ..Faults::default()
        },
        Faults {
            wrong_id_at_step: Some(5),
            ..Faults::default()
        },
    ];
    for faults in faults {
        let place = Place::new();
        let _shards: Vec<_> = (0..3)
            .map(|index| match index {
                1 => MockOptions {
                    faults: faults.clone(),
                    ..rank(&place, 1)
                },
                // As in a step whose sums wait for that rank: it would answer all steps before the fault is seen.
                0 => MockOptions {
                    faults: Faults {
                        silent_from_step: Some(6),
                        ..Faults::default()
                    },
                    ..rank(&place, 0)
                },
                _ => rank(&place, index),
            })
            .map(|options| MockShard::start(options).unwrap())
            .collect();
        let config = EngineConfig {
            num_shard: 3,
            recovery_grace: Duration::ZERO,
            ..place.config()
        };
        let engine = start(config).unwrap();
        until(&engine, |state| *state == EngineState::Ready).await;
        let (_, finish) = generate(&engine, request(100, 5, 50)).await;
        let Finish::ShardLost { cause } = finish else {
            panic!("{finish:?}")
        };
        assert!(cause.contains("shard 1"), "{cause}");
    }
}
