//! How tasks come to the threads of the current rayon pool, which stay awake while a pass lasts.
//!
//! A pass is hundreds of parallel operations of some microseconds. A thread that rayon has put to sleep takes longer than that to wake, and a
//! job takes two microseconds through its queues. So a pass has a [`Board`]: its thread calls the others there, who look at it until the
//! pass is over, and at rayon's queues now and then. A call waits for none but those who have come, and they have nothing to wait for.

use std::any::Any;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::VecDeque;
use std::mem::transmute;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon::Yield;

/// How long a thread looks for work in vain before it goes to sleep after all.
const PATIENCE: Duration = Duration::from_millis(20);
/// How often it does so before other threads may have its core: some microseconds.
const MOMENTS: u32 = 64;
/// How often it looks at the board between two looks at rayon's queues.
const GLANCES: u32 = 32;

/// Works at tasks on all threads.
pub(crate) fn each<T: Send>(tasks: impl ExactSizeIterator<Item = T>, work: impl Fn(T) + Sync) {
    each_with_next(tasks, usize::MAX, |_| (), |task, ()| work(task));
}

/// As [`each`], on up to `workers` threads. With a task a thread gets what `upcoming` makes of the one that is likely to be its next.
/// Neighbouring tasks go to one thread as long as others have work of their own.
pub(crate) fn each_with_next<T: Send, U>(
    tasks: impl ExactSizeIterator<Item = T>,
    workers: usize,
    upcoming: impl Fn(Option<&T>) -> U + Sync,
    work: impl Fn(T, U) + Sync,
) {
    each_with_state(tasks, workers, upcoming, || (), |(), task, next| work(task, next));
}

/// As [`each_with_next`], each thread with a state of its own, buffers for example.
pub(crate) fn each_with_state<T: Send, U, S>(
    tasks: impl ExactSizeIterator<Item = T>,
    workers: usize,
    upcoming: impl Fn(Option<&T>) -> U + Sync,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T, U) + Sync,
) {
    let count = tasks.len();
    let workers = workers.min(count).min(rayon::current_num_threads());
    if workers <= 1 {
        let (mut state, mut tasks) = (state(), tasks.peekable());
        while let Some(task) = tasks.next() {
            work(&mut state, task, upcoming(tasks.peek()));
        }
        return;
    }
    // a lock for each, which others want at the end alone
    let room = || VecDeque::with_capacity(count.div_ceil(workers));
    let mut queues: Vec<Queue<T>> = (0..workers).map(|_| Queue(Mutex::new(room()))).collect();
    for (i, task) in tasks.enumerate() {
        queues[i * workers / count].0.get_mut().unwrap_or_else(PoisonError::into_inner).push_back(task);
    }
    let queue = |worker: usize| queues[worker].0.lock().unwrap_or_else(PoisonError::into_inner);
    let take = |worker: usize| {
        let mut own = queue(worker);
        if let Some(task) = own.pop_front() {
            return Some((task, upcoming(own.front())));
        }
        drop(own);
        let other = (1..workers).find_map(|other| queue((worker + other) % workers).pop_back());
        other.map(|task| (task, upcoming(None)))
    };
    let all = |worker: usize| {
        let mut state = state();
        while let Some((task, next)) = take(worker) {
            work(&mut state, task, next);
        }
    };
    match PASS.with_borrow(Clone::clone) {
        Some(board) => board.call(workers, &all),
        None => inside_pool(|| Board::of_this_thread().call(workers, &all)),
    }
}

/// The tasks of a thread; in a cache line of its own.
#[repr(align(128))]
struct Queue<T>(Mutex<VecDeque<T>>);

/// Runs a pass on a thread of the current pool, and keeps the others awake until it ends. When it begins, the thread may do jobs that wait for
/// it in the pool: do not call it with a lock that those want.
pub fn inside_pool<R: Send>(pass: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| {
        let _lasting = PASS.with_borrow(Option::is_none).then(Lasting::new);
        pass()
    })
}

thread_local! {
    /// The board of the pass that this thread runs.
    static PASS: RefCell<Option<Arc<Board>>> = const { RefCell::new(None) };
    /// Whether it attends one.
    static ATTENDS: Cell<bool> = const { Cell::new(false) };
}

/// A pass that this thread runs.
struct Lasting;

impl Lasting {
    fn new() -> Self {
        let board = Board::of_this_thread();
        rayon::spawn_broadcast(move |_| board.attend());
        // This thread is told of its own pass, too. One that does nothing but passes would keep all that it was ever told.
        while rayon::yield_local() == Some(Yield::Executed) {}
        Self
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        if let Some(board) = PASS.take() {
            board.over.store(true, Ordering::Relaxed);
        }
    }
}

/// Where the thread of a pass calls others to an operation.
#[repr(align(128))]
struct Board {
    /// How many have come to the operation, with its own thread, and [`MOST`] times as many as may come; none when it is not open.
    state: AtomicUsize,
    /// What each who comes is to do, with the number of those who came before.
    work: UnsafeCell<*const (dyn Fn(usize) + Sync)>,
    over: AtomicBool,
    left: Left,
}

/// Of those who came to an operation; in a cache line of its own.
#[repr(align(128))]
struct Left {
    /// How many have done what they could.
    count: AtomicUsize,
    /// What one of them panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// More than may come.
const MOST: usize = 1 << 16;

// SAFETY: `work` is written while nobody may come, and read by those who came: see `call` and `come`.
unsafe impl Send for Board {}
// SAFETY: as above.
unsafe impl Sync for Board {}

impl Board {
    fn new() -> Self {
        fn nothing(_: usize) {}
        let left = Left { count: AtomicUsize::new(0), panic: Mutex::new(None) };
        Self { state: AtomicUsize::new(0), work: UnsafeCell::new(&nothing), over: AtomicBool::new(false), left }
    }

    /// That of the pass which this thread runs.
    fn of_this_thread() -> Arc<Self> {
        PASS.with_borrow_mut(|pass| pass.get_or_insert_with(|| Arc::new(Self::new())).clone())
    }

    /// Does `work` as worker 0, while up to `workers - 1` others come and do it. By the thread of the pass alone.
    fn call(&self, workers: usize, work: &(dyn Fn(usize) + Sync)) {
        /// Lets nobody come any more, and waits for those who have, also when the work ends in a panic.
        struct Closing<'a>(&'a Board);
        impl Drop for Closing<'_> {
            fn drop(&mut self) {
                let others = self.0.state.swap(0, Ordering::Relaxed) % MOST - 1;
                let mut idle = Idle::default();
                while self.0.left.count.load(Ordering::Acquire) < others {
                    idle.wait(false);
                }
                if std::thread::panicking() {
                    // one panic is enough
                    self.0.panic();
                }
            }
        }
        if self.state.load(Ordering::Relaxed) != 0 {
            // inside another operation: alone
            return work(0);
        }
        // SAFETY: nobody may come, and those who came before have left. Who comes now uses it before `Closing` is dropped.
        unsafe {
            *self.work.get() = transmute::<*const (dyn Fn(usize) + Sync + '_), *const (dyn Fn(usize) + Sync)>(work)
        };
        self.left.count.store(0, Ordering::Relaxed);
        self.state.store(workers.min(MOST - 1) * MOST + 1, Ordering::Release);
        let closing = Closing(self);
        work(0);
        drop(closing);
        if let Some(panic) = self.panic() {
            resume_unwind(panic);
        }
    }

    /// Takes out what one who came panicked with.
    fn panic(&self) -> Option<Box<dyn Any + Send>> {
        self.left.panic.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Comes to an operation, if one is open, and does its work; whether it did.
    fn come(&self) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        let (most, came) = (state / MOST, state % MOST);
        let come = || self.state.compare_exchange(state, state + 1, Ordering::Acquire, Ordering::Relaxed);
        if came >= most || come().is_err() {
            return false;
        }
        // SAFETY: the operation was open, so it is what `call` wrote, which waits for this thread.
        let work = unsafe { &**self.work.get() };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(came))) {
            *self.left.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
        self.left.count.fetch_add(1, Ordering::Release);
        true
    }

    /// Comes to all operations until the pass is over, unless this thread runs a pass itself, or attends one already: what it finds in rayon's
    /// queues meanwhile it does on top of that, and so on without end.
    fn attend(&self) {
        if ATTENDS.replace(true) {
            return;
        }
        let (mut idle, mut glances) = (Idle::default(), 0);
        while !self.over.load(Ordering::Relaxed) && idle.time() < PATIENCE && PASS.with_borrow(Option::is_none) {
            glances += 1;
            idle.wait(self.come() || glances % GLANCES == 0 && rayon::yield_now() == Some(Yield::Executed));
        }
        ATTENDS.set(false);
    }
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
    fn wait(&mut self, found: bool) {
        if found {
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
            let send = |task, next| sent.send((task, next)).unwrap_or_default();
            each_with_next(0..tasks, workers, |next| next.copied(), send);
            drop(sent);
            let mut done: Vec<(usize, Option<usize>)> = received.into_iter().collect();
            done.sort_unstable();
            assert!(done.iter().map(|(task, _)| *task).eq(0..tasks), "{tasks} tasks, each once: {done:?}");
            assert!(done.iter().all(|(task, next)| next.is_none_or(|next| next == task + 1)), "{done:?}");
            let announced = done.iter().filter(|(_, next)| next.is_some()).count();
            // as long as no thread takes from the others
            assert!(workers > 1 || announced + 1 == tasks, "{tasks} tasks, {announced} announced");
        }
    }

    #[test]
    fn a_task_that_is_not_begun_is_for_whoever_has_time() {
        let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(2).build() else { unreachable!() };
        // of two tasks the second is begun by the other thread while the first waits for that, unless this machine has no time for it
        let together = || {
            let (begun, in_time) = (AtomicUsize::new(0), AtomicUsize::new(0));
            each(0..2, |_| {
                begun.fetch_add(1, Ordering::Relaxed);
                let late = Instant::now() + Duration::from_secs(1);
                while begun.load(Ordering::Relaxed) < 2 && Instant::now() < late {
                    std::thread::yield_now();
                }
                in_time.fetch_add(usize::from(Instant::now() < late), Ordering::Relaxed);
            });
            in_time.into_inner() == 2
        };
        assert!((0..20).any(|_| pool.install(together)));
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

    /// One that is told of another pass meanwhile does not wait for its end on top of that.
    #[test]
    fn a_thread_attends_one_pass() {
        let waits = |attends| {
            ATTENDS.set(attends);
            let since = Instant::now();
            Board::new().attend();
            ATTENDS.set(false);
            since.elapsed() >= PATIENCE
        };
        assert!(waits(false));
        assert!((0..20).any(|_| !waits(true)));
    }

    #[test]
    fn a_panic_of_a_task_comes_out_and_the_pool_goes_on() {
        let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(3).build() else { unreachable!() };
        for bad in [0, 50, 99] {
            let pass = || inside_pool(|| each(0..100, |task| assert_ne!(task, bad)));
            let pass = AssertUnwindSafe(|| pool.install(pass));
            assert!(std::panic::catch_unwind(pass).is_err());
            assert!(pool.install(|| PASS.with_borrow(Option::is_none)));
        }
        // two panics at once, and the next operation of that pass
        let pass = || {
            inside_pool(|| {
                let bad = || {
                    each(0..3, |_| {
                        std::thread::sleep(Duration::from_millis(1));
                        panic!("as the test wants it");
                    });
                };
                assert!(std::panic::catch_unwind(AssertUnwindSafe(bad)).is_err());
                each(0..100, |_| spin());
            });
        };
        (0..20).for_each(|_| pool.install(pass));
        pool.install(passes);
    }
}
