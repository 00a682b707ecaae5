//! The limit of a streaming server on this machine: one write a token, nothing else.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use serde::Serialize;

use crate::LoopbackArgs;

/// Figures of the raw writes.
#[derive(Serialize)]
pub struct LoopbackReport {
    sockets: usize,
    writes: usize,
    seconds: f64,
    writes_s: f64,
}

/// Writes `messages` to each of `sockets` in turn from one thread while another reads them all.
pub fn run(args: LoopbackArgs) -> io::Result<LoopbackReport> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut writers = Vec::with_capacity(args.sockets);
    let mut readers = Vec::with_capacity(args.sockets);
    for _ in 0..args.sockets {
        let reader = TcpStream::connect(address)?;
        reader.set_nonblocking(true)?;
        let (writer, _) = listener.accept()?;
        writer.set_nodelay(true)?;
        readers.push(reader);
        writers.push(writer);
    }
    let wanted = args.sockets * args.messages * args.bytes;
    let reading = thread::spawn(move || drain(readers, wanted));
    let message = vec![b'x'; args.bytes];
    let start = Instant::now();
    for _ in 0..args.messages {
        for writer in &mut writers {
            writer.write_all(&message)?;
        }
    }
    reading
        .join()
        .map_err(|_| io::Error::other("the reader died"))??;
    let seconds = start.elapsed().as_secs_f64();
    let writes = args.sockets * args.messages;
    Ok(LoopbackReport {
        sockets: args.sockets,
        writes,
        seconds,
        writes_s: writes as f64 / seconds,
    })
}

/// Reads whatever is ready until `wanted` bytes have come.
fn drain(mut readers: Vec<TcpStream>, wanted: usize) -> io::Result<()> {
    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    for (index, reader) in readers.iter().enumerate() {
        epoll.add(reader, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
    }
    let mut events = vec![EpollEvent::empty(); readers.len()];
    let mut buffer = vec![0u8; 65536];
    let mut got = 0;
    while got < wanted {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..ready] {
            match readers[event.data() as usize].read(&mut buffer) {
                Ok(n) => got += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
