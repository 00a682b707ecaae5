//! Bytes of a pipe to lines of text, whatever a child writes.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest line that is passed on whole; a longer one is cut into lines of this many bytes.
pub const LINE_LIMIT: usize = 16 * 1024;

/// Splits bytes at line feeds and carriage returns, and at [`LINE_LIMIT`].
#[derive(Debug, Default)]
pub struct LineSplitter {
    pending: Vec<u8>,
}

impl LineSplitter {
    /// Takes the next bytes and gives each line that is complete; empty lines are left out.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(String)) {
        for &byte in bytes {
            if byte == b'\n' || byte == b'\r' {
                self.flush(&mut each);
                continue;
            }
            self.pending.push(byte);
            if self.pending.len() == LINE_LIMIT {
                self.flush(&mut each);
            }
        }
    }

    /// Gives what is left when the pipe has ended without a line feed.
    pub fn flush(&mut self, mut each: impl FnMut(String)) {
        if !self.pending.is_empty() {
            each(String::from_utf8_lossy(&self.pending).into_owned());
            self.pending.clear();
        }
    }
}

/// The lines of a pipe.
#[derive(Debug)]
pub struct Lines<Pipe> {
    pipe: Pipe,
    splitter: LineSplitter,
    /// Complete lines that nobody has taken yet.
    complete: VecDeque<String>,
}

impl<Pipe: AsyncRead + Unpin> Lines<Pipe> {
    /// Lines of this pipe.
    pub fn of(pipe: Pipe) -> Self {
        Self {
            pipe,
            splitter: LineSplitter::default(),
            complete: VecDeque::new(),
        }
    }

    /// The next line, none at the pipe's end. May be dropped and called again.
    pub async fn next(&mut self) -> Option<String> {
        let mut buffer = [0; 4096];
        while self.complete.is_empty() {
            let complete = &mut self.complete;
            match self.pipe.read(&mut buffer).await {
                Ok(count @ 1..) => self
                    .splitter
                    .push(&buffer[..count], |line| complete.push_back(line)),
                Ok(0) | Err(_) => {
                    self.splitter.flush(|line| complete.push_back(line));
                    break;
                }
            }
        }
        self.complete.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.push(chunk, |line| lines.push(line));
        }
        splitter.flush(|line| lines.push(line));
        lines
    }

    #[test]
    fn lines_end_at_feeds_and_returns_and_are_never_longer_than_the_limit() {
        assert_eq!(
            split(&[b"one\ntw", b"o\r\n\n 50%\r100%"]),
            ["one", "two", " 50%", "100%"]
        );
        let long = vec![b'x'; LINE_LIMIT + 3];
        assert_eq!(
            split(&[&long]).iter().map(String::len).collect::<Vec<_>>(),
            [LINE_LIMIT, 3]
        );
    }

    #[test]
    fn what_is_no_text_becomes_text() {
        assert_eq!(split(&[b"\xff\xfe\n"]), ["\u{fffd}\u{fffd}"]);
    }

    proptest! {
        #[test]
        fn where_the_chunks_end_makes_no_difference(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
            let cut = cut.min(bytes.len());
            prop_assert_eq!(split(&[&bytes]), split(&[&bytes[..cut], &bytes[cut..]]));
        }
    }
}
