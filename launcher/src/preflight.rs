//! What must be free before processes start: port, sockets, a private folder, a rendezvous port.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use tempfile::TempDir;

use crate::plan::{Choices, socket_of};
use crate::problem::{Problem, Problems};
use crate::settings::{SOCKET_PATH_LIMIT, Settings};

/// Room in a socket's path for the name in the private folder with any rank.
const SOCKET_NAME_ROOM: usize = "/shard-1023".len();

/// What was chosen, and the private folder (removed when this is dropped).
#[derive(Debug)]
pub struct Preflight {
    /// The choices.
    pub choices: Choices,
    /// Holds the sockets, unless `--shard-uds-path` says where they are.
    _run_folder: Option<TempDir>,
}

impl Preflight {
    /// Looks at the machine; reports everything that is in the way.
    pub fn run(settings: &Settings) -> Result<Self, Problems> {
        let port = listening_port(settings.address, settings.flags.launch.port);
        let sockets = sockets(settings);
        let master_port = match settings.flags.launch.master_port {
            Some(port) => Ok(port),
            None => free_port(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        };
        match (port, sockets, master_port) {
            (Ok(port), Ok((socket_prefix, _run_folder)), Ok(master_port)) => Ok(Self {
                choices: Choices {
                    port,
                    socket_prefix,
                    master_port,
                },
                _run_folder,
            }),
            (port, sockets, master_port) => Err(Problems(
                [port.err(), sockets.err(), master_port.err()]
                    .into_iter()
                    .flatten()
                    .collect(),
            )),
        }
    }
}

fn cannot_listen(address: IpAddr, port: u16, error: &io::Error) -> Problem {
    match error.kind() {
        ErrorKind::AddrInUse => Problem::PortInUse { address, port },
        _ => Problem::CannotListen {
            address,
            port,
            cause: error.to_string(),
        },
    }
}

/// The port the router can bind: the given one, tried here so that a port in use is told before
/// anything starts, or a free one for 0.
fn listening_port(address: IpAddr, port: u16) -> Result<u16, Problem> {
    let listener =
        TcpListener::bind((address, port)).map_err(|error| cannot_listen(address, port, &error))?;
    listener
        .local_addr()
        .map(|local| local.port())
        .map_err(|error| cannot_listen(address, port, &error))
}

fn free_port(address: IpAddr) -> Result<u16, Problem> {
    listening_port(address, 0)
}

fn sockets(settings: &Settings) -> Result<(std::path::PathBuf, Option<TempDir>), Problem> {
    let Some(prefix) = settings.socket_prefix() else {
        let folder = run_folder(&std::env::temp_dir())?;
        return Ok((folder.path().join("shard"), Some(folder)));
    };
    let folder = prefix.parent().unwrap_or(Path::new("/"));
    if !folder.is_dir() {
        return Err(Problem::NoSocketFolder {
            path: folder.to_owned(),
        });
    }
    for rank in 0..settings.num_shard {
        let path = socket_of(&prefix, rank);
        if UnixStream::connect(&path).is_ok() {
            return Err(Problem::SocketInUse { path });
        }
    }
    Ok((prefix, None))
}

/// A folder only this user can enter, in `parent` or, where its path is too long for a socket, in /tmp.
fn run_folder(parent: &Path) -> Result<TempDir, Problem> {
    let make = |parent: &Path| {
        tempfile::Builder::new()
            .prefix("shardline-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(|error| Problem::NoRunFolder {
                path: parent.to_owned(),
                cause: error.to_string(),
            })
    };
    let folder = make(parent)?;
    let length = folder.path().as_os_str().as_bytes().len() + SOCKET_NAME_ROOM;
    if length <= SOCKET_PATH_LIMIT {
        Ok(folder)
    } else {
        make(Path::new("/tmp"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_told_and_zero_finds_one() {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let taken = TcpListener::bind((loopback, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(
            listening_port(loopback, port),
            Err(Problem::PortInUse {
                address: loopback,
                port
            })
        );
        assert_ne!(listening_port(loopback, 0).unwrap(), 0);
    }

    #[test]
    fn the_run_folder_is_private_and_short_enough() {
        let parent = tempfile::tempdir().unwrap();
        let folder = run_folder(parent.path()).unwrap();
        assert!(folder.path().starts_with(parent.path()));
        assert_eq!(
            std::fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777,
            0o700
        );

        let long = parent.path().join("x".repeat(SOCKET_PATH_LIMIT - 20));
        std::fs::create_dir(&long).unwrap();
        assert!(run_folder(&long).unwrap().path().starts_with("/tmp"));
    }
}
