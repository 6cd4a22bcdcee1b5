//! The loop on a model of the tile unit, against plain sums: tails, signs, strides, and whole products
//! through the same drivers as every kernel.

use super::super::super::drive::{Columns, Product};
use super::super::super::left::Source;
use super::super::super::operand::{Int8, ZeroPoint};
use super::super::super::packed::PackedI8;
use super::super::super::sink::Out;
use super::*;
use crate::view::{MatRef, as_signed};

/// Eight tiles of 16 rows and 64 bytes, as Intel describes them; what the CPU would refuse panics.
struct Model {
    config: Option<Config>,
    tiles: [[[u8; 64]; 16]; 8],
}

impl Model {
    fn new() -> Self {
        Self { config: None, tiles: [[[0; 64]; 16]; 8] }
    }

    /// Rows and bytes of a row.
    fn shape(&self, tile: u8) -> (usize, usize) {
        let config = self.config.expect("tiles are configured");
        let (rows, bytes) = (config.rows[tile as usize], config.row_bytes[tile as usize]);
        assert!(rows > 0 && bytes > 0, "tile {tile} has no shape");
        (rows as usize, bytes as usize)
    }
}

impl Tiles for Model {
    unsafe fn configure(&mut self, config: &Config) {
        assert_eq!((config.palette, config.start_row), (1, 0));
        assert_eq!(config.reserved, [0; 14]);
        for tile in 0..16 {
            let (rows, bytes) = (config.rows[tile], config.row_bytes[tile]);
            assert!(rows <= 16 && bytes <= 64 && (rows == 0) == (bytes == 0), "tile {tile}");
            assert!(tile < 8 || rows == 0, "palette 1 has eight tiles");
        }
        *self = Self { config: Some(*config), ..Self::new() };
    }

    unsafe fn load<const TILE: u8>(&mut self, ptr: *const u8, stride: usize) {
        let (rows, bytes) = self.shape(TILE);
        let tile = &mut self.tiles[TILE as usize];
        *tile = [[0; 64]; 16];
        for (row, out) in tile.iter_mut().enumerate().take(rows) {
            // SAFETY: the caller vouches for the rows.
            let line = unsafe { std::slice::from_raw_parts(ptr.add(row * stride), bytes) };
            out[..bytes].copy_from_slice(line);
        }
    }

    unsafe fn dot<const SUM: u8, const LEFT: u8, const RIGHT: u8>(&mut self, signed: bool) {
        assert!(SUM != LEFT && SUM != RIGHT && LEFT != RIGHT, "three different tiles");
        let ((rows, sum_bytes), (left_rows, depth)) = (self.shape(SUM), self.shape(LEFT));
        let (right_rows, right_bytes) = self.shape(RIGHT);
        assert_eq!((rows, sum_bytes, depth), (left_rows, right_bytes, 4 * right_rows));
        let (left, right) = (self.tiles[LEFT as usize], self.tiles[RIGHT as usize]);
        for (sums, left) in self.tiles[SUM as usize].iter_mut().zip(left).take(rows) {
            for (column, sum) in sums[..sum_bytes].as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let products = (0..depth).map(|k| {
                    let a = if signed { i32::from(left[k] as i8) } else { i32::from(left[k]) };
                    a * i32::from(right[k / 4][4 * column + k % 4] as i8)
                });
                let start = i32::from_le_bytes(*sum);
                *sum = products.fold(start, i32::wrapping_add).to_le_bytes();
            }
        }
    }

    unsafe fn store<const TILE: u8>(&mut self, ptr: *mut u8, stride: usize) {
        let (rows, bytes) = self.shape(TILE);
        for (row, line) in self.tiles[TILE as usize].iter().enumerate().take(rows) {
            // SAFETY: the caller vouches for the rows.
            let out = unsafe { std::slice::from_raw_parts_mut(ptr.add(row * stride), bytes) };
            out.copy_from_slice(&line[..bytes]);
        }
    }

    unsafe fn release(&mut self) {
        self.config = None;
    }
}

unsafe fn model_tile<const ROWS: usize, const UNITS: usize>(t: &Tile) {
    let mut model = Model::new();
    // SAFETY: the caller's promise is this function's own.
    unsafe { run(&mut model, t, ROWS, UNITS) };
    assert!(model.config.is_none(), "the tiles were given back");
}

/// The kernel of this file, its instructions replaced.
mod model {
    use super::model_tile as tile;
    use super::*;

    pub(super) static KERNEL: Kernel = Kernel {
        id: "any-i8i8s32-scalar-amx-model",
        isa: Isa::Scalar,
        left: Left::Bytes,
        layout: Layout::Fours,
        many: None,
        one: None,
        limits: &limits::PLAIN,
        unit: PANEL,
        tiles: &[all_rows!(1), all_rows!(2), all_rows!(3), all_rows!(4)],
        narrow: &[],
        narrow_units: UNITS,
    };
}

/// Bytes that repeat late, extremes among them.
fn bytes(count: usize, seed: usize) -> Vec<u8> {
    (0..count).map(|i| (((i + seed) * 2_654_435_761) >> 7) as u8).collect()
}

fn value(byte: u8, unsigned: bool) -> i64 {
    if unsigned { i64::from(byte) } else { i64::from(byte as i8) }
}

fn matrix(bytes: &[u8], rows: usize, cols: usize, unsigned: bool) -> Int8<'_> {
    if unsigned {
        MatRef::from_slice(bytes, rows, cols).unwrap().into()
    } else {
        MatRef::from_slice(as_signed(bytes), rows, cols).unwrap().into()
    }
}

fn check(kernel: &'static Kernel, (m, k, n): (usize, usize, usize), ua: bool, ub: bool) {
    let (a, b) = (bytes(m * k, 1), bytes(k * n, 2));
    let (za, zb) = (3, -2 + 130 * i32::from(ub));
    let right = matrix(&b, k, n, ub);
    let packed = PackedI8::new(Isa::Scalar, right).unwrap();
    let plain = Columns::Strips { bytes: right.bytes(), unsigned: ub };
    for columns in [Columns::Packed(&packed), plain] {
        let mut out = vec![-1_i32; m * n];
        let product = Product {
            isa: Isa::Scalar,
            kernel,
            a: Source {
                isa: Isa::Scalar,
                left: kernel.left,
                bytes: matrix(&a, m, k, ua).bytes(),
                unsigned: ua,
                patches: None,
            },
            b: columns,
            a_zero: ZeroPoint::One(za),
            b_zero: ZeroPoint::One(zb - 128 * i32::from(ub)),
        };
        product.run(&Out::new(&mut out, m, n, n).unwrap()).unwrap();
        for (at, &sum) in out.iter().enumerate() {
            let (i, j) = (at / n, at % n);
            let exact: i64 = (0..k)
                .map(|p| {
                    let b = value(b[p * n + j], ub) - i64::from(zb);
                    (value(a[i * k + p], ua) - i64::from(za)) * b
                })
                .sum();
            assert_eq!(i64::from(sum), exact, "{} {m}x{k}x{n} {ua} {ub} {i},{j}", kernel.id);
        }
    }
}

#[test]
fn the_model_gives_exact_products_of_every_shape_and_sign() {
    for (ua, ub) in [(false, false), (true, false), (false, true), (true, true)] {
        for m in [1, 2, 15, 16, 17, 33] {
            for k in [1, 4, 7, 60, 64, 65, 68, 128, 131] {
                for n in [1, 16, 17, 64, 65] {
                    check(&model::KERNEL, (m, k, n), ua, ub);
                }
            }
        }
    }
}

#[test]
fn the_instructions_do_what_the_model_does() {
    if !Isa::Amx.is_available() {
        return; // Every other test of products runs them, too, where the CPU has them.
    }
    for (ua, ub) in [(false, false), (true, false), (false, true), (true, true)] {
        for shape in [(1, 7, 1), (16, 64, 64), (17, 131, 65), (33, 320, 130)] {
            check(&KERNEL, shape, ua, ub);
        }
    }
}

#[test]
fn a_configuration_is_laid_out_as_the_instruction_reads_it() {
    assert_eq!(size_of::<Config>(), 64);
    assert_eq!(std::mem::offset_of!(Config, row_bytes), 16);
    assert_eq!(std::mem::offset_of!(Config, rows), 48);
}
