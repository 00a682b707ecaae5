//! What runs beside the serving: files that are followed, numbers on a port of their own, health for
//! the launcher.

use std::fs::Permissions;
use std::future::pending;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::UnixListener;
use tokio::signal::unix::SignalKind;
use tokio::task::JoinHandle;

use crate::access::{Keys, read_keys};
use crate::config::{HttpConfig, Secret};
use crate::http::{self, App, Door, Tls, TransportLimits};
use crate::process::{Failure, handler};
use crate::reload;

/// Connections on the port of the numbers.
const METRICS_CONNECTIONS: usize = 64;

/// Files that a process may have open where the system does not say.
const USUAL_OPEN_FILES: usize = 1024;

/// The keys that are valid, and the certificate.
pub(super) fn secrets(http: &HttpConfig) -> Result<(Keys, Option<Tls>), Failure> {
    let file = http.api_keys_file.as_deref().map(read_keys).transpose()?;
    let api_key = http.api_key.as_ref().map(Secret::reveal);
    let tls = http.tls.clone().map(Tls::open).transpose()?;
    Ok((Keys::new(api_key, file, Instant::now()), tls))
}

/// Follows the files of keys and certificate, where there are any.
pub(super) fn follow_files(http: &HttpConfig, keys: Keys, tls: Option<Tls>) -> Result<Beside, Failure> {
    let files = reload::Files::new(http.api_keys_file.clone().map(|path| (path, keys)), tls);
    if files.is_empty() {
        // SIGHUP keeps its usual meaning.
        return Ok(Beside(None));
    }
    let hang_up = handler(SignalKind::hangup())?;
    Ok(Beside::start(reload::follow(files, hang_up)))
}

/// Serves numbers on a port of their own.
pub(super) fn tell_numbers(address: Option<SocketAddr>, app: &Arc<App>) -> Result<Beside, Failure> {
    let Some(address) = address else {
        return Ok(Beside(None));
    };
    let listener = http::listen(address).map_err(|error| Failure::Metrics { address, error })?;
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(%address, "metrics");
    let door = Door { listener, tls: None };
    let limits = TransportLimits {
        connections: METRICS_CONNECTIONS,
        ..TransportLimits::default()
    };
    Ok(Beside::start(http::serve(
        door,
        app.metrics_router(),
        limits,
        pending(),
    )))
}

/// Serves health on a socket of the launcher's: it needs no key and no TLS, and a crowd on the port
/// does not keep it out.
pub(super) fn tell_health(path: Option<&Path>, app: &Arc<App>) -> Result<Beside, Failure> {
    let Some(path) = path else {
        return Ok(Beside(None));
    };
    // What an earlier router has left; one that lives would hold the shards' sockets as well.
    let _ = std::fs::remove_file(path);
    let failed = |error| Failure::Health {
        path: path.to_owned(),
        error,
    };
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(Beside::start(http::serve_local(listener, app.launcher_router())))
}

/// A task that ends with the process's work.
pub(super) struct Beside(Option<JoinHandle<()>>);

impl Beside {
    fn start(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(tokio::spawn(task)))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Raises the limit of open files as far as the system lets, and says where it is. Each connection
/// is one.
pub(super) fn open_files() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
            .map(|()| hard)
            .or(Ok(soft))
    });
    limit.map_or(USUAL_OPEN_FILES, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}
