//! Any bytes as a model's GGUF file: its texts load, or an error says what is wrong; and what has loaded
//! encodes and decodes.
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use shardline_text::gguf::read_metadata;
use shardline_text::{EncodeOptions, ModelText, Overrides};

fuzz_target!(|data: &[u8]| {
    let read = read_metadata(data, data.len() as u64, |key| key.starts_with("tokenizer."));
    let mut file = tempfile::Builder::new()
        .suffix(".gguf")
        .tempfile_in("/dev/shm")
        .unwrap();
    file.write_all(data).unwrap();
    let loaded = ModelText::load(file.path(), &Overrides::default());
    let Ok(model) = loaded else { return };
    assert!(read.is_ok());
    let options = EncodeOptions {
        add_special_tokens: true,
        control_tokens: true,
    };
    if let Ok(ids) = model.tokenizer.encode("Hello <s>, 你好!\n  12 ▁<0x0A>", options) {
        let _ = model.tokenizer.decode(&ids, false);
    }
});
