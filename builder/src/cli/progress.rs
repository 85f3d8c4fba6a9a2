//! A bar for work that takes longer than a second, on a terminal.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How long work may take without a bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the bar moves.
const STEP: Duration = Duration::from_millis(100);
/// Cells of the bar.
const CELLS: usize = 30;
/// To the start of the line, and all of it away (ECMA-48, CR and EL).
const CLEAR: &str = "\r\x1b[K";

/// A bar that shows itself when there is something to wait for. Dropped or finished, it leaves an empty line.
pub(super) struct Progress {
    shared: Arc<Shared>,
    drawing: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    done: AtomicUsize,
    finished: Mutex<bool>,
    wake: Condvar,
}

impl Progress {
    /// Of `total` things; on a terminal alone.
    pub(super) fn new(total: usize, is_shown: bool) -> Self {
        let shared = Arc::new(Shared { done: AtomicUsize::new(0), finished: Mutex::new(false), wake: Condvar::new() });
        let drawing = is_shown.then(|| {
            let shared = shared.clone();
            thread::Builder::new().name("progress".to_owned()).spawn(move || shared.draw(total))
        });
        Self { shared, drawing: Mutex::new(drawing.and_then(Result::ok)) }
    }

    /// One more is done.
    pub(super) fn step(&self) {
        self.shared.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the bar away: something else is about to be said.
    pub(super) fn finish(&self) {
        *self.shared.finished.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.wake.notify_all();
        if let Some(drawing) = self.drawing.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = drawing.join();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    fn draw(&self, total: usize) {
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_drawn = false;
        let mut pause = PATIENCE;
        while !*finished {
            (finished, _) = self.wake.wait_timeout(finished, pause).unwrap_or_else(PoisonError::into_inner);
            pause = STEP;
            let done = self.done.load(Ordering::Relaxed);
            // Before the first is done it waits for something else, such as another build, and that was said.
            if !*finished && done > 0 {
                let _ = write!(io::stderr(), "{CLEAR}{}", bar(done, total));
                is_drawn = true;
            }
        }
        if is_drawn {
            let _ = write!(io::stderr(), "{CLEAR}");
        }
    }
}

/// `[#####.....] 12/100 nodes`.
fn bar(done: usize, total: usize) -> String {
    let full = (done * CELLS).checked_div(total).unwrap_or(CELLS).min(CELLS);
    let mut text = format!("[{}{}]", "#".repeat(full), ".".repeat(CELLS - full));
    let _ = write!(text, " {done}/{total} nodes");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills() {
        for (done, total, full) in
            [(0, 10, 0), (1, 10, 3), (10, 10, CELLS), (11, 10, CELLS), (0, 0, CELLS), (1, 1000, 0)]
        {
            let text = bar(done, total);
            assert_eq!(text.matches('#').count(), full, "{text}");
            assert_eq!(text.matches('#').count() + text.matches('.').count(), CELLS);
            assert!(text.ends_with(&format!("] {done}/{total} nodes")), "{text}");
        }
    }

    #[test]
    fn what_is_quick_is_not_shown() {
        for is_shown in [false, true] {
            let progress = Progress::new(3, is_shown);
            progress.step();
            progress.finish();
            progress.finish();
            assert_eq!(progress.shared.done.load(Ordering::Relaxed), 1);
        }
    }
}
