//! Which crate may depend on which.

use crate::source::{names, rust_files, workspace};

/// A crate's folder, the crates of this workspace that it may depend on, and outside crates that it
/// may not.
const CRATES: [(&str, &[&str], &[&str]); 10] = [
    ("proto", &[], &["tokio", "axum", "pyo3"]),
    (
        "router/scheduler",
        &[],
        &[
            "tokio", "tonic", "prost", "rand", "tracing", "log", "axum", "pyo3", "chrono",
        ],
    ),
    (
        "router/text",
        &[],
        &[
            "tokio",
            "tonic",
            "prost",
            "axum",
            "http",
            "hyper",
            "reqwest",
            "futures-util",
            "pyo3",
        ],
    ),
    (
        "router/parse",
        &[],
        &[
            "tokio", "tonic", "prost", "axum", "http", "regex", "tracing", "pyo3",
        ],
    ),
    ("router/mock-shard", &["shardline-proto"], &["axum", "pyo3"]),
    (
        "router",
        &[
            "shardline-proto",
            "shardline-scheduler",
            "shardline-text",
            "shardline-parse",
        ],
        &["pyo3"],
    ),
    ("launcher", &[], &["tonic", "prost", "axum", "pyo3"]),
    ("server/native/endpoint", &["shardline-proto"], &["pyo3", "axum"]),
    (
        "server/native/grammar",
        &["shardline-text"],
        &["pyo3", "tonic", "prost", "tokio", "axum"],
    ),
    ("server/native/kernels", &[], &["pyo3", "tonic", "tokio", "axum"]),
];

/// Names of the crate's own dependencies; those of its tests and its build are not among them.
fn dependencies(folder: &str) -> Vec<String> {
    let manifest = std::fs::read_to_string(workspace().join(folder).join("Cargo.toml")).unwrap();
    let mut within = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            within = line.ends_with("dependencies]") && !line.contains("dev-") && !line.contains("build-");
        } else if let (true, Some((name, _))) = (within, line.split_once(['.', '=', ' '])) {
            names.push(name.trim().to_owned());
        }
    }
    names
}

#[test]
fn crates_depend_downwards_only() {
    for (folder, own, foreign) in CRATES {
        let found = dependencies(folder);
        assert!(
            !found.is_empty(),
            "{folder} has dependencies that this test can read"
        );
        for name in found {
            let is_own = name.starts_with("shardline-");
            assert!(
                !is_own || own.contains(&&*name),
                "{folder} depends on {name}; it may on {own:?}"
            );
            assert!(
                !foreign.contains(&&*name),
                "{folder} depends on {name}, which it may not"
            );
        }
    }
}

#[test]
fn the_pure_crates_know_no_clock_no_environment_and_no_thread() {
    for folder in ["router/scheduler/src", "router/text/src", "router/parse/src"] {
        let files = rust_files(&workspace().join(folder));
        assert!(!files.is_empty());
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for path in [
                "std::env",
                "std::net",
                "std::thread",
                "std::time::Instant",
                "std::time::SystemTime",
            ] {
                assert!(!names(&text, path), "{} names {path}", file.display());
            }
        }
    }
}
