//! Any bytes as what a server answers to the load generator, which has a reader of its own: however the
//! connection cuts them, the same events or the same failure.
//!
//! The first line: the lengths of the pieces.
#![no_main]

#[path = "../../../benchmark/load/src/sse.rs"]
mod sse;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use shardline_fuzz::headed;
use sse::{Answer, Event};
use tokio::io::{AsyncRead, ReadBuf};

/// A connection that brings one piece a read, and then its end.
struct Pieces<'a>(VecDeque<&'a [u8]>);

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let pieces = &mut self.get_mut().0;
        if let Some(piece) = pieces.pop_front() {
            let (now, later) = piece.split_at(piece.len().min(buffer.remaining()));
            buffer.put_slice(now);
            if !later.is_empty() {
                pieces.push_front(later);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The events, and whether the answer came to its end.
fn read(pieces: VecDeque<&[u8]>) -> (Vec<Event>, bool) {
    let mut connection = Pieces(pieces);
    let mut answer = Answer::new();
    let mut events = Vec::new();
    loop {
        let read = {
            let mut reading = std::pin::pin!(answer.read(&mut connection, &mut events));
            reading.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
        match read {
            Poll::Ready(Ok(true)) => {}
            Poll::Ready(Ok(false)) => return (events, true),
            Poll::Ready(Err(_)) => return (events, false),
            Poll::Pending => unreachable!("pieces are always ready"),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((head, bytes)) = headed(data) else { return };
    let mut rest = bytes;
    let mut pieces = VecDeque::new();
    for length in head.split(' ').map_while(|word| word.parse::<u16>().ok()) {
        let (piece, tail) = rest.split_at(rest.len().min(usize::from(length)));
        pieces.push_back(piece);
        rest = tail;
    }
    pieces.push_back(rest);
    pieces.retain(|piece| !piece.is_empty());
    let (whole, ended) = read(VecDeque::from_iter((!bytes.is_empty()).then_some(bytes)));
    let (cut, cut_ended) = read(pieces);
    assert_eq!(cut_ended, ended);
    // What fails half-way tells more or less of what came before.
    if ended {
        assert_eq!(cut, whole);
    }
});
