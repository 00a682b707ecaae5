//! Bodies on their way in: within a size, within a time, and all together within a part of the
//! memory, however many connections send at once.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::body::JsonBody;
use crate::http::error::ApiError;

/// How much of a body that is too large is read on and thrown away.
const MOST_DISCARDED_BYTES: usize = 16 << 20;

/// Bytes of all bodies together, or as many bodies of the largest size if that is more.
const ROOM_BYTES: usize = 256 << 20;
const ROOM_BODIES: usize = 16;

/// Room is counted in pieces of this many bytes.
const PIECE_BYTES: usize = 1024;

/// What reads bodies.
#[derive(Debug)]
pub struct Intake {
    /// `--payload-limit`
    most_bytes: usize,
    /// From the first wait to the last byte.
    time: Duration,
    /// Pieces that are free.
    room: Arc<Semaphore>,
    room_bytes: usize,
}

/// A body that is being read, with the room that it takes.
#[derive(Default)]
struct Arrived {
    text: BytesMut,
    room: Option<OwnedSemaphorePermit>,
}

impl Intake {
    /// Takes bodies of at most so many bytes that arrive within a time.
    #[must_use]
    pub fn new(most_bytes: usize, time: Duration) -> Self {
        Self::with_room(
            most_bytes,
            time,
            ROOM_BYTES.max(most_bytes.saturating_mul(ROOM_BODIES)),
        )
    }

    fn with_room(most_bytes: usize, time: Duration, room_bytes: usize) -> Self {
        let pieces = (room_bytes / PIECE_BYTES).min(Semaphore::MAX_PERMITS);
        Self {
            most_bytes,
            time,
            room: Arc::new(Semaphore::new(pieces)),
            room_bytes,
        }
    }

    /// Reads and checks a body.
    ///
    /// # Errors
    /// When it is too large, too slow, incomplete, compressed, not JSON by its header, not UTF-8 or
    /// too deep, or when too many bodies arrive at once.
    pub async fn read(&self, headers: &HeaderMap, mut body: Body) -> Result<JsonBody, ApiError> {
        check_content_type(headers)?;
        check_encoding(headers)?;
        if body.size_hint().lower() > self.most_bytes as u64 {
            // A client that waits for a word before it sends is refused before it has sent.
            if !headers.contains_key(header::EXPECT) {
                discard(body, self.time).await;
            }
            return Err(self.too_large());
        }
        let mut arrived = Arrived::default();
        match tokio::time::timeout(self.time, self.collect(&mut body, &mut arrived)).await {
            Err(_) => Err(ApiError::BodyTimeout { limit: self.time }),
            Ok(Err(error @ ApiError::BodyTooLarge { .. })) => {
                drop(arrived);
                discard(body, self.time).await;
                Err(error)
            }
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) => JsonBody::new(arrived.text.freeze()).map(|body| body.holding(arrived.room)),
        }
    }

    async fn collect(&self, body: &mut Body, arrived: &mut Arrived) -> Result<(), ApiError> {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ApiError::BodyIncomplete {
                cause: error.to_string(),
            })?;
            let Ok(data) = frame.into_data() else { continue };
            let length = arrived.text.len() + data.len();
            if length > self.most_bytes {
                return Err(self.too_large());
            }
            self.make_room(&mut arrived.room, length)?;
            arrived.text.extend_from_slice(&data);
        }
        Ok(())
    }

    /// Takes room for a body that has grown to `length` bytes.
    fn make_room(&self, room: &mut Option<OwnedSemaphorePermit>, length: usize) -> Result<(), ApiError> {
        let needed = length.div_ceil(PIECE_BYTES);
        let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(needed.saturating_sub(held)).unwrap_or(u32::MAX);
        if more == 0 {
            return Ok(());
        }
        let permit = self.room.clone().try_acquire_many_owned(more);
        let permit = permit.map_err(|_| ApiError::NoRoom {
            limit: self.room_bytes,
        })?;
        match room {
            Some(room) => room.merge(permit),
            None => *room = Some(permit),
        }
        Ok(())
    }

    fn too_large(&self) -> ApiError {
        ApiError::BodyTooLarge {
            limit: self.most_bytes,
        }
    }
}

/// Reads on a little, keeping nothing. A client that is still writing when the connection closes
/// often loses the answer that says why.
async fn discard(mut body: Body, time: Duration) {
    let read = async {
        let mut left = MOST_DISCARDED_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // Whether all of it came does not matter.
    let _ = tokio::time::timeout(time, read).await;
}

/// An absent header passes: it is what small programs forget.
fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let given = String::from_utf8_lossy(value.as_bytes());
    let essence = given
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let is_json =
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if is_json {
        Ok(())
    } else {
        // A header may be long; its beginning says enough.
        Err(ApiError::ContentType {
            given: given.chars().take(100).collect(),
        })
    }
}

/// A body is read as it is: what unpacks to a thousand times its size is not unpacked.
fn check_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let given = String::from_utf8_lossy(value.as_bytes());
        if !given.trim().eq_ignore_ascii_case("identity") {
            return Err(ApiError::ContentEncoding {
                given: given.chars().take(100).collect(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intake() -> Intake {
        Intake::new(4, Duration::from_secs(1))
    }

    #[tokio::test]
    async fn a_body_is_read_within_its_limits() {
        let intake = intake();
        let empty = HeaderMap::new();
        assert!(intake.read(&empty, Body::from("1234")).await.is_ok());
        let error = intake.read(&empty, Body::from("12345")).await.unwrap_err();
        assert_eq!(error, ApiError::BodyTooLarge { limit: 4 });
        let unsized_body = Body::from_stream(futures_util::stream::iter([
            Ok::<_, std::io::Error>("123"),
            Ok("45"),
        ]));
        let error = intake.read(&empty, unsized_body).await.unwrap_err();
        assert_eq!(error, ApiError::BodyTooLarge { limit: 4 });
        let broken = Body::from_stream(futures_util::stream::iter([
            Ok("1"),
            Err(std::io::Error::other("connection reset")),
        ]));
        let error = intake.read(&empty, broken).await.unwrap_err();
        assert!(matches!(error, ApiError::BodyIncomplete { .. }), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let intake = intake();
        let never = Body::from_stream(futures_util::stream::pending::<Result<&str, std::io::Error>>());
        let error = intake.read(&HeaderMap::new(), never).await.unwrap_err();
        assert_eq!(
            error,
            ApiError::BodyTimeout {
                limit: Duration::from_secs(1)
            }
        );
    }

    #[test]
    fn only_json_is_read() {
        for (given, accepted) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/problem+json", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, given.parse().unwrap())]);
            assert_eq!(check_content_type(&headers).is_ok(), accepted, "{given}");
        }
    }

    #[test]
    fn nothing_is_unpacked() {
        for (given, accepted) in [
            ("identity", true),
            ("Identity", true),
            ("gzip", false),
            ("br, gzip", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, given.parse().unwrap())]);
            assert_eq!(check_encoding(&headers).is_ok(), accepted, "{given}");
        }
    }

    #[tokio::test]
    async fn all_bodies_together_have_a_limit() {
        let intake = Intake::with_room(3000, Duration::from_secs(1), 4096);
        let empty = HeaderMap::new();
        let text = format!("\"{}\"", "x".repeat(2500));
        let first = intake.read(&empty, Body::from(text.clone())).await.unwrap();
        let error = intake.read(&empty, Body::from(text.clone())).await.unwrap_err();
        assert_eq!(error, ApiError::NoRoom { limit: 4096 });
        assert!(
            intake.read(&empty, Body::from("7")).await.is_ok(),
            "a small one still fits"
        );
        drop(first);
        assert!(intake.read(&empty, Body::from(text)).await.is_ok());
    }
}
