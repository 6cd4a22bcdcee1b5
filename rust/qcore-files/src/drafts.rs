//! The temporary files that this process is writing, for an exit that runs no destructors.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

static DRAFTS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A place in the list of drafts, kept until the draft is in its place or gone.
#[derive(Debug)]
pub(crate) struct Listed(PathBuf);

impl Listed {
    /// Makes a file and lists it; nobody finds it made and not listed.
    pub(crate) fn make<T: AsRef<Path>>(
        make: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<(T, Self)> {
        let mut drafts = DRAFTS.lock().unwrap_or_else(PoisonError::into_inner);
        let file = make()?;
        // A process that changes its folder must still find the file.
        let path = std::path::absolute(file.as_ref()).unwrap_or_else(|_| file.as_ref().to_owned());
        drafts.insert(path.clone());
        Ok((file, Self(path)))
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        DRAFTS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Removes every temporary file that this process has not brought to its place.
///
/// For a process that ends at once, on Ctrl-C, while threads still write: those that write on see an
/// error, and old files stay as they were.
pub fn remove_drafts() {
    for draft in DRAFTS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        // Whoever brings it to its place at this moment was first.
        let _ = fs::remove_file(draft);
    }
}
