//! Asks the router how it is, on a socket of its own: the port may speak TLS, and a crowd on it must
//! not look like a router that does not serve.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Far more than an answer's bytes.
const ANSWER_LIMIT: u64 = 64 << 10;

/// What the router says of the shards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Told {
    /// Which group of them it serves or awaits.
    pub group: u64,
    /// Whether they serve requests.
    pub serving: bool,
    /// Why they are of no use though they live.
    pub stuck: Option<String>,
}

/// The address under which this machine reaches a server that listens on `listening`.
pub fn reachable(listening: IpAddr, port: u16) -> SocketAddr {
    let address = match listening {
        IpAddr::V4(address) if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(address) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        address => address,
    };
    SocketAddr::new(address, port)
}

/// The router's next answer, not before `pause` is over. May be dropped and called again.
pub async fn ask(router: &Path, pause: Duration) -> Told {
    loop {
        tokio::time::sleep(pause).await;
        if let Ok(Ok(told)) = tokio::time::timeout(PATIENCE, answer(router)).await {
            return told;
        }
    }
}

async fn answer(router: &Path) -> io::Result<Told> {
    let mut stream = UnixStream::connect(router).await?;
    stream
        .write_all(b"GET /group HTTP/1.1\r\nhost: router\r\nconnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_LIMIT).read_to_end(&mut answer).await?;
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let body = head.map_or(&answer[..], |end| &answer[end + 4..]);
    serde_json::from_slice(body).map_err(io::Error::from)
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
    async fn what_is_no_answer_is_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("health");
        let listener = UnixListener::bind(&path).unwrap();
        let server = async {
            for answer in [
                "HTTP/1.1 404 Not Found\r\n\r\n",
                "HTTP/1.1 200 OK\r\n\r\n{\"group\": 2, \"serving\": false, \"stuck\": \"step 1\"}",
            ] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 512];
                let count = stream.read(&mut request).await.unwrap();
                assert!(request[..count].starts_with(b"GET /group HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let ((), told) = tokio::join!(server, ask(&path, Duration::ZERO));
        let expected = Told {
            group: 2,
            serving: false,
            stuck: Some("step 1".to_owned()),
        };
        assert_eq!(told, expected);
    }
}
