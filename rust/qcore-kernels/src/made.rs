//! Parts of a value that are made when they are first needed.

use once_cell::race::OnceBox;

use crate::error::Result;
use crate::interrupt;

/// A part that is made once and never changes.
///
/// Nobody waits for another thread here: several that come first each make the part, and the first
/// that is done gives it to all. So it does not matter whether making it needs the pool whose threads
/// come here too, nor whether the process is forked meanwhile.
#[derive(Debug)]
pub struct Made<T>(OnceBox<T>);

impl<T> Made<T> {
    /// Not made yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(OnceBox::new())
    }

    /// A part that is there already.
    #[must_use]
    pub fn with(value: T) -> Self {
        Self(OnceBox::with_value(Box::new(value)))
    }

    /// The part, if it has been made.
    pub fn get(&self) -> Option<&T> {
        self.0.get()
    }

    /// The part, made now if it is not there. After an error, or an interruption, it is not.
    pub fn get_or_make(&self, make: impl FnOnce() -> Result<T>) -> Result<&T> {
        self.0.get_or_try_init(|| {
            let made = make()?;
            interrupt::check()?;
            Ok(Box::new(made))
        })
    }
}

impl<T> Default for Made<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone> Clone for Made<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::KernelError;
    use crate::threads;

    #[test]
    fn an_error_leaves_the_part_to_be_made() {
        let part = Made::new();
        let refuse = || Err(KernelError::Value("no".to_owned()));
        assert!(part.get_or_make(refuse).is_err());
        assert_eq!(part.get(), None);
        assert_eq!(part.get_or_make(|| Ok(5)).unwrap(), &5);
        assert_eq!(part.get_or_make(refuse).unwrap(), &5);
        assert_eq!(part.clone().get(), Some(&5));
    }

    /// Made by a caller, with the help of a pool whose threads all ask for it too.
    #[test]
    fn parts_that_need_the_pool_do_not_wait_for_those_who_hold_it() {
        threads::set(2).unwrap();
        for _ in 0..50 {
            let part = Made::new();
            let make = || {
                threads::for_each(8, |_| std::thread::yield_now());
                Ok(7)
            };
            std::thread::scope(|scope| {
                scope.spawn(|| part.get_or_make(make).copied());
                threads::for_each(8, |_| assert_eq!(part.get_or_make(make).unwrap(), &7));
            });
        }
    }
}
