//! What is known of values before the inputs' shapes are: their types and dims, named ones included.
//!
//! Facts are inferred for shapes of known sizes only. So each named dim is given two sizes in turn:
//! what comes out the same is fixed, what follows a name's two sizes has that name, and the rest is
//! not known. Where a graph does not take the sizes, smaller ones are tried.

#![expect(
    clippy::disallowed_methods,
    reason = "lists of nodes and values, no more than the text has"
)]

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::fact::{Dim, Fact};
use crate::graph::Graph;
use crate::plan::compile::{Mode, forward};
use crate::shape;

/// Two sizes for the named dim of an index.
type Probe = fn(usize) -> (usize, usize);

/// Multiples of 64, which images that are halved and doubled again need; then small sizes.
const PROBES: [Probe; 3] =
    [|i| (64 * (i + 3), 64 * (i * i + 5 * i + 11)), |i| (i + 2, i * i + 5 * i + 7), |_| (1, 1)];

impl Graph {
    /// Types and shapes of all values, as a JSON text: `{name: {"dtype": name, "shape": dims}}`, with
    /// names of dims where they are known to go through and null where nothing is known.
    pub fn infer(&self) -> Result<String> {
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for input in &self.inputs {
            for dim in input.shape.iter().flatten() {
                if let Dim::Named(name) = dim {
                    let next = names.len();
                    names.entry(name).or_insert(next);
                }
            }
        }
        let mut out = vec![None; self.names.len()];
        for probe in PROBES {
            let first = self.facts(&|name| probe(names[name]).0)?;
            let second = self.facts(&|name| probe(names[name]).1)?;
            for (out, pair) in out.iter_mut().zip(first.iter().zip(&second)) {
                if let ((Some(a), Some(b)), None) = (pair, &out) {
                    *out = describe(a, b, &names, probe);
                }
            }
            if names.is_empty() || out.iter().all(Option::is_some) {
                break;
            }
        }
        // Values of branches have names of their own; only the outermost are told.
        let mut map = Map::new();
        for (name, &value) in self.values() {
            let unknown = || json!({"dtype": null, "shape": null});
            map.insert(name.clone(), out[value].clone().unwrap_or_else(unknown));
        }
        Ok(Value::Object(map).to_string())
    }

    fn facts(&self, size: &dyn Fn(&str) -> usize) -> Result<Vec<Option<Fact>>> {
        let mut facts = vec![None; self.names.len()];
        for input in &self.inputs {
            let Some(shape) = &input.shape else { continue };
            let dims = shape.iter().map(|dim| match dim {
                Dim::Fixed(size) => *size,
                Dim::Named(name) => size(name),
            });
            let dims: Vec<usize> = dims.collect();
            shape::nbytes(&dims, input.dtype)?;
            facts[input.value] = Some(Fact::new(input.dtype, dims));
        }
        let wanted = vec![true; self.nodes.len()];
        Ok(forward(self, facts, &wanted, Mode::Small)?.facts)
    }
}

fn describe(a: &Fact, b: &Fact, names: &BTreeMap<&str, usize>, probe: Probe) -> Option<Value> {
    if a.dtype != b.dtype {
        return None;
    }
    if a.rank() != b.rank() {
        return Some(json!({"dtype": a.dtype.name(), "shape": null}));
    }
    let dim = |(&a, &b): (&usize, &usize)| {
        let name = names.iter().find(|&(_, &index)| probe(index) == (a, b));
        match name {
            // Sizes that do not differ tell nothing of names.
            Some((name, _)) if a != b => json!(name),
            _ if a == b && probe(0).0 != probe(0).1 => json!(a),
            _ if names.is_empty() => json!(a),
            _ => Value::Null,
        }
    };
    let shape: Vec<Value> = a.dims.iter().zip(&b.dims).map(dim).collect();
    Some(json!({"dtype": a.dtype.name(), "shape": shape}))
}
