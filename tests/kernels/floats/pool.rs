//! Pooling against the window's elements.

use qcore_kernels::conv::{Pool, Window, pool_f32_with};

use super::{floats, near, same_everywhere};
use crate::guard::Guarded;
use crate::random::Random;

#[test]
fn windows_of_every_kind() {
    let mut random = Random::new(31);
    let windows = [
        Window::new([2, 2]),
        Window { stride: [2, 2], padding: [[1, 1], [1, 1]], ..Window::new([3, 3]) },
        Window {
            stride: [1, 3],
            dilation: [2, 1],
            padding: [[0, 2], [1, 0]],
            ..Window::new([2, 4])
        },
    ];
    for channels in [1, 5, 16, 33] {
        for window in windows {
            let [batch, height, width] = [2, 7, 8];
            let image = [batch, height, width, channels];
            let mut values = floats(&mut random, batch * height * width * channels);
            values[3 * channels] = f32::NAN;
            let x = Guarded::new(&values);
            let mut places = window.places([height, width]).unwrap();
            // One more place, as ceil_mode makes.
            places[0] += 1;
            for pool in
                [Pool::Max, Pool::Average { padding: false }, Pool::Average { padding: true }]
            {
                let size = batch * places[0] * places[1] * channels;
                let found = same_everywhere("pool", |isa| {
                    let mut out = Guarded::new(&vec![7.0; size]);
                    pool_f32_with(isa, pool, &window, &x, image, places, &mut out).unwrap();
                    out.to_vec()
                });
                for (index, &found) in found.iter().enumerate() {
                    let place = index / channels;
                    let (row, column) = (place / places[1] % places[0], place % places[1]);
                    let n = place / places[1] / places[0];
                    let (mut seen, mut padded) = (Vec::new(), 0);
                    for tap in 0..window.kernel[0] * window.kernel[1] {
                        let y =
                            row * window.stride[0] + tap / window.kernel[1] * window.dilation[0];
                        let c =
                            column * window.stride[1] + tap % window.kernel[1] * window.dilation[1];
                        let [[top, bottom], [left, right]] = window.padding;
                        padded +=
                            usize::from(y < top + height + bottom && c < left + width + right);
                        let (y, c) = (y.wrapping_sub(top), c.wrapping_sub(left));
                        if y < height && c < width {
                            let at = (n * height + y) * width + c;
                            seen.push(f64::from(x[at * channels + index % channels]));
                        }
                    }
                    let what = format!("{pool:?} {window:?} {channels} at {row}, {column}");
                    if seen.iter().any(|x| x.is_nan()) {
                        assert!(found.is_nan(), "{what}");
                        continue;
                    }
                    let sum: f64 = seen.iter().sum();
                    match pool {
                        Pool::Max => {
                            let most = seen.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                            assert_eq!(f64::from(found), most, "{what}");
                        }
                        Pool::Average { padding } => {
                            let count = if padding { padded } else { seen.len() };
                            if count > 0 {
                                near(found, sum / count as f64, 1e-6, &what);
                            }
                        }
                    }
                }
            }
        }
    }
}
