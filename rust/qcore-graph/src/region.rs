//! Copies between strided parts of two arrays: what transposing, slicing, expanding, padding,
//! joining and splitting have in common.

use qcore_kernels::interrupt::{self, Pace};
use qcore_kernels::layout::transpose;

use crate::error::{Result, value_error};
use crate::memory::{self, AT_ONCE, Element, cast, cast_mut};
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{MAX_RANK, permuted, product, strides};
use crate::tensor::Tensor;

/// Elements at `from + sum(index * from_stride)` go to `to + sum(index * to_stride)`, for all indices
/// within `dims`.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    dims: Vec<usize>,
    from: usize,
    from_strides: Vec<isize>,
    to: usize,
    to_strides: Vec<isize>,
}

/// Rows and columns of a block that is transposed in the first cache.
const BLOCK: usize = 16;

fn signed(strides: &[usize]) -> Vec<isize> {
    strides.iter().map(|&stride| stride as isize).collect()
}

impl Region {
    /// Any region; neighbouring dims that can be walked as one are.
    pub(crate) fn new(
        dims: &[usize],
        (from, from_strides): (usize, &[isize]),
        (to, to_strides): (usize, &[isize]),
    ) -> Self {
        let mut out =
            Self { dims: Vec::new(), from, from_strides: Vec::new(), to, to_strides: Vec::new() };
        for axis in 0..dims.len() {
            if dims[axis] == 1 {
                continue;
            }
            let (f, t) = (from_strides[axis], to_strides[axis]);
            let dim = dims[axis] as isize;
            if let (Some(last_f), Some(last_t)) =
                (out.from_strides.last_mut(), out.to_strides.last_mut())
                && *last_f == f.saturating_mul(dim)
                && *last_t == t.saturating_mul(dim)
                && let Some(last) = out.dims.last_mut()
            {
                *last *= dims[axis];
                (*last_f, *last_t) = (f, t);
            } else {
                out.dims.push(dims[axis]);
                out.from_strides.push(f);
                out.to_strides.push(t);
            }
        }
        out
    }

    /// A whole array of `dims` with its axes in another order.
    pub(crate) fn transpose(dims: &[usize], order: &[usize]) -> Self {
        let from = signed(&permuted(&strides(dims), order));
        let out = permuted(dims, order);
        Self::new(&out, (0, &from), (0, &signed(&strides(&out))))
    }

    /// A whole array, into or out of a part of a larger one that starts at an index.
    pub(crate) fn part(dims: &[usize], large: &[usize], at: usize, into: bool) -> Self {
        let (small, large) = (signed(&strides(dims)), signed(&strides(large)));
        if into {
            Self::new(dims, (0, &small), (at, &large))
        } else {
            Self::new(dims, (at, &large), (0, &small))
        }
    }

    /// A whole array of `dims` read at strides.
    pub(crate) fn gather(dims: &[usize], from: usize, from_strides: &[isize]) -> Self {
        Self::new(dims, (from, from_strides), (0, &signed(&strides(dims))))
    }

    /// Whether it copies a run of bytes as it is, from the start to the start.
    pub(crate) fn is_straight(&self) -> bool {
        let adjacent = match (&self.from_strides[..], &self.to_strides[..]) {
            ([], []) | ([1], [1]) => true,
            _ => self.dims.contains(&0),
        };
        adjacent && self.from == 0 && self.to == 0
    }

    /// How many elements it copies.
    pub(crate) fn count(&self) -> usize {
        product(&self.dims)
    }

    /// Whether it stays within arrays of these lengths; needed before [`Region::copy`].
    pub(crate) fn check(&self, from_len: usize, to_len: usize) -> Result<()> {
        if self.dims.len() > MAX_RANK {
            let found = self.dims.len();
            return Err(value_error!("{found} dims have to be walked; at most {MAX_RANK} can be"));
        }
        let inside = |start: usize, strides: &[isize], len: usize| {
            let (mut low, mut high) = (start as i128, start as i128);
            for (&dim, &stride) in self.dims.iter().zip(strides) {
                let reach = (dim as i128 - 1) * stride as i128;
                if reach < 0 { low += reach } else { high += reach }
            }
            low >= 0 && high < len as i128
        };
        let empty = self.dims.contains(&0);
        if empty
            || inside(self.from, &self.from_strides, from_len)
                && inside(self.to, &self.to_strides, to_len)
        {
            return Ok(());
        }
        Err(value_error!("a copy leaves its arrays; this is a defect"))
    }

    /// Copies elements of 1, 4 or 8 bytes.
    pub(crate) fn copy(&self, size: usize, from: &[u8], to: &mut [u8]) {
        match size {
            1 => self.copy_elements(from, to),
            4 => self.copy_elements::<i32>(cast(from), cast_mut(to)),
            _ => self.copy_elements::<i64>(cast(from), cast_mut(to)),
        }
    }

    /// A known tensor with its elements copied so; as many, in another shape.
    pub(crate) fn apply(&self, tensor: &Tensor, dims: &[usize]) -> Result<Tensor> {
        let mut bytes = memory::zeroed(tensor.bytes().len())?;
        self.check(tensor.len(), tensor.len())?;
        self.copy(tensor.dtype().size(), tensor.bytes(), &mut bytes);
        Ok(Tensor::from_aligned(tensor.dtype(), dims, bytes))
    }

    fn copy_elements<T: Element>(&self, from: &[T], to: &mut [T]) {
        let rank = self.dims.len();
        if self.dims.contains(&0) {
            return;
        }
        if rank == 0 {
            to[self.to] = from[self.from];
            return;
        }
        // An outer dim along which the source lies side by side, where it does not along the last.
        let other = (self.from_strides[rank - 1] != 1)
            .then(|| (0..rank - 1).rev().find(|&axis| self.from_strides[axis] == 1))
            .flatten();
        let mut index = [0_usize; MAX_RANK];
        let (mut f, mut t) = (self.from as isize, self.to as isize);
        let mut pace = Pace::new();
        loop {
            match other {
                Some(axis) => self.block(axis, f, t, from, to, &mut pace),
                None => self.line(f, t, from, to, &mut pace),
            }
            if pace.stops(0) {
                return;
            }
            // The next index of the dims that are left, last one fastest.
            let mut axis = rank - 1;
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                if other == Some(axis) {
                    continue;
                }
                index[axis] += 1;
                f += self.from_strides[axis];
                t += self.to_strides[axis];
                if index[axis] < self.dims[axis] {
                    break;
                }
                f -= self.from_strides[axis] * self.dims[axis] as isize;
                t -= self.to_strides[axis] * self.dims[axis] as isize;
                index[axis] = 0;
            }
        }
    }

    /// The last dim.
    fn line<T: Element>(&self, f: isize, t: isize, from: &[T], to: &mut [T], pace: &mut Pace) {
        let last = self.dims.len() - 1;
        let (fs, ts) = (self.from_strides[last], self.to_strides[last]);
        for first in (0..self.dims[last]).step_by(AT_ONCE) {
            let n = AT_ONCE.min(self.dims[last] - first);
            if pace.stops(n) {
                return;
            }
            let first = first as isize;
            Self::run((f + first * fs, fs), (t + first * ts, ts), n, from, to);
        }
    }

    /// Elements at a step, to elements at a step.
    fn run<T: Element>(
        (f, fs): (isize, isize),
        (t, ts): (isize, isize),
        n: usize,
        from: &[T],
        to: &mut [T],
    ) {
        if ts == 1 {
            let to = &mut to[t as usize..t as usize + n];
            match fs {
                1 => to.copy_from_slice(&from[f as usize..f as usize + n]),
                0 => to.fill(from[f as usize]),
                _ => {
                    let mut at = f;
                    for to in to {
                        *to = from[at as usize];
                        at += fs;
                    }
                }
            }
            return;
        }
        for index in 0..n as isize {
            to[(t + index * ts) as usize] = from[(f + index * fs) as usize];
        }
    }

    /// The last dim and another, block by block.
    fn block<T: Element>(
        &self,
        axis: usize,
        f: isize,
        t: isize,
        from: &[T],
        to: &mut [T],
        pace: &mut Pace,
    ) {
        let last = self.dims.len() - 1;
        let (rows, columns) = (self.dims[axis], self.dims[last]);
        let (f_row, f_column) = (self.from_strides[axis], self.from_strides[last]);
        let (t_row, t_column) = (self.to_strides[axis], self.to_strides[last]);
        for row in (0..rows).step_by(BLOCK) {
            for column in (0..columns).step_by(BLOCK) {
                if pace.stops(BLOCK * BLOCK) {
                    return;
                }
                for i in row..rows.min(row + BLOCK) {
                    let (f, t) = (f + i as isize * f_row, t + i as isize * t_row);
                    for j in column..columns.min(column + BLOCK) {
                        let j = j as isize;
                        to[(t + j * t_column) as usize] = from[(f + j * f_column) as usize];
                    }
                }
            }
        }
    }
}

/// Copies regions, one for each input, to output 0.
pub(crate) struct CopyStep {
    name: &'static str,
    size: usize,
    regions: Vec<Region>,
    /// Bytes that an element has where nothing is copied to.
    fill: Option<[u8; 8]>,
}

impl CopyStep {
    /// One region of one input, which fills the output.
    pub(crate) fn new(name: &'static str, size: usize, region: Region) -> Result<Self> {
        if region.dims.len() > MAX_RANK {
            let found = region.dims.len();
            return Err(value_error!("{found} dims have to be walked; at most {MAX_RANK} can be"));
        }
        Ok(Self { name, size, regions: vec![region], fill: None })
    }

    /// A region for each input.
    pub(crate) fn joining(name: &'static str, size: usize, regions: Vec<Region>) -> Self {
        Self { name, size, regions, fill: None }
    }

    /// The same, with elements of these bytes around.
    pub(crate) fn filled(self, fill: [u8; 8]) -> Self {
        Self { fill: Some(fill), ..self }
    }
}

impl Step for CopyStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let to = io.output::<u8>(0)?;
        if let Some(fill) = self.fill {
            for part in to.chunks_mut(AT_ONCE) {
                interrupt::check()?;
                for element in part.chunks_exact_mut(self.size) {
                    element.copy_from_slice(&fill[..self.size]);
                }
            }
        }
        for (index, region) in self.regions.iter().enumerate() {
            let from = io.input::<u8>(index);
            region.check(from.len() / self.size, to.len() / self.size)?;
            region.copy(self.size, from, to);
        }
        Ok(())
    }

    fn kernel(&self) -> &str {
        self.name
    }

    fn work(&self) -> usize {
        self.regions.iter().fold(0, |work, region| work.saturating_add(region.count()))
    }
}

/// A whole array with its axes in another order, by the kernel.
pub(crate) struct TransposeStep {
    size: usize,
    dims: Vec<usize>,
    order: Vec<usize>,
}

impl TransposeStep {
    /// Axis `i` of the output is axis `order[i]` of the input, which has these dims.
    pub(crate) fn boxed(size: usize, dims: Vec<usize>, order: Vec<usize>) -> Result<Box<dyn Step>> {
        if dims.len() > MAX_RANK {
            let region = Region::transpose(&dims, &order);
            return Ok(Box::new(CopyStep::new("transpose", size, region)?));
        }
        Ok(Box::new(Self { size, dims, order }))
    }
}

impl Step for TransposeStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let (dims, order) = (&self.dims[..], &self.order[..]);
        match self.size {
            1 => transpose(io.input::<u8>(0), dims, order, io.output::<u8>(0)?)?,
            4 => transpose(io.input::<i32>(0), dims, order, io.output::<i32>(0)?)?,
            _ => transpose(io.input::<i64>(0), dims, order, io.output::<i64>(0)?)?,
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "transpose"
    }

    fn work(&self) -> usize {
        product(&self.dims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_gives_what_was_there() {
        let dims = [3, 17, 5, 33];
        let from: Vec<i32> = (0..product(&dims) as i32).collect();
        for order in [[0, 2, 3, 1], [3, 2, 1, 0], [1, 0, 3, 2], [0, 1, 2, 3]] {
            let region = Region::transpose(&dims, &order);
            let (mut there, mut back) = (vec![0; from.len()], vec![0; from.len()]);
            region.check(from.len(), from.len()).unwrap();
            region.copy_elements(&from, &mut there);
            let out = permuted(&dims, &order);
            let at = strides(&out);
            for (index, &value) in there.iter().enumerate() {
                // The element of the source that belongs here, by its definition.
                let place: Vec<usize> = (0..4).map(|a| index / at[a] % out[a]).collect();
                let from_strides = strides(&dims);
                let source: usize = (0..4).map(|a| place[a] * from_strides[order[a]]).sum();
                assert_eq!(value, from[source]);
            }
            let inverse: Vec<usize> =
                (0..4).map(|axis| order.iter().position(|&o| o == axis).unwrap()).collect();
            Region::transpose(&out, &inverse).copy_elements(&there, &mut back);
            assert_eq!(back, from);
        }
    }

    #[test]
    fn a_region_outside_its_arrays_is_refused() {
        let region = Region::part(&[2, 2], &[4, 4], 11, true);
        assert!(region.check(4, 16).is_err());
        assert!(Region::part(&[2, 2], &[4, 4], 10, true).check(4, 16).is_ok());
        assert!(Region::gather(&[3], 1, &[-1]).check(3, 3).is_err());
    }
}
