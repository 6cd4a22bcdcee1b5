//! From nodes to steps: which buffers hold a value, in which order of dims.

pub(crate) mod layout;

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::fact::{Fact, Inputs};
use crate::plan::{Buffer, Draft, MAX_OUTPUTS, Origin, Plan, Ref};
use crate::shape;
use crate::step::Step;
use crate::tensor::Tensor;
pub(crate) use layout::Layout;

/// Weights as kernels read them, kept from one compilation to the next.
#[derive(Default)]
pub(crate) struct Prepared {
    kept: Mutex<HashMap<(usize, String), Arc<dyn Any + Send + Sync>>>,
}

/// The buffers that hold a value.
#[derive(Clone, Copy, Default)]
struct Forms {
    plain: Option<Ref>,
    last: Option<Ref>,
}

/// What lowering has made so far.
#[derive(Default)]
pub(crate) struct Builder {
    buffers: Vec<Buffer>,
    drafts: Vec<Draft>,
    constants: Vec<Tensor>,
    constant_refs: HashMap<usize, Ref>,
    forms: HashMap<usize, Forms>,
    input_lens: Vec<usize>,
    /// Identities of tensors that outlive the plan, and what was made of them.
    prepared: Option<(Arc<Prepared>, Arc<std::collections::HashSet<usize>>)>,
}

impl Builder {
    /// A builder that keeps what it makes of lasting tensors.
    pub(crate) fn keeping(
        prepared: Arc<Prepared>,
        lasting: Arc<std::collections::HashSet<usize>>,
    ) -> Self {
        Self { prepared: Some((prepared, lasting)), ..Self::default() }
    }

    /// Declares an input of the plan that holds a value.
    pub(crate) fn input(&mut self, value: usize, len: usize) {
        let origin = Origin::Input(self.input_lens.len());
        self.input_lens.push(len);
        let r = self.buffer(origin, len);
        self.forms.insert(value, Forms { plain: Some(r), last: None });
    }

    /// Makes one value hold what another holds.
    pub(crate) fn same(&mut self, from: usize, to: usize) {
        let forms = self.forms.get(&from).copied().unwrap_or_default();
        self.forms.insert(to, forms);
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

    /// A value with its dims in row-major order.
    pub(crate) fn plain(&mut self, value: usize, fact: &Fact, node: usize) -> Result<Ref> {
        let forms = self.forms.get(&value).copied().unwrap_or_default();
        if let Some(r) = forms.plain {
            return Ok(r);
        }
        let r = if let Some(tensor) = &fact.value {
            self.constant(tensor)
        } else if let Some(last) = forms.last {
            self.convert(last, fact, Layout::Plain, node)?
        } else {
            return Err(crate::error::spec_error!("a value is read before it is made"));
        };
        self.forms.entry(value).or_default().plain = Some(r);
        Ok(r)
    }

    /// A value of rank 3 or more with its channels last.
    fn last(&mut self, value: usize, fact: &Fact, node: usize) -> Result<Ref> {
        if let Some(r) = self.forms.get(&value).copied().unwrap_or_default().last {
            return Ok(r);
        }
        let plain = self.plain(value, fact, node)?;
        let r = if let Some(tensor) = &fact.value {
            let moved = layout::moved(tensor, Layout::Last)?;
            self.constant(&moved)
        } else {
            self.convert(plain, fact, Layout::Last, node)?
        };
        self.forms.entry(value).or_default().last = Some(r);
        Ok(r)
    }

    /// The same value in the other layout.
    fn convert(&mut self, from: Ref, fact: &Fact, to: Layout, node: usize) -> Result<Ref> {
        let Some(step) = layout::conversion(fact, to)? else { return Ok(from) };
        let out = self.buffer(Origin::Step, self.buffers[from].len);
        let (inputs, outputs) = (vec![from], vec![out]);
        self.push(Draft { node, step, inputs, outputs, scratch: 0, in_place: None });
        Ok(out)
    }

    /// The plan of all steps, whose outputs are these values.
    pub(crate) fn finish(mut self, outputs: &[(usize, &Fact)], node: usize) -> Result<Plan> {
        let mut refs = Vec::with_capacity(outputs.len());
        for &(value, fact) in outputs {
            let mut r = self.plain(value, fact, node)?;
            if self.buffers[r].origin != Origin::Step || refs.contains(&r) {
                let out = self.buffer(Origin::Step, self.buffers[r].len);
                let step = layout::copy(self.buffers[r].len);
                let (inputs, outputs) = (vec![r], vec![out]);
                self.push(Draft { node, step, inputs, outputs, scratch: 0, in_place: None });
                r = out;
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
    fn value(&self, input: usize) -> Result<(usize, Fact)> {
        let fact = self.inputs.get(input)?.clone();
        let value = self.input_values.get(input).copied().flatten();
        let value = value.ok_or_else(|| crate::error::spec_error!("input {input} is missing"))?;
        Ok((value, fact))
    }

    /// An input with its dims in row-major order.
    pub(crate) fn plain(&mut self, input: usize) -> Result<Ref> {
        let (value, fact) = self.value(input)?;
        self.builder.plain(value, &fact, self.node)
    }

    /// An input of rank 3 or more with its channels last.
    pub(crate) fn last(&mut self, input: usize) -> Result<Ref> {
        let (value, fact) = self.value(input)?;
        self.builder.last(value, &fact, self.node)
    }

    /// An input in a layout.
    pub(crate) fn input(&mut self, input: usize, layout: Layout) -> Result<Ref> {
        match layout {
            Layout::Plain => self.plain(input),
            Layout::Last => self.last(input),
        }
    }

    /// Whether an input is there with its channels last; a plain form would have to be made.
    pub(crate) fn is_last(&self, input: usize) -> bool {
        let value = self.input_values.get(input).copied().flatten();
        let forms = value.and_then(|value| self.builder.forms.get(&value));
        forms.is_some_and(|forms| forms.last.is_some() && forms.plain.is_none())
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
            self.set(index, layout, r);
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

    /// Says which buffer holds an output.
    pub(crate) fn set(&mut self, output: usize, layout: Layout, r: Ref) {
        let Some(value) = self.output_values.get(output).copied().flatten() else { return };
        let forms = self.builder.forms.entry(value).or_default();
        match layout {
            Layout::Plain => forms.plain = Some(r),
            Layout::Last => forms.last = Some(r),
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
