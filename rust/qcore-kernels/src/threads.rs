//! One thread pool per process, of a size the user can set.
//!
//! Rayon's global pool hangs in a child after `fork`, because its threads do not exist there. So pools
//! are kept by the process that built them, each behind a lock of its own: a child builds its own, and
//! never waits for a lock that some thread of its parent held when it was forked.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use once_cell::race::OnceBox;
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::error::{KernelError, Result};
use crate::interrupt;

/// 0 until it is set or first needed.
static SIZE: AtomicUsize = AtomicUsize::new(0);

/// The pool of one process.
struct Process {
    id: u32,
    /// With the size that it was built for.
    pool: Mutex<Option<(usize, Arc<ThreadPool>)>>,
    /// That of a child, or of a child's child.
    next: OnceBox<Process>,
}

/// The first process that needed a pool; what was forked from it follows.
static FIRST: OnceBox<Process> = OnceBox::new();

/// How many threads operations of this thread may use: at most what [`at_most`] says, and what [`set`]
/// was given, else `QCORE_NUM_THREADS`, else the CPUs that this process may run on.
#[must_use]
pub fn count() -> usize {
    of_process().min(MOST.get())
}

fn of_process() -> usize {
    match SIZE.load(Ordering::Relaxed) {
        0 => {
            let size = from_environment();
            SIZE.store(size, Ordering::Relaxed);
            size
        }
        size => size,
    }
}

/// Sets how many threads operations use from now on.
pub fn set(size: usize) -> Result<()> {
    if size == 0 {
        return Err(KernelError::Value("num_threads is 0; it must be at least 1".to_owned()));
    }
    SIZE.store(size, Ordering::Relaxed);
    Ok(())
}

/// Does something with at most so many threads; those of [`set`] where these are fewer.
pub fn at_most<R>(size: usize, task: impl FnOnce() -> R) -> R {
    struct Before(usize);
    impl Drop for Before {
        fn drop(&mut self) {
            MOST.set(self.0);
        }
    }
    let _before = Before(MOST.replace(size.max(1)));
    task()
}

thread_local! {
    /// What operations that this thread calls are limited to.
    static MOST: Cell<usize> = const { Cell::new(usize::MAX) };
    /// Whether this thread is inside a task of [`for_each`].
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Marks a thread as being inside a task, until this is dropped: after a panic too.
struct Inside(bool);

impl Inside {
    fn enter() -> Self {
        Self(INSIDE.replace(true))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(self.0);
    }
}

/// Calls `task(0)` to `task(tasks - 1)`, each exactly once, on up to [`count`] threads.
///
/// A single task, a single thread, and a call from inside a task of another run on the caller's own
/// thread without touching the pool: the outermost split is the one that keeps caches warm. Tasks are
/// left out once the operation is [to stop](crate::interrupt).
pub fn for_each(tasks: usize, task: impl Fn(usize) + Sync + Send) {
    each(tasks, &task);
}

/// [`for_each`] of any task: compiled once, where each kernel would bring the pool's code along.
fn each(tasks: usize, task: &(dyn Fn(usize) + Sync)) {
    let here = || {
        for index in 0..tasks {
            if interrupt::requested() {
                return;
            }
            task(index);
        }
    };
    if tasks <= 1 || count() == 1 || INSIDE.get() {
        return here();
    }
    let Some(pool) = pool() else { return here() };
    let stop = interrupt::shared();
    let on_pool = |index| {
        let _inside = Inside::enter();
        interrupt::helping(stop.as_ref(), || {
            if !interrupt::requested() {
                task(index);
            }
        });
    };
    let most = MOST.get();
    let next = AtomicUsize::new(0);
    let all = || {
        if most < pool.current_num_threads() {
            // As many helpers as are allowed, each taking the next task as long as there is one.
            let help = |_| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= tasks {
                        return;
                    }
                    on_pool(index);
                }
            };
            (0..most).into_par_iter().with_max_len(1).for_each(help);
        } else {
            (0..tasks).into_par_iter().with_max_len(1).for_each(on_pool);
        }
    };
    if interrupt::asks() { install_and_ask(&pool, all) } else { pool.install(all) }
}

/// [`for_each`] of tasks that can fail; of several errors that of the first task is returned, whatever
/// the threads.
pub fn try_for_each(tasks: usize, task: impl Fn(usize) -> Result<()> + Sync + Send) -> Result<()> {
    try_each(tasks, &task)
}

fn try_each(tasks: usize, task: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
    if tasks == 1 {
        // Whoever is short asks nobody; whoever is long asks while it runs, and leaves out the rest.
        task(0)?;
        return if interrupt::stopped() { Err(KernelError::Interrupted) } else { Ok(()) };
    }
    let first: Mutex<Option<(usize, KernelError)>> = Mutex::new(None);
    each(tasks, &|index| {
        if let Err(error) = task(index) {
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            if first.as_ref().is_none_or(|(before, _)| index < *before) {
                *first = Some((index, error));
            }
        }
    });
    match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, error)) => Err(error),
        None => interrupt::check(),
    }
}

/// Runs `work` in the pool, and asks the caller now and then, on this thread, whether to stop it.
fn install_and_ask(pool: &ThreadPool, work: impl Fn() + Sync + Send) {
    /// Tells the caller that the work has ended, after a panic too.
    struct Ended<'a>(&'a Mutex<bool>, &'a Condvar);

    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.1.notify_one();
        }
    }

    let (ended, told) = (Mutex::new(false), Condvar::new());
    pool.in_place_scope(|scope| {
        scope.spawn(|_| {
            let _ended = Ended(&ended, &told);
            work();
        });
        let mut over = ended.lock().unwrap_or_else(PoisonError::into_inner);
        while !*over {
            let waited = told.wait_timeout(over, interrupt::EVERY);
            over = waited.unwrap_or_else(PoisonError::into_inner).0;
            if !*over {
                drop(over);
                let _: bool = interrupt::requested();
                over = ended.lock().unwrap_or_else(PoisonError::into_inner);
            }
        }
    });
}

/// Keeps the operations that the calling thread starts on that thread, for as long as it lives.
///
/// For threads of a caller's own, each with work of its own: there the outermost split is theirs.
pub fn work_alone() {
    INSIDE.set(true);
}

/// Calls `task(start, part)` for each part of `chunk` elements of `out`, on the threads that there are.
pub fn for_each_chunk<T: Send>(
    out: &mut [T],
    chunk: usize,
    task: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    let (len, chunk) = (out.len(), chunk.max(1));
    if len <= chunk {
        if len > 0 {
            task(0, out);
        }
        return;
    }
    let base = SendPtr(out.as_mut_ptr());
    for_each(len.div_ceil(chunk), |index| {
        let start = index * chunk;
        let part = chunk.min(len - start);
        // SAFETY: parts are within the slice and do not overlap; each index comes once.
        task(start, unsafe { std::slice::from_raw_parts_mut(base.get().add(start), part) });
    });
}

/// How many of `items`, of `cost` elementary steps each, a task takes: a share of them, and no more than
/// a few milliseconds of work, after which it is asked [whether to stop](crate::interrupt).
#[must_use]
pub(crate) fn share(items: usize, tasks: usize, cost: usize) -> usize {
    items.div_ceil(tasks.max(1)).min(LONGEST / cost.max(1)).max(1)
}

/// Elementary steps of a task.
const LONGEST: usize = 1 << 22;

/// A pointer that tasks share; each writes a part of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendPtr<T>(pub(crate) *mut T);

// SAFETY: whoever writes through it vouches for parts that do not overlap.
unsafe impl<T: Send> Send for SendPtr<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SendPtr<T> {}

impl<T> SendPtr<T> {
    pub(crate) fn get(&self) -> *mut T {
        self.0
    }
}

/// How many tasks to split `items` of `cost` each into, so that none costs less than `grain`.
#[must_use]
pub fn tasks_for(items: usize, cost: usize, grain: usize) -> usize {
    let threads = count();
    if threads == 1 || INSIDE.get() {
        return 1;
    }
    let worth = items.saturating_mul(cost) / grain.max(1);
    worth.clamp(1, threads).min(items.max(1))
}

fn from_environment() -> usize {
    std::env::var("QCORE_NUM_THREADS")
        .ok()
        .and_then(|text| text.parse().ok())
        .filter(|&size| size > 0)
        .or_else(|| std::thread::available_parallelism().map(NonZeroUsize::get).ok())
        .unwrap_or(1)
}

/// The pool of this process, or None where the system gives no more threads.
fn pool() -> Option<Arc<ThreadPool>> {
    let (size, me) = (of_process(), std::process::id());
    let new = || Box::new(Process { id: me, pool: Mutex::new(None), next: OnceBox::new() });
    let mut process = FIRST.get_or_init(new);
    while process.id != me {
        process = process.next.get_or_init(new);
    }
    let mut slot = process.pool.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((built_for, pool)) = &*slot
        && *built_for == size
    {
        return Some(Arc::clone(pool));
    }
    let built = rayon::ThreadPoolBuilder::new()
        .num_threads(size)
        .thread_name(|index| format!("qcore-{index}"))
        .build()
        .ok()?;
    let pool = Arc::new(built);
    *slot = Some((size, Arc::clone(&pool)));
    Some(pool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn no_more_threads_than_allowed_work_at_once() {
        let before = count();
        set(4).unwrap();
        for most in [1, 2, 3] {
            let (now, peak) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let seen: Vec<_> = (0..64).map(|_| AtomicUsize::new(0)).collect();
            at_most(most, || {
                // Fewer, where another test asked for fewer at the same time.
                assert!(count() <= most);
                for_each(seen.len(), |i| {
                    peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(std::time::Duration::from_micros(200));
                    seen[i].fetch_add(1, Ordering::SeqCst);
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            });
            assert!(peak.into_inner() <= most);
            assert!(seen.iter().all(|count| count.load(Ordering::SeqCst) == 1));
        }
        assert_eq!(at_most(0, count), 1);
        set(before).unwrap();
        assert_eq!(MOST.get(), usize::MAX);
    }

    #[test]
    fn every_task_runs_once() {
        for tasks in [0, 1, 2, 7, 100] {
            let seen: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            for_each(tasks, |i| {
                seen[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn a_call_from_inside_a_task_stays_on_its_thread() {
        set(2).unwrap();
        for_each(4, |_| {
            if count() > 1 {
                assert_eq!(tasks_for(1 << 20, 1 << 20, 1), 1);
                let outer = std::thread::current().id();
                for_each(8, |_| assert_eq!(std::thread::current().id(), outer));
            }
        });
    }

    #[test]
    fn a_thread_that_works_alone_does_not_split() {
        set(2).unwrap();
        let split = || tasks_for(1 << 20, 1 << 20, 1);
        let alone = std::thread::spawn(move || {
            work_alone();
            split()
        });
        assert_eq!(alone.join().unwrap(), 1);
        assert_eq!(split(), count());
    }

    #[test]
    fn a_panic_in_a_task_leaves_its_thread_as_it_was() {
        set(2).unwrap();
        let broken = std::panic::catch_unwind(|| for_each(4, |_| panic!("in a task")));
        assert!(broken.is_err());
        for_each(16, |_| assert!(INSIDE.get()));
        pool().unwrap().broadcast(|_| assert!(!INSIDE.get()));
        assert!(!INSIDE.get());
    }

    #[test]
    fn the_error_of_the_first_task_is_returned() {
        set(2).unwrap();
        let fail = |index| match index {
            0..7 => Ok(()),
            _ => Err(KernelError::Value(index.to_string())),
        };
        for _ in 0..20 {
            assert_eq!(try_for_each(20, fail), Err(KernelError::Value("7".to_owned())));
        }
        assert_eq!(try_for_each(7, fail), Ok(()));
    }

    #[test]
    fn zero_threads_are_refused() {
        assert!(set(0).is_err());
    }
}
