//! Reads the events of one answer: HTTP/1.1 with chunked encoding, `data:` lines, `[DONE]`.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// What an event was.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A piece of the answer.
    Token,
    /// The usage, with its completion tokens.
    Usage(u64),
    /// The last one.
    Done,
}

enum Chunk {
    Size,
    Data(usize),
    End,
}

/// One answer being read. Bytes of the connection go in, events come out.
pub struct Answer {
    raw: Vec<u8>,
    body: Vec<u8>,
    chunk: Chunk,
    head_seen: bool,
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

impl Answer {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self {
            raw: Vec::with_capacity(16384),
            body: Vec::with_capacity(16384),
            chunk: Chunk::Size,
            head_seen: false,
        }
    }

    /// Reads once and appends the events that are whole now; false when the body has ended.
    pub async fn read<R: AsyncRead + Unpin>(
        &mut self,
        from: &mut R,
        events: &mut Vec<Event>,
    ) -> io::Result<bool> {
        if from.read_buf(&mut self.raw).await? == 0 {
            return Err(bad("the server closed the connection inside an answer"));
        }
        self.take(events)
    }

    fn take(&mut self, events: &mut Vec<Event>) -> io::Result<bool> {
        if !self.head_seen {
            let Some(end) = find(&self.raw, b"\r\n\r\n") else {
                return Ok(true);
            };
            let head = String::from_utf8_lossy(&self.raw[..end]).into_owned();
            if !head.starts_with("HTTP/1.1 200") {
                return Err(bad(format!(
                    "not an answer: {} {}",
                    head,
                    String::from_utf8_lossy(&self.raw[end..])
                )));
            }
            if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
                return Err(bad(format!("not chunked: {head}")));
            }
            self.raw.drain(..end + 4);
            self.head_seen = true;
        }
        let more = self.dechunk()?;
        self.split(events)?;
        Ok(more)
    }

    fn dechunk(&mut self) -> io::Result<bool> {
        let mut at = 0;
        loop {
            match self.chunk {
                Chunk::Size => {
                    let Some(line) = find(&self.raw[at..], b"\r\n") else {
                        break;
                    };
                    let size = std::str::from_utf8(&self.raw[at..at + line])
                        .ok()
                        .and_then(|text| usize::from_str_radix(text.trim(), 16).ok())
                        .ok_or_else(|| bad("a chunk without a size"))?;
                    at += line + 2;
                    self.chunk = if size == 0 { Chunk::End } else { Chunk::Data(size) };
                }
                Chunk::Data(left) => {
                    let ready = left.min(self.raw.len() - at);
                    self.body.extend_from_slice(&self.raw[at..at + ready]);
                    at += ready;
                    if ready < left {
                        self.chunk = Chunk::Data(left - ready);
                        break;
                    }
                    if self.raw.len() - at < 2 {
                        self.chunk = Chunk::Data(0);
                        break;
                    }
                    at += 2;
                    self.chunk = Chunk::Size;
                }
                Chunk::End => {
                    if self.raw.len() - at < 2 {
                        break;
                    }
                    self.raw.drain(..at + 2);
                    return Ok(false);
                }
            }
        }
        self.raw.drain(..at);
        Ok(true)
    }

    fn split(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let mut at = 0;
        while let Some(end) = find(&self.body[at..], b"\n\n") {
            let event = &self.body[at..at + end];
            at += end + 2;
            let Some(data) = event.strip_prefix(b"data: ") else {
                continue;
            };
            if data == b"[DONE]" {
                events.push(Event::Done);
            // With its colon: a token may be the word "error".
            } else if find(data, b"\"error\":").is_some() {
                return Err(bad(String::from_utf8_lossy(data).into_owned()));
            } else if find(data, b"\"choices\":[]").is_some() {
                let usage: serde_json::Value = serde_json::from_slice(data)?;
                let tokens = usage["usage"]["completion_tokens"].as_u64();
                events.push(Event::Usage(
                    tokens.ok_or_else(|| bad("usage without completion_tokens"))?,
                ));
            } else {
                events.push(Event::Token);
            }
        }
        self.body.drain(..at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Vec<u8> {
        let pieces = [
            "data: {\"choices\":[{\"text\":\"a\"",
            "}]}\n\nd",
            "ata: {\"choices\":[],\"usage\":{\"completion_tokens\":7}}\n\ndata: [DON",
            "E]\n\n",
            "",
        ];
        let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for piece in pieces {
            bytes.extend_from_slice(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes());
        }
        bytes
    }

    #[test]
    fn every_split_gives_the_same_events() {
        let whole = answer();
        for cut in 0..whole.len() {
            let mut answer = Answer::new();
            let mut events = Vec::new();
            let mut more = true;
            for piece in [&whole[..cut], &whole[cut..]] {
                answer.raw.extend_from_slice(piece);
                more = answer.take(&mut events).unwrap();
            }
            assert!(!more);
            assert_eq!(
                events,
                [Event::Token, Event::Usage(7), Event::Done],
                "cut at {cut}"
            );
        }
    }
}
