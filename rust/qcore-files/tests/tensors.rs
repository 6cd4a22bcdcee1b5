//! What is written comes back; what is broken is refused, and never panics.

#![allow(clippy::disallowed_methods, reason = "tests take what they need")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use qcore_files::{
    Dtype, FileError, Tensor, TensorFile, dtype_named, plan_tensors, stored_len, write_tensors,
};
use tempfile::TempDir;

const DTYPES: [Dtype; 8] = [
    Dtype::BOOL,
    Dtype::U8,
    Dtype::I16,
    Dtype::BF16,
    Dtype::F32,
    Dtype::F64,
    Dtype::C64,
    Dtype::F8_E4M3,
];

type Owned = (Dtype, Vec<usize>, Vec<u8>);

fn owned_tensor() -> impl Strategy<Value = Owned> {
    (prop::sample::select(&DTYPES[..]), vec(0_usize..5, 0..4)).prop_flat_map(|(dtype, shape)| {
        let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
        (Just(dtype), Just(shape), vec(any::<u8>(), bytes))
    })
}

fn views(owned: &BTreeMap<String, Owned>) -> Vec<Tensor<'_>> {
    owned
        .iter()
        .map(|(name, (dtype, shape, data))| Tensor { name, dtype: *dtype, shape, data })
        .collect()
}

fn scratch() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.safetensors");
    (folder, path)
}

fn read(file: &TensorFile, name: &str) -> Vec<u8> {
    let (start, end) = file.info(name).expect("a known name").data_offsets;
    let mut out = vec![0; end - start];
    file.read_into(name, &mut out).expect("a readable tensor");
    out
}

/// Opens a file with this content and reads every tensor.
fn walk(path: &Path, content: &[u8]) -> Result<usize, FileError> {
    fs::write(path, content).expect("a writable folder");
    let file = TensorFile::open(path)?;
    Ok(file.names().iter().map(|name| read(&file, name).len()).sum())
}

fn sample() -> Vec<u8> {
    let (_folder, path) = scratch();
    let texts = BTreeMap::from([("qcore".to_owned(), "{\"format\":1}".to_owned())]);
    let tensors = [
        Tensor { name: "a", dtype: Dtype::F32, shape: &[2, 2], data: &[7; 16] },
        Tensor { name: "b", dtype: Dtype::U8, shape: &[3], data: &[1, 2, 3] },
    ];
    write_tensors(&path, &tensors, &texts).expect("a writable folder");
    fs::read(&path).expect("a readable file")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_plan_puts_every_byte_where_writing_puts_it(
        owned in btree_map(".{0,6}", owned_tensor(), 0..6),
        texts in btree_map(".{0,4}", ".{0,20}", 0..3),
    ) {
        prop_assume!(!owned.contains_key("__metadata__"));
        let (_folder, path) = scratch();
        let tensors = views(&owned);
        write_tensors(&path, &tensors, &texts).unwrap();
        let places: Vec<_> = tensors.iter().map(|t| (t.name, t.dtype, t.shape)).collect();
        let (header, starts) = plan_tensors(&places, &texts).unwrap();
        let mut planned = vec![0; stored_len(&tensors, &texts).unwrap() as usize];
        planned[..header.len()].copy_from_slice(&header);
        for (tensor, start) in tensors.iter().zip(starts) {
            planned[start as usize..][..tensor.data.len()].copy_from_slice(tensor.data);
        }
        prop_assert_eq!(planned, fs::read(&path).unwrap());
    }

    #[test]
    fn any_range_of_a_tensor_can_be_read(
        data in vec(any::<u8>(), 0..40), offset in 0_usize..50, len in 0_usize..50,
    ) {
        let (_folder, path) = scratch();
        let shape = [data.len()];
        let before = Tensor { name: "a", dtype: Dtype::U8, shape: &[3], data: b"abc" };
        let tensor = Tensor { name: "b", dtype: Dtype::U8, shape: &shape, data: &data };
        write_tensors(&path, &[before, tensor], &BTreeMap::new()).unwrap();
        let file = TensorFile::open(&path).unwrap();
        let mut out = vec![0; len];
        let found = file.read_range("b", offset, &mut out);
        match data.get(offset..offset + len) {
            Some(wanted) => {
                found.unwrap();
                prop_assert_eq!(&out, wanted);
            }
            None => prop_assert!(matches!(found, Err(FileError::Value(_)))),
        }
    }

    #[test]
    fn every_tensor_comes_back(
        owned in btree_map(".{0,6}", owned_tensor(), 0..6),
        texts in btree_map(".{0,4}", ".{0,20}", 0..3),
    ) {
        prop_assume!(!owned.contains_key("__metadata__"));
        let (_folder, path) = scratch();
        let tensors = views(&owned);
        write_tensors(&path, &tensors, &texts).unwrap();
        let content = fs::read(&path).unwrap();
        prop_assert_eq!(content.len() as u64, stored_len(&tensors, &texts).unwrap());

        let file = TensorFile::open(&path).unwrap();
        prop_assert_eq!(file.names().len(), owned.len());
        let found: BTreeMap<_, _> = file.texts().cloned().unwrap_or_default().into_iter().collect();
        prop_assert_eq!(found, texts.clone());
        let data_start = 8 + u64::from_le_bytes(content[..8].try_into().unwrap());
        prop_assert_eq!(data_start % 8, 0);
        for (name, (dtype, shape, data)) in &owned {
            let info = file.info(name).unwrap();
            prop_assert_eq!(info.dtype, *dtype);
            prop_assert_eq!(&info.shape, shape);
            prop_assert_eq!(&read(&file, name), data);
            // Aligned to its element, so that others may map it.
            prop_assert_eq!(info.data_offsets.0 % (dtype.bitsize() / 8), 0);
        }

        // The same bytes in whatever order the tensors come.
        let reversed: Vec<_> = tensors.iter().rev().copied().collect();
        write_tensors(&path, &reversed, &texts).unwrap();
        prop_assert_eq!(fs::read(&path).unwrap(), content);
    }

    #[test]
    fn changed_bytes_are_refused_or_read(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let (_folder, path) = scratch();
        let mut content = sample();
        for (place, byte) in changes {
            let place = place.index(content.len());
            content[place] = byte;
        }
        match walk(&path, &content) {
            Ok(_) | Err(FileError::Format { .. }) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read(content in vec(any::<u8>(), 0..200)) {
        let (_folder, path) = scratch();
        match walk(&path, &content) {
            Ok(_) | Err(FileError::Format { .. }) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let (_folder, path) = scratch();
    let content = sample();
    assert_eq!(walk(&path, &content).unwrap(), 19);
    for length in 0..content.len() {
        let error = walk(&path, &content[..length]).unwrap_err();
        assert!(matches!(error, FileError::Format { .. }), "{length} bytes: {error}");
    }
}

#[test]
fn a_file_that_shrinks_while_open_is_truncated() {
    let (_folder, path) = scratch();
    let content = sample();
    fs::write(&path, &content).unwrap();
    let file = TensorFile::open(&path).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
    let error = file.read_into("b", &mut [0; 3]).unwrap_err();
    assert!(error.to_string().contains("is truncated: it ends at byte"), "{error}");
}

#[test]
fn a_claimed_header_is_not_allocated_before_it_is_there() {
    let (_folder, path) = scratch();
    for claimed in [100_000_001, u64::MAX, 1 << 40] {
        let error = walk(&path, &u64::to_le_bytes(claimed)).unwrap_err();
        assert!(error.to_string().contains("the limit is 100000000"), "{error}");
    }
    let error = walk(&path, &u64::to_le_bytes(100_000_000)).unwrap_err();
    assert!(error.to_string().contains("0 are left in the file"), "{error}");
}

#[test]
fn what_cannot_be_written_is_refused_before_a_file_is_made() {
    let (folder, path) = scratch();
    let good = Tensor { name: "a", dtype: Dtype::U8, shape: &[1], data: &[1] };
    let cases = [
        (vec![good, good], "'a' is used twice"),
        (vec![Tensor { name: "__metadata__", ..good }], "'__metadata__' is reserved"),
        (
            vec![Tensor { shape: &[2], ..good }],
            "tensor 'a' has 1 bytes, which is not what U8 values of shape [2] take",
        ),
        (vec![Tensor { shape: &[usize::MAX, 2], ..good }], "which is not what U8 values"),
        (
            vec![Tensor { dtype: Dtype::F4, ..good }],
            "which is not what F4 values of shape [1] take",
        ),
    ];
    for (tensors, message) in cases {
        let error = write_tensors(&path, &tensors, &BTreeMap::new()).unwrap_err();
        assert!(matches!(error, FileError::Value(_)));
        assert!(error.to_string().contains(message), "{error}");
    }
    let huge = BTreeMap::from([("text".to_owned(), "a".repeat(100_000_000))]);
    let error = write_tensors(&path, &[good], &huge).unwrap_err();
    assert!(error.to_string().contains("the limit is 100000000"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_wrong_buffer_or_name_is_refused() {
    let (_folder, path) = scratch();
    fs::write(&path, sample()).unwrap();
    let file = TensorFile::open(&path).unwrap();
    let error = file.read_into("b", &mut [0; 4]).unwrap_err();
    assert_eq!(error.to_string(), "`out` has 4 bytes, tensor 'b' has 3");
    assert_eq!(
        file.read_into("c", &mut []).unwrap_err().to_string(),
        "there is no tensor named 'c'"
    );
}

#[test]
fn types_have_names() {
    for dtype in DTYPES {
        assert_eq!(dtype_named(&dtype.to_string()), Some(dtype));
    }
    assert_eq!(dtype_named("F99"), None);
}
