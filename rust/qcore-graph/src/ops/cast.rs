//! From one type of elements to another.

use qcore_kernels::interrupt;
use serde_json::Value;

use crate::dtype::{DType, with_type};
use crate::error::{Result, dtype_error, spec_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Emit};
use crate::memory::{self, Element};
use crate::op::{Make, Op, Spec};
use crate::plan::run::Io;
use crate::plan::step::Step;

pub(super) const OPS: &[(&str, Make)] =
    &[("Cast", cast), ("CastLike", |_| Ok(Box::new(Cast { to: None })))];

/// Types by ONNX's numbers; wider floats and half floats run as float32.
const NUMBERS: &[(i64, DType)] = &[
    (1, DType::F32),
    (2, DType::U8),
    (3, DType::I8),
    (6, DType::I32),
    (7, DType::I64),
    (9, DType::Bool),
    (10, DType::F32),
    (11, DType::F32),
    (16, DType::F32),
];

/// The type that an attribute names, by NumPy's name or by ONNX's number.
pub(super) fn named(value: &Value) -> Result<DType> {
    let found = match value {
        Value::String(name) => DType::from_name(name),
        value => value
            .as_i64()
            .and_then(|number| NUMBERS.iter().find(|line| line.0 == number))
            .map(|line| line.1),
    };
    found.ok_or_else(|| dtype_error!("the type {value} does not run inside"))
}

fn cast(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let to = spec.attributes.raw("to").ok_or_else(|| spec_error!("attribute 'to' is missing"))?;
    Ok(Box::new(Cast { to: Some(named(to)?) }))
}

struct Cast {
    /// None: that of input 1.
    to: Option<DType>,
}

impl Op for Cast {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.get(0)?;
        let to = match self.to {
            Some(to) => to,
            None => inputs.get(1)?.dtype,
        };
        Ok(vec![Fact::new(to, x.dims.clone())])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let layout = cx.layout(0);
        let r = cx.input(0, layout)?;
        let (from, to) = (cx.inputs.get(0)?.dtype, cx.outputs[0].dtype);
        if from == to {
            cx.set(0, layout, r)?;
            return Ok(());
        }
        let step = Box::new(CastStep { from, to, count: cx.outputs[0].count() });
        cx.emit(Emit { step, inputs: vec![r], scratch: 0, in_place: None, layouts: &[layout] })
    }
}

/// Casts every element; what does not fit saturates from floats and wraps from integers.
pub(super) struct CastStep {
    pub(super) from: DType,
    pub(super) to: DType,
    pub(super) count: usize,
}

/// Each value by itself.
fn map<A: Element, B: Element>(from: &[A], to: &mut [B], f: impl Fn(A) -> B) -> Result<()> {
    for (from, to) in from.chunks(memory::AT_ONCE).zip(to.chunks_mut(memory::AT_ONCE)) {
        interrupt::check()?;
        to.iter_mut().zip(from).for_each(|(to, &from)| *to = f(from));
    }
    Ok(())
}

impl Step for CastStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        with_type!(self.from, A => {
            let from = io.input::<A>(0);
            if self.to == DType::Bool {
                let zero = A::default();
                let to = io.output::<u8>(0)?;
                return map(from, to, |from| u8::from(from != zero));
            }
            with_type!(self.to, B => {
                let to = io.output::<B>(0)?;
                #[allow(clippy::unnecessary_cast, reason = "some pairs are of one type")]
                map(from, to, |from| from as B)?;
            });
        });
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "cast"
    }

    fn work(&self) -> usize {
        self.count
    }
}
