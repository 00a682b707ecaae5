use shardline_mock_shard::{EndOfText, Journal, MockOptions, TokenSource};
use shardline_router::engine::EngineConfig;
use shardline_router::engine::api::{EngineState, Finish, GenerationEvent, Sampling};

use crate::support::*;

#[tokio::test]
async fn a_request_starts_yields_its_tokens_and_finishes_once() {
    let place = Place::new();
    let options = MockOptions {
        tokens: TokenSource::Cycle(vec![10, 11, 12]),
        ..place.options()
    };
    let (_shard, engine) = serve(&place, options).await;
    let events = events(engine.submit(request(100, 5, 4)).await.unwrap()).await;
    assert!(matches!(
        events[0],
        GenerationEvent::Started { cached_tokens: 0, .. }
    ));
    let tokens: Vec<_> = events[1..5]
        .iter()
        .map(|event| match event {
            GenerationEvent::Token(token) => token.id,
            other => panic!("{other:?} where a token is due"),
        })
        .collect();
    assert_eq!(tokens, [10, 11, 12, 10]);
    assert_eq!(events[5..], [GenerationEvent::Finished(Finish::Length)]);
}

#[tokio::test]
async fn a_stop_token_ends_a_sequence_after_the_minimum() {
    let place = Place::new();
    let options = MockOptions {
        tokens: TokenSource::Cycle(vec![10, 11]),
        ..place.options()
    };
    let (_shard, engine) = serve(&place, options).await;
    let mut stopping = request(100, 5, 50);
    stopping.stop_token_ids = [11].into();
    assert_eq!(
        generate(&engine, stopping.clone()).await,
        (vec![10, 11], Finish::Stop(11))
    );
    stopping.min_new_tokens = 3;
    assert_eq!(
        generate(&engine, stopping).await,
        (vec![10, 11, 10, 11], Finish::Stop(11))
    );
}

#[tokio::test]
async fn many_at_once_in_small_chunks_with_preemption_answer_as_each_alone() {
    let requests: Vec<_> = (0..24).map(|n| request(1_000 * n, 3 + 7 * n, 60 + n)).collect();
    let alone = undisturbed(&requests).await;
    let place = Place::new();
    // Blocks for about three of them, so that they preempt each other.
    let options = MockOptions {
        num_blocks: 40,
        max_step_tokens: 64,
        ..place.options()
    };
    let config = EngineConfig {
        max_batch_prefill_tokens: Some(37),
        ..place.config()
    };
    let (shard, engine) = serve_with(options, config).await;
    let mut generations = Vec::new();
    for request in &requests {
        generations.push(engine.submit(request.clone()).await.unwrap());
    }
    for (generation, expected) in generations.into_iter().zip(alone) {
        assert_eq!(answer(generation).await, expected);
    }
    assert!(
        engine.stats().preemptions > 0,
        "the cache is small enough to preempt"
    );
    assert!(Journal::get(&shard.journal().tokens) > 0);
}

#[tokio::test]
async fn a_repeated_prompt_is_taken_from_the_cache_unless_that_is_off() {
    for (prefix_caching, expected) in [(true, 48), (false, 0)] {
        let place = Place::new();
        let config = EngineConfig {
            prefix_caching,
            ..place.config()
        };
        let (shard, engine) = serve_with(place.options(), config).await;
        let first = generate(&engine, request(100, 50, 4)).await;
        let again = events(engine.submit(request(100, 50, 4)).await.unwrap()).await;
        let GenerationEvent::Started { cached_tokens, .. } = again[0] else {
            panic!("{again:?}")
        };
        assert_eq!(cached_tokens, expected);
        assert_eq!(Journal::get(&shard.journal().cached_tokens), u64::from(expected));
        assert_eq!(first, generate(&engine, request(100, 50, 4)).await);
    }
}

#[tokio::test]
async fn log_probabilities_travel_beside_tokens_and_prompt() {
    let place = Place::new();
    let options = MockOptions {
        tokens: TokenSource::Cycle(vec![14, 15]),
        ..place.options()
    };
    let (_shard, engine) = serve(&place, options).await;
    // A neighbour that asks for nothing must get nothing.
    let quiet = engine.submit(request(500, 40, 3)).await.unwrap();
    let mut asking = request(100, 20, 2);
    let top_logprobs = 2;
    let prompt_logprobs = Some(1);
    asking.sampling = Sampling {
        logprobs: true,
        top_logprobs,
        prompt_logprobs,
        ..Sampling::default()
    };
    let events_of_asking = events(engine.submit(asking).await.unwrap()).await;
    let GenerationEvent::Prompt(prompt) = &events_of_asking[1] else {
        panic!("{events_of_asking:?}")
    };
    assert_eq!(prompt.len(), 20);
    assert_eq!((prompt[0].id, prompt[0].logprob), (100, None));
    assert_eq!(prompt[5].id, 105);
    assert_eq!(prompt[5].top, [(105, prompt[5].logprob.unwrap())]);
    let GenerationEvent::Token(token) = &events_of_asking[2] else {
        panic!("{events_of_asking:?}")
    };
    assert_eq!((token.id, token.logprob), (14, Some(-0.125)));
    assert_eq!(token.top, [(14, -0.125), (15, -0.25)]);
    for event in events(quiet).await {
        if let GenerationEvent::Token(token) = event {
            assert_eq!((token.logprob, token.top.len()), (None, 0));
        }
    }
}

#[tokio::test]
async fn a_prompt_in_chunks_still_yields_all_its_log_probabilities() {
    let place = Place::new();
    let config = EngineConfig {
        max_batch_prefill_tokens: Some(7),
        ..place.config()
    };
    let (_shard, engine) = serve_with(place.options(), config).await;
    let mut asking = request(100, 50, 1);
    asking.sampling.prompt_logprobs = Some(0);
    let events = events(engine.submit(asking).await.unwrap()).await;
    let GenerationEvent::Prompt(prompt) = &events[1] else {
        panic!("{events:?}")
    };
    assert_eq!(
        prompt.iter().map(|token| token.id).collect::<Vec<_>>(),
        (100..150).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn dropping_a_stream_frees_its_blocks() {
    let place = Place::new();
    let (shard, engine) = serve(&place, place.options()).await;
    let mut leaving = engine.submit(request(100, 200, 5_000)).await.unwrap();
    next_token(&mut leaving).await;
    assert!(engine.stats().blocks_in_use >= 12);
    shard.gate().close();
    drop(leaving);
    let watching = engine.submit(request(9_000, 1, 3)).await.unwrap();
    // At most two steps were out when it left, one more carries the drop.
    shard.gate().permit(3);
    let mut watching = watching;
    next_token(&mut watching).await;
    shard.gate().open();
    answer(watching).await;
    settled(&engine).await;
    assert!(Journal::get(&shard.journal().sequences) <= 1);
}

#[tokio::test]
async fn a_slow_consumer_loses_nothing_and_delays_nobody() {
    let place = Place::new();
    let (_shard, engine) = serve(&place, place.options()).await;
    let slow = engine.submit(request(100, 5, 500)).await.unwrap();
    let (tokens, _) = generate(&engine, request(900, 5, 700)).await;
    assert_eq!(tokens.len(), 700);
    assert_eq!(answer(slow).await.0.len(), 500);
}

#[tokio::test]
async fn the_shards_info_becomes_the_engines() {
    let place = Place::new();
    let options = MockOptions {
        num_blocks: 10,
        end_of_text: None,
        ..place.options()
    };
    let (_shard, engine) = serve(&place, options).await;
    let info = engine.info().unwrap();
    assert_eq!(
        (info.max_total_tokens, info.max_input_tokens, info.block_size),
        (160, 159, 16)
    );
    // A sequence ends where the cache does.
    let (tokens, finish) = generate(&engine, request(1, 150, 4_000_000_000)).await;
    assert_eq!((tokens.len(), finish), (10, Finish::Length));
}

#[tokio::test]
async fn a_drain_refuses_new_requests_and_lets_running_ones_finish() {
    let place = Place::new();
    let (shard, engine) = serve(&place, place.options()).await;
    shard.gate().close();
    let running = engine.submit(request(100, 5, 6)).await.unwrap();
    let draining = tokio::spawn({
        let engine = engine.clone();
        async move { engine.drain(std::time::Duration::from_secs(3_600)).await }
    });
    until(&engine, |state| *state == EngineState::Draining).await;
    assert!(engine.submit(request(1, 1, 1)).await.is_err());
    shard.gate().open();
    assert_eq!(answer(running).await.0.len(), 6);
    draining.await.unwrap();
}

#[tokio::test]
async fn a_drain_without_patience_cancels() {
    let place = Place::new();
    let (shard, engine) = serve(&place, place.options()).await;
    shard.gate().close();
    let running = engine.submit(request(100, 5, 6)).await.unwrap();
    engine.drain(std::time::Duration::ZERO).await;
    assert_eq!(answer(running).await.1, Finish::Cancelled);
}

#[tokio::test]
async fn every_choice_and_seed_has_its_own_tokens() {
    let place = Place::new();
    let end_of_text = Some(EndOfText {
        token: 0,
        after: None,
        probability: 0.0,
    });
    let (_shard, engine) = serve(
        &place,
        MockOptions {
            end_of_text,
            ..place.options()
        },
    )
    .await;
    let base = generate(&engine, request(100, 5, 8)).await;
    let mut other = request(100, 5, 8);
    other.choice = 1;
    assert_ne!(base, generate(&engine, other.clone()).await);
    other.choice = 0;
    assert_eq!(base, generate(&engine, other.clone()).await);
    other.seed += 1;
    assert_ne!(base, generate(&engine, other).await);
}
