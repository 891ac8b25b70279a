//! A disk from which everything that was not synced can be taken away, at a chosen moment.
//!
//! | file | who |
//! | ---- | --- |
//! | `model` | what the disk holds, what of it is durable, and what is done when the power goes |
//! | `mount` | the same as a file system of the machine's (FUSE), for code that opens files |
//!
//! Stricter than most file systems: a name is durable only when its directory was synced, bytes only when their file
//! was. A rename inside a directory happens or does not, and changes of a directory happen in their order.
//!
//! Where the machine has no FUSE, or does not let us mount, there is no such disk, and tests say that they did not run.

mod model;
mod mount;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::model::{Step, Unsynced};

use self::model::Model;

/// A mounted disk. It goes with this handle.
pub struct Disk {
    model: Arc<Mutex<Model>>,
    session: Option<fuser::BackgroundSession>,
    at: tempfile::TempDir,
}

impl Disk {
    /// Mounts an empty disk. `None` where the machine cannot; that is said on standard error.
    #[expect(clippy::print_stderr, reason = "a test that did not run says so")]
    pub fn mount() -> Option<Self> {
        let at = tempfile::tempdir().ok()?;
        let model = Arc::new(Mutex::new(Model::default()));
        match mount::mount(model.clone(), at.path()) {
            Ok(session) => Some(Self { model, session: Some(session), at }),
            Err(error) => {
                eprintln!("did not run: this machine mounts no FUSE file system ({error})");
                None
            }
        }
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        lock(&self.model)
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.at.path().to_owned()
    }

    /// How many steps were done that change something or make it durable.
    pub fn done(&self) -> u64 {
        self.model().done
    }

    /// The steps since this was asked last.
    pub fn steps(&self) -> Vec<Step> {
        std::mem::take(&mut self.model().steps)
    }

    /// The power goes now.
    pub fn cut(&self) {
        self.model().is_dead = true;
    }

    /// The power goes before the step with this number, counted from the first of all.
    pub fn cut_at(&self, step: u64) {
        self.model().cut_at = Some(step);
    }

    /// Whether the power is gone.
    pub fn is_dead(&self) -> bool {
        self.model().is_dead
    }

    /// The next `times` syncs of files with `part` in their name fail, and lose what they were for.
    pub fn fail_syncs(&self, part: &str, times: u32) {
        self.model().failing = Some((part.to_owned(), times));
    }

    /// So many bytes more fit on it; `None`: any number.
    pub fn room(&self, bytes: Option<u64>) {
        self.model().room = bytes;
    }

    /// Writes what is there after the power was gone into `to`, a directory of another file system.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn after_power_loss(&self, to: &Path, unsynced: &Unsynced) -> std::io::Result<()> {
        self.model().write_durable(to, unsynced)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What is still open does not hold the mount; whoever has it open is refused.
        self.cut();
        let _ = rustix::mount::unmount(self.at.path(), rustix::mount::UnmountFlags::DETACH);
        // The session ends when the last file is closed, which nobody waits for.
        drop(self.session.take());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
