//! The temporary files that this process is writing, for an exit that runs no destructors.

use std::collections::BTreeSet;
#[cfg(not(windows))]
use std::fs::TryLockError;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::{Builder, TempDir};

use crate::FileError;

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
        let _ = fs::remove_file(draft).or_else(|_| fs::remove_dir_all(draft));
    }
}

/// What the names of drafts begin with, so that they are known as ours and hidden.
pub(crate) const PREFIX: &str = ".qcore-";
/// What those of draft files end with.
pub(crate) const SUFFIX: &str = ".tmp";
/// The file in a folder of drafts whose lock says that somebody writes there.
const LOCK: &str = "lock";
/// How often a folder may be swept away before it has its lock; once is rare.
const MOST_SWEPT: usize = 16;

/// Takes the lock that says that this process writes a file; false where a sweeper has it.
#[cfg(not(windows))]
pub(crate) fn hold(file: &File) -> bool {
    // A file system without locks is not swept either.
    !matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// Says that this process writes a file: that it is open says it. A lock would keep those away whom this
/// process lets write there.
#[cfg(windows)]
pub(crate) fn hold(_file: &File) -> bool {
    true
}

/// Removes the drafts in `folder` that nobody writes any more, of processes that were killed.
///
/// Whoever writes a draft holds its lock, on Windows the file itself, which the system takes back when
/// the process ends.
pub fn sweep_drafts(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        let (path, kind) = (entry.path(), entry.file_type());
        if kind.as_ref().is_ok_and(fs::FileType::is_file) && name.ends_with(SUFFIX) {
            if_left(&path, || fs::remove_file(&path));
        } else if kind.is_ok_and(|kind| kind.is_dir())
            && !if_left(&path.join(LOCK), || fs::remove_dir_all(&path))
        {
            let _ = fs::remove_dir(&path); // an empty one: killed before it had its lock
        }
    }
}

/// Removes what is there if nobody holds the lock of a file, and says whether that was so.
///
/// The lock is kept meanwhile: who made the file a moment ago and comes for its lock finds it taken.
#[cfg(not(windows))]
fn if_left(path: &Path, remove: impl FnOnce() -> io::Result<()>) -> bool {
    let Ok(file) = File::options().write(true).open(path) else { return false };
    let is_left = file.try_lock().is_ok();
    if is_left {
        let _ = remove();
    }
    is_left
}

/// Removes what is there if nobody has a file open, and says whether that was so. Who makes one has it
/// open from the start.
#[cfg(windows)]
fn if_left(path: &Path, remove: impl FnOnce() -> io::Result<()>) -> bool {
    use std::os::windows::fs::OpenOptionsExt;
    let is_left = File::options().write(true).share_mode(0).open(path).is_ok();
    if is_left {
        let _ = remove();
    }
    is_left
}

/// A folder beside a place, for files that are to take their places together.
#[derive(Debug)]
pub struct DraftFolder {
    // Before the folder: Windows keeps a folder of which a file is open.
    _lock: File,
    folder: TempDir,
    _listed: Listed,
}

impl DraftFolder {
    /// Makes one in `parent`, from which stale drafts are swept first.
    pub fn create(parent: &Path) -> Result<Self, FileError> {
        sweep_drafts(parent);
        let attempt = || -> io::Result<Self> {
            let (folder, listed) =
                Listed::make(|| Builder::new().prefix(PREFIX).tempdir_in(parent))?;
            let lock = File::create_new(folder.path().join(LOCK))?;
            if !hold(&lock) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(Self { folder, _lock: lock, _listed: listed })
        };
        // Another one may sweep the folder before it has its lock.
        let swept = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::WouldBlock)
        };
        let mut made = attempt();
        for _ in 1..MOST_SWEPT {
            match made {
                Err(error) if swept(&error) && parent.is_dir() => made = attempt(),
                _ => break,
            }
        }
        made.map_err(FileError::io(parent))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}
