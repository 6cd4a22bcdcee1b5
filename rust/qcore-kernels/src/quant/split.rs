//! How an operation's runs are shared among threads.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::layout::Layout;
use crate::error::Result;
use crate::{interrupt, memory, threads};

/// Elements below which another thread costs more than it saves.
const GRAIN: usize = 1 << 17;

/// Consecutive runs, and where their elements start and end.
pub(super) struct Part {
    pub(super) runs: Range<usize>,
    pub(super) elements: Range<usize>,
}

/// Into how many parts an array of `total` elements is worth being cut.
fn tasks(layout: Layout, total: usize) -> usize {
    let runs = layout.run_count(total);
    threads::tasks_for(runs, total / runs.max(1), GRAIN)
}

/// The parts of an array of `total` elements, one for each task.
fn parts(layout: Layout, total: usize, tasks: usize) -> Vec<Part> {
    let runs = layout.run_count(total);
    let start = |run: usize| if run >= runs { total } else { layout.run(run, total).start };
    (0..tasks)
        .map(|task| runs * task / tasks..runs * (task + 1) / tasks)
        .map(|runs| Part { elements: start(runs.start)..start(runs.end), runs })
        .filter(|part| !part.elements.is_empty())
        .collect()
}

/// Calls `task` for each part of an array and of the output that lies beside it, on as many threads
/// as it is worth, and folds what they return in the order of the parts. Of several errors the first
/// part's is returned.
pub(super) fn map_parts<O: Send, R: Send>(
    layout: Layout,
    out: &mut [O],
    task: impl Fn(&Part, &mut [O]) -> Result<R> + Sync + Send,
    mut fold: impl FnMut(R),
) -> Result<()> {
    let tasks = tasks(layout, out.len());
    if tasks <= 1 {
        // The one part takes no memory: sessions quantize their inputs without any.
        let part = Part { runs: 0..layout.run_count(out.len()), elements: 0..out.len() };
        if !out.is_empty() {
            fold(task(&part, out)?);
        }
        return interrupt::check();
    }
    let parts = parts(layout, out.len(), tasks);
    let mut rest = out;
    let mut slots = memory::with_capacity(parts.len())?;
    for part in parts {
        let (mine, tail) = rest.split_at_mut(part.elements.len());
        rest = tail;
        slots.push(Mutex::new((part, mine, None)));
    }
    threads::for_each(slots.len(), |index| {
        let mut slot = slots[index].lock().unwrap_or_else(PoisonError::into_inner);
        let (part, out, result) = &mut *slot;
        *result = Some(task(part, out));
    });
    for slot in slots {
        if let (_, _, Some(result)) = slot.into_inner().unwrap_or_else(PoisonError::into_inner) {
            fold(result?);
        }
    }
    interrupt::check()
}

/// [`map_parts`] for operations that only read an array of `total` elements.
pub(super) fn fold_parts<R: Send>(
    layout: Layout,
    total: usize,
    task: impl Fn(&Part) -> Result<R> + Sync + Send,
    fold: impl FnMut(R),
) -> Result<()> {
    // A vector of units takes no memory, whatever its length.
    #[expect(clippy::disallowed_methods, reason = "it takes none")]
    let mut units = vec![(); total];
    map_parts(layout, &mut units, |part, _| task(part), fold)
}
