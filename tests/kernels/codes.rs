//! Ops on codes against float64 oracles, the same codes on every instruction set and thread count.

use qcore_kernels::codes::{
    Arithmetic, MeanCodes, Term, TermData, ToCodes, arithmetic_with, look_up, max_codes_with,
    mean_codes_with,
};
use qcore_kernels::conv::Window;
use qcore_kernels::quant::Code;
use qcore_kernels::{Isa, threads};

use crate::guard::Guarded;
use crate::random::Random;

fn codes<C: Code>(random: &mut Random, count: usize) -> Vec<C> {
    (0..count).map(|_| C::from_i32(C::MIN + random.below(256) as i32)).collect()
}

/// What every instruction set gives, with one thread and with two.
fn same<C: Code + PartialEq + std::fmt::Debug>(
    what: &str,
    count: usize,
    run: impl Fn(Isa, &mut [C]),
) -> Vec<C> {
    let mut first: Option<Vec<C>> = None;
    for isa in Isa::available() {
        for threads in [1, 2] {
            threads::set(threads).unwrap();
            let mut out = Guarded::new(&vec![C::from_i32(7); count]);
            run(isa, &mut out);
            let found = first.get_or_insert_with(|| out.to_vec());
            assert_eq!(&out[..], &found[..], "{what} on {isa} with {threads}");
        }
    }
    first.unwrap()
}

/// Whether a code is the nearest to a level, the next at most where float32 rounds on its way.
fn is_near(code: i32, level: f64, to: ToCodes) -> bool {
    let clamp = |level: f64| (level + f64::from(to.zero_point)).clamp(to.min.into(), to.max.into());
    (f64::from(code) - clamp(level)).abs() <= 0.5 + 1e-3
}

#[test]
fn sums_and_products_of_all_lengths() {
    sums_and_products::<u8>();
    sums_and_products::<i8>();
}

fn sums_and_products<C: Code + PartialEq + std::fmt::Debug>() {
    let mut random = Random::new(5);
    let to = ToCodes { zero_point: C::MIN + 90, min: C::MIN + 5, max: C::MAX - 3 };
    let (za, zb) = (C::MIN + 128, C::MIN + 11);
    for len in (0..150).chain([1000, 40_000]) {
        let (a, b) = (codes::<C>(&mut random, len), codes::<C>(&mut random, len));
        let floats: Vec<f32> = (0..len).map(|_| random.below(2001) as f32 / 100.0 - 10.0).collect();
        let (a, b, floats) = (Guarded::new(&a), Guarded::new(&b), Guarded::new(&floats));
        let shape = [len];
        for function in [Arithmetic::Sum([0.37, -0.52]), Arithmetic::Product(0.013)] {
            for float in [false, true] {
                let data = if float { TermData::Floats(&floats) } else { TermData::Codes(&b, zb) };
                let found = same(&format!("{function:?} of {len}"), len, |isa, out| {
                    let first = Term { data: TermData::Codes(&a[..], za), shape: &shape };
                    let second = Term { data, shape: &shape };
                    arithmetic_with(isa, function, first, second, to, (out, &shape)).unwrap();
                });
                for (at, code) in found.iter().enumerate() {
                    let x = f64::from(a[at].to_i32() - za);
                    let y =
                        if float { f64::from(floats[at]) } else { f64::from(b[at].to_i32() - zb) };
                    let level = match function {
                        Arithmetic::Sum([p, q]) => x * f64::from(p) + y * f64::from(q),
                        Arithmetic::Product(p) => x * y * f64::from(p),
                    };
                    assert!(is_near(code.to_i32(), level, to), "{function:?} {len} at {at}");
                }
            }
        }
    }
}

#[test]
fn operands_are_broadcast() {
    let mut random = Random::new(6);
    let out = [3, 5, 37];
    let to = ToCodes { zero_point: 3, min: 0, max: 255 };
    for (a_shape, b_shape) in [
        ([3, 5, 37], [1, 1, 37]),
        ([3, 1, 37], [3, 5, 1]),
        ([1, 5, 1], [3, 5, 37]),
        ([1, 1, 1], [3, 5, 37]),
        ([3, 5, 37], [3, 1, 1]),
    ] {
        let a = codes::<u8>(&mut random, a_shape.iter().product());
        let b = codes::<u8>(&mut random, b_shape.iter().product());
        let (a, b) = (Guarded::new(&a), Guarded::new(&b));
        let found = same("broadcast", 3 * 5 * 37, |isa, to_codes| {
            let first = Term { data: TermData::Codes(&a[..], 10), shape: &a_shape };
            let second = Term { data: TermData::Codes(&b[..], 20), shape: &b_shape };
            let function = Arithmetic::Sum([0.5, 0.25]);
            arithmetic_with(isa, function, first, second, to, (to_codes, &out)).unwrap();
        });
        for (at, &code) in found.iter().enumerate() {
            let index = [at / (5 * 37), at / 37 % 5, at % 37];
            let place = |shape: [usize; 3]| {
                (0..3).fold(0, |place, axis| place * shape[axis] + index[axis] % shape[axis])
            };
            let x = f64::from(i32::from(a[place(a_shape)]) - 10);
            let y = f64::from(i32::from(b[place(b_shape)]) - 20);
            assert!(is_near(code.into(), 0.5 * x + 0.25 * y, to), "{a_shape:?} {b_shape:?} {at}");
        }
    }
}

#[test]
fn tables_of_all_lengths() {
    let mut random = Random::new(7);
    let table: [u8; 256] = std::array::from_fn(|at| (at * 7 % 256) as u8);
    let floats: [f32; 256] = std::array::from_fn(|at| at as f32 / 3.0);
    for len in (0..40).chain([300_000]) {
        let x = Guarded::new(&codes::<u8>(&mut random, len));
        let found = same("table", len, |_, out| look_up(&table, &x, out).unwrap());
        assert!(found.iter().zip(&x[..]).all(|(&y, &x)| y == table[usize::from(x)]));
        let mut out = Guarded::new(&vec![0.0; len]);
        look_up(&floats, &x, &mut out).unwrap();
        assert!(out.iter().zip(&x[..]).all(|(&y, &x)| y == floats[usize::from(x)]));
    }
    assert!(look_up(&table, &[1, 2], &mut [0_u8; 3]).is_err());
}

#[test]
fn pools_of_every_kind() {
    pools::<u8>();
    pools::<i8>();
}

fn pools<C: Code + Ord + std::fmt::Debug>() {
    let mut random = Random::new(8);
    let windows = [
        Window::new([2, 2]),
        Window { stride: [2, 2], padding: [[1, 1], [1, 1]], ..Window::new([3, 3]) },
        Window {
            stride: [1, 3],
            dilation: [2, 1],
            padding: [[0, 2], [1, 0]],
            ..Window::new([2, 4])
        },
        Window::new([7, 8]),
    ];
    let to = ToCodes { zero_point: C::MIN + 60, min: C::MIN, max: C::MAX };
    for channels in [1, 5, 16, 33, 64, 130] {
        for window in windows {
            let image = [2, 7, 8, channels];
            let x = Guarded::new(&codes::<C>(&mut random, 2 * 7 * 8 * channels));
            let mut places = window.places([7, 8]).unwrap();
            // One more place, as ceil_mode makes.
            places[0] += 1;
            let size = 2 * places[0] * places[1] * channels;
            let largest = same("max", size, |isa, out| {
                max_codes_with(isa, &window, &x[..], image, places, out).unwrap();
            });
            let mean = |padding| MeanCodes { zero: C::MIN + 100, ratio: 0.7, padding, to };
            let means = [false, true].map(|padding| {
                same("mean", size, |isa, out| {
                    let mean = mean(padding);
                    mean_codes_with(isa, &window, mean, &x[..], image, places, out).unwrap();
                })
            });
            for at in 0..size {
                let (seen, padded) = covered(&window, &x, image, places, at);
                let most = seen.iter().copied().max().unwrap_or(C::MIN);
                assert_eq!(largest[at].to_i32(), most, "{window:?} {channels} at {at}");
                let sum: i32 = seen.iter().map(|code| code - (C::MIN + 100)).sum();
                for (means, count) in means.iter().zip([seen.len(), padded]) {
                    let level = f64::from(sum) * f64::from(0.7_f32) / count.max(1) as f64;
                    assert!(is_near(means[at].to_i32(), level, to), "{window:?} {channels} {at}");
                }
            }
        }
    }
}

/// The codes that the window of a place covers, and how many taps lie in image or padding.
fn covered<C: Code>(
    window: &Window,
    x: &[C],
    [_, height, width, channels]: [usize; 4],
    places: [usize; 2],
    at: usize,
) -> (Vec<i32>, usize) {
    let place = at / channels;
    let (row, column) = (place / places[1] % places[0], place % places[1]);
    let n = place / places[1] / places[0];
    let [[top, bottom], [left, right]] = window.padding;
    let (mut seen, mut padded) = (Vec::new(), 0);
    for tap in 0..window.kernel[0] * window.kernel[1] {
        let y = row * window.stride[0] + tap / window.kernel[1] * window.dilation[0];
        let c = column * window.stride[1] + tap % window.kernel[1] * window.dilation[1];
        padded += usize::from(y < top + height + bottom && c < left + width + right);
        let (y, c) = (y.wrapping_sub(top), c.wrapping_sub(left));
        if y < height && c < width {
            seen.push(x[((n * height + y) * width + c) * channels + at % channels].to_i32());
        }
    }
    (seen, padded)
}

#[test]
fn what_does_not_fit_is_refused() {
    let to = ToCodes { zero_point: 300, min: 0, max: 255 };
    let x = [0_u8; 4];
    let term = Term { data: TermData::Codes(&x[..], 0), shape: &[4] };
    let mut out = [0_u8; 4];
    let sum = Arithmetic::Sum([1.0, 1.0]);
    assert!(arithmetic_with(Isa::Scalar, sum, term, term, to, (&mut out, &[4])).is_err());
    let to = ToCodes { zero_point: 0, ..to };
    assert!(arithmetic_with(Isa::Scalar, sum, term, term, to, (&mut out, &[2])).is_err());
    let floats = Term { data: TermData::Floats(&[0.0; 4]), shape: &[4] };
    assert!(arithmetic_with(Isa::Scalar, sum, floats, term, to, (&mut out, &[4])).is_err());
    let window = Window::new([2, 2]);
    let image = [1, 2, 2, 1];
    assert!(max_codes_with(Isa::Scalar, &window, &x, image, [1, 1], &mut out).is_err());
    let none = Window { stride: [0, 1], ..window };
    assert!(max_codes_with(Isa::Scalar, &none, &x, image, [1, 1], &mut out[..1]).is_err());
    let mean = MeanCodes { zero: -1, ratio: 1.0, padding: false, to };
    assert!(mean_codes_with(Isa::Scalar, &window, mean, &x, image, [1, 1], &mut out[..1]).is_err());
}
