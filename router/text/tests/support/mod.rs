//! What several tests need.
#![allow(dead_code)] // Every test uses its part.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use shardline_text::{ModelText, Overrides};

/// The demo model, from the file that SHARDLINE_DEMO_MODEL names.
pub fn demo() -> ModelText {
    #[allow(clippy::disallowed_methods)] // The Makefile tells tests, not programs, where the file is.
    let path = std::env::var("SHARDLINE_DEMO_MODEL")
        .expect("SHARDLINE_DEMO_MODEL must name the demo model's .gguf file; `make test` sets it");
    ModelText::load(Path::new(&path), &Overrides::default()).expect("the demo model loads")
}

/// A file of tests/golden.
pub fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// A JSON file of tests/golden.
pub fn golden_json<T: DeserializeOwned>(name: &str) -> T {
    let path = golden_path(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A small model of tests/golden.
pub fn golden_model(name: &str) -> ModelText {
    ModelText::load(&golden_path(name), &Overrides::default()).expect("the golden model loads")
}
