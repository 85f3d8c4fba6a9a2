//! The disk works while a tree is made, not only when it is done.

use std::{
    fs::File,
    io,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often what was written is sent to the disk. What is made in less is written at its end.
const PERIOD: Duration = Duration::from_millis(150);

/// A thread that syncs the file system of a folder again and again.
#[derive(Debug)]
pub(crate) struct Writeback {
    stop: Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Writeback {
    /// Begins, for the file system that `folder` lies in. Without a thread to spare nothing is written early.
    pub(crate) fn begin(folder: File) -> Option<Self> {
        let (stop, stopped) = mpsc::channel();
        let again_and_again = move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(PERIOD) {
                rustix::fs::syncfs(&folder)?;
            }
            Ok(())
        };
        let thread = thread::Builder::new().name("writeback".to_owned()).spawn(again_and_again).ok()?;
        Some(Self { stop, thread })
    }

    /// Ends it.
    ///
    /// # Errors
    /// What the disk did not take: the kernel says that once, and not to the next who syncs.
    pub(crate) fn end(self) -> io::Result<()> {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that wrote panicked")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_syncs_until_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let writeback = Writeback::begin(File::open(dir.path()).unwrap()).unwrap();
        thread::sleep(PERIOD * 2);
        writeback.end().unwrap();
    }

    /// The kernel tells it once: whoever syncs next is told of nothing.
    #[test]
    fn what_it_meets_is_told_at_its_end() {
        let dir = tempfile::tempdir().unwrap();
        // Opened like this a folder only stands for its path, and nothing is synced by it.
        let path = rustix::fs::open(dir.path(), rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
        let writeback = Writeback::begin(path.into()).unwrap();
        thread::sleep(PERIOD * 2);
        assert_eq!(writeback.end().unwrap_err().raw_os_error(), Some(rustix::io::Errno::BADF.raw_os_error()));
    }
}
