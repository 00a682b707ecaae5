//! Any tokens with any stop strings: pieces of text join to the text that is decoded in one go, up
//! to the first stop string.
#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use shardline_text::stream::StreamOptions;
use shardline_text::{ModelText, Overrides, StopStrings, TextStream, Tokenizer};

static TOKENIZERS: LazyLock<[Arc<Tokenizer>; 2]> = LazyLock::new(|| {
    ["gpt2.gguf", "sentencepiece.gguf"].map(|name| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../router/text/tests/golden")
            .join(name);
        ModelText::load(&path, &Overrides::default()).unwrap().tokenizer
    })
});

fn text(tokenizer: &Arc<Tokenizer>, stop: &[String], ids: &[u16]) -> (String, bool) {
    let options = StreamOptions {
        skip_special_tokens: true,
        continuing: true,
        stop: StopStrings::new(stop).unwrap(),
        include_stop_string: false,
        min_tokens: 0,
    };
    let mut stream = TextStream::new(tokenizer.clone(), options);
    let mut whole = String::new();
    for id in ids {
        let step = stream.push(u32::from(*id));
        whole.push_str(&step.text);
        if step.stop.is_some() {
            return (whole, true);
        }
    }
    let step = stream.finish();
    whole.push_str(&step.text);
    (whole, step.stop.is_some())
}

fuzz_target!(|input: (bool, Vec<String>, Vec<u16>)| {
    let (which, stop, ids) = input;
    let tokenizer = &TOKENIZERS[usize::from(which)];
    let stop: Vec<String> = stop.into_iter().filter(|stop| !stop.is_empty()).take(4).collect();
    let (free, _) = text(tokenizer, &[], &ids);
    let (stopped, found) = text(tokenizer, &stop, &ids);
    let first = stop.iter().filter_map(|stop| free.find(stop.as_str())).min();
    assert_eq!(found, first.is_some(), "{stop:?} in {free:?}");
    assert!(free.starts_with(&stopped));
    if !found {
        assert_eq!(stopped, free);
    }
});
