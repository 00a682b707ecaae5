//! Any text as a grammar, compiled within its bounds as a shard does, and followed for some tokens.
//!
//! The first line: the kind, and bytes that an answer tries.
#![no_main]

use std::sync::LazyLock;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use shardline_fuzz::headed;
use shardline_grammar::{Grammars, Limits, MaskRows, RowState, Source, Vocabulary};

/// Bytes are tokens, and one ends a text.
const END: u32 = 256;
const WORDS: usize = 9;

static GRAMMARS: LazyLock<Grammars> = LazyLock::new(|| {
    let mut words: Vec<Vec<u8>> = (0..=255_u8).map(|byte| vec![byte]).collect();
    words.push(b"\xff<end>".to_vec());
    let vocabulary = Vocabulary::new(words, vec![END]).unwrap();
    Grammars::start(&vocabulary, Limits::with_threads(1)).unwrap()
});

/// Follows a grammar with the first of `wishes` that each mask allows.
fn follow(source: Source, wishes: &[u8]) {
    let handle = GRAMMARS.admit(source, Vec::new());
    for generated in 0..wishes.len() as u32 {
        let mut mask = [0; WORDS];
        let rows = MaskRows::new(&mut mask, WORDS);
        let states = GRAMMARS.fill(&[(handle, generated)], rows);
        let allowed = |token: u32| mask[token as usize / 32] >> (token % 32) & 1 == 1;
        match states[..] {
            [RowState::Open | RowState::Complete] => {}
            _ => break,
        }
        let next = wishes
            .iter()
            .map(|byte| u32::from(*byte))
            .cycle()
            .skip(generated as usize)
            .take(wishes.len());
        let Some(token) = next.chain(0..END).find(|token| allowed(*token)) else {
            assert!(allowed(END), "a mask without a token");
            break;
        };
        GRAMMARS.advance([(handle, token)]);
    }
    GRAMMARS.release(handle);
}

fuzz_target!(
    // Sizes that the engine of grammars cannot represent are panics within it, which it catches.
    init: std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))),
    |data: &[u8]| {
        let Some((head, text)) = headed(data) else { return };
        let Ok(text) = std::str::from_utf8(text) else { return };
        let (kind, wishes) = head.split_once(' ').unwrap_or((head, ""));
        let Ok(source) = Source::new(kind, text) else { return };
        let (tell, told) = sync_channel(1);
        GRAMMARS.compile(source.clone(), move |result| drop(tell.send(result)));
        let compiled = told.recv_timeout(Duration::from_secs(4));
        let compiled = compiled.unwrap_or_else(|_| panic!("no answer within four seconds"));
        if compiled.is_ok() {
            follow(source, &wishes.as_bytes()[..wishes.len().min(32)]);
        }
    }
);
