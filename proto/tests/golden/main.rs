//! Messages whose bytes and reading are fixed, so that every language reads the wire alike.
//!
//! `golden/NAME.binpb` is a message, `golden/NAME.json` what a reader finds in it, arrays unpacked
//! (`null` is NaN). After a change of the proto: `cargo test --release -p shardline-proto -- --ignored`
//! writes both anew; look at the difference before committing it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod messages;
mod reading;

use std::path::PathBuf;

use messages::{Golden, goldens};
use serde_json::Value;

fn path(name: &str, extension: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(format!("{name}.{extension}"))
}

const MEND: &str = "run `cargo test --release -p shardline-proto -- --ignored` and look at the difference";

#[test]
fn messages_encode_to_the_golden_bytes() {
    for Golden { name, bytes, .. } in goldens() {
        let golden = std::fs::read(path(name, "binpb")).unwrap_or_default();
        assert!(golden == bytes, "golden/{name}.binpb differs; {MEND}");
    }
}

#[test]
fn golden_bytes_read_as_their_json_says() {
    for Golden { name, read, .. } in goldens() {
        let golden = std::fs::read(path(name, "binpb")).unwrap();
        let text = std::fs::read_to_string(path(name, "json")).unwrap_or_default();
        let expected: Value = serde_json::from_str(&text).unwrap_or_default();
        assert_eq!(read(&golden), expected, "golden/{name}.json differs; {MEND}");
    }
}

#[test]
fn no_golden_file_is_left_over() {
    let names: Vec<_> = goldens().iter().map(|golden| golden.name).collect();
    for entry in std::fs::read_dir(path("x", "y").parent().unwrap()).unwrap() {
        let file = entry.unwrap().path();
        let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(
            names.contains(&stem.as_str()),
            "golden/{stem} belongs to no message"
        );
    }
}

#[test]
#[ignore = "writes the golden files"]
fn write_golden_files() {
    for Golden { name, bytes, read } in goldens() {
        let json = serde_json::to_string_pretty(&read(&bytes)).unwrap();
        std::fs::write(path(name, "binpb"), bytes).unwrap();
        std::fs::write(path(name, "json"), json + "\n").unwrap();
    }
}
