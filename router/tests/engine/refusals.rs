use shardline_mock_shard::{MockOptions, MockShard, StartPhase};
use shardline_proto::v1::Phase;
use shardline_router::engine::api::{EngineState, SubmitError};
use shardline_router::engine::{EngineConfig, start};

use crate::support::*;

#[tokio::test]
async fn one_more_than_the_limit_is_refused_at_once() {
    let place = Place::new();
    let config = EngineConfig {
        max_concurrent_requests: 2,
        ..place.config()
    };
    let (shard, engine) = serve_with(place.options(), config).await;
    shard.gate().close();
    let first = engine.submit(request(1, 5, 5)).await.unwrap();
    let second = engine.submit(request(2, 5, 5)).await.unwrap();
    let refused = engine.submit(request(3, 5, 5)).await.unwrap_err();
    assert!(
        matches!(refused, SubmitError::Overloaded { limit: 2, .. }),
        "{refused}"
    );
    shard.gate().open();
    answer(first).await;
    answer(engine.submit(request(3, 5, 5)).await.unwrap()).await;
    answer(second).await;
}

#[tokio::test]
async fn what_can_never_run_is_refused_by_name() {
    let place = Place::new();
    let options = MockOptions {
        vocab_size: 50,
        num_blocks: 4,
        ..place.options()
    };
    let (_shard, engine) = serve(&place, options).await;
    let field = |error: SubmitError| match error {
        SubmitError::Malformed { field, .. } => field,
        other => panic!("{other}"),
    };
    let too_long = engine.submit(request(0, 64, 1)).await.unwrap_err();
    assert_eq!(
        too_long,
        SubmitError::TooLong {
            tokens: 64,
            limit: 63
        }
    );
    assert_eq!(
        field(engine.submit(request(50, 1, 1)).await.unwrap_err()),
        "prompt"
    );
    assert_eq!(
        field(engine.submit(request(0, 0, 1)).await.unwrap_err()),
        "prompt"
    );
    assert_eq!(
        field(engine.submit(request(0, 1, 0)).await.unwrap_err()),
        "max_new_tokens"
    );
    let mut stops = request(0, 1, 1);
    stops.stop_token_ids = [u32::MAX].into();
    assert_eq!(field(engine.submit(stops).await.unwrap_err()), "stop_token_ids");
    let mut biased = request(0, 1, 1);
    biased.sampling.logit_bias = vec![(50, 1.0)];
    assert_eq!(field(engine.submit(biased).await.unwrap_err()), "logit_bias");
    generate(&engine, request(0, 1, 1)).await;
}

#[tokio::test]
async fn before_the_shards_are_ready_the_phase_is_told() {
    let place = Place::new();
    let forever = std::time::Duration::from_secs(3_600);
    let message = "reading weights".to_owned();
    let loading = StartPhase {
        phase: Phase::Loading,
        message: message.clone(),
        lasts: forever,
    };
    let engine = start(place.config()).unwrap();
    engine.report_phase("download", "model.safetensors");
    let downloading = EngineState::Starting {
        phase: "download".to_owned(),
        message: "model.safetensors".to_owned(),
    };
    assert!(matches!(engine.state(), EngineState::Starting { .. }));
    until(&engine, |state| {
        *state == downloading || matches!(state, EngineState::Starting { .. })
    })
    .await;
    let _shard = MockShard::start(MockOptions {
        start_phases: vec![loading],
        ..place.options()
    })
    .unwrap();
    let state = until(&engine, |state| {
        *state
            == EngineState::Starting {
                phase: "loading".to_owned(),
                message: message.clone(),
            }
    })
    .await;
    let refused = engine.submit(request(1, 5, 5)).await.unwrap_err();
    assert_eq!(refused, SubmitError::NotReady { state });
    assert_eq!(engine.info(), None);
}

#[tokio::test]
async fn a_shard_that_fails_to_start_fails_the_engine_in_its_words() {
    let place = Place::new();
    let failed = StartPhase {
        phase: Phase::Failed,
        message: "model.safetensors is cut short".to_owned(),
        lasts: std::time::Duration::ZERO,
    };
    let _shard = MockShard::start(MockOptions {
        start_phases: vec![failed],
        ..place.options()
    })
    .unwrap();
    let engine = start(place.config()).unwrap();
    let state = until(&engine, |state| matches!(state, EngineState::Failed { .. })).await;
    let cause = "shard 0 failed to start: model.safetensors is cut short".to_owned();
    assert_eq!(state, EngineState::Failed { cause });
}

#[tokio::test]
async fn flags_that_ask_for_more_than_the_shards_have_fail_the_engine() {
    let place = Place::new();
    let _shard = MockShard::start(MockOptions {
        num_blocks: 10,
        ..place.options()
    })
    .unwrap();
    let engine = start(EngineConfig {
        max_total_tokens: Some(1_000),
        ..place.config()
    })
    .unwrap();
    let state = until(&engine, |state| matches!(state, EngineState::Failed { .. })).await;
    let EngineState::Failed { cause } = state else {
        panic!("{state:?}")
    };
    assert!(
        cause.contains("--max-total-tokens 1000") && cause.contains("160"),
        "{cause}"
    );
}
