//! The closed loop: each client sends its next request when its last answer has ended.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::HttpArgs;
use crate::report::{Answered, HttpReport};
use crate::sse::{Answer, Event};

/// Runs the whole load.
pub async fn run(args: HttpArgs) -> io::Result<HttpReport> {
    let prompts = args.prompts.unwrap_or(args.concurrency * 3);
    let bodies: Arc<Vec<String>> = Arc::new(
        (0..prompts)
            .map(|i| {
                crate::prompt::body(
                    args.seed,
                    i,
                    args.prompt_tokens,
                    args.output_tokens,
                    args.vocabulary,
                )
            })
            .collect(),
    );
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..args.concurrency.min(prompts) {
        clients.spawn(client(args.clone(), Arc::clone(&bodies), Arc::clone(&next)));
    }
    let mut answered = Vec::with_capacity(prompts);
    while let Some(done) = clients.join_next().await {
        answered.extend(done.map_err(io::Error::other)??);
    }
    Ok(HttpReport::new(&args, start.elapsed(), &answered))
}

async fn client(
    args: HttpArgs,
    bodies: Arc<Vec<String>>,
    next: Arc<AtomicUsize>,
) -> io::Result<Vec<Answered>> {
    let address = &args.address;
    let header = args
        .header
        .as_ref()
        .map_or_else(String::new, |line| format!("{line}\r\n"));
    let mut connection = TcpStream::connect(address).await?;
    connection.set_nodelay(true)?;
    let mut answered = Vec::new();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(body) = bodies.get(index) else {
            return Ok(answered);
        };
        if args.pause_ms > 0 {
            let pause = crate::prompt::pause_ms(args.seed, index, args.pause_ms);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let request = format!(
            "POST /v1/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n{header}\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        answered.push(one(&mut connection, &request).await?);
    }
}

async fn one(connection: &mut TcpStream, request: &str) -> io::Result<Answered> {
    let start = Instant::now();
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Answer::new();
    let mut events = Vec::new();
    let mut result = Answered::default();
    let mut last: Option<Instant> = None;
    loop {
        let more = answer.read(connection, &mut events).await?;
        let now = Instant::now();
        for event in events.drain(..) {
            match event {
                Event::Token => {
                    match last {
                        None => result.ttft_s = (now - start).as_secs_f64(),
                        Some(before) => result.itl_s.push((now - before).as_secs_f32()),
                    }
                    last = Some(now);
                    result.events += 1;
                }
                Event::Usage(tokens) => result.tokens = tokens,
                Event::Done => {}
            }
        }
        if !more {
            return Ok(result);
        }
    }
}
