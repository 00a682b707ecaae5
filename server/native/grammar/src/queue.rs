//! Threads that take jobs from one bounded queue.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// A piece of work.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// How the threads of a queue are made.
pub(crate) struct WorkerOptions {
    pub(crate) name: &'static str,
    pub(crate) threads: usize,
    pub(crate) stack_bytes: usize,
    /// Jobs that may wait for `try_push`.
    pub(crate) capacity: usize,
}

/// See the module.
pub(crate) struct Workers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    capacity: usize,
}

struct Shared {
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Shared {
    /// The state is whole between any two statements; jobs run outside of the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        while !state.closed {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.lock();
            } else {
                state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Workers {
    /// # Errors
    /// When the system gives no more threads.
    pub(crate) fn start(options: &WorkerOptions) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            ready: Condvar::new(),
        });
        let workers = Self {
            shared,
            threads: Mutex::default(),
            capacity: options.capacity,
        };
        for _ in 0..options.threads {
            let shared = workers.shared.clone();
            let thread = std::thread::Builder::new()
                .name(options.name.to_owned())
                .stack_size(options.stack_bytes)
                .spawn(move || shared.work())?;
            workers.threads().push(thread);
        }
        Ok(workers)
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job, whatever waits already: for work that is bounded elsewhere.
    pub(crate) fn push(&self, job: Job) {
        self.shared.lock().jobs.push_back(job);
        self.shared.ready.notify_one();
    }

    /// Queues a job, or gives it back when as many wait as may.
    pub(crate) fn try_push(&self, job: Job) -> Result<(), Job> {
        let mut state = self.shared.lock();
        if state.jobs.len() >= self.capacity {
            return Err(job);
        }
        state.jobs.push_back(job);
        drop(state);
        self.shared.ready.notify_one();
        Ok(())
    }

    /// Takes a waiting job, for a thread that would otherwise only wait.
    pub(crate) fn take(&self) -> Option<Job> {
        self.shared.lock().jobs.pop_front()
    }

    /// Discards what waits and returns when no job runs any more.
    pub(crate) fn close(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.jobs.clear();
        drop(state);
        self.shared.ready.notify_all();
        for thread in self.threads().drain(..) {
            // A panic there was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.close();
    }
}
