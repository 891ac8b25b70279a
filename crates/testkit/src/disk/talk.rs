//! What a test and the process of its disk say to each other: the test asks, the disk answers, a line of JSON each.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::model::Step;

/// A wait is so many short ones: time in which both processes were stopped counts as one of them.
const WAITS: u32 = 12;

/// What the test wants. Each of these is a method of [`super::Disk`], or its end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    Done,
    Steps,
    Cut,
    CutAt(u64),
    IsDead,
    FailSyncs(String, u32),
    Room(Option<u64>),
    AfterPowerLoss {
        to: PathBuf,
        /// What is torn is chosen from this seed. `None`: nothing is torn, all is lost.
        torn: Option<u64>,
    },
    /// The power goes, and the disk is mounted no longer. The process ends once its last file is closed.
    Leave,
}

/// What the disk's process says to it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The first word, unasked: where the disk is.
    Mounted(PathBuf),
    Done,
    Number(u64),
    Yes(bool),
    Steps(Vec<Step>),
    Failed(String),
}

/// One end of the socket between the two.
#[derive(Debug)]
pub(super) struct Talk(BufReader<UnixStream>);

impl Talk {
    /// An end that waits for a word so long; for ever without a bound.
    pub(super) fn new(stream: UnixStream, bound: Option<Duration>) -> io::Result<Self> {
        stream.set_read_timeout(bound.map(|bound| bound / WAITS))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// The socket once more.
    pub(super) fn stream(&self) -> io::Result<UnixStream> {
        self.0.get_ref().try_clone()
    }

    pub(super) fn say(&mut self, word: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(word)?;
        line.push(b'\n');
        self.0.get_mut().write_all(&line)
    }

    /// The next word. `None`: the other end is closed.
    pub(super) fn hear<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let mut line = Vec::new();
        for _ in 0..WAITS {
            match self.0.read_until(b'\n', &mut line) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
                Ok(_) if line.is_empty() => return Ok(None),
                Ok(_) => return Ok(Some(serde_json::from_slice(&line)?)),
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
    }

    pub(super) fn ask(&mut self, ask: &Ask) -> io::Result<Answer> {
        self.say(ask)?;
        let closed = || io::Error::new(io::ErrorKind::UnexpectedEof, "it closed its end");
        self.hear()?.ok_or_else(closed)
    }
}
