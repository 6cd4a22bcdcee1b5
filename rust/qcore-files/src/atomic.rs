//! Writing a file so that a reader sees the old one or the new one, never a part.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::FileError;

/// As many links as Linux follows.
const MAX_LINKS: usize = 40;

/// Calls `fill` with a temporary file beside `path`, syncs it and renames it to `path`.
///
/// An existing file keeps its mode, a symbolic link stays one and its target is replaced. When
/// anything fails the temporary file is removed and the old file stays as it was.
pub fn write_atomic<F>(path: &Path, fill: F) -> Result<(), FileError>
where
    F: FnOnce(&mut File) -> io::Result<()>,
{
    let attempt = || -> io::Result<()> {
        let target = follow_links(path)?;
        let old = match fs::metadata(&target) {
            Ok(old) if old.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            // Renaming over a device or a pipe would remove it.
            Ok(old) if !old.is_file() => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
            }
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut temporary = create_beside(folder)?;
        fill(temporary.as_file_mut())?;
        if let Some(old) = old {
            temporary.as_file().set_permissions(old.permissions())?;
        }
        temporary.as_file().sync_all()?;
        temporary.persist(&target).map_err(|error| error.error)?;
        sync_folder(folder)
    };
    attempt().map_err(FileError::io(path))
}

/// A temporary file with the mode of any new file, not the private one of temporary files.
fn create_beside(folder: &Path) -> io::Result<NamedTempFile> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    // The crate wraps what the system said in an error without a code.
    let mut system = None;
    Builder::new()
        .prefix(".qcore-")
        .suffix(".tmp")
        .make_in(folder, |path| {
            options.open(path).inspect_err(|error| system = error.raw_os_error())
        })
        .map_err(|error| system.map_or(error, io::Error::from_raw_os_error))
}

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
