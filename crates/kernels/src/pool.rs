//! How tasks come to the threads of the current rayon pool, which stay awake while a pass lasts.
//!
//! A pass is hundreds of parallel operations of some microseconds, and a thread that rayon has put to sleep takes longer than that to wake.
//! What keeps a thread awake is a job that looks for other ones until the pass is over ([`Awake`]). A thread that waits for a job may be
//! given that one to run meanwhile, so no job of a pass may wait for another: operations are flat lists of tasks, and all of them are
//! split here.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon::{Scope, Yield};

/// How long a thread looks for work in vain before it goes to sleep after all.
const PATIENCE: Duration = Duration::from_millis(20);
/// How often it does so before other threads may have its core: some microseconds.
const MOMENTS: u32 = 64;

/// Works at tasks on all threads.
pub(crate) fn each<T: Send>(tasks: impl ExactSizeIterator<Item = T>, work: impl Fn(T) + Sync) {
    each_with_next(tasks, usize::MAX, |task, _| work(task));
}

/// As [`each`], on up to `workers` threads. Each takes its next task before it works at the one that it has, and is told which that is.
/// Neighbouring tasks go to one thread as long as others have work of their own.
pub(crate) fn each_with_next<T: Send>(
    tasks: impl ExactSizeIterator<Item = T>,
    workers: usize,
    work: impl Fn(T, Option<&T>) + Sync,
) {
    each_with_state(tasks, workers, || (), |(), task, next| work(task, next));
}

/// As [`each_with_next`], each thread with a state of its own, buffers for example.
pub(crate) fn each_with_state<T: Send, S>(
    tasks: impl ExactSizeIterator<Item = T>,
    workers: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T, Option<&T>) + Sync,
) {
    let count = tasks.len();
    let workers = workers.min(count).min(rayon::current_num_threads());
    if workers <= 1 {
        let (mut state, mut tasks) = (state(), tasks.peekable());
        while let Some(task) = tasks.next() {
            work(&mut state, task, tasks.peek());
        }
        return;
    }
    let mut queues: Vec<VecDeque<T>> = (0..workers).map(|_| VecDeque::new()).collect();
    tasks.enumerate().for_each(|(i, task)| queues[i * workers / count].push_back(task));
    // a lock for each, which others want at the end alone
    let queues: Vec<Mutex<VecDeque<T>>> = queues.into_iter().map(Mutex::new).collect();
    let queue = |worker: usize| queues[worker].lock().unwrap_or_else(PoisonError::into_inner);
    let take = |worker: usize| {
        let own = queue(worker).pop_front();
        own.or_else(|| (1..workers).find_map(|other| queue((worker + other) % workers).pop_back()))
    };
    let all = |worker: usize| {
        let (mut state, mut task) = (state(), take(worker));
        while let Some(current) = task {
            task = take(worker);
            work(&mut state, current, task.as_ref());
        }
    };
    let at_work = AtomicUsize::new(workers);
    rayon::scope(|scope| {
        begin(scope, 0, workers, &all, &at_work);
        // what others are at ends before this thread would have slept and woken
        let mut idle = Idle::default();
        while at_work.load(Ordering::Acquire) > 0 {
            idle.wait(rayon::yield_local());
        }
    });
}

/// Lets two other workers begin, who do likewise, and does the work of this one.
fn begin<'s>(
    scope: &Scope<'s>,
    worker: usize,
    workers: usize,
    work: &'s (impl Fn(usize) + Sync),
    at_work: &'s AtomicUsize,
) {
    /// Counts down, also when the work ends in a panic.
    struct End<'s>(&'s AtomicUsize);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Release);
        }
    }
    let _end = End(at_work);
    for other in 2 * worker + 1..workers.min(2 * worker + 3) {
        scope.spawn(move |scope| begin(scope, other, workers, work, at_work));
    }
    work(worker);
}

/// Runs a pass on a thread of the current pool, and keeps the others awake until it ends: from outside, each of its parallel operations
/// would wait for the pool to wake.
pub fn inside_pool<R: Send>(pass: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| {
        let _awake = Awake::new();
        pass()
    })
}

thread_local! {
    /// Whether this thread runs a pass: then it has no time to look for other work.
    static IN_PASS: Cell<bool> = const { Cell::new(false) };
}

/// A thread that looks for work.
#[derive(Default)]
struct Idle {
    /// How often it found nothing, one time after another.
    times: u32,
    /// Since it found nothing so often that it lets threads of other programs run.
    since: Option<Instant>,
}

impl Idle {
    /// Waits for a moment, unless there was work.
    fn wait(&mut self, found: Option<Yield>) {
        if found == Some(Yield::Executed) {
            *self = Self::default();
        } else if self.times < MOMENTS {
            self.times += 1;
            std::hint::spin_loop();
        } else {
            self.since.get_or_insert_with(Instant::now);
            std::thread::yield_now();
        }
    }

    fn time(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// While it lives, the other threads of the pool look for work.
struct Awake {
    over: Arc<AtomicBool>,
    /// Whether this thread ran a pass before this one.
    before: bool,
}

impl Awake {
    fn new() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        rayon::spawn_broadcast(move |_| {
            let mut idle = Idle::default();
            while !IN_PASS.get() && !seen.load(Ordering::Relaxed) && idle.time() < PATIENCE {
                idle.wait(rayon::yield_now());
            }
        });
        Self { over, before: IN_PASS.replace(true) }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        IN_PASS.set(self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::sync::mpsc::channel;

    use rayon::prelude::*;

    use super::*;

    #[test]
    fn each_task_is_done_once_and_the_next_one_is_known() {
        for (tasks, workers) in [(0, 2), (1, 2), (7, 1), (7, 2), (1000, 4)] {
            let (sent, received) = channel();
            each_with_next(0..tasks, workers, |task, next| sent.send((task, next.copied())).unwrap_or_default());
            drop(sent);
            let mut done: Vec<(usize, Option<usize>)> = received.into_iter().collect();
            done.sort_unstable();
            assert!(done.iter().map(|(task, _)| *task).eq(0..tasks), "{tasks} tasks, each once: {done:?}");
            let mut announced: Vec<usize> = done.into_iter().filter_map(|(_, next)| next).collect();
            announced.sort_unstable();
            announced.dedup();
            // all but the first task of each thread
            assert!(announced.len() + workers >= tasks, "{tasks} tasks, announced {announced:?}");
        }
    }

    #[test]
    fn passes_at_once_beside_other_work_all_end() {
        let (sent, received) = channel();
        for threads in [1, 2, 3, 8] {
            let sent = sent.clone();
            // on a thread that may hang
            std::thread::spawn(move || {
                let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(threads).build() else { return };
                std::thread::scope(|scope| {
                    for _ in 0..3 {
                        scope.spawn(|| pool.install(passes));
                    }
                    // jobs that wait for other ones
                    scope
                        .spawn(|| (0..300).for_each(|_| pool.install(|| (0..64).into_par_iter().for_each(|_| spin()))));
                });
                sent.send(threads).unwrap_or_default();
            });
        }
        for _ in 0..4 {
            assert!(received.recv_timeout(Duration::from_secs(300)).is_ok(), "threads wait for one another");
        }
    }

    fn passes() {
        for n in 0..300 {
            let sum = AtomicUsize::new(0);
            inside_pool(|| {
                for _ in 0..10 {
                    each(0..n, |task| {
                        spin();
                        sum.fetch_add(task, Ordering::Relaxed);
                    });
                }
            });
            assert_eq!(sum.into_inner(), 10 * (0..n).sum::<usize>());
        }
    }

    fn spin() {
        (0..20).for_each(|_| std::hint::spin_loop());
    }

    #[test]
    fn a_panic_of_a_task_comes_out_and_the_pool_goes_on() {
        let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(3).build() else { unreachable!() };
        for bad in [0, 50, 99] {
            let pass = || inside_pool(|| each(0..100, |task| assert_ne!(task, bad)));
            let pass = AssertUnwindSafe(|| pool.install(pass));
            assert!(std::panic::catch_unwind(pass).is_err());
            assert!(!pool.install(|| IN_PASS.get()));
        }
        pool.install(passes);
    }
}
