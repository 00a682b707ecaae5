//! Any tokens with any stop strings, of every kind of tokenizer: the pieces join to the text that is
//! decoded in one go, up to where the first stop string ends, and every token has its place in it.
//!
//! The first line: `{"kind": 0, "stop": […], "skip": true, "include": false, "min_tokens": 0}`; then
//! token ids of two bytes each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use shardline_fuzz::{headed, tokenizers};
use shardline_text::stream::StreamOptions;
use shardline_text::{StopStrings, TextStream};

/// What the stream must come to: the text, and whether a stop string was found. Looked for anew at
/// the end of every character of the part that may be searched.
fn expected(whole: &str, free: usize, stop: &[String], include: bool) -> (String, bool) {
    for end in (free + 1..=whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        let longest = stop
            .iter()
            .filter(|stop| whole[free..end].ends_with(stop.as_str()))
            .map(String::len)
            .max();
        if let Some(length) = longest {
            let cut = if include { end } else { end - length };
            return (whole[..cut].to_owned(), true);
        }
    }
    (whole.to_owned(), false)
}

fuzz_target!(|data: &[u8]| {
    let Some((head, ids)) = headed(data) else { return };
    let Ok(head) = serde_json::from_str::<Value>(head) else {
        return;
    };
    let tokenizer = &tokenizers::ALL[head["kind"].as_u64().unwrap_or(0) as usize % 3];
    let stop: Vec<String> = head["stop"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|stop| stop.as_str().map(str::to_owned))
        .collect();
    let Ok(strings) = StopStrings::new(&stop) else {
        assert!(stop.len() > 256 || stop.iter().any(String::is_empty));
        return;
    };
    let flag = |name: &str| head[name].as_bool().unwrap_or(false);
    let (skip, include) = (flag("skip"), flag("include"));
    let min_tokens = head["min_tokens"].as_u64().unwrap_or(0) as u32;
    let ids: Vec<u32> = ids
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_le_bytes([pair[0], pair[1]])))
        .collect();
    let options = StreamOptions {
        skip_special_tokens: skip,
        continuing: false,
        stop: strings,
        include_stop_string: include,
        min_tokens,
    };
    let mut stream = TextStream::new(tokenizer.clone(), options);
    let (mut text, mut free, mut found, mut places, mut pushed) = (String::new(), 0, false, Vec::new(), 0);
    for id in &ids {
        let step = stream.push(*id);
        pushed += 1;
        text.push_str(&step.text);
        places.extend(step.settled);
        if pushed <= min_tokens as usize {
            free = text.len();
        }
        if step.stop.is_some() {
            found = true;
            break;
        }
    }
    if !found {
        let step = stream.finish();
        text.push_str(&step.text);
        places.extend(step.settled);
        found = step.stop.is_some();
    }
    let whole = tokenizer.decode(&ids, skip);
    assert_eq!(
        (text.clone(), found),
        expected(&whole, free, &stop, include),
        "{head} {ids:?}"
    );
    assert_eq!(places.len(), pushed, "a place for every token: {head} {ids:?}");
    let characters = text.chars().count() as u32;
    let mut at = 0;
    for place in places {
        assert!(
            place.start <= place.end && place.end <= characters,
            "{place:?} of {characters}"
        );
        assert!(
            place.start <= at && at <= place.end.max(at),
            "a gap before {place:?}"
        );
        at = at.max(place.end);
    }
    assert_eq!(at, characters, "places cover the text: {head} {ids:?}");
});
