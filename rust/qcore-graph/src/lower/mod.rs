//! From nodes to steps: which buffers hold a value, in which order of dims.

#![expect(
    clippy::disallowed_methods,
    reason = "lists of nodes and values, no more than the text has"
)]

mod codes;
pub(crate) mod layout;
mod rows;
mod tables;

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::fact::{Fact, Inputs};
use crate::operand::Affine;
use crate::plan::step::Step;
use crate::plan::{Buffer, Draft, MAX_OUTPUTS, Origin, Plan, Ref};
use crate::shape;
use crate::tensor::Tensor;
pub(crate) use codes::Moved;
pub(crate) use codes::{Codes, WeightCodes};
pub(crate) use layout::Layout;
pub(crate) use rows::{Asked, BLOCK, RowCodes, RowTargets};

/// Weights as kernels read them, kept from one compilation to the next.
#[derive(Default)]
pub(crate) struct Prepared {
    kept: Mutex<HashMap<(usize, String), Arc<dyn Any + Send + Sync>>>,
}

/// What the elements of a buffer are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The value's own.
    Own,
    /// Codes that stand for floats.
    Codes,
}

/// The buffers that hold a value: by what their elements are, and by layout.
#[derive(Clone, Copy, Default)]
struct Forms([[Option<Ref>; 2]; 2]);

impl Forms {
    fn get(self, kind: Kind, layout: Layout) -> Option<Ref> {
        self.0[kind as usize][layout as usize]
    }

    fn set(&mut self, kind: Kind, layout: Layout, r: Ref) {
        self.0[kind as usize][layout as usize] = Some(r);
    }

    fn any(self, layout: Layout) -> bool {
        self.0.iter().any(|kinds| kinds[layout as usize].is_some())
    }
}

/// A value with what is known of it, and the node that asks for it.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) value: usize,
    pub(crate) fact: &'a Fact,
    pub(crate) node: usize,
}

/// What lowering has made so far.
#[derive(Default)]
pub(crate) struct Builder {
    buffers: Vec<Buffer>,
    drafts: Vec<Draft>,
    constants: Vec<Tensor>,
    constant_refs: HashMap<usize, Ref>,
    forms: HashMap<usize, Forms>,
    /// Inputs that are codes for all their readers, as the floats that they are given as.
    given: HashMap<usize, Ref>,
    /// Values that are functions of the codes of others, computed where they are read.
    functions: HashMap<usize, tables::Function>,
    /// Values as rows of codes.
    rows: HashMap<usize, RowCodes>,
    /// In which forms values are read.
    asked: HashMap<usize, Asked>,
    /// How many read a value.
    readers: HashMap<usize, usize>,
    /// The value whose rows of floats a step has made, and which step.
    finished: Option<(usize, usize)>,
    input_lens: Vec<usize>,
    codes: Arc<Codes>,
    /// Identities of tensors that outlive the plan, and what was made of them.
    prepared: Option<(Arc<Prepared>, Arc<std::collections::HashSet<usize>>)>,
}

impl Builder {
    /// A builder that keeps what it makes of lasting tensors.
    pub(crate) fn keeping(
        prepared: Arc<Prepared>,
        lasting: Arc<std::collections::HashSet<usize>>,
        codes: Arc<Codes>,
    ) -> Self {
        Self { prepared: Some((prepared, lasting)), codes, ..Self::default() }
    }

    /// Declares an input of the plan that holds a value.
    pub(crate) fn input(&mut self, value: usize, len: usize) {
        let origin = Origin::Input(self.input_lens.len());
        self.input_lens.push(len);
        let r = self.buffer(origin, len);
        if self.codes.values.contains_key(&value) {
            self.given.insert(value, r);
        } else {
            self.set(value, Kind::Own, Layout::Plain, r);
        }
    }

    fn set(&mut self, value: usize, kind: Kind, layout: Layout, r: Ref) {
        self.forms.entry(value).or_default().set(kind, layout, r);
    }

    fn form(&self, value: usize, kind: Kind, layout: Layout) -> Option<Ref> {
        self.forms.get(&value).copied().unwrap_or_default().get(kind, layout)
    }

    /// Makes one value hold what another holds.
    pub(crate) fn same(&mut self, from: usize, to: usize) {
        let forms = self.forms.get(&from).copied().unwrap_or_default();
        self.forms.insert(to, forms);
        if let Some(function) = self.functions.get(&from).cloned() {
            self.functions.insert(to, function);
        }
        if let Some(&rows) = self.rows.get(&from) {
            self.rows.insert(to, rows);
        }
    }

    fn buffer(&mut self, origin: Origin, len: usize) -> Ref {
        self.buffers.push(Buffer { origin, len });
        self.buffers.len() - 1
    }

    fn constant(&mut self, tensor: &Tensor) -> Ref {
        if let Some(&r) = self.constant_refs.get(&tensor.identity()) {
            return r;
        }
        let origin = Origin::Constant(self.constants.len());
        // Kept in the plan, so no other tensor takes its identity.
        self.constants.push(tensor.clone());
        let r = self.buffer(origin, tensor.bytes().len());
        self.constant_refs.insert(tensor.identity(), r);
        r
    }

    fn push(&mut self, draft: Draft) {
        self.drafts.push(draft);
    }

    /// A value's own elements in a layout.
    pub(crate) fn own(&mut self, at: At<'_>, layout: Layout) -> Result<Ref> {
        if let Some(r) = self.form(at.value, Kind::Own, layout) {
            return Ok(r);
        }
        let r = if let Some(tensor) = &at.fact.value {
            self.constant(&layout::moved(tensor, layout)?)
        } else if let Some(codes) = self.form(at.value, Kind::Codes, layout) {
            self.decode(at, codes)?
        } else if let Some(other) = self.form(at.value, Kind::Own, layout.other()) {
            self.convert(other, at, at.fact.dtype.size(), layout)?
        } else if let Some(other) = self.form(at.value, Kind::Codes, layout.other()) {
            let codes = self.convert(other, at, 1, layout)?;
            self.set(at.value, Kind::Codes, layout, codes);
            self.decode(at, codes)?
        } else if self.given.contains_key(&at.value) {
            let codes = self.coded(at, layout)?;
            self.decode(at, codes)?
        } else if let Some(r) = self.computed(at, layout)? {
            r
        } else {
            return Err(crate::error::spec_error!("a value is read before it is made"));
        };
        self.set(at.value, Kind::Own, layout, r);
        Ok(r)
    }

    fn affine(&self, value: usize) -> Result<Affine> {
        let found = self.codes.values.get(&value).copied();
        found.ok_or_else(|| crate::error::spec_error!("a value has no codes"))
    }

    /// The same value in another layout.
    fn convert(&mut self, from: Ref, at: At<'_>, size: usize, to: Layout) -> Result<Ref> {
        let Some(step) = layout::conversion(at.fact, size, to)? else { return Ok(from) };
        Ok(self.step(step, from, self.buffers[from].len, at.node))
    }

    /// Adds a step from one buffer to a new one.
    fn step(&mut self, step: Box<dyn Step>, from: Ref, len: usize, node: usize) -> Ref {
        let out = self.buffer(Origin::Step, len);
        let (inputs, outputs) = (vec![from], vec![out]);
        self.push(Draft { node, step, inputs, outputs, scratch: 0, in_place: None });
        out
    }

    /// The plan of all steps, whose outputs are these values.
    pub(crate) fn finish(mut self, outputs: &[(usize, &Fact)], node: usize) -> Result<Plan> {
        let mut refs = Vec::with_capacity(outputs.len());
        for &(value, fact) in outputs {
            let mut r = self.own(At { value, fact, node }, Layout::Plain)?;
            if self.buffers[r].origin != Origin::Step || refs.contains(&r) {
                let len = self.buffers[r].len;
                r = self.step(layout::copy(len), r, len, node);
            }
            refs.push(r);
        }
        Plan::new(&self.buffers, self.drafts, self.constants, &refs, self.input_lens)
    }
}

/// A node that is being lowered.
pub(crate) struct Context<'a> {
    /// Facts of its inputs.
    pub(crate) inputs: Inputs<'a>,
    /// Facts of its outputs.
    pub(crate) outputs: &'a [Fact],
    pub(crate) node: usize,
    pub(crate) input_values: &'a [Option<usize>],
    pub(crate) output_values: &'a [Option<usize>],
    pub(crate) builder: &'a mut Builder,
}

/// A step to be added.
pub(crate) struct Emit<'e> {
    pub(crate) step: Box<dyn Step>,
    pub(crate) inputs: Vec<Ref>,
    /// Bytes that the step works in.
    pub(crate) scratch: usize,
    /// The input whose memory output 0 may take.
    pub(crate) in_place: Option<usize>,
    /// The layout of each output.
    pub(crate) layouts: &'e [Layout],
}

impl Context<'_> {
    /// An input's own elements in a layout; [`Layout::Last`] is for rank 3 and more.
    pub(crate) fn input(&mut self, input: usize, layout: Layout) -> Result<Ref> {
        let fact = self.inputs.get(input)?;
        let at = At { value: self.value(input)?, fact, node: self.node };
        self.builder.own(at, layout)
    }

    /// An input with its dims in row-major order.
    pub(crate) fn plain(&mut self, input: usize) -> Result<Ref> {
        self.input(input, Layout::Plain)
    }

    /// An input of rank 3 or more with its channels last.
    pub(crate) fn last(&mut self, input: usize) -> Result<Ref> {
        self.input(input, Layout::Last)
    }

    /// The codes of an input that has an [`Context::affine`], in a layout.
    pub(crate) fn codes(&mut self, input: usize, layout: Layout) -> Result<Ref> {
        let fact = self.inputs.get(input)?;
        let at = At { value: self.value(input)?, fact, node: self.node };
        self.builder.coded(at, layout)
    }

    /// How the codes of an input stand for its values, if it has codes.
    pub(crate) fn affine(&self, input: usize) -> Option<Affine> {
        let value = self.input_values.get(input).copied().flatten()?;
        self.builder.codes.values.get(&value).copied()
    }

    /// How the codes of an output stand for its values, if it has codes.
    pub(crate) fn output_affine(&self, output: usize) -> Option<Affine> {
        let value = self.output_values.get(output).copied().flatten()?;
        self.builder.codes.values.get(&value).copied()
    }

    /// The int8 codes of a constant, if it has codes.
    pub(crate) fn weight_codes(&self, input: usize) -> Option<WeightCodes> {
        let value = self.input_values.get(input).copied().flatten()?;
        self.builder.codes.weights.get(&value).cloned()
    }

    fn value(&self, input: usize) -> Result<usize> {
        let value = self.input_values.get(input).copied().flatten();
        value.ok_or_else(|| crate::error::spec_error!("input {input} is missing"))
    }

    /// Whether an input is there with its channels last; a plain form would have to be made.
    pub(crate) fn is_last(&self, input: usize) -> bool {
        let value = self.input_values.get(input).copied().flatten();
        let value = value.map(|value| self.builder.root(value));
        let forms = value.and_then(|value| self.builder.forms.get(&value));
        forms.is_some_and(|forms| forms.any(Layout::Last) && !forms.any(Layout::Plain))
    }

    /// The layout in which an input is there.
    pub(crate) fn layout(&self, input: usize) -> Layout {
        if self.is_last(input) { Layout::Last } else { Layout::Plain }
    }

    /// Adds a step that makes the outputs of the node.
    pub(crate) fn emit(&mut self, emit: Emit<'_>) -> Result<()> {
        let lens = self.output_lens()?;
        let refs = self.emit_buffers(emit.step, emit.inputs, &lens, emit.scratch, emit.in_place)?;
        for (index, (&r, &layout)) in refs.iter().zip(emit.layouts).enumerate() {
            self.set(index, layout, r)?;
        }
        Ok(())
    }

    /// [`Context::emit`] of a step with plain outputs and nothing special.
    pub(crate) fn emit_plain(&mut self, step: Box<dyn Step>, inputs: Vec<Ref>) -> Result<()> {
        let layouts = vec![Layout::Plain; self.outputs.len()];
        self.emit(Emit { step, inputs, scratch: 0, in_place: None, layouts: &layouts })
    }

    /// Adds a step that makes buffers of these lengths.
    pub(crate) fn emit_buffers(
        &mut self,
        step: Box<dyn Step>,
        inputs: Vec<Ref>,
        lens: &[usize],
        scratch: usize,
        in_place: Option<usize>,
    ) -> Result<Vec<Ref>> {
        // The last bit is the scratch's.
        if lens.len() >= MAX_OUTPUTS {
            return Err(crate::error::value_error!("{} outputs are too many", lens.len()));
        }
        let outputs: Vec<Ref> =
            lens.iter().map(|&len| self.builder.buffer(Origin::Step, len)).collect();
        let node = self.node;
        let draft = Draft { node, step, inputs, outputs: outputs.clone(), scratch, in_place };
        self.builder.push(draft);
        Ok(outputs)
    }

    /// Says which buffer holds an output. A value that has codes is what they stand for, so floats
    /// become codes here, for all its readers.
    pub(crate) fn set(&mut self, output: usize, layout: Layout, r: Ref) -> Result<()> {
        let Some(value) = self.output_values.get(output).copied().flatten() else { return Ok(()) };
        if self.output_affine(output).is_some() {
            let at = At { value, fact: &self.outputs[output], node: self.node };
            let codes = self.builder.encode(at, r)?;
            self.builder.set(value, Kind::Codes, layout, codes);
        } else {
            self.builder.set(value, Kind::Own, layout, r);
        }
        Ok(())
    }

    /// Says which buffer holds the codes of an output.
    pub(crate) fn set_codes(&mut self, output: usize, layout: Layout, r: Ref) {
        if let Some(value) = self.output_values.get(output).copied().flatten() {
            self.builder.set(value, Kind::Codes, layout, r);
        }
    }

    /// A constant of the plan.
    pub(crate) fn constant(&mut self, tensor: &Tensor) -> Ref {
        self.builder.constant(tensor)
    }

    /// What is made of a known tensor; made once where the tensor outlives the plan.
    pub(crate) fn prepared<T: Send + Sync + 'static>(
        &self,
        tensor: &Tensor,
        form: &str,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let Some((prepared, lasting)) = &self.builder.prepared else {
            return Ok(Arc::new(make()?));
        };
        if !lasting.contains(&tensor.identity()) {
            return Ok(Arc::new(make()?));
        }
        let key = (tensor.identity(), format!("{form} {:?}", tensor.dims()));
        let lock = || prepared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lock().get(&key).cloned().and_then(|kept| kept.downcast::<T>().ok());
        if let Some(found) = found {
            return Ok(found);
        }
        let made = Arc::new(make()?);
        lock().insert(key, Arc::clone(&made) as Arc<dyn Any + Send + Sync>);
        Ok(made)
    }

    fn output_lens(&self) -> Result<Vec<usize>> {
        self.outputs.iter().map(|fact| shape::nbytes(&fact.dims, fact.dtype)).collect()
    }
}
