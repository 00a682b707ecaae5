//! Shards, an engine and requests for the tests.

use std::sync::Arc;

use shardline_mock_shard::{MockOptions, MockShard};
use shardline_router::engine::api::{EngineState, Finish, Generate, GenerationEvent, Sampling};
use shardline_router::engine::{EngineConfig, EngineHandle, Generation, start};
use tempfile::TempDir;

/// A private folder for the sockets; it lives as long as the test.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn options(&self) -> MockOptions {
        MockOptions::new(self.0.path().join("shard"))
    }

    pub fn config(&self) -> EngineConfig {
        EngineConfig::new(self.0.path().join("shard"), 1)
    }
}

/// One shard and an engine that is ready.
pub async fn serve(place: &Place, options: MockOptions) -> (MockShard, EngineHandle) {
    serve_with(options, place.config()).await
}

pub async fn serve_with(options: MockOptions, config: EngineConfig) -> (MockShard, EngineHandle) {
    let shard = MockShard::start(options).unwrap();
    let engine = start(config).unwrap();
    until(&engine, |state| *state == EngineState::Ready).await;
    (shard, engine)
}

/// Waits for a state.
pub async fn until(engine: &EngineHandle, reached: impl FnMut(&EngineState) -> bool) -> EngineState {
    engine.watch_state().wait_for(reached).await.unwrap().clone()
}

/// Waits until no sequence is left anywhere: one that ended may have a step more on its way.
pub async fn settled(engine: &EngineHandle) {
    let settle = async {
        while engine.stats().running + engine.stats().waiting + engine.stats().blocks_in_use > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), settle)
        .await
        .expect("blocks are free in the end");
}

/// A request of distinct prompt tokens that start at `first`.
pub fn request(first: u32, prompt_tokens: u32, max_new_tokens: u32) -> Generate {
    Generate {
        prompt: (first..first + prompt_tokens).collect(),
        sampling: Sampling::default(),
        grammar: None,
        max_new_tokens,
        min_new_tokens: 0,
        stop_token_ids: Arc::from([]),
        seed: 7,
        choice: 0,
        cache_salt: 0,
        tenant: 0,
        priority: 0,
    }
}

/// All events of a sequence.
pub async fn events(mut generation: Generation) -> Vec<GenerationEvent> {
    let mut events = Vec::new();
    while let Some(event) = generation.next().await {
        events.push(event);
    }
    events
}

/// Its tokens and its end.
pub async fn answer(generation: Generation) -> (Vec<u32>, Finish) {
    let mut tokens = Vec::new();
    for event in events(generation).await {
        match event {
            GenerationEvent::Token(token) => tokens.push(token.id),
            GenerationEvent::Finished(finish) => return (tokens, finish),
            GenerationEvent::Started { .. } | GenerationEvent::Prompt(_) => {}
        }
    }
    panic!("the stream ended without saying why");
}

/// Submits and waits for the answer.
pub async fn generate(engine: &EngineHandle, request: Generate) -> (Vec<u32>, Finish) {
    answer(engine.submit(request).await.unwrap()).await
}

/// The next token of a stream that has one.
pub async fn next_token(generation: &mut Generation) -> u32 {
    loop {
        match generation.next().await {
            Some(GenerationEvent::Token(token)) => return token.id,
            Some(GenerationEvent::Finished(finish)) => panic!("ended with {finish:?}"),
            Some(_) => {}
            None => panic!("the stream is over"),
        }
    }
}

/// What the requests answer when each is alone on a faultless shard.
pub async fn undisturbed(requests: &[Generate]) -> Vec<(Vec<u32>, Finish)> {
    let place = Place::new();
    let (_shard, engine) = serve(&place, place.options()).await;
    let mut answers = Vec::new();
    for request in requests {
        answers.push(generate(&engine, request.clone()).await);
    }
    answers
}
