//! Files that may be edited while the router runs: API keys, certificate and its key.
//!
//! They are looked at every few seconds, because what edits them (an operator, a renewal, a mounted
//! secret) rarely can send a signal; SIGHUP makes it look at once. A file that cannot be used is
//! told in the log, and what was valid before stays.

use std::future::pending;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::signal::unix::Signal;
use tokio::time::{MissedTickBehavior, interval};

use crate::access::{Keys, read_keys};
use crate::http::Tls;

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// What is followed.
#[derive(Debug)]
pub struct Files {
    keys: Option<(Watched, Keys)>,
    tls: Option<(Watched, Tls)>,
}

impl Files {
    /// Follows these from now on, as they were read just before.
    #[must_use]
    pub fn new(keys: Option<(PathBuf, Keys)>, tls: Option<Tls>) -> Self {
        Self {
            keys: keys.map(|(path, keys)| (Watched::new(vec![path]), keys)),
            tls: tls.map(|tls| (Watched::new(tls.files().map(Path::to_owned).to_vec()), tls)),
        }
    }

    /// Whether there is anything to follow.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_none() && self.tls.is_none()
    }

    /// Reads again what has changed, or everything when it is asked for.
    fn look(&mut self, everything: bool) {
        if let Some((watched, keys)) = &mut self.keys
            && (watched.changed() || everything)
        {
            for path in watched.paths() {
                match read_keys(path) {
                    Ok(entries) => {
                        tracing::info!(keys = entries.len(), "API keys read again");
                        keys.replace(entries, Instant::now());
                    }
                    Err(error) => tracing::error!(%error, "the API keys stay as they were"),
                }
            }
        }
        if let Some((watched, tls)) = &mut self.tls
            && (watched.changed() || everything)
        {
            match tls.reload() {
                Ok(()) => tracing::info!("certificate read again"),
                Err(error) => tracing::error!(%error, "the certificate stays as it was"),
            }
        }
    }
}

/// Follows the files until it is dropped.
pub async fn follow(mut files: Files, mut hang_up: Signal) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let everything = tokio::select! {
            _ = ticks.tick() => false,
            Some(()) = hang_up.recv() => true,
        };
        // A file may lie on a disk that does not answer.
        let looked = tokio::task::spawn_blocking(move || {
            files.look(everything);
            files
        });
        files = match looked.await {
            Ok(files) => files,
            Err(error) => {
                tracing::error!(%error, "files are no longer followed");
                return pending().await;
            }
        };
    }
}

/// Files and how they looked last.
#[derive(Debug)]
struct Watched(Vec<(PathBuf, Option<Stamp>)>);

/// What changes when a file is written or replaced.
type Stamp = (u64, i64, i64, u64);

impl Watched {
    fn new(paths: Vec<PathBuf>) -> Self {
        Self(
            paths
                .into_iter()
                .map(|path| (path.clone(), stamp(&path)))
                .collect(),
        )
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(path, _)| path.as_path())
    }

    /// Whether one of them looks different than the last time.
    fn changed(&mut self) -> bool {
        let mut changed = false;
        for (path, seen) in &mut self.0 {
            let now = stamp(path);
            // A file that is gone is being replaced.
            if now.is_some() && now != *seen {
                *seen = now;
                changed = true;
            }
        }
        changed
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.ino(), facts.mtime(), facts.mtime_nsec(), facts.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &str = r#"{"keys": []}"#;

    fn key_file() -> String {
        format!(
            r#"{{"keys": [{{"tenant": "team", "sha256": "{}"}}]}}"#,
            "ab".repeat(32)
        )
    }

    #[test]
    fn an_edited_file_counts_and_a_broken_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        std::fs::write(&path, NONE).unwrap();
        let keys = Keys::new(None, Some(read_keys(&path).unwrap()), Instant::now());
        let mut files = Files::new(Some((path.clone(), keys.clone())), None);
        let known = || format!("{keys:?}").contains("team");
        assert!(!files.is_empty() && !known());
        std::fs::write(&path, key_file()).unwrap();
        files.look(false);
        assert!(known());
        std::fs::write(&path, "{").unwrap();
        files.look(false);
        assert!(known(), "a broken file changes nothing");
        std::fs::remove_file(&path).unwrap();
        files.look(false);
        assert!(known(), "nor does one that is gone for a moment");
        let other = folder.path().join("other.json");
        std::fs::write(&other, NONE).unwrap();
        std::fs::rename(&other, &path).unwrap();
        files.look(false);
        assert!(!known());
    }

    #[test]
    fn what_has_not_changed_is_read_again_on_demand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        std::fs::write(&path, key_file()).unwrap();
        let keys = Keys::new(None, Some(Vec::new()), Instant::now());
        let mut files = Files::new(Some((path, keys.clone())), None);
        files.look(false);
        assert!(!format!("{keys:?}").contains("team"));
        files.look(true);
        assert!(format!("{keys:?}").contains("team"));
    }
}
