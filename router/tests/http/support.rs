//! A whole router without a socket in front: tiny tokenizer, mock shard, engine, routes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use shardline_mock_shard::{EndOfText, MockOptions, MockShard, TokenSource};
use shardline_router::access::Keys;
use shardline_router::config::Parsers;
use shardline_router::engine::api::EngineState;
use shardline_router::engine::{EngineConfig, EngineHandle, start};
use shardline_router::http::{App, HttpSettings, ModelSlot, TransportLimits};
use shardline_text::{ModelText, Overrides};
use tempfile::TempDir;
use tower::ServiceExt;

/// Token ids of the control tokens; those below are bytes.
pub const IM_START: u32 = 256;
pub const IM_END: u32 = 257;
/// The first one that a test may add.
pub const FIRST_OWN: u32 = 258;
/// Ids beyond the tokenizer's, as models often have.
pub const VOCAB_SIZE: u32 = 300;
/// What the mock shard says, again and again, byte by byte.
pub const SONG: &str = "Hällo, wörld! ";

/// Everything that a test may change before the start.
pub struct Setup {
    pub shard: MockOptions,
    pub engine: EngineConfig,
    pub settings: HttpSettings,
    folder: TempDir,
}

impl Setup {
    pub fn new() -> Self {
        // All tests write logs, to nowhere: whether a place in the code logs is decided once for
        // all threads, so a test that reads its own needs the others to want theirs too.
        let nowhere = tracing_subscriber::fmt().with_writer(std::io::sink);
        let _ = nowhere.with_max_level(tracing::Level::TRACE).try_init();
        let folder = tempfile::tempdir().unwrap();
        write_model(folder.path(), &[]);
        let prefix = folder.path().join("shard");
        let shard = MockOptions {
            vocab_size: VOCAB_SIZE,
            max_position: 512,
            num_blocks: 256,
            tokens: TokenSource::Cycle(SONG.bytes().map(u32::from).collect()),
            ..MockOptions::new(&prefix)
        };
        let mut engine = EngineConfig::new(&prefix, 1);
        engine.max_concurrent_requests = 16;
        Self {
            shard,
            engine,
            settings: settings(),
            folder,
        }
    }

    /// The shard says this, token for token a byte, and then the end of the text.
    pub fn says(mut self, text: &str) -> Self {
        self.shard.max_position = 2048;
        self.shard.tokens = TokenSource::Cycle(text.bytes().map(u32::from).collect());
        self.shard.end_of_text = Some(EndOfText {
            token: IM_END,
            after: Some(text.len() as u32 + 1),
            probability: 0.0,
        });
        self
    }

    /// The model's chat template is this one.
    pub fn template(self, template: &str) -> Self {
        write_template(self.folder.path(), template);
        self
    }

    /// The model has these control tokens, too, from `FIRST_OWN` on.
    pub fn control_tokens(self, spellings: &[&str]) -> Self {
        write_model(self.folder.path(), spellings);
        self
    }

    /// Binds the shard, starts everything, and waits until it serves.
    pub async fn start(self) -> Server {
        let shard = MockShard::start(self.shard.clone()).unwrap();
        let mut server = self.start_without_shard();
        server.shard = Some(shard);
        server
            .engine
            .watch_state()
            .wait_for(|state| *state == EngineState::Ready)
            .await
            .unwrap();
        server
    }

    /// Starts everything but the shard.
    pub fn start_without_shard(self) -> Server {
        let engine = start(self.engine).unwrap();
        let model = ModelSlot::default();
        model.fill(Arc::new(
            ModelText::load(self.folder.path(), &Overrides::default()).unwrap(),
        ));
        let app = App::new(self.settings, engine.clone(), model);
        Server {
            router: app.router(),
            engine,
            shard: None,
            _folder: self.folder,
        }
    }
}

/// The defaults of the flags.
fn settings() -> HttpSettings {
    HttpSettings {
        model_id: "test/tiny".to_owned(),
        model_sha: None,
        keys: Keys::open(),
        cors_allow_origin: Vec::new(),
        payload_limit: 2_000_000,
        max_concurrent_requests: 16,
        validation_workers: 2,
        max_best_of: 2,
        max_stop_sequences: 4,
        grammar_support: true,
        max_top_n_tokens: 5,
        max_client_batch_size: 4,
        compute_type: None,
        parsers: Parsers::default(),
        playground: true,
        transport: TransportLimits::default(),
    }
}

pub struct Server {
    pub router: Router,
    pub engine: EngineHandle,
    pub shard: Option<MockShard>,
    _folder: TempDir,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The data of every event but `[DONE]`.
    pub fn events(&self) -> Vec<Value> {
        assert_eq!(self.headers["content-type"], "text/event-stream");
        events(&self.text)
            .iter()
            .filter(|event| *event != "[DONE]")
            .map(|event| parse(event))
            .collect()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// The data of every event.
pub fn events(text: &str) -> Vec<String> {
    assert!(text.ends_with("\n\n"), "the last event is whole: {text:?}");
    let events = text.split("\n\n").filter(|event| !event.is_empty());
    events
        .map(|event| {
            event
                .strip_prefix("data: ")
                .unwrap_or_else(|| panic!("{event:?}"))
                .to_owned()
        })
        .collect()
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

impl Server {
    pub async fn new() -> Self {
        Setup::new().start().await
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text,
        }
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_text(path, body.to_string()).await
    }

    pub async fn post_text(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(post(path, body)).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// Posts and gives the body before it is read.
    pub async fn open(&self, path: &str, body: Value) -> Body {
        let response = self
            .router
            .clone()
            .oneshot(post(path, body.to_string()))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body()
    }

    /// Waits until nothing runs and no block is in use.
    pub async fn settled(&self) {
        let settle = async {
            while self.engine.stats().running
                + self.engine.stats().waiting
                + self.engine.stats().blocks_in_use
                > 0
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), settle)
            .await
            .expect("blocks are free in the end");
    }

    /// A number of `/metrics`.
    pub async fn metric(&self, name: &str) -> f64 {
        self.metric_of("", name).await
    }

    /// The same for the owner of a key.
    pub async fn metric_of(&self, key: &str, name: &str) -> f64 {
        let request = Request::get("/metrics").header("x-api-key", key);
        let page = self.send(request.body(Body::empty()).unwrap()).await.text;
        let line = page.lines().find(|line| line.split(' ').next() == Some(name));
        line.and_then(|line| line.rsplit(' ').next())
            .unwrap_or_else(|| panic!("{name} in {page}"))
            .parse()
            .unwrap()
    }
}

pub fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}

/// The next piece of a body.
pub async fn piece(body: &mut Body) -> Option<String> {
    let frame = body.frame().await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

/// One message of a user.
pub fn chat(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": text}]})
}

/// A body with more fields.
pub fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

/// An answer without what is different each time.
pub fn redact(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        if let Some(id) = object
            .get("id")
            .and_then(Value::as_str)
            .filter(|id| id.len() == 37 || id.len() == 41)
        {
            let prefix = id.split('-').next().unwrap().to_owned();
            object.insert("id".to_owned(), json!(format!("{prefix}-…")));
        }
        if object
            .get("created")
            .and_then(Value::as_u64)
            .is_some_and(|created| created > 1_600_000_000)
        {
            object.insert("created".to_owned(), json!("now"));
        }
    }
    value
}

/// One key without limits.
pub fn key(text: &str) -> Keys {
    Keys::new(Some(text), None, Instant::now())
}

/// A tokenizer whose tokens are bytes, a ChatML template and an EOS token.
fn write_model(folder: &Path, more_control_tokens: &[&str]) {
    let vocab: BTreeMap<String, u32> = (0..=255_u8)
        .map(|byte| (spelling(byte).to_string(), byte.into()))
        .collect();
    let control = |id: u32, content: &str| {
        json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false})
    };
    let more = (FIRST_OWN..).zip(more_control_tokens);
    let added: Vec<Value> = [(IM_START, "<|im_start|>"), (IM_END, "<|im_end|>")]
        .into_iter()
        .chain(more.map(|(id, content)| (id, *content)))
        .map(|(id, content)| control(id, content))
        .collect();
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": added,
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    let files = [
        ("tokenizer.json", tokenizer),
        ("generation_config.json", json!({"eos_token_id": IM_END})),
        (
            "config.json",
            json!({"model_type": "llama", "vocab_size": VOCAB_SIZE}),
        ),
    ];
    for (name, value) in files {
        std::fs::write(folder.join(name), value.to_string()).unwrap();
    }
    write_template(
        folder,
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n\
         {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    );
}

fn write_template(folder: &Path, template: &str) {
    let config = json!({"chat_template": template, "eos_token": "<|im_end|>"});
    std::fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
}

/// The printable character that byte-level tokenizers write for a byte.
fn spelling(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        char::from(byte)
    } else {
        let place = (0..byte).filter(|byte| !printable(*byte)).count() as u32;
        char::from_u32(256 + place).unwrap()
    }
}
