//! Convolutions against the sum that each result is.

use qcore_kernels::conv::{ConvF32, Window};
use qcore_kernels::elementwise::Unary;
use qcore_kernels::epilogue::{Activation, Epilogue};

use super::matmul::sum_in_order;
use super::{floats, same_everywhere};
use crate::guard::Guarded;
use crate::random::Random;

struct Case {
    image: [usize; 4],
    outputs: usize,
    groups: usize,
    window: Window,
}

fn case(image: [usize; 4], outputs: usize, groups: usize, kernel: [usize; 2]) -> Case {
    Case { image, outputs, groups, window: Window::new(kernel) }
}

impl Case {
    fn padded(mut self, padding: [[usize; 2]; 2]) -> Self {
        self.window.padding = padding;
        self
    }

    fn stride(mut self, stride: [usize; 2]) -> Self {
        self.window.stride = stride;
        self
    }

    fn dilated(mut self, dilation: [usize; 2]) -> Self {
        self.window.dilation = dilation;
        self
    }

    fn check(&self, random: &mut Random, activation: Activation) {
        let Case { image, outputs, groups, window } = *self;
        let [batch, height, width, channels] = image;
        let each = channels / groups;
        let [tall, wide] = window.kernel;
        let x = Guarded::new(&floats(random, batch * height * width * channels));
        let w = floats(random, outputs * each * tall * wide);
        let bias = Guarded::new(&floats(random, outputs));
        let conv = ConvF32::new(&w, [outputs, each, tall, wide], window, groups).unwrap();
        let shape = conv.output_shape(image).unwrap();
        let size = shape.iter().product();
        let residual = Guarded::new(&floats(random, size));
        for residual in [&residual[..0], &residual[..]] {
            let epilogue = Epilogue { bias: &bias, residual, activation };
            let found = same_everywhere("conv", |isa| {
                let mut out = Guarded::new(&vec![f32::NAN; size]);
                conv.run_with(isa, &x, image, epilogue, &mut out).unwrap();
                out.to_vec()
            });
            for (index, &found) in found.iter().enumerate() {
                let output = index % outputs;
                let (n, row, column) = (
                    index / outputs / shape[2] / shape[1],
                    index / outputs / shape[2] % shape[1],
                    index / outputs % shape[2],
                );
                let group = output / (outputs / groups);
                let taps = (0..tall * wide * each).map(|tap| {
                    let (channel, tap) = (tap % each, tap / each);
                    let weight = w[(output * each + channel) * tall * wide + tap];
                    let y = row * window.stride[0] + tap / wide * window.dilation[0];
                    let x_ = column * window.stride[1] + tap % wide * window.dilation[1];
                    let y = y.wrapping_sub(window.padding[0][0]);
                    let x_ = x_.wrapping_sub(window.padding[1][0]);
                    let inside = y < height && x_ < width;
                    let at = ((n * height + y.min(height)) * width + x_.min(width)) * channels;
                    let value = if inside { x[at + group * each + channel] } else { 0.0 };
                    (value, weight)
                });
                let mut sum = sum_in_order(taps) + bias[output];
                if !residual.is_empty() {
                    sum += residual[index];
                }
                if activation == Activation::RELU {
                    sum = sum.max(0.0);
                }
                if let Activation::Each(Unary::Clip { low, high }) = activation {
                    sum = sum.clamp(low, high);
                }
                assert_eq!(found, sum, "{image:?} {window:?} {groups} {output} at {row}, {column}");
            }
        }
    }
}

#[test]
fn each_result_is_the_one_sum() {
    let mut random = Random::new(21);
    let cases = [
        case([1, 1, 1, 1], 1, 1, [1, 1]),
        case([2, 5, 7, 3], 17, 1, [1, 1]),
        case([1, 9, 9, 20], 33, 1, [1, 1]).stride([2, 2]),
        case([2, 8, 9, 3], 32, 1, [3, 3]).stride([2, 2]).padded([[1, 1], [1, 1]]),
        case([1, 14, 15, 3], 10, 1, [7, 7]).stride([2, 2]).padded([[3, 3], [3, 3]]),
        case([1, 7, 7, 40], 70, 1, [3, 3]).padded([[1, 1], [1, 1]]),
        case([1, 9, 8, 5], 4, 1, [3, 2]).dilated([2, 3]).padded([[2, 0], [0, 3]]),
        case([2, 1, 30, 6], 9, 1, [1, 5]).padded([[0, 0], [4, 0]]),
        case([1, 6, 6, 12], 18, 3, [3, 3]).padded([[1, 1], [1, 1]]),
        case([1, 4, 4, 6], 6, 2, [1, 1]),
        case([3, 3, 3, 2], 5, 1, [3, 3]),
        case([1, 4, 3, 1], 2, 1, [2, 2]).padded([[5, 5], [5, 5]]),
        case([1, 49, 10, 1], 64, 1, [10, 4]).stride([2, 2]).padded([[4, 5], [1, 1]]),
    ];
    for case in cases {
        case.check(&mut random, Activation::RELU);
    }
}

#[test]
fn channels_by_themselves() {
    let mut random = Random::new(22);
    let clip = Activation::Each(Unary::Clip { low: -1.0, high: 1.5 });
    for channels in [2, 7, 16, 24, 33, 70] {
        let image = [2, 9, 11, channels];
        let around = [[1, 1], [1, 1]];
        case(image, channels, channels, [3, 3]).padded(around).check(&mut random, clip);
        case(image, channels, channels, [3, 3])
            .padded(around)
            .stride([2, 2])
            .check(&mut random, clip);
        case(image, channels, channels, [5, 5]).padded([[2, 2], [2, 2]]).check(&mut random, clip);
        case(image, channels, channels, [2, 4])
            .dilated([2, 3])
            .padded([[0, 3], [9, 0]])
            .check(&mut random, clip);
        case(image, 3 * channels, channels, [3, 1]).check(&mut random, clip);
        case([1, 1, 40, channels], channels, channels, [1, 8])
            .padded([[0, 0], [7, 0]])
            .check(&mut random, clip);
    }
}

#[test]
fn misfits_are_refused() {
    let window = Window::new([3, 3]);
    let w = [0.0; 2 * 3 * 9];
    assert!(ConvF32::new(&w, [2, 3, 3, 2], window, 1).is_err());
    assert!(ConvF32::new(&w, [2, 3, 3, 3], Window::new([3, 2]), 1).is_err());
    assert!(ConvF32::new(&w, [2, 3, 3, 3], window, 0).is_err());
    assert!(ConvF32::new(&w[..27], [1, 3, 3, 3], window, 2).is_err());
    let conv = ConvF32::new(&w, [2, 3, 3, 3], window, 1).unwrap();
    assert!(conv.output_shape([1, 2, 3, 3]).is_err());
    assert!(conv.output_shape([1, 3, 3, 4]).is_err());
    let mut out = [0.0; 2];
    assert!(conv.run(&[0.0; 27], [1, 3, 3, 3], Epilogue::default(), &mut out).is_ok());
    assert!(conv.run(&[0.0; 26], [1, 3, 3, 3], Epilogue::default(), &mut out).is_err());
    let bias = Epilogue { bias: &[0.0; 3], ..Epilogue::default() };
    assert!(conv.run(&[0.0; 27], [1, 3, 3, 3], bias, &mut out).is_err());
    let still = Window { stride: [0, 1], ..window };
    assert!(still.places([5, 5]).is_err());
}
