//! The disk works while a tree is made, not only when it is done.

use std::{
    fs::File,
    io,
    sync::{
        Arc, OnceLock,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often what was written is sent to the disk. What is made in less is written at its end.
const PERIOD: Duration = Duration::from_millis(150);

/// Syncs the file system of a folder: again and again from the first file on, and once at the end.
///
/// The kernel tells each open file once what the disk did not take since it was opened. So it is one file that all syncs
/// go through, open from before the first write: no fault falls between two of them, whoever else syncs.
#[derive(Debug)]
pub(crate) struct Writeback {
    folder: Arc<File>,
    early: OnceLock<Option<Early>>,
}

/// The thread that syncs before the end.
#[derive(Debug)]
struct Early {
    stop: Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Writeback {
    /// For the file system that `folder` lies in. Nothing is synced yet.
    pub(crate) fn new(folder: File) -> Self {
        Self { folder: Arc::new(folder), early: OnceLock::new() }
    }

    /// Begins, if it has not: something is about to be written. Without a thread to spare nothing is synced early.
    pub(crate) fn begin(&self) {
        self.early.get_or_init(|| {
            let (stop, stopped) = mpsc::channel();
            let folder = Arc::clone(&self.folder);
            let again_and_again = move || {
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(PERIOD) {
                    rustix::fs::syncfs(&*folder)?;
                }
                Ok(())
            };
            let thread = thread::Builder::new().name("writeback".to_owned()).spawn(again_and_again).ok()?;
            Some(Early { stop, thread })
        });
    }

    #[cfg(test)]
    pub(crate) fn has_begun(&self) -> bool {
        self.early.get().is_some()
    }

    /// Ends what was begun.
    ///
    /// # Errors
    /// What the disk did not take up to now.
    pub(crate) fn stop(&mut self) -> io::Result<()> {
        let Some(Early { stop, thread }) = self.early.take().flatten() else { return Ok(()) };
        drop(stop);
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that syncs panicked")))
    }

    /// Syncs a last time, when all is written.
    ///
    /// # Errors
    /// What the disk did not take, early or now.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.stop()?;
        Ok(rustix::fs::syncfs(&*self.folder)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::{
        fs::{Mode, OFlags},
        io::Errno,
    };

    fn folder(dir: &tempfile::TempDir, flags: OFlags) -> Writeback {
        Writeback::new(rustix::fs::open(dir.path(), flags, Mode::empty()).unwrap().into())
    }

    #[test]
    fn it_syncs_until_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let writeback = folder(&dir, OFlags::RDONLY);
        writeback.begin();
        writeback.begin();
        thread::sleep(PERIOD * 2);
        writeback.finish().unwrap();
    }

    /// The kernel tells it once: whoever syncs next is told of nothing.
    #[test]
    fn what_it_meets_is_told_at_its_end() {
        let dir = tempfile::tempdir().unwrap();
        // Opened like this a folder only stands for its path, and nothing is synced by it.
        let mut writeback = folder(&dir, OFlags::PATH);
        let told = |result: io::Result<()>| result.unwrap_err().raw_os_error();
        writeback.stop().unwrap();
        writeback.begin();
        thread::sleep(PERIOD * 2);
        assert_eq!(told(writeback.stop()), Some(Errno::BADF.raw_os_error()));
        writeback.stop().unwrap();
        assert_eq!(told(writeback.finish()), Some(Errno::BADF.raw_os_error()));
    }
}
