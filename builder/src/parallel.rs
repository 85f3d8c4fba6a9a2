//! Work on many things at once, on the cores that this process may use.

use std::{
    num::NonZero,
    ops::ControlFlow,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

/// More threads than this would wait for the disk, and each holds a node.
const MOST: usize = 8;

/// Calls `work` with every number below `count`, in no order, until one breaks. Results must not depend on the order.
pub fn each(count: usize, work: impl Fn(usize) -> ControlFlow<()> + Sync) {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MOST).min(count);
    let next = AtomicUsize::new(0);
    let broken = AtomicBool::new(false);
    let run = || {
        while !broken.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            if work(index).is_break() {
                broken.store(true, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run);
        }
        run();
    });
}

/// Does both at once, `other` on a thread of its own.
pub fn both<A, B: Send>(own: impl FnOnce() -> A, other: impl FnOnce() -> B + Send) -> (A, B) {
    thread::scope(|scope| {
        let other = scope.spawn(other);
        let own = own();
        (own, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, sync::Mutex};

    #[test]
    fn each_number_once() {
        for count in [0, 1, 1000] {
            let seen = Mutex::new(Vec::new());
            each(count, |index| {
                seen.lock().unwrap().push(index);
                ControlFlow::Continue(())
            });
            let seen = seen.into_inner().unwrap();
            assert_eq!((seen.len(), seen.into_iter().collect::<BTreeSet<_>>().len()), (count, count));
        }
    }

    #[test]
    fn a_break_ends_it() {
        let done = AtomicUsize::new(0);
        each(1_000_000, |_| {
            done.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Break(())
        });
        assert!(done.load(Ordering::Relaxed) <= MOST);
    }
}
