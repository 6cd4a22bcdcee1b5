//! Stopping an operation that is under way.
//!
//! [`watched`] runs an operation and asks a question every 50 ms: whether to stop. It is asked on the
//! caller's own thread, by the loops that run there, or while they wait for the pool. Loops look at
//! [`requested`] once for every block of work, of a few milliseconds at most; when it is true they
//! leave out what is left, and the operation ends with [`KernelError::Interrupted`]: what it was to
//! fill then holds anything. Without a watch nothing is asked and nothing is left out.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{KernelError, Result};

/// How often it is asked.
pub(crate) const EVERY: Duration = Duration::from_millis(50);

/// A question that is asked now and then: whether to stop.
pub type Question = fn() -> bool;

/// Whether an operation is to stop; shared by the threads that work on it.
pub(crate) type Stop = Arc<AtomicBool>;

struct Watch {
    stop: Stop,
    /// On the thread of the caller alone: what is asked, and when it was asked last.
    asking: Option<(Question, Instant)>,
}

thread_local! {
    /// The watch over what this thread works on.
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Puts the watch of a thread back to what it was, after a panic too.
struct Restore(Option<Watch>);

impl Drop for Restore {
    fn drop(&mut self) {
        WATCH.replace(self.0.take());
    }
}

/// Runs an operation, and asks now and then whether to stop it.
pub fn watched<T>(ask: Question, run: impl FnOnce() -> Result<T>) -> Result<T> {
    let stop = Stop::default();
    let watch = Watch { stop: Arc::clone(&stop), asking: Some((ask, Instant::now())) };
    let _restore = Restore(WATCH.replace(Some(watch)));
    let result = run();
    if stop.load(Ordering::Relaxed) { Err(KernelError::Interrupted) } else { result }
}

/// What threads that help with this thread's operation need to know of it.
pub(crate) fn shared() -> Option<Stop> {
    WATCH.with_borrow(|watch| watch.as_ref().map(|watch| Arc::clone(&watch.stop)))
}

/// Runs a task of an operation on another thread than its caller's.
pub(crate) fn helping<T>(stop: Option<&Stop>, run: impl FnOnce() -> T) -> T {
    let watch = stop.map(|stop| Watch { stop: Arc::clone(stop), asking: None });
    let _restore = Restore(WATCH.replace(watch));
    run()
}

/// Runs what is done as a whole or not at all: it is not stopped. It ought to be short.
pub fn whole<T>(run: impl FnOnce() -> T) -> T {
    let _restore = Restore(WATCH.replace(None));
    run()
}

/// Whether this thread is that of a caller who is to be asked.
pub(crate) fn asks() -> bool {
    WATCH.with_borrow(|watch| watch.as_ref().is_some_and(|watch| watch.asking.is_some()))
}

/// Whether the operation that this thread works on is to stop; asks, if it is time to.
#[must_use]
pub fn requested() -> bool {
    let due = WATCH.with_borrow(|watch| match watch {
        Some(watch) if watch.stop.load(Ordering::Relaxed) => Err(true),
        Some(Watch { asking: Some((ask, last)), .. }) if last.elapsed() >= EVERY => Ok(*ask),
        None | Some(_) => Err(false),
    });
    match due {
        Ok(ask) => answer(ask),
        Err(known) => known,
    }
}

/// Asks. Nothing is borrowed meanwhile: who is asked may call other operations.
#[cold]
fn answer(ask: Question) -> bool {
    let stop = ask();
    WATCH.with_borrow_mut(|watch| {
        if let Some(watch) = watch {
            watch.asking = Some((ask, Instant::now()));
            watch.stop.fetch_or(stop, Ordering::Relaxed);
        }
    });
    stop
}

/// Whether the operation that this thread works on was told to stop; asks nobody.
pub(crate) fn stopped() -> bool {
    WATCH
        .with_borrow(|watch| watch.as_ref().is_some_and(|watch| watch.stop.load(Ordering::Relaxed)))
}

/// An error if the operation is to stop.
pub fn check() -> Result<()> {
    if requested() { Err(KernelError::Interrupted) } else { Ok(()) }
}

/// Looks once for so much work, for loops whose steps are short.
#[derive(Debug)]
pub struct Pace {
    done: usize,
    most: usize,
}

/// Elementary steps between two looks: well under a millisecond.
const STEPS: usize = 1 << 16;

impl Pace {
    /// A loop that has not begun, of plain steps.
    #[must_use]
    pub fn new() -> Self {
        Self::of(STEPS)
    }

    /// A loop that looks once in so many steps.
    #[must_use]
    pub fn of(most: usize) -> Self {
        Self { done: 0, most }
    }

    /// Whether to stop, before another `steps` elementary steps.
    #[inline]
    pub fn stops(&mut self, steps: usize) -> bool {
        self.done = self.done.saturating_add(steps).saturating_add(1);
        if self.done < self.most {
            return false;
        }
        self.done = 0;
        requested()
    }

    /// An error if the operation is to stop, before another `steps` elementary steps.
    #[inline]
    pub fn check(&mut self, steps: usize) -> Result<()> {
        if self.stops(steps) { Err(KernelError::Interrupted) } else { Ok(()) }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn without_a_watch_nothing_stops() {
        assert!(!requested());
        assert!(check().is_ok());
    }

    #[test]
    fn a_loop_on_the_callers_thread_stops() {
        let endless = || loop {
            check()?;
        };
        assert_eq!(watched::<()>(|| true, endless), Err(KernelError::Interrupted));
        assert!(!requested());
    }

    #[test]
    fn loops_on_the_pools_threads_stop() {
        threads::set(2).unwrap();
        let begun = AtomicUsize::new(0);
        let endless = || {
            threads::for_each(100, |_| {
                begun.fetch_add(1, Ordering::Relaxed);
                while !requested() {
                    std::thread::yield_now();
                }
            });
            Ok(())
        };
        assert_eq!(watched(|| true, endless), Err(KernelError::Interrupted));
        // The others were left out.
        assert!(begun.load(Ordering::Relaxed) <= 2);
        threads::for_each(4, |_| assert!(!requested()));
    }

    #[test]
    fn what_is_done_as_a_whole_does_not_stop() {
        let result = watched(
            || true,
            || {
                while check().is_ok() {}
                assert!(!whole(requested));
                assert!(requested());
                Ok(())
            },
        );
        assert_eq!(result, Err(KernelError::Interrupted));
    }

    #[test]
    fn who_is_asked_may_run_operations() {
        let ask = || {
            let inner = watched(|| false, || Ok(5));
            assert_eq!(inner, Ok(5));
            true
        };
        let endless = || loop {
            check()?;
        };
        assert_eq!(watched::<()>(ask, endless), Err(KernelError::Interrupted));
    }

    #[test]
    fn a_panic_leaves_no_watch() {
        let stale = std::panic::catch_unwind(|| {
            let _ = watched::<()>(|| false, || panic!("in the middle"));
        });
        assert!(stale.is_err() && !asks());
    }
}
