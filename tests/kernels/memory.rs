//! Sizes that wrap and memory that is not there: every operation ends in an error that says so.

use qcore_kernels::entropy::{
    MatrixShape, decode_matrix, decode_sparse, encode_matrix, matrix_costs,
};
use qcore_kernels::epilogue::Activation;
use qcore_kernels::gemm::{
    CodeSteps, Codebook, FloatWeights, Int8, PackedI4, PackedI8, ZeroPoint, matmul_integer,
};
use qcore_kernels::interrupt;
use qcore_kernels::quant::{self, Codes, Layout, Method};
use qcore_kernels::sparse::{
    Blocks, Csr, FloatCsr, IntegerCsr, NofM, Order, Structured, StructuredFloat, multiply,
    multiply_integer,
};
use qcore_kernels::view::MatRef;
use qcore_kernels::{Isa, KernelError, Result};

/// Lengths of which no machine holds as many elements, up to those whose bytes wrap.
const FAR: [usize; 5] = [1 << 43, 1 << 47, 1 << 50, 1 << 59, 1 << 62];

/// A view of `rows` x `cols` that repeats one element.
fn repeated<T: Copy>(one: &T, rows: usize, cols: usize) -> Result<MatRef<'_, T>> {
    // SAFETY: every element is the one.
    unsafe { MatRef::from_raw(one, rows, cols, 0, 0) }
}

#[track_caller]
fn refused<T>(result: Result<T>) {
    match result.map(|_| ()) {
        Err(KernelError::Memory(text)) => assert!(!text.is_empty()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn views_larger_than_memory_are_not_laid_out() {
    for far in FAR {
        for (rows, cols) in [(far, 1), (1, far), (far, 16), (16, far), (far, far)] {
            let wide = || repeated(&1_i8, rows, cols);
            refused(wide().and_then(|b| PackedI8::new(Isa::Scalar, b)));
            refused(wide().and_then(|b| PackedI8::new(Isa::best(), b.transposed())));
            refused(
                wide()
                    .and_then(|b| PackedI4::new(b, usize::MAX, &vec![1.0; rows.min(16)]))
                    .or_else(shape),
            );
            refused(repeated(&1.0_f32, rows, cols).and_then(FloatWeights::from_f32));
            let steps = CodeSteps::Outputs { group: 1, scale: &[1.0], zero: &[] };
            refused(wide().and_then(|b| FloatWeights::from_i8(b, steps)).or_else(shape));
            let codes = repeated(&0_u8, rows, cols);
            refused(codes.and_then(|b| FloatWeights::from_codebook(b, &[1.0], 1, Codebook::One)));
            if cols == 1 {
                // Wider ones store what they find for as long as there is memory.
                refused(wide().and_then(Csr::from_dense));
                refused(wide().and_then(|b| Blocks::from_dense(b, 4, 1)));
            }
            refused(wide().and_then(|b| NofM::from_dense(b, 4, 4)));
        }
    }
}

/// Where an argument's length is wrong as well, that may be told first.
fn shape<T>(error: KernelError) -> Result<T> {
    match error {
        KernelError::Shape(text) => Err(KernelError::Memory(text)),
        other => Err(other),
    }
}

#[test]
fn products_of_views_larger_than_memory_end_in_errors() {
    let one = ZeroPoint::One(0);
    for far in FAR {
        for k in [far, far / 8] {
            for (m, n) in [(1, 1), (8, 64), (64, 3), (1, 100)] {
                let (a, b) = (repeated(&1_i8, m, k), repeated(&1_u8, k, n));
                let product = a.and_then(|a| b.map(|b| (a, b))).and_then(|(a, b)| {
                    let (a, b): (Int8<'_>, Int8<'_>) = (a.into(), b.into());
                    matmul_integer(a, b, one, one, &mut vec![0_i64; m * n])
                });
                refused(product);
            }
        }
        // No elements, and a result that no memory holds: out cannot have its length.
        let (a, b) = (repeated(&1_i8, far, 0), repeated(&1_i8, 0, far));
        let product = a.and_then(|a| b.map(|b| (a, b)));
        let product = product.and_then(|(a, b)| matmul_integer(a, b, one, one, &mut [0_i32; 0]));
        refused(product.or_else(shape));
    }
}

#[test]
fn sparse_matrices_of_many_rows_and_columns_end_in_errors() {
    for far in FAR {
        let column = [(far - 1) as i64];
        let wide = Csr::new(1, far, &[0_i64, 1], &column, vec![1.0_f32]).unwrap();
        refused(wide.transposed());
        refused(Csr::from_coordinates(far, 1, &column, &[0_i64], &[1.0_f32]));
        let x = repeated(&1.0_f32, far, 2);
        let wide = FloatCsr::new(wide);
        refused(x.and_then(|x| multiply(&wide, x, Order::Rows, &mut [0.0; 2])));
        let x = repeated(&1.0_f32, far, 1);
        refused(x.and_then(|x| multiply(&wide, x, Order::Rows, &mut [0.0; 1])));
        let wide = Csr::new(1, far, &[0_i64, 1], &column, vec![1_i8]).unwrap();
        let wide = IntegerCsr::new(wide).unwrap();
        for n in [1, 70] {
            let x = repeated(&1_u8, far, n);
            let out = &mut vec![0_i32; n];
            refused(x.and_then(|x| multiply_integer(&wide, x, 0, Order::Rows, out)));
        }
        refused(repeated(&1.0_f32, far, 0).and_then(Csr::from_dense));
        let block = Blocks::new(4, far, (4, 1), &[0_i64, 1], &[0_i64], &[1.0_f32; 4]).unwrap();
        refused(block.transposed());
        refused(block.to_csr().and_then(|csr| csr.transposed()));
        let x = repeated(&1.0_f32, far, 3);
        let block = StructuredFloat::new(block);
        refused(x.and_then(|x| block.multiply(x, false, &mut [0.0; 12])));
        if let Ok(none) = NofM::<f32>::from_codes(far, 0, 2, 4, vec![], vec![]) {
            refused(none.to_csr());
        }
    }
}

#[test]
fn blocks_of_any_size_take_what_they_hold() {
    // One value of a block that is larger than memory.
    let dense = [1.0_f32];
    let dense = || MatRef::from_slice(&dense, 1, 1).unwrap();
    refused(Blocks::from_dense(dense(), 9_999_800_001, 99_999));
    assert!(Blocks::from_dense(dense(), 1 << 62, 1 << 31).is_err());
    let zero: [i64; 3] = [0; 3];
    let empty = Blocks::<i8>::new(1 << 60, 9, (1 << 59, 3), &zero, &[], &[]).unwrap();
    let empty: qcore_kernels::sparse::BlocksInteger<i8> = empty.into();
    assert_eq!(empty.matrix().stored_values(), 0);
}

/// A matrix of few values in very many columns: laid out in proportion to the values.
#[test]
fn few_values_in_many_columns_take_little_memory() {
    let columns = 1 << 27;
    let blocks = Blocks::new(8, columns, (4, 1), &[0_i64, 1, 1], &[77_i64], &[2.0_f32; 4]).unwrap();
    let x = vec![3.0_f32; columns];
    let x = MatRef::from_slice(&x, columns, 1).unwrap();
    let mut out = [f32::NAN; 8];
    StructuredFloat::new(blocks).multiply(x, false, &mut out).unwrap();
    assert_eq!(out, [6.0, 6.0, 6.0, 6.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn scales_of_axes_without_elements_end_in_errors() {
    for far in FAR {
        let layout = Layout::Axis { channels: far, inner: 0 };
        refused(quant::ranges::<f32>(&[], layout));
        let codes = Codes { min: -127, max: 127, symmetric: true };
        for method in [Method::MinMax, Method::Mse, Method::Entropy, Method::Percentile(99.0)] {
            refused(quant::observe::<f32>(&[], layout, method, codes));
        }
        refused(quant::kmeans(&[], None, far));
        refused(quant::kmeans(&[1.0, 2.0], None, far));
    }
}

#[test]
fn coded_matrices_that_their_bytes_do_not_hold_are_refused() {
    for far in FAR.into_iter().chain([1 << 30, 1 << 40]) {
        for (rows, columns) in [(0, far), (far, 0), (far, 1), (1, far), (far, far)] {
            for stride in [0, 1, columns] {
                let shape = MatrixShape { rows, columns, levels: 3, zero: 0, stride };
                let bytes = [7_u8; 100];
                assert!(decode_sparse(&bytes, shape).is_err(), "{shape:?}");
                assert!(decode_matrix(&bytes, shape, &mut []).is_err(), "{shape:?}");
                assert!(shape.check_bytes(100).is_err(), "{shape:?}");
            }
        }
        let shape = MatrixShape { rows: 0, columns: far, levels: 3, zero: 0, stride: 0 };
        if far > 1 << 40 {
            refused(encode_matrix(&[], shape));
            refused(matrix_costs(&[], shape, &mut [], &mut []));
        }
    }
}

/// An operation that is stopped says so, and what it was to make is not kept.
#[test]
fn operations_that_are_stopped_say_so() {
    let n = 1200;
    let dense: Vec<i8> = (0..n * n).map(|i| (i % 7) as i8 - 3).collect();
    let floats: Vec<f32> = dense.iter().map(|&value| f32::from(value)).collect();
    let (dense, wide) = (view(&dense, n), view(&floats, n));
    let csr = FloatCsr::new(Csr::from_dense(wide).unwrap());
    let weights = FloatWeights::from_f32(wide).unwrap();
    let mut codes = vec![0_i8; n * n];
    let mut sums = vec![0_i32; n * n];
    let mut out = vec![0.0_f32; n * n];
    let zero = ZeroPoint::One(0);
    let params = quant::Params {
        layout: Layout::Tensor,
        scale: &[1.0],
        zero_point: &[],
        min: -128,
        max: 127,
    };
    stopped(|| matmul_integer(dense, dense, zero, zero, &mut sums));
    stopped(|| PackedI8::new(Isa::best(), dense).map(|_| ()));
    stopped(|| multiply(&csr, wide, Order::Rows, &mut out));
    stopped(|| {
        qcore_kernels::gemm::dense_f32(&floats, &weights, &[], Activation::default(), &mut out)
    });
    stopped(|| quant::quantize(&floats, params, &mut codes).map(|_| ()));
    stopped(|| quant::kmeans(&floats, None, 64).map(|_| ()));
    stopped(|| quant::ranges(&floats, Layout::Tensor).map(|_| ()));
    stopped(|| csr.matrix().transposed().map(|_| ()));
    stopped(|| NofM::from_dense(wide, 4, 4).map(|_| ()));
    stopped(|| Blocks::from_dense(wide, 4, 1).map(|_| ()));
    let mut mask = vec![false; n * n];
    stopped(|| qcore_kernels::prune::keep_largest(&[&floats], n, &mut [&mut mask]));
    // Made anew, and whole.
    multiply(&csr, wide, Order::Rows, &mut out).unwrap();
    let sum: f32 = (0..n).map(|k| floats[k] * floats[k * n]).sum();
    assert!((out[0] - sum).abs() <= 1e-3 * sum.abs().max(1.0));
}

fn view<T: Copy>(values: &[T], n: usize) -> MatRef<'_, T> {
    MatRef::from_slice(values, n, n).unwrap()
}

/// Runs an operation again and again until it was under way when it was to stop.
#[track_caller]
fn stopped(mut operation: impl FnMut() -> Result<()>) {
    let again = || loop {
        operation()?;
    };
    assert_eq!(interrupt::watched::<()>(|| true, again), Err(KernelError::Interrupted));
}
