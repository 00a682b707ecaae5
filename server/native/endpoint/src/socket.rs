//! Binding the Unix socket: a stale one is replaced, a living one is not, and nobody but the owner
//! can ever connect.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why the socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process serves there.
    #[error("{} is served by another process; choose another --shard-uds-path", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Not a socket: it is not ours to remove.
    #[error("{} exists and is not a socket; remove it or choose another --shard-uds-path", path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} the socket {} ({} bytes): {source}", path.display(), path.as_os_str().len())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The socket. The system's limit of a socket's path is about 107 bytes.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
}

/// Binds `path` with permissions 0600, replacing a socket that nobody serves.
pub(crate) fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    remove_stale(path)?;
    let failed = |action| {
        move |source| SocketError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    };
    // Bound under another name first: under its own one it appears with its permissions in place.
    let mut hidden = path.as_os_str().to_owned();
    hidden.push("~");
    let hidden = PathBuf::from(hidden);
    let _ = std::fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden).map_err(failed("bind"))?;
    std::fs::set_permissions(&hidden, PermissionsExt::from_mode(0o600)).map_err(failed("protect"))?;
    std::fs::rename(&hidden, path).map_err(failed("name"))?;
    listener.set_nonblocking(true).map_err(failed("configure"))?;
    Ok(listener)
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |action| {
        move |source| SocketError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    };
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("examine")(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NotASocket {
            path: path.to_owned(),
        });
    }
    if UnixStream::connect(path).is_ok() {
        return Err(SocketError::InUse {
            path: path.to_owned(),
        });
    }
    std::fs::remove_file(path).map_err(failed("remove the stale"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_may_connect() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard-0");
        let _listener = bind(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard-0");
        drop(bind(&path).unwrap());
        assert!(path.exists());
        let _listener = bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_served_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard-0");
        let _listener = bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(SocketError::InUse { .. })));
    }

    #[test]
    fn another_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(bind(&path), Err(SocketError::NotASocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_path_too_long_is_told_with_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s".repeat(200));
        let error = bind(&path).unwrap_err().to_string();
        assert!(
            error.contains(&format!("({} bytes)", path.as_os_str().len())),
            "{error}"
        );
    }
}
