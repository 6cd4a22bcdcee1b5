//! A reader sees the old file or the new one, whatever happens to the writer.

#![allow(clippy::disallowed_methods, reason = "tests take what they need")]

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use qcore_files::{
    AtomicFile, DraftFolder, FileError, RegularFile, TensorFile, open_regular, write_atomic,
};

fn put(path: &Path, content: &[u8]) -> Result<(), FileError> {
    write_atomic(path, |file| file.write_all(content))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn kind(error: &FileError) -> io::ErrorKind {
    match error {
        FileError::Io { source, .. } => source.kind(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    put(&path, b"old").unwrap();
    let error = write_atomic(&path, |file| {
        file.write_all(b"half")?;
        Err(io::ErrorKind::StorageFull.into())
    })
    .unwrap_err();
    assert_eq!(kind(&error), io::ErrorKind::StorageFull);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["a"]);
}

#[test]
fn a_panic_while_writing_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    put(&path, b"old").unwrap();
    let panicked = std::panic::catch_unwind(|| {
        write_atomic(&path, |_| panic!("on purpose")).unwrap();
    });
    assert!(panicked.is_err());
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["a"]);
}

#[test]
fn bytes_go_anywhere_and_the_file_appears_when_it_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    put(&path, b"old").unwrap();
    let file = AtomicFile::create(&path).unwrap();
    file.set_len(9).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| file.write_at(6, b"c").unwrap());
        scope.spawn(|| file.write_at(0, b"ab").unwrap());
    });
    assert_eq!(fs::read(file.temporary_path()).unwrap(), b"ab\0\0\0\0c\0\0");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    drop(file);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    let file = AtomicFile::create(&path).unwrap();
    file.write_at(0, b"new").unwrap();
    file.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["a"]);
}

#[test]
fn a_regular_file_is_read_anywhere_and_not_past_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    put(&path, b"0123456789").unwrap();
    let file = RegularFile::open(&path).unwrap();
    assert_eq!((file.len(), file.is_empty()), (10, false));
    let mut out = [0; 4];
    file.read_at(6, &mut out).unwrap();
    assert_eq!(&out, b"6789");
    assert!(matches!(file.read_at(7, &mut out), Err(FileError::Format { .. })));
    assert!(matches!(RegularFile::open(folder.path()), Err(FileError::Io { .. })));
}

#[test]
fn the_old_file_is_there_until_the_new_one_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    put(&path, b"old").unwrap();
    write_atomic(&path, |file| {
        file.write_all(b"new")?;
        assert_eq!(fs::read(&path)?, b"old");
        Ok(())
    })
    .unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

#[test]
fn errors_keep_the_systems_code_and_the_callers_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none").join("a");
    match put(&path, b"").unwrap_err() {
        FileError::Io { path: found, source } => {
            assert_eq!(found, path);
            assert_eq!(source.kind(), io::ErrorKind::NotFound);
            assert!(source.raw_os_error().is_some());
        }
        other => panic!("{other}"),
    }
    assert_eq!(kind(&put(folder.path(), b"").unwrap_err()), io::ErrorKind::IsADirectory);
}

#[test]
fn folders_and_missing_files_are_the_systems_errors() {
    let folder = tempfile::tempdir().unwrap();
    let error = TensorFile::open(folder.path()).unwrap_err();
    assert_eq!(kind(&error), io::ErrorKind::IsADirectory);
    let error = open_regular(&folder.path().join("none")).unwrap_err();
    assert_eq!(kind(&error), io::ErrorKind::NotFound);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_mode_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for mode in [0o604, 0o600, 0o755] {
            put(&path, b"old").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            put(&path, b"new").unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        }
    }

    #[test]
    fn a_draft_is_as_private_as_the_file_that_it_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        put(&path, b"old").unwrap();
        for mode in [0o600, 0o400, 0o640] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let file = AtomicFile::create(&path).unwrap();
            let draft = fs::metadata(file.temporary_path()).unwrap().permissions().mode();
            assert_eq!(draft & 0o077 & !mode, 0, "{mode:o}: {draft:o}");
            file.write_at(0, b"new").unwrap();
            file.commit().unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        }
    }

    #[test]
    fn links_are_followed_and_stay() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        symlink("sub/real", at("relative")).unwrap();
        symlink(at("relative"), at("absolute")).unwrap();
        for content in [b"one", b"two"] {
            put(&at("absolute"), content).unwrap();
            assert_eq!(fs::read(at("sub/real")).unwrap(), content);
            assert!(fs::symlink_metadata(at("absolute")).unwrap().is_symlink());
            assert!(fs::symlink_metadata(at("relative")).unwrap().is_symlink());
        }
        symlink("b", at("a")).unwrap();
        symlink("a", at("b")).unwrap();
        assert!(put(&at("a"), b"").is_err());
    }

    #[test]
    fn devices_are_neither_read_nor_replaced() {
        let null = Path::new("/dev/null");
        assert!(matches!(TensorFile::open(null), Err(FileError::Format { .. })));
        assert_eq!(kind(&put(null, b"").unwrap_err()), io::ErrorKind::InvalidInput);
        assert!(!fs::metadata(null).unwrap().is_file());
    }
}

/// Each writer sweeps the folder first, while others have just made their drafts and lock them.
#[test]
fn writers_of_one_folder_leave_each_other_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let folder = folder.path();
            scope.spawn(move || {
                for round in 0..200 {
                    put(&folder.join(format!("{writer}")), round.to_string().as_bytes()).unwrap();
                    drop(DraftFolder::create(folder).unwrap());
                }
            });
        }
    });
    assert_eq!(names(folder.path()), ["0", "1", "2", "3", "4", "5", "6", "7"]);
}
