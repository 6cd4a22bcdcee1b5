use super::*;
use crate::isa;

/// Floats in [-1, 1) that follow from a seed.
fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(next).collect()
}

fn reference(a: &Attention<'_>, rows: usize) -> Vec<f64> {
    let ([heads, of_keys], [d, dv]) = (a.heads, a.sizes);
    let mut out = vec![0.0; rows * heads * dv];
    for head in 0..heads {
        let other = head / (heads / of_keys);
        for row in 0..rows {
            let seen = a.causal.map_or(a.keys, |first| (first + row).min(a.keys));
            let scores: Vec<f64> = (0..seen)
                .map(|key| {
                    let q = &a.q.0[row * a.q.1 + head * d..][..d];
                    let k = &a.k.0[key * a.k.1 + other * d..][..d];
                    let sum: f64 =
                        q.iter().zip(k).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum();
                    let mask = a.mask.map_or(0.0, |m| {
                        m.data[head * m.strides[0] + row * m.strides[1] + key * m.strides[2]]
                    });
                    sum * f64::from(a.scale) + f64::from(mask)
                })
                .collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let total: f64 = weights.iter().sum();
            for (key, weight) in weights.iter().enumerate() {
                let v = &a.v.0[key * a.v.1 + other * dv..][..dv];
                for (index, &v) in v.iter().enumerate() {
                    out[(row * heads + head) * dv + index] += weight / total * f64::from(v);
                }
            }
        }
    }
    out
}

#[test]
fn attention_is_its_definition_and_the_same_on_every_isa() {
    for (rows, keys, heads, of_keys, d, dv) in
        [(1, 1, 1, 1, 1, 1), (5, 7, 4, 2, 3, 5), (33, 40, 3, 3, 16, 17), (70, 65, 2, 1, 32, 32)]
    {
        let (q_stride, k_stride, v_stride) = (heads * d + 3, of_keys * d, of_keys * dv + 1);
        let (q, k) = (noise(rows * q_stride, 1), noise(keys * k_stride, 2));
        let (v, m) = (noise(keys * v_stride, 3), noise(heads * rows * keys, 4));
        for (mask, causal) in [(false, None), (true, None), (true, Some(1)), (false, Some(3))] {
            let strides = [rows * keys, keys, 1];
            let a = Attention {
                heads: [heads, of_keys],
                sizes: [d, dv],
                scale: 0.7,
                keys,
                q: (&q, q_stride),
                k: (&k, k_stride),
                v: (&v, v_stride),
                mask: mask.then_some(Mask { data: &m, strides }),
                causal,
                integer: false,
                guarded: false,
            };
            on_every_isa(&a, rows, 1e-5);
            on_every_isa(&Attention { integer: true, ..a }, rows, 0.03);
        }
    }
}

/// Checks results against the definition, and that they are the same, all rows at once or one by one.
fn on_every_isa(a: &Attention<'_>, rows: usize, within: f64) {
    let width = a.heads[0] * a.sizes[1];
    let wanted = reference(a, rows);
    let mut first: Option<Vec<f32>> = None;
    for isa in Isa::available() {
        let mut out = vec![0.0; rows * width];
        a.run(isa, &mut out).unwrap();
        for (found, wanted) in out.iter().zip(&wanted) {
            assert!((f64::from(*found) - wanted).abs() < within, "{found} {wanted}");
        }
        let first = first.get_or_insert_with(|| out.clone());
        assert!(first.iter().zip(&out).all(|(a, b)| a.to_bits() == b.to_bits()), "{isa:?}");
        for row in 0..rows {
            let mask =
                a.mask.map(|mask| Mask { data: &mask.data[row * mask.strides[1]..], ..mask });
            let causal = a.causal.map(|first| first + row);
            let one = Attention { q: (&a.q.0[row * a.q.1..], a.q.1), mask, causal, ..*a };
            let mut out = vec![0.0; width];
            one.run(isa, &mut out).unwrap();
            let same =
                out.iter().zip(&first[row * width..]).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "row {row} {isa:?}");
        }
    }
}

#[test]
fn keys_that_a_mask_hides_change_no_bit() {
    let (rows, keys, seen, heads, d) = (9, 37, 20, 2, 8);
    let (q, k, v) = (noise(rows * 16, 1), noise(keys * 16, 2), noise(keys * 16, 3));
    let mask: Vec<f32> = (0..keys).map(|key| if key < seen { 0.0 } else { -1e4 }).collect();
    let isa = isa::active().unwrap();
    let whole = Attention {
        heads: [heads; 2],
        sizes: [d; 2],
        scale: 0.3,
        keys,
        q: (&q, 16),
        k: (&k, 16),
        v: (&v, 16),
        mask: Some(Mask { data: &mask, strides: [0, 0, 1] }),
        causal: None,
        integer: false,
        guarded: false,
    };
    for integer in [false, true] {
        let (mut one, mut other) = (vec![0.0; rows * 16], vec![0.0; rows * 16]);
        let whole = Attention { integer, ..whole };
        whole.run(isa, &mut one).unwrap();
        Attention { keys: seen, mask: None, ..whole }.run(isa, &mut other).unwrap();
        assert!(one.iter().zip(&other).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
}

#[test]
fn integers_tell_of_what_is_not_finite() {
    let (q, k, mut v) = (noise(2 * 8, 1), noise(3 * 8, 2), noise(3 * 8, 3));
    v[5] = f32::NAN;
    let hidden = [f32::NEG_INFINITY; 3];
    let a = Attention {
        heads: [1; 2],
        sizes: [8; 2],
        scale: 1.0,
        keys: 3,
        q: (&q, 8),
        k: (&k, 8),
        v: (&v, 8),
        mask: None,
        causal: None,
        integer: true,
        guarded: false,
    };
    for isa in Isa::available() {
        let mut out = [0.0; 16];
        a.run(isa, &mut out).unwrap();
        for (index, value) in out.iter().enumerate() {
            assert_eq!(value.is_nan(), index % 8 == 5, "{isa:?} {index} {value}");
        }
        // No key to see is no answer; so it is for floats.
        let mask = Some(Mask { data: &hidden, strides: [0, 0, 1] });
        Attention { mask, ..a }.run(isa, &mut out).unwrap();
        assert!(out.iter().all(|value| value.is_nan()), "{out:?}");
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let data = [0.0; 8];
    let a = Attention {
        heads: [2, 1],
        sizes: [2, 2],
        scale: 1.0,
        keys: 2,
        q: (&data, 4),
        k: (&data, 2),
        v: (&data, 2),
        mask: None,
        causal: None,
        integer: false,
        guarded: false,
    };
    let isa = isa::active().unwrap();
    assert!(a.run(isa, &mut [0.0; 8]).is_ok());
    assert!(a.run(isa, &mut [0.0; 12]).is_err());
    assert!(a.run(isa, &mut [0.0; 7]).is_err());
    assert!(Attention { keys: 5, ..a }.run(isa, &mut [0.0; 8]).is_err());
    assert!(Attention { heads: [2, 3], ..a }.run(isa, &mut [0.0; 8]).is_err());
    let mask = Some(Mask { data: &data[..3], strides: [0, 2, 1] });
    assert!(Attention { mask, ..a }.run(isa, &mut [0.0; 8]).is_err());
}

#[test]
fn a_row_of_which_all_is_hidden_is_zero_where_it_is_guarded_and_nan_else() {
    let (rows, keys, heads, d) = (3, 19, 2, 8);
    let (q, k, v) = (noise(rows * 16, 1), noise(keys * 16, 2), noise(keys * 16, 3));
    let mut mask = vec![0.0; rows * keys];
    mask[keys..2 * keys].fill(f32::NEG_INFINITY);
    let whole = Attention {
        heads: [heads; 2],
        sizes: [d; 2],
        scale: 0.3,
        keys,
        q: (&q, 16),
        k: (&k, 16),
        v: (&v, 16),
        mask: Some(Mask { data: &mask, strides: [0, keys, 1] }),
        causal: None,
        integer: false,
        guarded: false,
    };
    for isa in Isa::available() {
        for integer in [false, true] {
            let plain = Attention { integer, ..whole };
            let guarded = Attention { guarded: true, ..plain };
            let (mut nan, mut zero) = (vec![0.0; rows * 16], vec![1.0; rows * 16]);
            plain.run(isa, &mut nan).unwrap();
            guarded.run(isa, &mut zero).unwrap();
            assert!(nan[16..32].iter().all(|x| x.is_nan()), "{isa:?} {integer}");
            assert!(zero[16..32].iter().all(|&x| x == 0.0), "{isa:?} {integer}");
            for at in (0..16).chain(32..48) {
                assert_eq!(nan[at].to_bits(), zero[at].to_bits(), "{isa:?} {integer}");
            }
            // Without a mask nothing is hidden.
            let all = Attention { mask: None, ..guarded };
            all.run(isa, &mut zero).unwrap();
            assert!(zero.iter().all(|x| x.is_finite()));
        }
    }
}

#[test]
fn a_row_of_which_the_least_float_hides_all_weighs_keys_alike() {
    let (rows, keys, d) = (3, 19, 8);
    let (q, k, v) = (noise(rows * d, 1), noise(keys * d, 2), noise(keys * d, 3));
    let mut mask = vec![f32::MIN; rows * keys];
    mask[..keys].fill(0.0);
    for (strides, mask) in [([0, keys, 1], &mask[..]), ([0, 0, 1], &mask[keys..])] {
        let whole = Attention {
            heads: [1; 2],
            sizes: [d; 2],
            scale: 0.3,
            keys,
            q: (&q, d),
            k: (&k, d),
            v: (&v, d),
            mask: Some(Mask { data: mask, strides }),
            causal: None,
            integer: false,
            guarded: true,
        };
        for (isa, integer) in Isa::available().flat_map(|isa| [(isa, false), (isa, true)]) {
            let mut out = vec![0.0; rows * d];
            Attention { integer, ..whole }.run(isa, &mut out).unwrap();
            for (at, &found) in out.iter().enumerate().skip(d) {
                let column = v.iter().skip(at % d).step_by(d);
                let mean = column.sum::<f32>() / keys as f32;
                assert!((found - mean).abs() < 0.02, "{isa:?} {integer}: {found} for {mean}");
            }
        }
    }
}
