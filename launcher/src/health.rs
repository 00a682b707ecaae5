//! Asks the router whether it is ready, on a socket of its own: the port may speak TLS, and a crowd
//! on it must not look like a router that does not serve.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// How often the router is asked.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The address under which this machine reaches a server that listens on `listening`.
pub fn reachable(listening: IpAddr, port: u16) -> SocketAddr {
    let address = match listening {
        IpAddr::V4(address) if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(address) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        address => address,
    };
    SocketAddr::new(address, port)
}

/// Returns when `GET /health` answers 200.
pub async fn ready(router: &Path) {
    loop {
        if let Ok(Ok(true)) = tokio::time::timeout(PATIENCE, is_healthy(router)).await {
            return;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn is_healthy(router: &Path) -> std::io::Result<bool> {
    let mut stream = UnixStream::connect(router).await?;
    stream
        .write_all(b"GET /health HTTP/1.1\r\nhost: router\r\nconnection: close\r\n\r\n")
        .await?;
    let mut status = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut status).await?;
    Ok(status.starts_with(b"HTTP/1.") && status.ends_with(b" 200"))
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[test]
    fn all_addresses_are_reached_by_loopback() {
        assert_eq!(reachable([0, 0, 0, 0].into(), 80).to_string(), "127.0.0.1:80");
        assert_eq!(
            reachable(Ipv6Addr::UNSPECIFIED.into(), 80).to_string(),
            "[::1]:80"
        );
        assert_eq!(reachable([10, 0, 0, 7].into(), 80).to_string(), "10.0.0.7:80");
    }

    #[tokio::test]
    async fn only_200_is_ready() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("health");
        let listener = UnixListener::bind(&path).unwrap();
        let server = async {
            let mut answered = 0;
            for status in ["503 Service Unavailable", "200 OK"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 512];
                let count = stream.read(&mut request).await.unwrap();
                assert!(request[..count].starts_with(b"GET /health HTTP/1.1\r\n"));
                stream
                    .write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes())
                    .await
                    .unwrap();
                answered += 1;
            }
            answered
        };
        let (answered, ()) = tokio::join!(server, ready(&path));
        assert_eq!(answered, 2);
    }
}
