//! What is kept of weights, against sorting.

use half::f16;
use qcore_kernels::prune::{keep_largest, keep_n_of_m};

use crate::random::Random;

fn floats(random: &mut Random, len: usize, levels: usize) -> Vec<f32> {
    // Few levels, so that there are ties; some zeros of either sign.
    (0..len).map(|_| (random.below(levels) as f32 - (levels / 2) as f32) / 8.0).collect()
}

#[test]
fn the_largest_of_all_parts_stay() {
    let mut random = Random::new(1);
    for (sizes, levels) in
        [(vec![0], 9), (vec![1], 9), (vec![7, 0, 13], 3), (vec![100, 50], 5000), (vec![3000], 33)]
    {
        let parts: Vec<Vec<f32>> =
            sizes.iter().map(|&size| floats(&mut random, size, levels)).collect();
        let all: Vec<f32> = parts.concat();
        for count in [0, 1, all.len() / 3, all.len() / 2, all.len()] {
            if count > all.len() {
                continue;
            }
            let mut masks: Vec<Vec<bool>> = sizes.iter().map(|&size| vec![false; size]).collect();
            let views: Vec<&[f32]> = parts.iter().map(Vec::as_slice).collect();
            let mut out: Vec<&mut [bool]> = masks.iter_mut().map(Vec::as_mut_slice).collect();
            keep_largest(&views, count, &mut out).unwrap();
            let kept = masks.concat();
            assert_eq!(kept.iter().filter(|kept| !**kept).count(), count);
            // The order of what goes: by magnitude, then by place.
            let mut order: Vec<usize> = (0..all.len()).collect();
            order.sort_by(|&a, &b| all[a].abs().total_cmp(&all[b].abs()).then(a.cmp(&b)));
            for (rank, &at) in order.iter().enumerate() {
                assert_eq!(kept[at], rank >= count, "{count} of {}: [{at}]", all.len());
            }
        }
    }
}

#[test]
fn every_type_is_ranked_by_its_magnitude() {
    let mut masks = [vec![false; 4], vec![false; 4], vec![false; 4]];
    let [a, b, c] = &mut masks;
    keep_largest(&[&[-3.0_f64, 1e-300, 2.0, -0.0]], 2, &mut [a]).unwrap();
    keep_largest(&[&[-3.0_f32, 1e-30, 2.0, -0.0]], 2, &mut [b]).unwrap();
    let halves = [-3.0, 1e-4, 2.0, -0.0].map(f16::from_f32);
    keep_largest(&[&halves], 2, &mut [c]).unwrap();
    for mask in &masks {
        assert_eq!(mask, &[true, false, true, false]);
    }
}

#[test]
fn n_of_each_m_neighbours_stay() {
    let mut random = Random::new(2);
    for (n, m) in [(2, 4), (1, 4), (4, 8), (3, 7), (1, 64), (4, 4)] {
        for row in [1, 3, 4, 30, 64, 65] {
            let w = floats(&mut random, 5 * row, 9);
            let mut mask = vec![false; w.len()];
            keep_n_of_m(&w, row, n, m, &mut mask).unwrap();
            for (w, mask) in w.chunks(row).zip(mask.chunks(row)) {
                for (group, kept) in w.chunks(m).zip(mask.chunks(m)) {
                    assert_eq!(kept.iter().filter(|kept| **kept).count(), n.min(group.len()));
                    let least = |keep: bool| {
                        let of = group.iter().zip(kept).filter(move |(_, kept)| **kept == keep);
                        of.map(|(w, _)| w.abs())
                    };
                    let lost = least(false).fold(0.0_f32, f32::max);
                    assert!(least(true).all(|w| w >= lost), "{group:?} {kept:?}");
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut mask = [false; 4];
    let w = [1.0_f32, 2.0, 3.0, 4.0];
    assert!(keep_largest(&[&w[..]], 5, &mut [&mut mask]).is_err());
    assert!(keep_largest(&[&w[..3]], 1, &mut [&mut mask]).is_err());
    assert!(keep_largest(&[&[f32::NAN, 1.0, 2.0, 3.0]], 1, &mut [&mut mask]).is_err());
    assert!(keep_n_of_m(&w, 4, 0, 4, &mut mask).is_err());
    assert!(keep_n_of_m(&w, 4, 5, 4, &mut mask).is_err());
    assert!(keep_n_of_m(&w, 4, 1, 65, &mut mask).is_err());
    assert!(keep_n_of_m(&w, 3, 2, 4, &mut mask).is_err());
    let error = keep_n_of_m(&[1.0_f32, 2.0, f32::NAN, 4.0], 4, 2, 4, &mut mask).unwrap_err();
    assert!(error.to_string().contains("weight 2 is NaN"), "{error}");
}
