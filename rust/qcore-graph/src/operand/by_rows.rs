//! Sparse weights for many rows, dense ones for few.

use qcore_kernels::made::Made;
use qcore_kernels::{Isa, Result};

use super::Operand;

/// Weights for `rows` rows and more. For fewer they are made dense, by the first call that has as few.
struct ByRows {
    many: Box<dyn Operand>,
    rows: usize,
    few: Made<Box<dyn Operand>>,
}

/// Sparse weights for `rows` rows and more, which become dense ones for fewer.
#[must_use]
pub fn by_rows(many: Box<dyn Operand>, rows: usize) -> Box<dyn Operand> {
    if rows <= 1 {
        return many;
    }
    Box::new(ByRows { many, rows, few: Made::new() })
}

impl Operand for ByRows {
    fn inputs(&self) -> usize {
        self.many.inputs()
    }

    fn outputs(&self) -> usize {
        self.many.outputs()
    }

    fn work(&self) -> usize {
        self.many.work()
    }

    fn scale(&self) -> &[f32] {
        self.many.scale()
    }

    fn is_integer(&self) -> bool {
        self.many.is_integer()
    }

    fn kind(&self) -> &'static str {
        self.many.kind()
    }

    fn nbytes(&self) -> usize {
        self.many.nbytes() + self.few.get().map_or(0, |few| few.nbytes())
    }

    fn for_rows(&self, isa: Isa, rows: usize) -> Result<&dyn Operand> {
        if rows < self.rows {
            return Ok(&**self.few.get_or_make(|| self.many.dense(isa))?);
        }
        self.many.for_rows(isa, rows)
    }

    fn dense(&self, isa: Isa) -> Result<Box<dyn Operand>> {
        self.many.dense(isa)
    }
}
