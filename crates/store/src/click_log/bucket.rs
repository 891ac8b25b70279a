//! Buckets: where sealed segments can lie besides the log's directory.
//!
//! The cast: whoever opens the log gives it [`Buckets`], which reach a bucket by its name; this crate speaks no HTTP.
//! `Reach` stands before one bucket. It compares how much came with what was asked for, and once a look-up was not
//! answered it refuses the next ones for a while without asking: decisions on clicks that lie on this machine must
//! not wait, one after the other, behind clicks that do not.
//!
//! Not relied on: that a failed request did nothing (an object that was put may be there although the answer says
//! otherwise), that what is there is what was put, that deleting needs doing once.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher as _;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use siphasher::sip::SipHasher13;

use super::append::lock;

/// Bytes of an object that are read at a time where all of them are.
const PIECE: u64 = 1 << 20;
/// How long a request may take that nobody waits for with an answer.
const WORK_WAIT: Duration = Duration::from_secs(60);
/// The slowest way out on which a segment still gets away in time, in bytes a second.
const PUT_RATE_MIN: u64 = 64 << 10;
/// The longest pause between two look-ups that are tried while a bucket does not answer.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Objects that are kept in mind to be looked at. One that is not among them comes up with the next look-up.
const DOUBTS_MAX: usize = 1_024;

/// What came of putting an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is there now.
    Done,
    /// Something is there under its name, and stays: perhaps the same, from a request whose answer was lost.
    IsThere,
}

/// A bucket. All calls block, from threads that may, and each ends within its bound. An error of the kind `NotFound`
/// says that the object is not there although the bucket is; any other may pass.
pub trait Bucket: std::fmt::Debug + Send + Sync {
    /// Puts an object, unless there is one of that name: nothing is ever replaced.
    ///
    /// # Errors
    /// When it cannot be known that the object is there. It may be.
    fn put_new(&self, key: &str, bytes: Bytes, within: Duration) -> io::Result<Put>;

    /// How many bytes an object has. `None`: the bucket is there and holds no such object.
    ///
    /// # Errors
    /// When the bucket does not say.
    fn length(&self, key: &str, within: Duration) -> io::Result<Option<u64>>;

    /// Reads parts of an object, given by the places of their bytes, and gives them in the same order.
    ///
    /// # Errors
    /// `NotFound` as above; otherwise when not all of it comes in time.
    fn read(&self, key: &str, ranges: &[Range<u64>], within: Duration) -> io::Result<Vec<Bytes>>;

    /// Deletes an object; one that is not there is deleted.
    ///
    /// # Errors
    /// When it cannot be known that the object is gone.
    fn delete(&self, key: &str, within: Duration) -> io::Result<()>;
}

/// Who reaches buckets.
pub trait Buckets: std::fmt::Debug + Send + Sync {
    /// A bucket by its name, such as `s3://NAME/PREFIX`. Asks nobody.
    ///
    /// # Errors
    /// When this program cannot speak to such a one.
    fn open(&self, name: &str) -> io::Result<Arc<dyn Bucket>>;

    /// Has requests that are under way fail soon, and later ones at once: the log is being closed.
    fn stop(&self);
}

/// One bucket, and how it was lately.
pub(super) struct Reach {
    name: String,
    bucket: Arc<dyn Bucket>,
    /// How long a look-up waits.
    wait: Duration,
    /// The first pause after a look-up that was not answered.
    pause: Duration,
    trouble: Mutex<Option<Trouble>>,
    /// Objects of which a look-up did not get what it asked for: they may be shorter than they are listed.
    doubts: Mutex<BTreeSet<String>>,
    failures: AtomicU64,
}

/// A bucket that did not answer a look-up.
struct Trouble {
    until: Instant,
    pause: Duration,
    /// Somebody is asking whether it is over.
    is_tried: bool,
}

/// Lets others try again, also if the one who tried panicked.
struct Tried<'a>(&'a Mutex<Option<Trouble>>);

impl Drop for Tried<'_> {
    fn drop(&mut self) {
        if let Some(trouble) = &mut *lock(self.0) {
            trouble.is_tried = false;
        }
    }
}

impl Reach {
    /// An object's name for people.
    pub(super) fn shown(&self, key: &str) -> String {
        format!("{}/{key}", self.name)
    }

    /// Reads for a look-up, which is refused at once while the bucket is known not to answer.
    pub(super) fn look_up(&self, key: &str, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        self.admit()?;
        let _tried = Tried(&self.trouble);
        let read = self.whole(key, ranges, self.wait);
        let mut trouble = lock(&self.trouble);
        match &read {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.failures.fetch_add(1, Relaxed);
                let mut doubts = lock(&self.doubts);
                if doubts.len() < DOUBTS_MAX {
                    doubts.insert(key.to_owned());
                }
                drop(doubts);
                let pause = trouble.as_ref().map_or(self.pause, |before| match before.is_tried {
                    true => (before.pause * 2).min(PAUSE_MAX.max(self.pause)),
                    // One of several that were under way together.
                    false => before.pause,
                });
                *trouble = Some(Trouble { until: Instant::now() + pause, pause, is_tried: false });
            }
            // That it is not there is an answer.
            _ => *trouble = None,
        }
        read
    }

    fn admit(&self) -> io::Result<()> {
        match &mut *lock(&self.trouble) {
            Some(trouble) if trouble.is_tried || Instant::now() < trouble.until => {
                Err(io::Error::other("it did not answer a moment ago and is not asked yet"))
            }
            Some(trouble) => {
                trouble.is_tried = true;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Reads, and takes nothing for an answer that is shorter or longer than what was asked for.
    fn whole(&self, key: &str, ranges: &[Range<u64>], within: Duration) -> io::Result<Vec<Bytes>> {
        let read = self.bucket.read(key, ranges, within)?;
        let is_whole = read.len() == ranges.len()
            && read.iter().zip(ranges).all(|(bytes, range)| bytes.len() as u64 == range.end - range.start);
        match is_whole {
            true => Ok(read),
            false => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is not as long as asked for"))
            }
        }
    }

    fn counted<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if done.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
            self.failures.fetch_add(1, Relaxed);
        }
        done
    }

    /// See [`Bucket::put_new`].
    pub(super) fn put_new(&self, key: &str, bytes: Bytes) -> io::Result<Put> {
        let within = WORK_WAIT + Duration::from_secs(bytes.len() as u64 / PUT_RATE_MIN);
        self.counted(self.bucket.put_new(key, bytes, within))
    }

    /// See [`Bucket::length`].
    pub(super) fn length(&self, key: &str) -> io::Result<Option<u64>> {
        self.counted(self.bucket.length(key, WORK_WAIT))
    }

    /// See [`Bucket::delete`].
    pub(super) fn delete(&self, key: &str) -> io::Result<()> {
        self.counted(self.bucket.delete(key, WORK_WAIT))
    }

    /// Reads an object of so many bytes from its beginning to its end, a piece at a time, until `take` fails or somebody
    /// says stop.
    pub(super) fn stream(
        &self,
        key: &str,
        length: u64,
        stop: &AtomicBool,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut at = 0;
        while at < length {
            if stop.load(Relaxed) {
                return Err(io::Error::from(io::ErrorKind::Interrupted));
            }
            let end = length.min(at + PIECE);
            for bytes in self.counted(self.whole(key, std::slice::from_ref(&(at..end)), WORK_WAIT))? {
                take(&bytes)?;
            }
            at = end;
        }
        Ok(())
    }

    /// SipHash-1-3 (zero key) of an object, as of a file. `None`: it is not of this length.
    pub(super) fn checksum(&self, key: &str, length: u64, stop: &AtomicBool) -> io::Result<Option<u64>> {
        match self.length(key)? {
            None => return Err(io::Error::new(io::ErrorKind::NotFound, "the bucket holds no such object")),
            Some(found) if found != length => return Ok(None),
            Some(_) => {}
        }
        let mut hasher = SipHasher13::new();
        self.stream(key, length, stop, |bytes| {
            hasher.write(bytes);
            Ok(())
        })?;
        Ok(Some(hasher.finish()))
    }
}

/// The buckets that the log has to do with, each reached once it is needed.
pub(super) struct Reaches {
    buckets: Option<Arc<dyn Buckets>>,
    wait: Duration,
    pause: Duration,
    known: Mutex<BTreeMap<String, Arc<Reach>>>,
}

impl Reaches {
    pub(super) fn new(buckets: Option<Arc<dyn Buckets>>, wait: Duration, pause: Duration) -> Self {
        Self { buckets, wait, pause, known: Mutex::default() }
    }

    /// The bucket of that name.
    pub(super) fn of(&self, name: &str) -> io::Result<Arc<Reach>> {
        let mut known = lock(&self.known);
        if let Some(reach) = known.get(name) {
            return Ok(reach.clone());
        }
        let Some(buckets) = &self.buckets else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "this program reaches no buckets"));
        };
        let reach = Arc::new(Reach {
            name: name.to_owned(),
            bucket: buckets.open(name)?,
            wait: self.wait,
            pause: self.pause,
            trouble: Mutex::default(),
            doubts: Mutex::default(),
            failures: AtomicU64::new(0),
        });
        known.insert(name.to_owned(), reach.clone());
        Ok(reach)
    }

    /// Objects, each with its bucket before it, of which a look-up did not get what it asked for since this was asked last:
    /// a bucket that is ill says the same as one whose object is shorter than it is listed, and many say it in words of
    /// their own.
    pub(super) fn doubts(&self) -> Vec<(String, String)> {
        let known = lock(&self.known);
        let doubts = known.iter().map(|(name, reach)| (name, std::mem::take(&mut *lock(&reach.doubts))));
        doubts.flat_map(|(name, keys)| keys.into_iter().map(|key| (name.clone(), key))).collect()
    }

    /// Requests that failed since the log was opened.
    pub(super) fn failures(&self) -> u64 {
        lock(&self.known).values().map(|reach| reach.failures.load(Relaxed)).sum()
    }

    /// See [`Buckets::stop`].
    pub(super) fn stop(&self) {
        if let Some(buckets) = &self.buckets {
            buckets.stop();
        }
    }
}
