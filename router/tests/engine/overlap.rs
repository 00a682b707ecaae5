use std::sync::atomic::Ordering;

use shardline_mock_shard::{Journal, MockOptions, TokenSource};
use shardline_router::engine::EngineConfig;
use shardline_router::engine::api::Finish;

use crate::support::*;

/// Waits until the shard has received `steps` steps. It answers none of them meanwhile, so this
/// returns only if the engine sends ahead.
async fn arrived(journal: &Journal, steps: u64) {
    while journal.arrived.load(Ordering::SeqCst) < steps {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_next_step_is_sent_before_the_outcome_is_back() {
    let place = Place::new();
    let (shard, engine) = serve(&place, place.options()).await;
    shard.gate().close();
    let generation = engine.submit(request(100, 5, 6)).await.unwrap();
    arrived(shard.journal(), 2).await;
    assert_eq!(Journal::get(&shard.journal().answered), 0);
    // Answering the first makes room for the third.
    shard.gate().permit(1);
    arrived(shard.journal(), 3).await;
    shard.gate().open();
    assert_eq!(answer(generation).await.0.len(), 6);
    assert!(engine.stats().overlapped_steps > 0);
}

#[tokio::test]
async fn without_overlap_steps_wait_for_each_other() {
    let place = Place::new();
    let config = EngineConfig {
        overlap_depth: 1,
        ..place.config()
    };
    let (_shard, engine) = serve_with(place.options(), config).await;
    generate(&engine, request(100, 5, 20)).await;
    let stats = engine.stats();
    assert_eq!((stats.overlapped_steps, stats.steps), (0, 20));
}

#[tokio::test]
async fn a_sequence_that_ended_at_a_step_leaves_no_trace_in_the_next() {
    let place = Place::new();
    let options = MockOptions {
        tokens: TokenSource::Cycle(vec![1, 2, 3, 4]),
        ..place.options()
    };
    let (shard, engine) = serve(&place, options).await;
    shard.gate().close();
    let mut stopping = request(100, 16, 50);
    stopping.stop_token_ids = [2].into();
    let ends = engine.submit(stopping).await.unwrap();
    let stays = engine.submit(request(900, 16, 9)).await.unwrap();
    // The step that samples the stop token and the one after it are out together.
    arrived(shard.journal(), 2).await;
    shard.gate().open();
    assert_eq!(answer(ends).await, (vec![1, 2], Finish::Stop(2)));
    assert_eq!(
        answer(stays).await,
        (vec![1, 2, 3, 4, 1, 2, 3, 4, 1], Finish::Length)
    );
    // The surplus token of the ended sequence was sampled by the shard and counted by nobody.
    assert_eq!(engine.stats().generated_tokens, 11);
    assert!(Journal::get(&shard.journal().sampled) >= 12);
    settled(&engine).await;
}
