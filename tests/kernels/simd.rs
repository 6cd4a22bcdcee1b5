//! Every operation of the vector vocabulary against its one-lane form, on every instruction set.

use half::{bf16, f16};
use qcore_kernels::Isa;
use qcore_kernels::simd::{Scalar, Simd, SimdOp, dispatch};

use crate::guard::Guarded;

/// The floats that break things, and some that do not.
pub(crate) fn odd_floats() -> Vec<f32> {
    let mut values = vec![
        0.0,
        -0.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        0.499_999_97,
        126.5,
        127.5,
        -127.5,
        128.5,
        255.5,
        8_388_607.5,
        4_194_304.5,
        4_194_303.5,
        8_388_608.0,
        2_147_483_520.0,
        2_147_483_648.0,
        -2_147_483_648.0,
        -2_147_483_904.0,
        65_504.0,
        65_519.0,
        65_520.0,
        1e-8,
        6e-8,
        3e30,
        -3e30,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        f32::MIN_POSITIVE / 2.0,
        1e-45,
        -1e-45,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        -f32::NAN,
        1.003_906_2,
        1.011_718_8,
    ];
    values.extend((0..200).map(|i| ((i * 7919 % 1009) as f32 - 500.0) * 0.37));
    values
}

fn odd_integers() -> Vec<i32> {
    let mut values =
        vec![0, 1, -1, 127, 128, -128, -129, 255, 256, 32767, 32768, -32768, -32769, 65535, 65536];
    values.extend([i32::MAX, i32::MIN, i32::MAX - 127, 16_777_217]);
    values.extend((0..100).map(|i| i * 7919 - 400_000));
    values
}

/// Results of one operation over all inputs, as bits; NaN of every kind is the same.
type Bits = Vec<u32>;

fn bits(value: f32) -> u32 {
    if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }
}

/// Runs every operation over vectors of `a` and `b`, and collects what the first lanes hold.
struct Everything<'a> {
    a: &'a [f32],
    b: &'a [f32],
    i: &'a [i32],
    j: &'a [i32],
}

pub(crate) const WIDEST: usize = 16;

impl SimdOp for Everything<'_> {
    type Output = Vec<(&'static str, Bits)>;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> Self::Output {
        let mut all: Vec<(&'static str, Bits)> = Vec::new();
        let mut keep =
            |name: &'static str, values: &[u32]| match all.iter_mut().find(|entry| entry.0 == name)
            {
                Some(entry) => entry.1.extend(values),
                None => all.push((name, values.to_vec())),
            };
        let floats = |v: S::F32| {
            let mut lanes = [0.0; WIDEST];
            // SAFETY: no vector has more than WIDEST lanes.
            unsafe { s.store_f32(lanes.as_mut_ptr(), v) };
            lanes[..S::LANES].iter().map(|&v| bits(v)).collect::<Bits>()
        };
        let integers = |v: S::I32| {
            let mut lanes = [0; WIDEST];
            // SAFETY: no vector has more than WIDEST lanes.
            unsafe { s.store_i32(lanes.as_mut_ptr(), v) };
            lanes[..S::LANES].iter().map(|&v| v as u32).collect::<Bits>()
        };
        let truth = |mask: S::Mask| {
            let bits = s.bits(mask);
            assert_eq!(s.count(mask), bits.count_ones() as usize);
            (0..S::LANES).map(|lane| bits >> lane & 1).collect::<Bits>()
        };
        for at in (0..self.a.len()).step_by(S::LANES) {
            // SAFETY: the lengths are multiples of WIDEST, which LANES divides.
            let (a, b, i, j) = unsafe {
                (
                    s.load_f32(self.a.as_ptr().add(at)),
                    s.load_f32(self.b.as_ptr().add(at)),
                    s.load_i32(self.i.as_ptr().add(at)),
                    s.load_i32(self.j.as_ptr().add(at)),
                )
            };
            keep("add", &floats(s.add(a, b)));
            keep("sub", &floats(s.sub(a, b)));
            keep("mul", &floats(s.mul(a, b)));
            keep("div", &floats(s.div(a, b)));
            keep("sqrt", &floats(s.sqrt(a)));
            keep("min", &floats(s.min(a, b)));
            keep("max", &floats(s.max(a, b)));
            keep("abs", &floats(s.abs(a)));
            keep("round", &floats(s.round(a)));
            keep("floor", &floats(s.floor(a)));
            keep("lt", &truth(s.lt(a, b)));
            keep("eq", &truth(s.eq(a, b)));
            keep("eq self", &truth(s.eq(a, a)));
            keep("unordered", &truth(s.unordered(a, b)));
            keep("select", &floats(s.select(s.lt(a, b), a, b)));
            keep("ne_i32", &truth(s.ne_i32(i, j)));
            keep("gt_i32", &truth(s.gt_i32(i, j)));
            keep("select_i32", &integers(s.select_i32(s.gt_i32(i, j), i, j)));
            keep("and", &truth(s.and(s.lt(a, b), s.gt_i32(i, j))));
            keep("or", &truth(s.or(s.lt(a, b), s.gt_i32(i, j))));
            keep("add_i32", &integers(s.add_i32(i, j)));
            keep("sub_i32", &integers(s.sub_i32(i, j)));
            keep("min_i32", &integers(s.min_i32(i, j)));
            keep("max_i32", &integers(s.max_i32(i, j)));
            keep("and_i32", &integers(s.and_i32(i, j)));
            keep("shl_i32", &integers(s.shl_i32::<3>(i)));
            keep("shr_i32", &integers(s.shr_i32::<3>(i)));
            keep("to_i32", &integers(s.to_i32(a)));
            keep("to_i32_below", &integers(s.to_i32_below(a, s.splat_f32(100.0))));
            let (low, high) = (s.splat_f32(-77.0), s.splat_f32(100.0));
            keep("to_i32_between", &integers(s.to_i32_between(a, low, high)));
            keep("to_f32", &floats(s.to_f32(i)));
            keep("bits_of", &integers(s.bits_of(s.abs(s.to_f32(i)))));
            keep("float_of", &floats(s.float_of(i)));
            let exponent = s.to_f32(s.and_i32(i, s.splat_i32(63)));
            keep("exp2_int", &floats(s.exp2_int(s.sub(exponent, s.splat_f32(31.0)))));
        }
        all
    }
}

fn cycle<T: Copy>(values: &[T], step: usize, len: usize) -> Vec<T> {
    (0..len).map(|index| values[index * step % values.len()]).collect()
}

#[test]
fn every_operation_gives_the_bits_of_one_lane() {
    let len = 4096;
    let (floats, whole) = (odd_floats(), odd_integers());
    let (a, b) = (cycle(&floats, 1, len), cycle(&floats, 7, len));
    let (i, j) = (cycle(&whole, 1, len), cycle(&whole, 5, len));
    let run = |isa| dispatch(isa, Everything { a: &a, b: &b, i: &i, j: &j });
    let wanted = Everything { a: &a, b: &b, i: &i, j: &j }.eval(Scalar);
    for isa in Isa::available() {
        for ((name, found), (_, wanted)) in run(isa).into_iter().zip(&wanted) {
            let at = found.iter().zip(wanted).position(|(f, w)| f != w);
            if let Some(at) = at {
                let (f, w) = (found[at], wanted[at]);
                panic!(
                    "{isa} {name}: {f:#x} for {w:#x}, of {} {} {} {}",
                    a[at], b[at], i[at], j[at]
                );
            }
        }
    }
}

#[test]
fn one_lane_rounds_as_the_standard_library_does() {
    for v in odd_floats() {
        assert_eq!(bits(Scalar.round(v)), bits(v.round_ties_even()), "round {v}");
        assert_eq!(Scalar.floor(v).to_bits() << 1, v.floor().to_bits() << 1, "floor {v}");
    }
}

/// Compares what an operation gave with what it is to give.
type Check<'a> = &'a dyn Fn(&str, &[i64], &[i64]);

/// Each narrow store and each widening load, over buffers that end at a guard page.
struct Memory<'a> {
    floats: &'a [f32],
    whole: &'a [i32],
    check: Check<'a>,
}

macro_rules! stored {
    ($s:ident, $self:ident, $name:ident, $type:ty, $lanes:expr, $source:ident, $load:ident, $wanted:expr) => {
        for values in $self.$source.chunks_exact($lanes) {
            let mut out = Guarded::new(&vec![<$type>::default(); $lanes]);
            // SAFETY: values and out have as many elements as the vector has lanes.
            unsafe { $s.$name(out.as_mut_ptr(), $s.$load(values.as_ptr())) };
            let found: Vec<i64> = out.iter().map(|&v| v as i64).collect();
            let wanted: Vec<i64> = values.iter().map($wanted).collect();
            ($self.check)(stringify!($name), &found, &wanted);
        }
    };
}

macro_rules! stored_four {
    ($s:ident, $self:ident, $name:ident, $type:ty, $wanted:expr) => {
        for values in $self.whole.chunks_exact(4 * S::LANES) {
            let mut out = Guarded::new(&vec![<$type>::default(); 4 * S::LANES]);
            // SAFETY: values and out have as many elements as four vectors have lanes.
            unsafe {
                let v = [0, 1, 2, 3].map(|part| $s.load_i32(values.as_ptr().add(part * S::LANES)));
                $s.$name(out.as_mut_ptr(), v);
            }
            $s.fence();
            let found: Vec<i64> = out.iter().map(|&v| v as i64).collect();
            let wanted: Vec<i64> = values.iter().map($wanted).collect();
            ($self.check)(stringify!($name), &found, &wanted);
        }
    };
}

macro_rules! widened {
    ($s:ident, $self:ident, $name:ident, $type:ty, $from:expr, $wanted:expr) => {
        for chunk in $self.whole.chunks_exact(S::LANES) {
            let values = Guarded::new(&chunk.iter().map($from).collect::<Vec<$type>>());
            let mut out = [0; WIDEST];
            // SAFETY: values has as many elements as the vector has lanes, out at least so many.
            unsafe { $s.store_i32(out.as_mut_ptr(), $s.$name(values.as_ptr())) };
            let found: Vec<i64> = out[..S::LANES].iter().map(|&v| v.into()).collect();
            let wanted: Vec<i64> = values.iter().map($wanted).collect();
            ($self.check)(stringify!($name), &found, &wanted);
        }
    };
}

impl SimdOp for Memory<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let clamp = |low: i64, high: i64| move |&v: &i32| i64::from(v).clamp(low, high);
        let half = |v: &f32| i64::from(f16::from_f32(*v).to_bits());
        let brain = |v: &f32| i64::from(bf16::from_f32(*v).to_bits());
        stored!(s, self, store_i8, i8, S::LANES, whole, load_i32, clamp(-128, 127));
        stored!(s, self, store_u8, u8, S::LANES, whole, load_i32, clamp(0, 255));
        stored!(s, self, store_i16, i16, S::LANES, whole, load_i32, clamp(-32768, 32767));
        stored!(s, self, store_u16, u16, S::LANES, whole, load_i32, clamp(0, 65535));
        stored!(s, self, store_f16, u16, S::LANES, floats, load_f32, half);
        stored!(s, self, store_bf16, u16, S::LANES, floats, load_f32, brain);
        stored!(s, self, stream_f32, f32, S::LANES, floats, load_f32, |&v: &f32| v as i64);
        stored_four!(s, self, store_i8x4, i8, clamp(-128, 127));
        stored_four!(s, self, store_u8x4, u8, clamp(0, 255));
        stored_four!(s, self, stream_i8x4, i8, clamp(-128, 127));
        stored_four!(s, self, stream_u8x4, u8, clamp(0, 255));
        widened!(s, self, load_i8, i8, |&v| v as i8, |&v| i64::from(v));
        widened!(s, self, load_u8, u8, |&v| v as u8, |&v| i64::from(v));
        widened!(s, self, load_i16, i16, |&v| v as i16, |&v| i64::from(v));
        widened!(s, self, load_u16, u16, |&v| v as u16, |&v| i64::from(v));
        let bits_of = |v: f32| i64::from(bits(v));
        for chunk in self.whole.chunks_exact(S::LANES) {
            let values = Guarded::new(&chunk.iter().map(|&v| v as u16).collect::<Vec<_>>());
            let mut out = [0.0; WIDEST];
            // SAFETY: as above.
            unsafe { s.store_f32(out.as_mut_ptr(), s.load_f16(values.as_ptr())) };
            let found: Vec<i64> = out[..S::LANES].iter().map(|&v| bits_of(v)).collect();
            let wanted: Vec<i64> =
                values.iter().map(|&v| bits_of(f16::from_bits(v).to_f32())).collect();
            (self.check)("load_f16", &found, &wanted);
            // SAFETY: as above.
            unsafe { s.store_f32(out.as_mut_ptr(), s.load_bf16(values.as_ptr())) };
            let found: Vec<i64> = out[..S::LANES].iter().map(|&v| bits_of(v)).collect();
            let wanted: Vec<i64> =
                values.iter().map(|&v| bits_of(bf16::from_bits(v).to_f32())).collect();
            (self.check)("load_bf16", &found, &wanted);
        }
        let table = Guarded::new(&(0..100).map(|v| v as f32).collect::<Vec<_>>());
        for chunk in self.whole.chunks_exact(S::LANES) {
            let index: Vec<i32> = chunk.iter().map(|v| v.rem_euclid(100)).collect();
            let mut out = [0.0; WIDEST];
            // SAFETY: each index lies in the table; index and out have enough elements.
            unsafe {
                let v = s.gather_f32(table.as_ptr(), s.load_i32(index.as_ptr()));
                s.store_f32(out.as_mut_ptr(), v);
            }
            let found: Vec<i64> = out[..S::LANES].iter().map(|&v| v as i64).collect();
            let wanted: Vec<i64> = index.iter().map(|&v| i64::from(v)).collect();
            (self.check)("gather_f32", &found, &wanted);
        }
    }
}

#[test]
fn loads_and_stores_convert_as_one_value_does_and_stay_in_bounds() {
    let (floats, whole) = (cycle(&odd_floats(), 1, 1024), cycle(&odd_integers(), 1, 1024));
    for isa in Isa::available() {
        let check = |name: &str, found: &[i64], wanted: &[i64]| {
            if name == "store_f16" || name == "store_bf16" {
                // NaN may differ in its payload: compare what is and is not NaN, and the rest exactly.
                let limit = if name == "store_f16" { 0x7c00 } else { 0x7f80 };
                for (f, w) in found.iter().zip(wanted) {
                    let nan = |v: i64| v & 0x7fff > limit;
                    assert!(f == w || (nan(*f) && nan(*w)), "{isa} {name}: {f:#x} for {w:#x}");
                }
                return;
            }
            assert_eq!(found, wanted, "{isa} {name}");
        };
        dispatch(isa, Memory { floats: &floats, whole: &whole, check: &check });
    }
}

struct Reduce<'a>(&'a [f32]);

impl SimdOp for Reduce<'_> {
    type Output = (f32, f32, f32, i32);

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> Self::Output {
        let mut found = (0.0, f32::INFINITY, f32::NEG_INFINITY, i32::MIN);
        for chunk in self.0.chunks_exact(S::LANES) {
            // SAFETY: the chunk has LANES elements.
            let v = unsafe { s.load_f32(chunk.as_ptr()) };
            found.0 += s.reduce_add(v);
            found.1 = found.1.min(s.reduce_min(v));
            found.2 = found.2.max(s.reduce_max(v));
            found.3 = found.3.max(s.reduce_max_i32(s.to_i32(v)));
        }
        found
    }
}

#[test]
fn reductions_see_every_lane() {
    for place in 0..WIDEST {
        let mut values = [1.0_f32; WIDEST];
        values[place] = 9.0;
        for isa in Isa::available() {
            assert_eq!(dispatch(isa, Reduce(&values)), (24.0, 1.0, 9.0, 9), "{isa} {place}");
            let negative = values.map(|v| -v);
            assert_eq!(dispatch(isa, Reduce(&negative)), (-24.0, -9.0, -1.0, -1), "{isa} {place}");
        }
    }
}
