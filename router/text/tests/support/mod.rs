//! What several tests need.

use std::path::Path;

use shardline_text::{ModelText, Overrides};

/// The demo model, from the file that SHARDLINE_DEMO_MODEL names.
pub fn demo() -> ModelText {
    let path = std::env::var("SHARDLINE_DEMO_MODEL")
        .expect("SHARDLINE_DEMO_MODEL must name the demo model's .gguf file; `make test` sets it");
    ModelText::load(Path::new(&path), &Overrides::default()).expect("the demo model loads")
}
