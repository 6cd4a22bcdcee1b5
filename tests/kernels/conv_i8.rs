//! Convolutions of codes against the sum that each result is: every instruction set, one thread and two,
//! buffers that end where memory ends.

use proptest::prelude::*;
use qcore_kernels::conv::{CodeImages, ConvI8, Window};
use qcore_kernels::epilogue::{Activation, FloatOutput, Requantize, Residual};
use qcore_kernels::quant::Code;
use qcore_kernels::{Isa, threads};

use crate::guard::Guarded;
use crate::random::Random;

#[derive(Debug, Clone)]
struct Case {
    image: [usize; 4],
    /// Outputs of a group.
    own: usize,
    groups: usize,
    window: Window,
    signed: bool,
    zero_point: i32,
    seed: u64,
    /// In how many weights one is not zero, and how many outputs have the same ones.
    one_in: usize,
    together: usize,
}

fn bytes(random: &mut Random, count: usize) -> Vec<u8> {
    (0..count).map(|_| random.below(256) as u8).collect()
}

impl Case {
    fn outputs(&self) -> usize {
        self.own * self.groups
    }

    fn value(&self, byte: u8) -> i64 {
        let code = if self.signed { i64::from(byte as i8) } else { i64::from(byte) };
        code - i64::from(self.zero_point)
    }

    /// The exact sums, pixel by pixel.
    fn sums(&self, x: &[u8], weights: &[i8], places: [usize; 2]) -> Vec<i64> {
        let [batch, height, width, channels] = self.image;
        let each = channels / self.groups;
        let Window { kernel, stride, dilation, padding } = self.window;
        let mut sums = Vec::new();
        for n in 0..batch {
            for place in 0..places[0] * places[1] {
                let (row, column) = (place / places[1], place % places[1]);
                for output in 0..self.outputs() {
                    let first = output / self.own * each;
                    let mut sum = 0;
                    for tap in 0..kernel[0] * kernel[1] {
                        let y = row * stride[0] + tap / kernel[1] * dilation[0];
                        let x_ = column * stride[1] + tap % kernel[1] * dilation[1];
                        let (y, x_) =
                            (y.wrapping_sub(padding[0][0]), x_.wrapping_sub(padding[1][0]));
                        if y >= height || x_ >= width {
                            continue;
                        }
                        for channel in 0..each {
                            let at = ((n * height + y) * width + x_) * channels;
                            let weight =
                                weights[(output * each + channel) * kernel[0] * kernel[1] + tap];
                            sum += self.value(x[at + first + channel]) * i64::from(weight);
                        }
                    }
                    sums.push(sum);
                }
            }
        }
        sums
    }

    fn prune(&self, random: &mut Random, weights: &mut [i8]) {
        let size = weights.len() / self.outputs();
        for group in weights.chunks_mut(self.together * size) {
            for at in (0..size).filter(|_| random.below(self.one_in) > 0) {
                group[at..].iter_mut().step_by(size).for_each(|code| *code = 0);
            }
        }
    }

    /// What runs it.
    fn kind(&self) -> &'static str {
        let shape = [self.outputs(), self.image[3], self.window.kernel[0], self.window.kernel[1]];
        let mut weights = vec![5; shape.iter().product()];
        self.prune(&mut Random::new(self.seed), &mut weights);
        ConvI8::new(Isa::best(), &weights, shape, self.window, 1).unwrap().kind()
    }

    fn check(&self) {
        let mut random = Random::new(self.seed);
        let [tall, wide] = self.window.kernel;
        let (each, outputs) = (self.image[3] / self.groups, self.outputs());
        let x = Guarded::new(&bytes(&mut random, self.image.iter().product()));
        let mut weights: Vec<i8> =
            bytes(&mut random, outputs * each * tall * wide).iter().map(|&b| b as i8).collect();
        self.prune(&mut random, &mut weights);
        let images = CodeImages {
            codes: &x,
            shape: self.image,
            signed: self.signed,
            zero_point: self.zero_point,
        };
        let shape = [outputs, each, tall, wide];
        let first = ConvI8::new(Isa::best(), &weights, shape, self.window, self.groups).unwrap();
        let out = first.output_shape(self.image).unwrap();
        let sums = self.sums(&x, &weights, [out[1], out[2]]);
        let bias: Vec<i32> = (0..outputs).map(|_| random.below(2001) as i32 - 1000).collect();
        let reach = (each * tall * wide) as f32 * 60.0;
        let multiplier: Vec<f32> =
            (0..outputs).map(|_| (1 + random.below(200)) as f32 / reach).collect();
        let residual = Guarded::new(&bytes(&mut random, sums.len()));
        let residual = Residual {
            codes: &residual,
            signed: !self.signed,
            zero_point: 3,
            multiplier: 0.37,
            stride: outputs,
        };
        for isa in Isa::available() {
            // What was laid out for another is read as well.
            let own = ConvI8::new(isa, &weights, shape, self.window, self.groups).unwrap();
            for (conv, count) in [(&own, 1), (&first, 2)] {
                threads::set(count).unwrap();
                let check = format!("{isa} {count} {self:?}");
                for residual in [None, Some(residual)] {
                    let range = Requantize {
                        bias: &bias,
                        multiplier: &multiplier,
                        zero_point: 100,
                        min: 100,
                        max: 255,
                    };
                    codes::<u8>(conv, isa, images, &sums, range, residual, &check);
                    let range = Requantize { zero_point: -5, min: -128, max: 127, ..range };
                    codes::<i8>(conv, isa, images, &sums, range, residual, &check);
                }
                let plain: Vec<f32> = bias.iter().map(|&bias| bias as f32 / 64.0).collect();
                let output = FloatOutput {
                    scale: &multiplier,
                    row_scale: &[],
                    bias: &plain,
                    activation: Activation::RELU,
                };
                let mut out = Guarded::new(&vec![f32::NAN; sums.len()]);
                conv.to_floats_with(isa, images, output, &mut out).unwrap();
                for (index, (&found, &sum)) in out.iter().zip(&sums).enumerate() {
                    let column = index % outputs;
                    let due = (sum as f32 * multiplier[column] + plain[column]).max(0.0);
                    assert_eq!(found, due, "{index} {check}");
                }
            }
        }
    }
}

fn codes<C: Code + PartialEq + std::fmt::Debug>(
    conv: &ConvI8,
    isa: Isa,
    images: CodeImages<'_>,
    sums: &[i64],
    output: Requantize<'_>,
    residual: Option<Residual<'_>>,
    check: &str,
) {
    let mut out = Guarded::new(&vec![C::default(); sums.len()]);
    conv.to_codes_with(isa, images, output, residual, &mut out).unwrap();
    for (index, (&found, &sum)) in out.iter().zip(sums).enumerate() {
        let column = index % conv.outputs();
        let mut level = (sum + i64::from(output.bias[column])) as f32 * output.multiplier[column];
        if let Some(residual) = residual {
            let code = residual.codes[index];
            let code = if residual.signed { i32::from(code as i8) } else { i32::from(code) };
            level += (code - residual.zero_point) as f32 * residual.multiplier;
        }
        let due = level.round_ties_even() as i32 + output.zero_point;
        let due = due.clamp(output.min, output.max);
        assert_eq!(found.to_i32(), due, "{index} {} {check}", residual.is_some());
    }
}

fn case(image: [usize; 4], own: usize, groups: usize, kernel: [usize; 2]) -> Case {
    let window = Window::new(kernel);
    let (signed, zero_point, seed, one_in, together) = (false, 7, 5, 1, 1);
    Case { image, own, groups, window, signed, zero_point, seed, one_in, together }
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

    fn pruned(self, one_in: usize, together: usize) -> Self {
        Self { one_in, together, ..self }
    }

    fn signed(self) -> Self {
        Self { signed: true, zero_point: -90, ..self }
    }
}

#[test]
fn layers_of_networks_are_the_sums_that_they_are() {
    let around = [[1, 1], [1, 1]];
    for case in [
        case([1, 9, 11, 3], 16, 1, [3, 3]).stride([2, 2]).padded([[0, 1], [0, 1]]),
        case([1, 12, 13, 3], 64, 1, [7, 7]).stride([2, 2]).padded([[3, 3], [3, 3]]),
        case([1, 20, 10, 1], 64, 1, [10, 4]).stride([2, 2]).padded([[4, 5], [1, 1]]),
        case([2, 7, 7, 64], 70, 1, [3, 3]).padded(around),
        case([1, 8, 8, 48], 32, 1, [3, 3]).stride([2, 2]).padded(around),
        case([2, 5, 5, 24], 144, 1, [1, 1]),
        case([1, 6, 6, 32], 40, 1, [1, 1]).stride([2, 2]),
        case([1, 5, 4, 5], 3, 1, [1, 1]),
        case([1, 6, 6, 12], 5, 3, [3, 3]).padded(around),
        case([2, 17, 24, 3], 8, 1, [3, 3]).stride([2, 2]).padded([[0, 1], [0, 1]]),
        case([1, 9, 13, 5], 4, 1, [2, 3]).padded([[0, 1], [1, 1]]),
        case([1, 7, 16, 12], 1, 1, [3, 5]).padded([[1, 1], [2, 2]]),
        case([1, 30, 32, 16], 16, 1, [3, 3]).padded(around),
        case([1, 25, 5, 32], 32, 1, [1, 1]),
        case([1, 30, 1, 40], 24, 1, [3, 1]).padded([[1, 1], [0, 0]]),
    ] {
        case.clone().check();
        case.signed().check();
    }
}

#[test]
fn channels_by_themselves_are_the_sums_that_they_are() {
    for channels in [2, 3, 8, 16, 24, 32, 33, 48, 64, 70, 128] {
        let image = [2, 9, 10, channels];
        for (kernel, padding) in [
            ([3, 3], [[1, 1], [1, 1]]),
            ([5, 5], [[2, 2], [2, 2]]),
            ([7, 7], [[3, 3], [3, 3]]),
            ([1, 3], [[0, 0], [2, 0]]),
            ([1, 9], [[0, 0], [4, 4]]),
            ([3, 1], [[1, 1], [0, 0]]),
        ] {
            for stride in [1, 2] {
                let case = case(image, 1, channels, kernel).padded(padding).stride([stride; 2]);
                case.clone().check();
                case.signed().check();
            }
        }
        let mut case = case(image, 3, channels, [3, 2]).padded([[4, 0], [0, 12]]);
        case.window.dilation = [2, 3];
        case.clone().signed().check();
        case.window.kernel = [1, 3];
        case.check();
    }
}

/// Windows of three rows and columns, with and without what lies around, over rows of any length.
#[test]
fn small_windows_slide() {
    for channels in [8, 16, 32, 49, 64, 96, 131] {
        for (height, width) in [(1, 1), (2, 3), (5, 4), (7, 9), (4, 30)] {
            for padding in [[[1, 1], [1, 1]], [[0, 1], [0, 1]], [[2, 5], [4, 3]]] {
                for stride in [[1, 1], [2, 2], [2, 1], [3, 1], [1, 2]] {
                    let image = [2, height, width, channels];
                    let case = case(image, 1, channels, [3, 3]).padded(padding).stride(stride);
                    if case.window.places([height, width]).is_ok() {
                        case.clone().check();
                        case.signed().check();
                    }
                }
            }
        }
    }
}

#[test]
fn pruned_weights_give_the_sums_that_they_are() {
    let around = [[1, 1], [1, 1]];
    let mut dilated = case([1, 9, 70, 48], 42, 1, [3, 2]).padded([[2, 1], [0, 3]]);
    dilated.window.dilation = [2, 3];
    for case in [
        case([2, 7, 9, 256], 142, 1, [1, 1]),
        case([1, 33, 40, 320], 161, 1, [1, 1]),
        // Two pixels more than a block.
        case([1, 10, 13, 300], 203, 1, [1, 1]),
        case([2, 7, 7, 64], 70, 1, [3, 3]).padded(around),
        case([1, 40, 30, 24], 64, 1, [3, 3]).padded(around),
        case([1, 12, 64, 128], 96, 1, [1, 2]),
        case([1, 60, 1, 96], 64, 1, [3, 1]).padded([[1, 1], [0, 0]]),
        dilated,
    ] {
        for (one_in, together) in [(20, 1), (9, 4)] {
            let pruned = case.clone().pruned(one_in, together);
            assert!(pruned.kind().starts_with("sparse conv"), "{pruned:?}");
            pruned.clone().check();
            pruned.signed().check();
        }
    }
    // Too few places, a stride, too many weights: dense products.
    case([1, 5, 5, 256], 256, 1, [1, 1]).pruned(12, 1).check();
    let strided = case([1, 9, 9, 32], 32, 1, [3, 3]).stride([2, 2]).padded(around).pruned(12, 1);
    assert_eq!(strided.kind(), "conv int8");
    assert_eq!(case([1, 9, 9, 256], 256, 1, [1, 1]).pruned(3, 1).kind(), "conv 1x1 int8");
    strided.check();
}

/// Sums of more products than int32 holds for certain.
#[test]
fn long_sums_do_not_wrap() {
    let long = case([1, 2, 2, 40_000], 3, 1, [2, 2]).padded([[0, 0], [1, 0]]);
    long.clone().check();
    long.signed().check();
}

#[test]
fn misfits_are_refused() {
    let window = Window::new([3, 3]);
    let isa = Isa::best();
    let w = [0_i8; 2 * 3 * 9];
    assert!(ConvI8::new(isa, &w, [2, 3, 3, 2], window, 1).is_err());
    assert!(ConvI8::new(isa, &w, [2, 3, 3, 3], Window::new([3, 2]), 1).is_err());
    assert!(ConvI8::new(isa, &w, [2, 3, 3, 3], window, 0).is_err());
    assert!(ConvI8::new(isa, &w[..27], [1, 3, 3, 3], window, 2).is_err());
    let conv = ConvI8::new(isa, &w, [2, 3, 3, 3], window, 1).unwrap();
    let images =
        |codes, zero_point| CodeImages { codes, shape: [1, 3, 3, 3], signed: false, zero_point };
    let output = Requantize { bias: &[], multiplier: &[1.0], zero_point: 0, min: 0, max: 255 };
    let mut out = [0_u8; 2];
    assert!(conv.to_codes(images(&[0; 27], 0), output, None, &mut out).is_ok());
    assert!(conv.to_codes(images(&[0; 26], 0), output, None, &mut out).is_err());
    assert!(conv.to_codes(images(&[0; 27], 256), output, None, &mut out).is_err());
    assert!(conv.to_codes(images(&[0; 27], 0), output, None, &mut out[..1]).is_err());
    let short = Residual { codes: &[0], signed: false, zero_point: 0, multiplier: 1.0, stride: 2 };
    assert!(conv.to_codes(images(&[0; 27], 0), output, Some(short), &mut out).is_err());
    let three = Requantize { multiplier: &[1.0; 3], ..output };
    assert!(conv.to_codes(images(&[0; 27], 0), three, None, &mut out).is_err());
}

fn cases() -> impl Strategy<Value = Case> {
    let image = (1_usize..3, 1_usize..12, 1_usize..12, 1_usize..40);
    let kernel = (1_usize..6, 1_usize..6);
    let steps = (1_usize..4, 1_usize..4, 1_usize..3, 1_usize..3);
    let padding = (0_usize..4, 0_usize..4, 0_usize..4, 0_usize..4);
    let groups = prop_oneof![Just(0), Just(1), 2_usize..4];
    (image, kernel, steps, padding, groups, 1_usize..20, any::<(bool, u8, u64)>()).prop_map(
        |(image, kernel, steps, padding, groups, own, (signed, zero, seed))| {
            let (batch, height, width, channels) = image;
            // None: a group for each channel.
            let (groups, channels, own) = match groups {
                0 => (channels, channels, 1 + own % 3),
                groups => (groups, channels.next_multiple_of(groups), own),
            };
            let window = Window {
                kernel: [kernel.0, kernel.1],
                stride: [steps.0, steps.1],
                dilation: [steps.2, steps.3],
                padding: [[padding.0, padding.1], [padding.2, padding.3]],
            };
            let zero_point = if signed { i32::from(zero as i8) } else { i32::from(zero) };
            let image = [batch, height, width, channels];
            let (one_in, together) = [(1, 1), (6, 1), (9, 3)][(seed % 3) as usize];
            Case { image, own, groups, window, signed, zero_point, seed, one_in, together }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_convolution_is_the_sums_that_it_is(case in cases()) {
        prop_assume!(case.window.places([case.image[1], case.image[2]]).is_ok());
        case.check();
    }
}
