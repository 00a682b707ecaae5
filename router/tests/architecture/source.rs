//! Reading sources: files of a folder, and the paths that they name.

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All Rust files below a folder.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The code of a file, without comments and literals of text that begin and end in one line.
fn code(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        code.extend(line.split('"').step_by(2).flat_map(|piece| [piece, " "]));
        code.push('\n');
    }
    code
}

/// Whether the code names a path that begins with `path` (`axum`, `crate::http`, `std::env`).
pub fn names(text: &str, path: &str) -> bool {
    let code = code(text);
    let bytes = code.as_bytes();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    code.match_indices(path).any(|(start, _)| {
        let end = start + path.len();
        let begins = start == 0 || !(is_name(bytes[start - 1]) || bytes[start - 1] == b':');
        let ends = bytes.get(end).is_none_or(|byte| !is_name(*byte));
        begins && ends
    })
}

#[test]
fn paths_are_found_where_they_begin_and_nowhere_else() {
    assert!(names("use axum::Router;", "axum"));
    assert!(names("fn f(x: crate::http::App) {}", "crate::http"));
    assert!(names("use crate::{http::App};\nuse crate::http;", "crate::http"));
    assert!(!names("use tonic::codegen::http::Uri;", "http"));
    assert!(!names("use axum_extra::A;", "axum"));
    assert!(!names("// axum is not used here", "axum"));
    assert!(!names("let text = \"axum::Router\";", "axum"));
}
