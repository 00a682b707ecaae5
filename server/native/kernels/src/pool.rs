//! A few persistent threads that share the tasks of one job after another.
//!
//! The caller works too. Workers wait for the next job briefly awake, because a layer's products
//! follow each other closely, and then parked, because an idle server must cost nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread stays awake for the next job.
const AWAKE: Duration = Duration::from_micros(60);
/// Looks at the state between looks at the clock.
const LOOKS: u32 = 64;

/// Why a pool is not there, or did not do a job.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// No thread at all.
    #[error("threads is 0; at least the caller's own thread is needed")]
    NoThreads,
    /// The system gave no more threads.
    #[error("cannot start a worker thread: {0}")]
    Start(#[from] std::io::Error),
    /// A task panicked; the other tasks of the job were done.
    #[error("a task of the job panicked")]
    Panicked,
}

/// Threads that share tasks. Dropping it ends them.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One job at a time.
    job: Mutex<()>,
}

#[derive(Debug)]
struct Shared {
    /// Generation of the job in the upper half, tasks of it not taken yet in the lower one. Whoever
    /// takes a task knows by the generation that the job it looked at is still the one.
    tickets: AtomicU64,
    /// The running job; valid for whoever holds a task of it that is not counted as done.
    task: AtomicPtr<Task<'static>>,
    done: AtomicUsize,
    panicked: AtomicBool,
    closing: AtomicBool,
    parked: Box<[AtomicBool]>,
}

/// What runs a task, given its number.
struct Task<'a> {
    run: &'a (dyn Fn(usize) + Sync),
}

impl Pool {
    /// A pool in which `threads` threads work on a job, the caller's included.
    pub fn new(threads: usize) -> Result<Self, PoolError> {
        if threads == 0 {
            return Err(PoolError::NoThreads);
        }
        let shared = Arc::new(Shared {
            tickets: AtomicU64::new(0),
            task: AtomicPtr::new(std::ptr::null_mut()),
            done: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            parked: (1..threads).map(|_| AtomicBool::new(false)).collect(),
        });
        let mut pool = Self {
            shared,
            workers: Vec::with_capacity(threads - 1),
            job: Mutex::new(()),
        };
        for number in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let worker = std::thread::Builder::new()
                .name(format!("products-{number}"))
                .spawn(move || shared.work(&shared.parked[number - 1]))?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Threads that work on a job.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `run(0)` to `run(tasks - 1)`, each once, in any order and on any thread of the pool.
    pub fn run(&self, tasks: usize, run: &(dyn Fn(usize) + Sync)) -> Result<(), PoolError> {
        let _job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        // More tasks than fit into the counter are run as if nobody helped: no weight has as many.
        let counted = u32::try_from(tasks).unwrap_or(0);
        if self.workers.is_empty() || counted <= 1 {
            (0..tasks).for_each(run);
            return Ok(());
        }
        let shared = &*self.shared;
        let task = Task { run };
        shared.done.store(0, Ordering::Relaxed);
        shared.panicked.store(false, Ordering::Relaxed);
        shared
            .task
            .store(std::ptr::from_ref(&task).cast_mut().cast(), Ordering::Relaxed);
        let generation = (shared.tickets.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        shared
            .tickets
            .store(generation << 32 | u64::from(counted), Ordering::SeqCst);
        self.wake();
        while let Some(number) = shared.take() {
            // SAFETY: the task taken is of the job just stored: no other one begins before this ends.
            unsafe { shared.run_task(number) };
        }
        shared.await_done(tasks);
        if shared.panicked.load(Ordering::Relaxed) {
            Err(PoolError::Panicked)
        } else {
            Ok(())
        }
    }

    fn wake(&self) {
        for (worker, parked) in self.workers.iter().zip(&self.shared.parked) {
            if parked.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches the panics of its tasks, so that it ends in order.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Takes a task of the job that is running, if one is left.
    fn take(&self) -> Option<usize> {
        let mut tickets = self.tickets.load(Ordering::Acquire);
        loop {
            let left = tickets as u32;
            if left == 0 {
                return None;
            }
            match self.tickets.compare_exchange_weak(
                tickets,
                tickets - 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(left as usize - 1),
                Err(now) => tickets = now,
            }
        }
    }

    /// # Safety
    /// The caller took `number` from the running job and runs it once.
    unsafe fn run_task(&self, number: usize) {
        // SAFETY: a job's closure lives until all of its tasks are counted as done, and this one is not.
        let task = unsafe { &*self.task.load(Ordering::Relaxed) };
        if catch_unwind(AssertUnwindSafe(|| (task.run)(number))).is_err() {
            self.panicked.store(true, Ordering::Relaxed);
        }
        self.done.fetch_add(1, Ordering::Release);
    }

    /// Waits for the tasks that workers still run: they are short, and nothing else is left to do.
    fn await_done(&self, tasks: usize) {
        let mut looks = 0_u32;
        while self.done.load(Ordering::Acquire) < tasks {
            looks += 1;
            if looks.is_multiple_of(LOOKS) {
                // A worker whose processor was taken away needs ours.
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }

    fn work(&self, parked: &AtomicBool) {
        while !self.closing.load(Ordering::SeqCst) {
            while let Some(number) = self.take() {
                // SAFETY: `take` gave this task to this thread.
                unsafe { self.run_task(number) };
            }
            self.wait(parked);
        }
    }

    /// Returns when there may be a task, or when the pool closes.
    fn wait(&self, parked: &AtomicBool) {
        let start = Instant::now();
        while start.elapsed() < AWAKE {
            for _ in 0..LOOKS {
                if self.has_task() {
                    return;
                }
                std::hint::spin_loop();
            }
        }
        parked.store(true, Ordering::SeqCst);
        // Whoever stores tasks or closes after this look sees the flag and unparks.
        while !self.has_task() && !self.closing.load(Ordering::SeqCst) {
            std::thread::park();
        }
        parked.store(false, Ordering::SeqCst);
    }

    fn has_task(&self) -> bool {
        self.tickets.load(Ordering::SeqCst) as u32 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_in_each_of_many_jobs() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads).unwrap();
            assert_eq!(pool.threads(), threads);
            for tasks in [0, 1, 2, 3, 64, 1000] {
                for _ in 0..50 {
                    let runs: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                    pool.run(tasks, &|number| {
                        runs[number].fetch_add(1, Ordering::Relaxed);
                    })
                    .unwrap();
                    assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }

    #[test]
    fn parked_workers_are_woken() {
        let pool = Pool::new(2).unwrap();
        while !pool.shared.parked[0].load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        // Both tasks wait for each other: only two threads can do the job.
        let barrier = std::sync::Barrier::new(2);
        pool.run(2, &|_| {
            barrier.wait();
        })
        .unwrap();
    }

    #[test]
    fn callers_on_several_threads_take_turns() {
        let pool = Pool::new(3).unwrap();
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        pool.run(7, &|_| {
                            total.fetch_add(1, Ordering::Relaxed);
                        })
                        .unwrap();
                    }
                });
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 4 * 200 * 7);
    }

    #[test]
    fn a_panic_is_reported_and_the_pool_goes_on() {
        let pool = Pool::new(2).unwrap();
        let result = pool.run(8, &|number| assert_ne!(number, 3, "a task that fails"));
        assert!(matches!(result, Err(PoolError::Panicked)));
        pool.run(8, &|_| {}).unwrap();
    }

    #[test]
    fn no_threads_are_refused() {
        assert!(matches!(Pool::new(0), Err(PoolError::NoThreads)));
    }
}
