//! Writing a file so that a reader sees the old one or the new one, never a part.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::FileError;
use crate::drafts::{Listed, PREFIX, SUFFIX, hold, sweep_drafts};

/// As many links as Linux follows.
const MAX_LINKS: usize = 40;

/// A new file in the making: a temporary one beside its place, which it takes when it is complete.
///
/// Bytes go to any offset, from any thread. Without [`commit`](Self::commit) the temporary file is
/// removed and the old file stays as it was.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    target: PathBuf,
    temporary: NamedTempFile,
    old: Option<fs::Permissions>,
    listed: Listed,
}

impl AtomicFile {
    /// Starts a file that will replace `path`, or the file that the symbolic link `path` leads to.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let attempt = || -> io::Result<Self> {
            let target = follow_links(path)?;
            let old = match fs::metadata(&target) {
                Ok(old) if old.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
                // Renaming over a device or a pipe would remove it.
                Ok(old) if !old.is_file() => {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
                }
                Ok(old) => Some(old.permissions()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            sweep_drafts(folder_of(&target));
            let make = || create_held(folder_of(&target), old.as_ref());
            let (temporary, listed) = Listed::make(make)?;
            Ok(Self { path: path.to_owned(), target, temporary, old, listed })
        };
        attempt().map_err(FileError::io(path))
    }

    /// Where the bytes lie until the file is complete.
    #[must_use]
    pub fn temporary_path(&self) -> &Path {
        self.temporary.path()
    }

    /// Writes `bytes` from `offset` on; a gap before them reads as zeros.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), FileError> {
        write_all_at(self.temporary.as_file(), bytes, offset).map_err(FileError::io(&self.path))
    }

    /// Makes the file that long, with zeros where nothing was written.
    pub fn set_len(&self, len: u64) -> Result<(), FileError> {
        self.temporary.as_file().set_len(len).map_err(FileError::io(&self.path))
    }

    /// Syncs the file and puts it in its place; an existing file's mode is kept.
    pub fn commit(self) -> Result<(), FileError> {
        let Self { path, target, temporary, old, listed: _listed } = self;
        let attempt = || -> io::Result<()> {
            if let Some(old) = old {
                temporary.as_file().set_permissions(old)?;
            }
            temporary.as_file().sync_all()?;
            persist(temporary, &target)?;
            sync_folder(folder_of(&target))
        };
        attempt().map_err(FileError::io(&path))
    }
}

/// Calls `fill` with a temporary file beside `path`, syncs it and renames it to `path`.
///
/// An existing file keeps its mode, a symbolic link stays one and its target is replaced. When
/// anything fails the temporary file is removed and the old file stays as it was.
pub fn write_atomic<F>(path: &Path, fill: F) -> Result<(), FileError>
where
    F: FnOnce(&mut File) -> io::Result<()>,
{
    let mut file = AtomicFile::create(path)?;
    fill(file.temporary.as_file_mut()).map_err(FileError::io(path))?;
    file.commit()
}

fn folder_of(target: &Path) -> &Path {
    match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0_usize;
    while done < bytes.len() {
        match write_some(file, &bytes[done..], offset.saturating_add(done as u64)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done = done.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(unix)]
fn write_some(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_some(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset)
}

/// A temporary file that no sweeper takes for a stale one: its lock is held.
fn create_held(folder: &Path, old: Option<&fs::Permissions>) -> io::Result<NamedTempFile> {
    loop {
        let draft = create_beside(folder, old)?;
        // Another process may have swept it between its creation and its lock.
        if hold(draft.as_file()) && draft.path().exists() {
            return Ok(draft);
        }
    }
}

/// A temporary file with the mode of the old file, that nobody reads it before it is in its place who
/// could not read that; else with the mode of any new file, not the private one of temporary files.
fn create_beside(folder: &Path, old: Option<&fs::Permissions>) -> io::Result<NamedTempFile> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    restrict(&mut options, old);
    // The crate wraps what the system said in an error without a code.
    let mut system = None;
    Builder::new()
        .prefix(PREFIX)
        .suffix(SUFFIX)
        .make_in(folder, |path| {
            options.open(path).inspect_err(|error| system = error.raw_os_error())
        })
        .map_err(|error| system.map_or(error, io::Error::from_raw_os_error))
}

/// Gives what will be made no more than the mode of an old file, and its owner's right to write.
#[cfg(unix)]
fn restrict(options: &mut OpenOptions, old: Option<&fs::Permissions>) {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    if let Some(old) = old {
        options.mode(old.mode() & 0o777 | 0o600);
    }
}

#[cfg(not(unix))]
fn restrict(_: &mut OpenOptions, _: Option<&fs::Permissions>) {}

/// The file that `path` leads to, whether it exists or not.
fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&target) {
            // A relative link counts from the folder that holds it.
            Ok(next) => target = target.parent().unwrap_or(Path::new("")).join(next),
            // Not a link, or nothing there yet.
            Err(_) => return Ok(target),
        }
    }
    Err(io::Error::other("too many levels of symbolic links"))
}

/// Brings a complete file to its place.
#[cfg(not(windows))]
fn persist(temporary: NamedTempFile, target: &Path) -> io::Result<()> {
    temporary.persist(target).map(drop).map_err(|error| error.error)
}

/// Brings a complete file to its place, also where a reader has the old one open, which the crate's own
/// way refuses.
#[cfg(windows)]
fn persist(temporary: NamedTempFile, target: &Path) -> io::Result<()> {
    let (_file, path) = temporary.into_parts();
    fs::rename(&path, target)
}

/// Makes the rename itself survive a crash.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    // A folder may allow writing and forbid reading; the file is complete all the same.
    File::open(folder).map_or(Ok(()), |folder| folder.sync_all())
}

/// Windows has no such call, and needs none.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}
