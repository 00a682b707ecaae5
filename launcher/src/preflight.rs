//! What must be free before processes start: port, sockets, a private folder, a rendezvous port.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::plan::{Choices, socket_of};
use crate::problem::{Problem, Problems};
use crate::settings::{SOCKET_PATH_LIMIT, Settings};

/// Room in a socket's path for the name in the private folder with any rank.
const SOCKET_NAME_ROOM: usize = "/shard-1023".len();

/// What was chosen, and what keeps it ours: to be kept until the server has ended.
#[derive(Debug)]
pub struct Preflight {
    /// The choices.
    pub choices: Choices,
    /// Holds the sockets, unless `--shard-uds-path` says where they are; removed when this is dropped.
    _run_folder: Option<TempDir>,
    _ports: [Port; 2],
}

impl Preflight {
    /// Looks at the machine; reports everything that is in the way.
    pub fn run(settings: &Settings) -> Result<Self, Problems> {
        let port = listening_port(settings.address, settings.flags.launch.port);
        let sockets = sockets(settings);
        let master_port = match settings.flags.launch.master_port {
            Some(port) => Ok(Port::given(port)),
            None => free_port(Ipv4Addr::LOCALHOST.into()),
        };
        match (port, sockets, master_port) {
            (Ok(port), Ok((socket_prefix, _run_folder)), Ok(master_port)) => {
                let choices = Choices {
                    port: port.number,
                    socket_prefix,
                    master_port: master_port.number,
                };
                Ok(Self {
                    choices,
                    _run_folder,
                    _ports: [port, master_port],
                })
            }
            (port, sockets, master_port) => {
                let problems = [port.err(), sockets.err(), master_port.err()];
                Err(Problems(problems.into_iter().flatten().collect()))
            }
        }
    }
}

/// A port for a child to bind.
#[derive(Debug)]
struct Port {
    number: u16,
    /// Bound without listening: the system gives the port to nobody who asks for a free one, and a
    /// child that sets SO_REUSEADDR, as servers do, can bind it.
    _reservation: Option<TcpSocket>,
}

impl Port {
    fn given(number: u16) -> Self {
        Self {
            number,
            _reservation: None,
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
fn listening_port(address: IpAddr, port: u16) -> Result<Port, Problem> {
    if port == 0 {
        return free_port(address);
    }
    TcpListener::bind((address, port)).map_err(|error| cannot_listen(address, port, &error))?;
    Ok(Port::given(port))
}

fn free_port(address: IpAddr) -> Result<Port, Problem> {
    reserve(address).map_err(|error| cannot_listen(address, 0, &error))
}

fn reserve(address: IpAddr) -> io::Result<Port> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(address, 0))?;
    Ok(Port {
        number: socket.local_addr()?.port(),
        _reservation: Some(socket),
    })
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
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::devices::Devices;
    use crate::parse::{Asked, parse_without_environment};

    #[test]
    fn a_port_in_use_is_told() {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let taken = TcpListener::bind((loopback, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(
            listening_port(loopback, port).unwrap_err(),
            Problem::PortInUse {
                address: loopback,
                port
            }
        );
    }

    #[test]
    fn a_reserved_port_is_ours_to_bind_and_given_to_nobody() {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let reserved: Vec<Port> = (0..100).map(|_| listening_port(loopback, 0).unwrap()).collect();
        let numbers: std::collections::HashSet<u16> = reserved.iter().map(|port| port.number).collect();
        assert_eq!(numbers.len(), reserved.len());
        for port in reserved.iter().take(3) {
            TcpListener::bind((loopback, port.number)).unwrap();
        }
    }

    #[test]
    fn a_socket_of_a_running_server_is_told_and_one_left_behind_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("mine");
        let flag = format!("--shard-uds-path={}", prefix.display());
        let words = [
            "shardline-launcher",
            "--model-id",
            "demo",
            "--num-shard",
            "2",
            &flag,
        ];
        let Ok(Asked::Run(parsed)) = parse_without_environment(words.map(Into::into)) else {
            panic!()
        };
        let settings = Settings::check(*parsed, &Devices { cores: 1, gpus: None }).unwrap();

        let path = socket_of(&prefix, 1);
        let living = UnixListener::bind(&path).unwrap();
        assert_eq!(sockets(&settings).unwrap_err(), Problem::SocketInUse { path });
        drop(living);
        assert_eq!(sockets(&settings).unwrap().0, prefix);

        drop(folder);
        assert!(matches!(sockets(&settings), Err(Problem::NoSocketFolder { .. })));
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
