//! A process that has to go removes what it is writing; alone here, since it removes everything.

#![allow(clippy::disallowed_methods, reason = "tests take what they need")]

use std::fs;

use qcore_files::{AtomicFile, remove_drafts};

#[test]
fn drafts_are_removed_and_files_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    fs::write(&path, b"old").unwrap();
    let draft = AtomicFile::create(&path).unwrap();
    draft.write_at(0, b"half").unwrap();
    let done = AtomicFile::create(&folder.path().join("b")).unwrap();
    done.write_at(0, b"whole").unwrap();
    done.commit().unwrap();

    remove_drafts();
    assert!(!draft.temporary_path().exists());
    assert!(draft.commit().is_err());
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(fs::read(folder.path().join("b")).unwrap(), b"whole");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    remove_drafts();
}
