//! One thread pool per process, of a size the user can set.
//!
//! Rayon's global pool hangs in a child after `fork`, because its threads do not exist there. So the
//! pool is kept with the id of the process that built it, and a child builds its own.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::ThreadPool;

use crate::error::{KernelError, Result};

/// 0 until it is set or first needed.
static SIZE: AtomicUsize = AtomicUsize::new(0);

/// The pool, with the id of the process and the size that it was built for.
static POOL: Mutex<Option<(u32, usize, Arc<ThreadPool>)>> = Mutex::new(None);

/// How many threads operations may use: what [`set`] was given, else `QCORE_NUM_THREADS`, else the
/// CPUs that this process may run on.
#[must_use]
pub fn count() -> usize {
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

thread_local! {
    /// Whether this thread is inside a task of [`for_each`].
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Calls `task(0)` to `task(tasks - 1)`, each exactly once, on up to [`count`] threads.
///
/// A single task, a single thread, and a call from inside a task of another run on the caller's own
/// thread without touching the pool: the outermost split is the one that keeps caches warm.
pub fn for_each(tasks: usize, task: impl Fn(usize) + Sync + Send) {
    if tasks <= 1 || count() == 1 || INSIDE.get() {
        (0..tasks).for_each(task);
        return;
    }
    let marked = |index| {
        INSIDE.set(true);
        task(index);
        INSIDE.set(false);
    };
    match pool() {
        Some(pool) => pool.install(|| {
            use rayon::prelude::*;
            (0..tasks).into_par_iter().with_max_len(1).for_each(marked);
        }),
        None => (0..tasks).for_each(task),
    }
}

/// Keeps the operations that the calling thread starts on that thread, for as long as it lives.
///
/// For threads of a caller's own, each with work of its own: there the outermost split is theirs.
pub fn work_alone() {
    INSIDE.set(true);
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
    let size = count();
    let me = std::process::id();
    let mut slot = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((owner, built_for, pool)) = &*slot
        && *owner == me
        && *built_for == size
    {
        return Some(Arc::clone(pool));
    }
    if let Some((owner, _, old)) = slot.take()
        && owner != me
    {
        // Its threads do not exist in this process: dropping it would wait for them for ever.
        std::mem::forget(old);
    }
    let built = rayon::ThreadPoolBuilder::new()
        .num_threads(size)
        .thread_name(|index| format!("qcore-{index}"))
        .build()
        .ok()?;
    let pool = Arc::new(built);
    *slot = Some((me, size, Arc::clone(&pool)));
    Some(pool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

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
    fn zero_threads_are_refused() {
        assert!(set(0).is_err());
    }
}
