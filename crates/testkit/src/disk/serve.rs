//! The process of a disk: it mounts, does what the test asks, and unmounts, whatever becomes of the test.

use std::fs::File;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};

use roundtrip_ambient::Entropy;

use super::model::{Model, write_left};
use super::mount::{self, Mounted};
use super::talk::{Answer, Ask, Talk};
use super::{ASKED, Unsynced, lock};

/// Serves one disk to the test that started this process, until that is gone. To be called by a test with the name
/// `disk_process` at the top of each test binary that mounts disks; in any other process it returns at once.
///
/// # Panics
/// When standard input is no socket, as it is in the process of a disk.
#[expect(clippy::print_stderr, reason = "a test that did not run says so")]
pub fn serve() {
    if std::env::var_os(ASKED).is_none() {
        eprintln!("did not run: this is the process of a test disk, which whoever mounts one starts");
        return;
    }
    let socket = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    // The test takes its time between two words.
    let mut talk = socket.and_then(|socket| Talk::new(socket, None)).expect("standard input is a socket");
    // Whatever cannot be said, the test does not hear any more.
    if let Err(error) = run(&mut talk) {
        let _ = talk.say(&Answer::Failed(error.to_string()));
    }
}

/// Ends without an error once it was mounted.
fn run(talk: &mut Talk) -> io::Result<()> {
    let at = tempfile::tempdir()?;
    let model = Arc::new(Mutex::new(Model::default()));
    let (left, has_left) = mpsc::channel();
    let end = talk.stream()?;
    let mut mounted = Some(mount::mount(model.clone(), at.path(), move |ended| {
        if ended.is_err() {
            // Whoever waits for an answer is refused when nobody has the file system's device open any more.
            std::process::exit(1);
        }
        hang_up(&has_left, &end);
    })?);
    let mut said = talk.say(&Answer::Mounted(at.path().to_owned()));
    // The other end is closed when the test hangs up and when its process is gone, however it went.
    while said.is_ok()
        && let Ok(Some(ask)) = talk.hear()
    {
        let leaves = matches!(ask, Ask::Leave);
        let answer = match leaves {
            true => {
                leave(&model, &mut mounted, at.path());
                // Whoever reads what the test writes is not to wait for this process.
                let _ = File::create("/dev/null").map(rustix::stdio::dup2_stderr);
                Answer::Done
            }
            false => answer(&model, ask),
        };
        said = talk.say(&answer);
        if leaves {
            let _ = left.send(());
        }
    }
    leave(&model, &mut mounted, at.path());
    Ok(())
}

/// The power goes, and the mount with its directory. Twice does no harm.
fn leave(model: &Mutex<Model>, mounted: &mut Option<Mounted>, at: &Path) {
    lock(model).is_dead = true;
    mounted.take().into_iter().for_each(|mounted| mounted.detach(at));
    let _ = std::fs::remove_dir(at);
}

/// Once the last file is closed: nobody needs this process any more, if the test has left and knows that it did.
fn hang_up(has_left: &Receiver<()>, end: &UnixStream) {
    if has_left.recv().is_ok() {
        let _ = end.shutdown(Shutdown::Both);
    }
}

fn answer(model: &Mutex<Model>, ask: Ask) -> Answer {
    let mut model = lock(model);
    match ask {
        Ask::Done => return Answer::Number(model.done),
        Ask::Steps => return Answer::Steps(std::mem::take(&mut model.steps)),
        Ask::IsDead => return Answer::Yes(model.is_dead),
        Ask::Cut | Ask::Leave => model.is_dead = true,
        Ask::CutAt(step) => model.cut_at = Some(step),
        Ask::FailSyncs(part, times) => model.failing = Some((part, times)),
        Ask::Room(bytes) => model.room = bytes,
        Ask::AfterPowerLoss { to, torn } => {
            let unsynced = torn.map_or(Unsynced::Lost, |seed| Unsynced::Torn(Entropy::seeded(seed)));
            let left = model.left(&unsynced);
            // Another file system takes its time, and this one goes on.
            drop(model);
            if let Err(error) = write_left(&left, &to) {
                return Answer::Failed(format!("{}: {error}", to.display()));
            }
        }
    }
    Answer::Done
}
