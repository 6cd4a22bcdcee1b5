//! How an operation is run: without the GIL where it takes a while, with Ctrl-C answered, and with no
//! panic let out.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use qcore_kernels::{KernelError, interrupt};

use crate::error::to_py;

/// Elementary steps (sixteen multiply-adds, an element that is converted) below which the GIL is kept:
/// giving it up, watching for signals and taking it again costs some tenths of a microsecond, which is
/// a part of what so much work takes with a dot instruction. Without vectors it takes a millisecond.
const SMALL: usize = 1 << 16;

/// The work of what always takes a while.
pub(crate) const LONG: usize = usize::MAX;

thread_local! {
    /// Whether this is the interpreter's main thread, in the process of this id.
    static MAIN: Cell<Option<(u32, bool)>> = const { Cell::new(None) };
    /// What a thread that works for another one asks: whether that one still waits for it.
    static LEAVE: RefCell<Option<Py<PyAny>>> = const { RefCell::new(None) };
    /// What a signal handler raised while an operation ran.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Runs an operation of about so many elementary steps.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    work: usize,
    operation: impl FnOnce() -> Result<T, KernelError> + Send,
) -> PyResult<T> {
    run_as(py, work, to_py, operation)
}

/// [`run`] of an operation whose errors `convert` takes.
pub(crate) fn run_as<T: Send, E: Send>(
    py: Python<'_>,
    work: usize,
    convert: impl FnOnce(E) -> PyErr,
    operation: impl FnOnce() -> Result<T, E> + Send,
) -> PyResult<T> {
    let mut operation = Some(operation);
    let mut outcome = None;
    guarded(py, work, &mut || outcome = operation.take().map(|operation| operation()))?;
    match outcome {
        Some(result) => result.map_err(convert),
        None => Err(told(&"it never ran")),
    }
}

/// What every operation needs around it: compiled once, and not for each of them.
fn guarded(py: Python<'_>, work: usize, operation: &mut (dyn FnMut() + Send)) -> PyResult<()> {
    // What an operation leaves half done after a panic, it leaves so after an error too.
    let mut call = || catch_unwind(AssertUnwindSafe(&mut *operation));
    let outcome = if work < SMALL {
        Ok(call())
    } else if is_main(py) {
        py.detach(|| interrupt::watched(ask, || Ok(call())))
    } else if LEAVE.with_borrow(Option::is_some) {
        // At once, too: a worker's job is many short operations.
        if ask_whether_to_leave() {
            return Err(to_py(KernelError::Interrupted));
        }
        py.detach(|| interrupt::watched(ask_whether_to_leave, || Ok(call())))
    } else {
        Ok(py.detach(call))
    };
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(panic)) => Err(told(&*panic)),
        Err(error) => Err(RAISED.take().unwrap_or_else(|| to_py(error))),
    }
}

/// Asks Python whether a signal has come; its handlers run now. What they raise stops the operation.
fn ask() -> bool {
    let raised = Python::try_attach(|py| py.check_signals().err());
    match raised.flatten() {
        Some(error) => {
            RAISED.set(Some(error));
            true
        }
        None => false,
    }
}

/// Stops the operations of this thread once a function says that nobody waits for them any more.
pub(crate) fn leave_when(nobody_waits: Option<Py<PyAny>>) {
    LEAVE.set(nobody_waits);
}

fn ask_whether_to_leave() -> bool {
    let answer = |py: Python<'_>| {
        let question = LEAVE.with_borrow(|leave| leave.as_ref().map(|leave| leave.clone_ref(py)));
        // A question that fails is no reason to stop.
        question.is_some_and(|question| {
            question.bind(py).call0().and_then(|answer| answer.is_truthy()).unwrap_or(false)
        })
    };
    Python::try_attach(answer).unwrap_or(false)
}

/// Whether signal handlers run on this thread: on the main one alone. The one that forks is that of
/// the child.
fn is_main(py: Python<'_>) -> bool {
    let process = std::process::id();
    if let Some((owner, main)) = MAIN.get()
        && owner == process
    {
        return main;
    }
    let ask = || -> PyResult<bool> {
        let threading = py.import("threading")?;
        let main = threading.call_method0("main_thread")?.getattr("ident")?;
        main.eq(threading.call_method0("get_ident")?)
    };
    let main = ask().unwrap_or(false);
    MAIN.set(Some((process, main)));
    main
}

/// An exception for a panic: a defect of the library, and no reason to take the program down.
fn told(panic: &(dyn std::any::Any + Send)) -> PyErr {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("of an unknown kind");
    PyRuntimeError::new_err(format!("qcore failed inside, which is a defect of it: {text}"))
}
