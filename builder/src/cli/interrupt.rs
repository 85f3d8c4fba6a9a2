//! Ctrl-C and its kin: at once where nothing is half done, and while an output is made as soon as what was written of it
//! is gone again.
//!
//! The signals are blocked in every thread but for one that waits for them (sigwait(3)): no handler runs in the middle of
//! anything. A second signal ends the process at once, but not one that comes with the first: timeout(1) sends its own to
//! the command and then to the group that the command is of.

use nix::sys::signal::{SigSet, Signal, raise};
use std::{
    sync::atomic::{AtomicU8, Ordering},
    thread,
    time::{Duration, Instant},
};

/// What ends a command from outside.
const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

const IDLE: u8 = 0;
const MAKING: u8 = 1;
/// And from here on the number of the signal beside it.
const ASKED: u8 = 2;

/// For how long after the first a signal is taken for the same one again.
const SAME: Duration = Duration::from_secs(1);

static STATE: AtomicU8 = AtomicU8::new(IDLE);

/// Begins to listen. To be called before there are other threads. Where the system does not let it, signals end the
/// process as ever: the next build clears what that leaves.
pub(super) fn listen() {
    // Whoever runs this with a signal ignored, as nohup does, wants it ignored; one that is waited for would arrive.
    let ignored = ignored(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
    let set: SigSet = SIGNALS.into_iter().filter(|signal| ignored >> (*signal as u32 - 1) & 1 == 0).collect();
    if set.thread_block().is_err() {
        return;
    }
    let listening = thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut first: Option<Instant> = None;
        while let Ok(signal) = set.wait() {
            let number = u8::try_from(signal as i32).unwrap_or(u8::MAX - ASKED);
            let asked = ASKED.saturating_add(number);
            if STATE.compare_exchange(MAKING, asked, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                first = Some(Instant::now());
            } else if first.is_none_or(|first| first.elapsed() >= SAME) {
                end(signal);
            }
        }
    });
    if listening.is_err() {
        let _ = set.thread_unblock();
    }
}

/// The signals that are ignored, as proc_pid_status(5) has them: bit 0 is signal 1.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// While this lives a signal is remembered instead of ending the process.
pub(super) struct Making(());

impl Making {
    /// Begins.
    pub(super) fn begin() -> Self {
        STATE.store(MAKING, Ordering::SeqCst);
        Self(())
    }

    /// Nothing is made for the moment: a signal ends the process at once.
    pub(super) fn pause(&self) {
        let _ = STATE.compare_exchange(MAKING, IDLE, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// After a pause, or without one.
    pub(super) fn go_on(&self) {
        let _ = STATE.compare_exchange(IDLE, MAKING, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Whether the work should stop.
    pub(super) fn is_asked(&self) -> bool {
        STATE.load(Ordering::SeqCst) >= ASKED
    }
}

impl Drop for Making {
    /// Ends the process if a signal came: by that signal, so that a shell sees what it expects.
    fn drop(&mut self) {
        let state = STATE.swap(IDLE, Ordering::SeqCst);
        let number = i32::from(state.saturating_sub(ASKED));
        if state > ASKED
            && let Ok(signal) = Signal::try_from(number)
        {
            end(signal);
        }
    }
}

fn end(signal: Signal) {
    let _ = SigSet::from(signal).thread_unblock();
    let _ = raise(signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_stays_so() {
        let nohup = "Name:\tx\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert_eq!(ignored(nohup), 0x1001);
        assert_eq!(ignored(nohup) >> (Signal::SIGHUP as u32 - 1) & 1, 1);
        assert_eq!(ignored(nohup) >> (Signal::SIGINT as u32 - 1) & 1, 0);
        assert_eq!(ignored("Name: x"), 0);
    }
}
