//! A disk from which everything that was not synced can be taken away, at a chosen moment.
//!
//! | file | who |
//! | ---- | --- |
//! | `model` | what the disk holds, what of it is durable, and what is done when the power goes |
//! | `mount` | the same as a file system of the machine's (FUSE), for code that opens files |
//! | `serve` | the process that holds both, and does what the test asks |
//! | `talk` | what test and disk say to each other |
//!
//! Stricter than most file systems: a name is durable only when its directory was synced, bytes only when their file
//! was. A rename inside a directory happens or does not, and changes of a directory happen in their order.
//!
//! A disk is a process of its own. SQLite maps its shared memory from a file, and where a mapping of a FUSE file is
//! taken back, the kernel writes its pages while it holds the lock on the memory of the process, and waits until whoever
//! serves the file system has them. A server in the same process that needs memory at that moment waits for that lock,
//! and both wait for ever. For the same reason a process could not end while it still had files of its own disk mapped.
//!
//! That process is the test binary once more, which Cargo has built for sure: it runs the one test that calls
//! [`serve`], which whoever mounts disks has at the top of its test binary:
//!
//! ```ignore
//! #[test]
//! #[ignore = "the process of a test disk: whoever mounts one starts it"]
//! fn disk_process() {
//!     roundtrip_testkit::disk::serve();
//! }
//! ```
//!
//! Not relied on: that the test ends in order. When it is gone, its disk sees that the other end of their
//! socket is closed, unmounts itself and ends; when the disk is gone, the test is told so at its next word, every file of the
//! disk refuses, and the handle unmounts what is left.
//!
//! Where the machine has no FUSE, or does not let us mount, there is no such disk, and tests say that they did not run.

mod model;
mod mount;
mod serve;
mod talk;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use roundtrip_ambient::Entropy;

pub use self::model::Step;
pub use self::serve::serve;

use self::talk::{Answer, Ask, Talk};

/// The test that calls [`serve`], by its full name.
const TEST: &str = "disk_process";
/// Set for the process of a disk, and for nobody else.
const ASKED: &str = "ROUNDTRIP_TEST_DISK";
/// How long the disk's process may take for an answer that takes it a moment. Only a machine that stands still needs it.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// How long a process that was killed is waited for.
const END_WAIT: Duration = Duration::from_secs(10);

/// What becomes of that which was never synced, when the power goes.
#[derive(Debug, Clone)]
pub enum Unsynced {
    /// All of it is gone.
    Lost,
    /// Of each file any pages are there and others are not, and of each directory the changes up to some moment.
    Torn(Entropy),
}

/// A mounted disk. It goes with this handle.
///
/// Each method asks the disk's process and panics when that has ended or does not answer within a minute: the test
/// cannot go on.
#[derive(Debug)]
pub struct Disk {
    talk: Mutex<Talk>,
    process: Arc<Mutex<Child>>,
    at: PathBuf,
}

impl Disk {
    /// Mounts an empty disk. `None` where the machine cannot; that is said on standard error.
    ///
    /// # Panics
    /// When the test binary has no test `disk_process` at its top (see the module), or cannot be started again.
    #[expect(clippy::print_stderr, reason = "a test that did not run says so")]
    pub fn mount() -> Option<Self> {
        let (ours, theirs) = UnixStream::pair().expect("a socket");
        let program = std::env::current_exe().expect("the test binary has a path");
        // A group of its own: who ends a test that hangs ends the group of that test, and somebody has to unmount.
        let mut process = Command::new(program)
            .args([TEST, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
            .env(ASKED, "1")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("the test binary starts once more");
        let mut talk = Talk::new(ours, Some(ANSWER_WAIT)).expect("a socket");
        match talk.hear::<Answer>() {
            Ok(Some(Answer::Mounted(at))) => {
                Some(Self { talk: Mutex::new(talk), process: Arc::new(Mutex::new(process)), at })
            }
            Ok(Some(Answer::Failed(why))) => {
                eprintln!("did not run: this machine mounts no FUSE file system ({why})");
                drop(talk);
                has_ended(&mut process, ANSWER_WAIT);
                None
            }
            other => {
                let _ = process.kill();
                has_ended(&mut process, END_WAIT);
                panic!(
                    "the process of the test disk did not start ({other:?}): a test binary that mounts disks has a test \
                     `{TEST}` at its top, which calls `roundtrip_testkit::disk::serve`"
                );
            }
        }
    }

    #[track_caller]
    fn ask(&self, ask: &Ask) -> Answer {
        match lock(&self.talk).ask(ask) {
            Ok(answer) => answer,
            Err(error) => {
                // What does not answer here answers no file either, and closing one on the way out would wait for it.
                let _ = lock(&self.process).kill();
                panic!("the process of the test disk is gone or does not answer: {error}")
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.at.clone()
    }

    /// The id of the disk's process, for who wants to see what becomes of a test whose disk is gone.
    pub fn process(&self) -> u32 {
        lock(&self.process).id()
    }

    /// How many steps were done that change something or make it durable.
    #[track_caller]
    pub fn done(&self) -> u64 {
        match self.ask(&Ask::Done) {
            Answer::Number(done) => done,
            other => panic!("not an answer: {other:?}"),
        }
    }

    /// The steps since this was asked last.
    #[track_caller]
    pub fn steps(&self) -> Vec<Step> {
        match self.ask(&Ask::Steps) {
            Answer::Steps(steps) => steps,
            other => panic!("not an answer: {other:?}"),
        }
    }

    /// The power goes now.
    #[track_caller]
    pub fn cut(&self) {
        self.ask(&Ask::Cut);
    }

    /// The power goes before the step with this number, counted from the first of all.
    #[track_caller]
    pub fn cut_at(&self, step: u64) {
        self.ask(&Ask::CutAt(step));
    }

    /// Whether the power is gone.
    #[track_caller]
    pub fn is_dead(&self) -> bool {
        match self.ask(&Ask::IsDead) {
            Answer::Yes(is_dead) => is_dead,
            other => panic!("not an answer: {other:?}"),
        }
    }

    /// The next `times` syncs of files with `part` in their name fail, and lose what they were for.
    #[track_caller]
    pub fn fail_syncs(&self, part: &str, times: u32) {
        self.ask(&Ask::FailSyncs(part.to_owned(), times));
    }

    /// So many bytes more fit on it; `None`: any number.
    #[track_caller]
    pub fn room(&self, bytes: Option<u64>) {
        self.ask(&Ask::Room(bytes));
    }

    /// Writes what is there after the power was gone into `to`, a directory of another file system.
    ///
    /// # Errors
    /// When that cannot be written.
    #[track_caller]
    pub fn after_power_loss(&self, to: &Path, unsynced: &Unsynced) -> io::Result<()> {
        let torn = match unsynced {
            Unsynced::Lost => None,
            Unsynced::Torn(entropy) => Some(u64::from(entropy.u32()) << 32 | u64::from(entropy.u32())),
        };
        match self.ask(&Ask::AfterPowerLoss { to: to.to_owned(), torn }) {
            Answer::Failed(why) => Err(io::Error::other(why)),
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut talk = lock(&self.talk);
        // What is still open does not hold the mount; whoever has it open is refused, by the disk's process, until the
        // last file is closed. Nobody waits for that. The socket stays open until then: it says that this process, which
        // may have files open, is still there.
        if matches!(talk.ask(&Ask::Leave), Ok(Answer::Done))
            && let Ok(stream) = talk.stream()
        {
            let process = self.process.clone();
            std::thread::spawn(move || {
                let _ = lock(&process).wait();
                drop(stream);
            });
            return;
        }
        // It was killed, or does not answer, and its files answer nobody: what it would have done is done here.
        let mut process = lock(&self.process);
        let _ = process.kill();
        has_ended(&mut process, END_WAIT);
        let _ = rustix::mount::unmount(&self.at, rustix::mount::UnmountFlags::DETACH);
        let _ = std::fs::remove_dir(&self.at);
    }
}

/// Waits until a process has ended. `false` when it did not within `bound`.
fn has_ended(process: &mut Child, bound: Duration) -> bool {
    let began = Instant::now();
    loop {
        match process.try_wait() {
            Ok(None) if began.elapsed() < bound => std::thread::sleep(Duration::from_millis(1)),
            Ok(None) => return false,
            Ok(Some(_)) | Err(_) => return true,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
