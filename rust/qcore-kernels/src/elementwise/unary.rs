//! Functions of one element: the one table of them.

use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::math::{self, MAX_LANES};
use crate::simd::{Simd, SimdOp, dispatch};
use crate::threads;

/// A function of one element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, low), high)`.
    Clip {
        /// The least result.
        low: f32,
        /// The greatest result.
        high: f32,
    },
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `min(max(slope * x + offset, 0), 1)`.
    HardSigmoid {
        /// What `x` is multiplied by.
        slope: f32,
        /// The value at 0.
        offset: f32,
    },
    /// `x * min(max(x / 6 + 1/2, 0), 1)`.
    HardSwish,
    /// `x / (1 + e^-x)`.
    Silu,
    /// `x/2 * (1 + erf(x / √2))`.
    Gelu,
    /// [`Unary::Gelu`], nearly, by tanh.
    GeluTanh,
    /// `x`, times `slope` below 0.
    LeakyRelu {
        /// What negative values are multiplied by.
        slope: f32,
    },
    /// `x`, and `scale * (e^x - 1)` below 0.
    Elu {
        /// What is approached below 0, negated.
        scale: f32,
    },
    /// `ln(1 + e^x)`.
    Softplus,
    /// The error function.
    Erf,
    /// `e^x`.
    Exp,
    /// The natural logarithm.
    Log,
    /// The square root.
    Sqrt,
    /// `1 / x`.
    Reciprocal,
    /// `x * x`.
    Square,
    /// `-x`.
    Neg,
    /// The absolute value.
    Abs,
    /// The greatest integer that is not above.
    Floor,
    /// The least integer that is not below.
    Ceil,
    /// The nearest integer, half to even.
    Round,
    /// -1, 0 or 1.
    Sign,
}

/// Every function by name, with the parameters that it has where none are given.
const NAMES: [(&str, Unary); 26] = [
    ("relu", Unary::Relu),
    ("relu6", Unary::Clip { low: 0.0, high: 6.0 }),
    ("clip", Unary::Clip { low: f32::NEG_INFINITY, high: f32::INFINITY }),
    ("sigmoid", Unary::Sigmoid),
    ("tanh", Unary::Tanh),
    ("hard_sigmoid", Unary::HardSigmoid { slope: 0.2, offset: 0.5 }),
    ("hard_swish", Unary::HardSwish),
    ("silu", Unary::Silu),
    ("gelu", Unary::Gelu),
    ("gelu_tanh", Unary::GeluTanh),
    ("leaky_relu", Unary::LeakyRelu { slope: 0.01 }),
    ("elu", Unary::Elu { scale: 1.0 }),
    ("softplus", Unary::Softplus),
    ("erf", Unary::Erf),
    ("exp", Unary::Exp),
    ("log", Unary::Log),
    ("sqrt", Unary::Sqrt),
    ("reciprocal", Unary::Reciprocal),
    ("square", Unary::Square),
    ("neg", Unary::Neg),
    ("abs", Unary::Abs),
    ("floor", Unary::Floor),
    ("ceil", Unary::Ceil),
    ("round", Unary::Round),
    ("sign", Unary::Sign),
    ("relu1", Unary::Clip { low: -1.0, high: 1.0 }),
];

impl Unary {
    /// The function of a name, with ONNX's defaults for its parameters.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|entry| entry.0 == name).map(|entry| entry.1)
    }

    /// Every name that [`Unary::from_name`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|entry| entry.0)
    }

    /// The bounds of a function that does nothing but clamp.
    #[must_use]
    pub fn bounds(self) -> Option<(f32, f32)> {
        match self {
            Unary::Relu => Some((0.0, f32::INFINITY)),
            Unary::Clip { low, high } => Some((low, high)),
            _ => None,
        }
    }

    /// How many times as long as a copy it takes, about.
    fn cost(self) -> usize {
        match self {
            Unary::Sigmoid
            | Unary::Tanh
            | Unary::Silu
            | Unary::Gelu
            | Unary::GeluTanh
            | Unary::Erf
            | Unary::Exp
            | Unary::Log
            | Unary::Softplus
            | Unary::Elu { .. } => 8,
            _ => 1,
        }
    }
}

/// Elements of a copy that are worth a thread.
const GRAIN: usize = 1 << 18;

/// [`unary_with`] on the instruction set in force.
pub fn unary(function: Unary, x: &[f32], out: &mut [f32]) -> Result<()> {
    unary_with(isa::active()?, function, x, out)
}

/// `out = function(x)`, element by element.
pub fn unary_with(isa: Isa, function: Unary, x: &[f32], out: &mut [f32]) -> Result<()> {
    if x.len() != out.len() {
        return Err(KernelError::Shape(format!(
            "x has {} elements and out {}; they must have as many",
            x.len(),
            out.len()
        )));
    }
    let tasks = threads::tasks_for(x.len(), function.cost(), GRAIN);
    threads::for_each_chunk(out, chunk(x.len(), tasks, function), |start, out| {
        map(isa, function, &x[start..start + out.len()], out);
    });
    Ok(())
}

/// [`unary_in_place_with`] on the instruction set in force.
pub fn unary_in_place(function: Unary, x: &mut [f32]) -> Result<()> {
    unary_in_place_with(isa::active()?, function, x);
    Ok(())
}

/// `x = function(x)`, element by element.
pub fn unary_in_place_with(isa: Isa, function: Unary, x: &mut [f32]) {
    let len = x.len();
    let tasks = threads::tasks_for(len, function.cost(), GRAIN);
    threads::for_each_chunk(x, chunk(len, tasks, function), |_, part| map_row(isa, function, part));
}

/// Elements of a task, whole cache lines.
fn chunk(len: usize, tasks: usize, function: Unary) -> usize {
    threads::share(len, tasks, function.cost()).next_multiple_of(MAX_LANES)
}

fn map(isa: Isa, function: Unary, x: &[f32], out: &mut [f32]) {
    let len = x.len().min(out.len());
    dispatch(isa, Map { function, x: x.as_ptr(), out: out.as_mut_ptr(), len });
}

/// `row = function(row)` on the calling thread.
pub(crate) fn map_row(isa: Isa, function: Unary, row: &mut [f32]) {
    let out = row.as_mut_ptr();
    dispatch(isa, Map { function, x: out.cast_const(), out, len: row.len() });
}

/// `len` elements from `x` to `out`, which are valid for them and may be the same.
struct Map {
    function: Unary,
    x: *const f32,
    out: *mut f32,
    len: usize,
}

impl SimdOp for Map {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Map { function, x, out, len } = self;
        /// The loop of one function. Not a closure: what it calls would not be compiled for the
        /// vectors' features.
        macro_rules! each {
            ($value:ident => $result:expr) => {{
                let body = len / S::LANES * S::LANES;
                let mut at = 0;
                while at < body {
                    // SAFETY: both are valid for `len` elements, of which LANES follow.
                    unsafe {
                        let $value = s.load_f32(x.add(at));
                        s.store_f32(out.add(at), $result);
                    }
                    at += S::LANES;
                }
                if body < len {
                    let mut room = [1.0_f32; MAX_LANES];
                    // SAFETY: fewer than LANES elements are left, which the room holds.
                    unsafe {
                        x.add(body).copy_to_nonoverlapping(room.as_mut_ptr(), len - body);
                        let $value = s.load_f32(room.as_ptr());
                        s.store_f32(room.as_mut_ptr(), $result);
                        out.add(body).copy_from_nonoverlapping(room.as_ptr(), len - body);
                    }
                }
            }};
        }
        let zero = s.splat_f32(0.0);
        let one = s.splat_f32(1.0);
        match function {
            Unary::Relu => each!(x => s.max(zero, x)),
            Unary::Clip { low, high } => {
                let (low, high) = (s.splat_f32(low), s.splat_f32(high));
                each!(x => math::clip(s, x, low, high));
            }
            Unary::Sigmoid => each!(x => math::sigmoid(s, x)),
            Unary::Tanh => each!(x => math::tanh(s, x)),
            Unary::HardSigmoid { slope, offset } => {
                each!(x => math::hard_sigmoid(s, x, slope, offset));
            }
            Unary::HardSwish => each!(x => math::hard_swish(s, x)),
            Unary::Silu => each!(x => math::silu(s, x)),
            Unary::Gelu => each!(x => math::gelu(s, x)),
            Unary::GeluTanh => each!(x => math::gelu_tanh(s, x)),
            Unary::LeakyRelu { slope } => {
                let slope = s.splat_f32(slope);
                each!(x => math::leaky_relu(s, x, slope));
            }
            Unary::Elu { scale } => each!(x => math::elu(s, x, scale)),
            Unary::Softplus => each!(x => math::softplus(s, x)),
            Unary::Erf => each!(x => math::erf(s, x)),
            Unary::Exp => each!(x => math::exp(s, x)),
            Unary::Log => each!(x => math::log(s, x)),
            Unary::Sqrt => each!(x => s.sqrt(x)),
            Unary::Reciprocal => each!(x => s.div(one, x)),
            Unary::Square => each!(x => s.mul(x, x)),
            Unary::Neg => {
                let sign = s.splat_i32(i32::MIN);
                each!(x => s.float_of(s.add_i32(s.bits_of(x), sign)));
            }
            Unary::Abs => each!(x => s.abs(x)),
            Unary::Floor => each!(x => s.floor(x)),
            // -0 - floor(-0 - x): 0 keeps its sign.
            Unary::Ceil => {
                let negative = s.splat_f32(-0.0);
                each!(x => s.sub(negative, s.floor(s.sub(negative, x))));
            }
            Unary::Round => each!(x => s.round(x)),
            Unary::Sign => each!(x => {
                let below = s.select(s.lt(x, zero), s.splat_f32(-1.0), x);
                s.select(s.lt(zero, x), one, below)
            }),
        }
    }
}
