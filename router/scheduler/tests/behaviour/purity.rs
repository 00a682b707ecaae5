//! The scheduler is a value: nothing in it reads a clock, a file, the environment or the network.

use std::fs;
use std::path::{Path, PathBuf};

/// What the crate may depend on; none of these does I/O.
const ALLOWED_DEPENDENCIES: [&str; 1] = ["thiserror"];

const FORBIDDEN: [&str; 14] = [
    "std::time",
    "std::env",
    "std::fs",
    "std::net",
    "std::io",
    "std::thread",
    "std::process",
    "Instant",
    "SystemTime",
    "RandomState",
    "println!",
    "eprintln!",
    "print!",
    "async ",
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_sources_name_nothing_of_the_outside() {
    let files = sources(&root().join("src"));
    assert!(files.len() > 10);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for word in FORBIDDEN {
            assert!(!text.contains(word), "{} names {word}", file.display());
        }
    }
}

#[test]
fn the_crate_depends_on_nothing_that_does_io() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let lines: Vec<&str> = manifest.lines().map(str::trim).collect();
    let sections = lines
        .iter()
        .filter(|line| line.starts_with('[') && line.contains("dependencies"));
    assert_eq!(
        sections.collect::<Vec<_>>(),
        [&"[dependencies]", &"[dev-dependencies]"]
    );
    let begin = lines.iter().position(|line| *line == "[dependencies]").unwrap();
    let own = lines[begin + 1..]
        .iter()
        .take_while(|line| !line.starts_with('['));
    let names = own.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let names: Vec<&str> = names
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .collect();
    assert_eq!(names, ALLOWED_DEPENDENCIES, "a new dependency: does it do I/O?");
}
