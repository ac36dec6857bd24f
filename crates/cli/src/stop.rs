//! Ctrl-C and SIGTERM: the first one asks the work to end cleanly, a second one quits at once.

use std::io::{Write, stderr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static WAITING: AtomicBool = AtomicBool::new(false);
static ACTION: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// Whether the user asked to stop.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Says whether the program waits for input from now on, where it does not look at [`requested`]; then the first Ctrl-C
/// ends it. Everything it has to say must have been written.
pub(crate) fn waiting(waiting: bool) {
    WAITING.store(waiting, Ordering::SeqCst);
}

/// Lets the first request do something beside being remembered. Only the first call counts.
pub(crate) fn then(action: impl Fn() + Send + Sync + 'static) {
    let action = ACTION.get_or_init(|| Box::new(action));
    if requested() {
        action();
    }
}

/// Installs the handler.
pub(crate) fn install() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        let again = REQUESTED.swap(true, Ordering::SeqCst);
        if WAITING.load(Ordering::SeqCst) {
            // a closed standard error is no reason to stay
            let _ = writeln!(stderr(), "distune: interrupted while waiting for a line; what was printed is complete");
            std::process::exit(130);
        }
        if again {
            std::process::exit(130);
        }
        if let Some(action) = ACTION.get() {
            action();
        }
    })?;
    Ok(())
}
