//! Who may name what inside the router.

use std::path::Path;

use crate::source::{names, rust_files, workspace};

/// A path and the only places of `router/src` that may name it.
const ONLY: [(&str, &[&str]); 10] = [
    ("shardline_proto", &["shard/"]),
    ("tonic", &["shard/"]),
    ("prost", &["shard/"]),
    ("shardline_scheduler", &["engine/"]),
    ("shardline_parse", &["http/conversation/", "config/parsers.rs"]),
    ("axum", &["http/"]),
    ("hyper", &["http/"]),
    ("tower_http", &["http/"]),
    ("std::env", &["config.rs", "main.rs"]),
    ("clap", &["config.rs", "config/", "main.rs"]),
];

/// Places of `router/src` and what they may not name.
const NEVER: [(&str, &[&str]); 3] = [
    (
        "shard/",
        &[
            "crate::engine",
            "crate::http",
            "crate::session",
            "shardline_text",
            "http",
        ],
    ),
    (
        "engine/",
        &["crate::http", "crate::session", "shardline_text", "http"],
    ),
    ("session/", &["crate::http", "crate::shard", "http", "tokio"]),
];

fn sources() -> Vec<(String, String)> {
    let root = workspace().join("router/src");
    let relative = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    let files = rust_files(&root);
    assert!(files.len() > 20, "the sources are where this test looks");
    files
        .iter()
        .map(|path| (relative(path), std::fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn what_belongs_to_one_place_is_named_only_there() {
    for (file, text) in sources() {
        for (path, places) in ONLY {
            let allowed = places.iter().any(|place| file.starts_with(place));
            assert!(
                allowed || !names(&text, path),
                "router/src/{file} names {path}; only {places:?} may"
            );
        }
    }
}

/// Routes that generate, each a folder of its own.
const ROUTES: [&str; 5] = ["chat", "completions", "generate", "messages", "responses"];

#[test]
fn a_route_is_its_own_folder_and_knows_no_other() {
    let sources = sources();
    for route in ROUTES {
        for part in ["types", "validate", "convert", "stream"] {
            let file = format!("http/{route}/{part}.rs");
            assert!(sources.iter().any(|(name, _)| *name == file), "{file} is missing");
        }
        let others = sources.iter().filter(|(file, _)| {
            let wires = file == "http/app.rs" || file.starts_with(&format!("http/{route}/"));
            file.starts_with("http/") && !wires
        });
        for (file, text) in others {
            let path = format!("crate::http::{route}");
            assert!(
                !names(text, &path),
                "router/src/{file} names {path}; only the table of routes may"
            );
        }
    }
}

#[test]
fn no_module_names_those_above_it() {
    for (file, text) in sources() {
        for (place, paths) in NEVER {
            for path in paths.iter().filter(|_| file.starts_with(place)) {
                assert!(
                    !names(&text, path),
                    "router/src/{file} names {path}, which {place} may not"
                );
            }
        }
    }
}
