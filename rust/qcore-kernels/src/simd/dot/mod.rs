//! The vocabulary of exact int8 products of vectors: four rows at a time.
//!
//! Four rows of bytes are interleaved so that the four bytes of a column lie side by side; a dot
//! product of four bytes with four others then takes one multiplication for each column. The
//! interleaved columns are in an order of the instruction set's own, which only
//! [`Dot4::store`] undoes. Bytes that lie side by side already are taken as they are, and
//! [`Dot4::sum`] adds the lanes up.

mod scalar;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_dot;
#[cfg(target_arch = "aarch64")]
mod neon_i8mm;
#[cfg(target_arch = "x86_64")]
mod sse2;

use super::Scalar;
use crate::isa::Isa;

/// Vectors of one instruction set. `self` is the proof that the CPU has it.
///
/// Results are exact, so they are the same on every instruction set.
pub trait Dot4: Copy {
    /// How many columns four vectors of sums cover.
    const COLUMNS: usize;
    /// How many rows of sums, four vectors each, there are registers for: at most 6.
    const ROWS: usize;
    /// A vector of `COLUMNS / 4` 32-bit integers.
    type I32: Copy;

    /// `value` in every lane.
    fn splat(self, value: i32) -> Self::I32;
    /// `a + b`, wrapping.
    fn add(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// The bits in which `a` and `b` differ.
    fn xor(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// The sum of all lanes, wrapping.
    fn sum(self, a: Self::I32) -> i32;
    /// [`Dot4::COLUMNS`] bytes as they lie.
    ///
    /// # Safety
    /// `ptr` is valid for reading `COLUMNS` bytes.
    unsafe fn load(self, ptr: *const u8) -> Self::I32;
    /// [`Dot4::COLUMNS`] columns of four rows, the four bytes of a column side by side.
    ///
    /// # Safety
    /// Each row is valid for reading `COLUMNS` bytes.
    unsafe fn interleave(self, rows: [*const u8; 4]) -> [Self::I32; 4];
    /// `acc` and the four products of the bytes of each lane, wrapping.
    fn dot(self, acc: Self::I32, unsigned: Self::I32, signed: Self::I32) -> Self::I32;
    /// Whether [`Dot4::dot_data`] takes signed data.
    const SIGNED_DATA: bool = false;
    /// [`Dot4::dot`] of data that kernels move to the sign that it takes, as `data_of` says.
    #[inline(always)]
    fn dot_data(self, acc: Self::I32, data: Self::I32, signed: Self::I32) -> Self::I32 {
        self.dot(acc, data, signed)
    }
    /// `acc` and the four products of the bytes of each lane, all unsigned, wrapping. Only where
    /// [`Dot4::SIGNED_DATA`]: there bytes of one sign are multiplied sooner.
    #[inline(always)]
    fn dot_unsigned(self, acc: Self::I32, a: Self::I32, b: Self::I32) -> Self::I32 {
        let _ = (acc, a, b);
        unreachable!("vectors of {} columns", Self::COLUMNS)
    }
    /// The same, in two halves, as ARM cores that run instructions in order like it.
    ///
    /// # Safety
    /// As [`Dot4::load`].
    #[inline(always)]
    unsafe fn load_in_halves(self, ptr: *const u8) -> Self::I32 {
        // SAFETY: the caller's promise.
        unsafe { self.load(ptr) }
    }
    /// Whether [`Dot4::dot_data`] is ARM's dot product, of signed bytes.
    const DOT: bool = false;
    /// Whether quads that several sums meet are better kept in registers than read again.
    const KEEPS: bool = false;
    /// A vector of integers, read anew each time: where registers are
    /// copied by the pipes that multiply, and memory is read by others.
    ///
    /// # Safety
    /// `ptr` is valid for reading a vector of integers.
    #[inline(always)]
    unsafe fn read(self, ptr: *const i32) -> Self::I32 {
        // SAFETY: the caller's promise; a vector is lanes of integers.
        unsafe { ptr.cast::<Self::I32>().read_unaligned() }
    }
    /// Whether products are added to one another before they are widened, where both fit 16 bits.
    const PAIRS: bool = false;
    /// `acc` and the products of several vectors as [`Dot4::dot_data`] adds them. No byte of `signed` is
    /// -128.
    #[inline(always)]
    fn dot_several<const N: usize>(
        self,
        mut acc: Self::I32,
        data: [Self::I32; N],
        signed: [Self::I32; N],
    ) -> Self::I32 {
        for at in 0..N {
            acc = self.dot_data(acc, data[at], signed[at]);
        }
        acc
    }
    /// The sums of interleaved columns, in the order of the columns.
    ///
    /// # Safety
    /// `ptr` is valid for writing `COLUMNS` integers.
    unsafe fn store(self, ptr: *mut i32, sums: [Self::I32; 4]);

    /// Whether a vector of sums holds eight columns and [`Dot4::dot_eight`] is there for them: of few
    /// columns, whole interleaved vectors would mostly be of what nobody asked for.
    const EIGHT: bool = false;
    /// `acc` and the products of eight columns of four rows with a value for each row, wrapping. Columns
    /// are unsigned and values signed if `unsigned`, else the other way round. Only where
    /// [`Dot4::EIGHT`].
    ///
    /// # Safety
    /// Each row is valid for reading eight bytes.
    #[inline(always)]
    unsafe fn dot_eight(
        self,
        acc: Self::I32,
        rows: [*const u8; 4],
        values: [u8; 4],
        unsigned: bool,
    ) -> Self::I32 {
        let _ = (acc, rows, values, unsigned);
        unreachable!("vectors of {} columns", Self::COLUMNS)
    }
    /// Writes sums of eight columns. Only where [`Dot4::EIGHT`].
    ///
    /// # Safety
    /// `ptr` is valid for writing eight integers.
    #[inline(always)]
    unsafe fn store_eight(self, ptr: *mut i32, sums: Self::I32) {
        let _ = (ptr, sums);
        unreachable!("vectors of {} columns", Self::COLUMNS)
    }
}

/// What turns bytes, signed or not, into the data of [`Dot4::dot_data`] where `isa` is in force: what is
/// flipped in each, and what that adds to it.
pub(crate) fn data_of(isa: Isa, signed: bool) -> (u8, i32) {
    struct SignedData;
    impl Dot4Op for SignedData {
        type Output = bool;

        #[inline(always)]
        fn eval<D: Dot4>(self, _: D) -> bool {
            D::SIGNED_DATA
        }
    }
    match (signed, dispatch_dot(isa, SignedData)) {
        (true, false) => (0x80, 128),
        (false, true) => (0x80, -128),
        _ => (0, 0),
    }
}

/// How many columns the vectors that run where `isa` is in force take at once, and whether there is a
/// way for eight.
pub(crate) fn columns_of(isa: Isa) -> (usize, bool) {
    struct Columns;
    impl Dot4Op for Columns {
        type Output = (usize, bool);

        #[inline(always)]
        fn eval<D: Dot4>(self, _: D) -> (usize, bool) {
            (D::COLUMNS, D::EIGHT)
        }
    }
    dispatch_dot(isa, Columns)
}

/// A kernel over [`Dot4`]: its arguments, and a body. See [`super::SimdOp`].
pub trait Dot4Op {
    /// What it returns.
    type Output;
    /// The body. Mark it `#[inline(always)]`, so that it is compiled for the trampoline's features.
    fn eval<D: Dot4>(self, dot: D) -> Self::Output;
}

/// Every instruction set with dot products of its own, the best first: its architecture, its name, its
/// vectors, and the features that kernels over them are compiled with.
macro_rules! table {
    ($($arch:literal $isa:ident $module:ident $features:literal;)*) => {
        /// Runs `op` compiled for the best dot products that `isa` includes.
        ///
        /// # Panics
        /// If this CPU does not have `isa`.
        pub fn dispatch_dot<O: Dot4Op>(isa: Isa, op: O) -> O::Output {
            $(
                #[cfg(target_arch = $arch)]
                if isa.includes(Isa::$isa) {
                    /// # Safety
                    /// The CPU has the features; the token is made only where it does.
                    #[target_feature(enable = $features)]
                    unsafe fn run<O: Dot4Op>(dot: $module::$isa, op: O) -> O::Output {
                        op.eval(dot)
                    }
                    let dot = $module::$isa::new();
                    let dot = dot.expect("the CPU has the instruction set that was asked for");
                    // SAFETY: the token proves that the CPU has these features.
                    return unsafe { run(dot, op) };
                }
            )*
            let _ = isa;
            op.eval(Scalar)
        }
    };
}

table! {
    "x86_64" Avx512Vnni avx512_vnni "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni";
    "x86_64" Avx512 avx512 "avx512f,avx512bw,avx512dq,avx512vl";
    "x86_64" AvxVnni avx_vnni "avx2,avxvnni";
    "x86_64" Avx2 avx2 "avx2";
    "x86_64" Sse2 sse2 "sse2";
    "aarch64" NeonI8mm neon_i8mm "neon,dotprod,i8mm";
    "aarch64" NeonDot neon_dot "neon,dotprod";
    "aarch64" Neon neon "neon";
}
