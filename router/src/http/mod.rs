//! The HTTP side: OpenAI's routes under `/v1`, the native routes beside them.
//!
//! A generation route is a folder: `types` (what may be sent), `validate` (the rules, once),
//! `convert` (to a prompt that may run), `stream` (how the answer is spelled). `start` and
//! `running` are what they share between `convert` and `stream`.

mod admission;
mod answer;
mod api;
mod app;
mod auth;
mod bad_words;
mod body;
mod caller;
mod chat;
mod check;
mod clouds;
mod completions;
mod connection;
mod conversation;
mod decoding;
mod error;
mod fallback;
mod fields;
mod generate;
mod health;
mod ids;
mod info;
mod intake;
mod messages;
mod metrics;
mod model;
mod models;
mod numbers;
mod openai;
mod playground;
mod problem;
mod prompt;
mod request_id;
mod responses;
mod rules;
mod running;
mod scrape;
mod server;
mod settings;
mod sse;
mod start;
mod status;
mod structure;
mod timing;
mod tls;
mod tokenize;
mod trace;
mod unbuilt;
mod workers;

pub use app::App;
pub use model::ModelSlot;
pub use server::{Door, listen, serve, serve_local};
pub use settings::{HttpSettings, TransportLimits};
pub use tls::{Tls, TlsError, TlsFiles};
