//! Elements to planes of bytes, and back.

/// Widths of elements in bytes.
pub(super) const WIDTHS: [usize; 4] = [1, 2, 4, 8];

// Plain zips and literals: closures of `array::from_fn` are calls where a crate is not built as one.

macro_rules! of_width {
    ($split:ident, $join:ident, $int:ty, [$($place:literal)*]) => {
        fn $split(bytes: &[u8], planes: &mut [Vec<u8>]) {
            let elements = bytes.as_chunks::<{ size_of::<$int>() }>().0;
            for (place, plane) in planes.iter_mut().enumerate() {
                plane.clear();
                plane.extend(elements.iter().map(|&element| {
                    (<$int>::from_le_bytes(element).rotate_left(1) >> (8 * place)) as u8
                }));
            }
        }

        fn $join(planes: &[Vec<u8>], bytes: &mut [u8]) {
            let elements = bytes.as_chunks_mut::<{ size_of::<$int>() }>().0;
            let len = elements.len();
            let planes = [$(&planes[$place][..len]),*];
            for index in 0..len {
                let rotated = [$(planes[$place][index]),*];
                elements[index] = <$int>::from_le_bytes(rotated).rotate_right(1).to_le_bytes();
            }
        }
    };
}

of_width!(split2, join2, u16, [0 1]);
of_width!(split4, join4, u32, [0 1 2 3]);
of_width!(split8, join8, u64, [0 1 2 3 4 5 6 7]);

/// Fills the planes of elements of as many bytes as there are planes, the lowest first.
pub(super) fn split(bytes: &[u8], planes: &mut [Vec<u8>]) {
    match planes {
        [plane] => {
            plane.clear();
            plane.extend(bytes);
        }
        [_, _] => split2(bytes, planes),
        [_, _, _, _] => split4(bytes, planes),
        _ => split8(bytes, planes),
    }
}

/// Puts planes, each of as many bytes as there are elements, together again.
pub(super) fn join(planes: &[Vec<u8>], bytes: &mut [u8]) {
    match planes {
        [plane] => bytes.copy_from_slice(plane),
        [_, _] => join2(planes, bytes),
        [_, _, _, _] => join4(planes, bytes),
        _ => join8(planes, bytes),
    }
}
