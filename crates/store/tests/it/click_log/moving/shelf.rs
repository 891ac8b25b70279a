//! A bucket in memory that fails when it is told to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use roundtrip_store::click_log::bucket::{Bucket, Buckets, Put};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::click_log) enum Ill {
    /// The object is put, and the answer says that it is not.
    PutAnsweredWrong,
    /// The object is put with a byte changed, and the answer says that all is well.
    PutChanged,
    /// Nothing is put.
    PutRefused,
    /// An answer is shorter than what was asked for.
    ReadShort,
    /// An answer has another byte.
    ReadChanged,
    /// There is no answer in time.
    ReadLate,
    /// Nothing is deleted.
    DeleteRefused,
    /// There is no answer, whatever is asked.
    Down,
}

#[derive(Debug, Clone, Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    ill: HashMap<Ill, u32>,
    /// Objects about which nothing is answered.
    forbidden: BTreeSet<String>,
    asked: usize,
    looked_up: usize,
}

impl State {
    fn takes(&mut self, ill: Ill) -> bool {
        let left = self.ill.entry(ill).or_default();
        let is_ill = *left > 0;
        *left -= u32::from(is_ill);
        is_ill
    }
}

/// All buckets.
#[derive(Debug, Default)]
pub(in crate::click_log) struct Shelf(Mutex<State>);

impl Shelf {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// What there would be after a crash at this moment.
    pub(in crate::click_log) fn copy(&self) -> Arc<Self> {
        let copied = State { ill: HashMap::new(), forbidden: BTreeSet::new(), ..self.state().clone() };
        Arc::new(Self(Mutex::new(copied)))
    }

    /// The next so many requests that it can happen to go wrong in this way.
    pub(in crate::click_log) fn order(&self, ill: Ill, times: u32) {
        self.state().ill.insert(ill, times);
    }

    /// Nothing goes wrong any more.
    pub(in crate::click_log) fn well(&self) {
        self.state().ill.clear();
    }

    /// Nothing is answered about an object any more, whatever is asked.
    pub(super) fn forbid(&self, name: &str) {
        self.state().forbidden.insert(name.to_owned());
    }

    /// It is answered about again.
    pub(super) fn allow(&self, name: &str) {
        self.state().forbidden.remove(name);
    }

    /// Names of all objects, their buckets' before them.
    pub(in crate::click_log) fn names(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    pub(in crate::click_log) fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.state().objects.get(name).cloned()
    }

    pub(in crate::click_log) fn set(&self, name: &str, bytes: &[u8]) {
        self.state().objects.insert(name.to_owned(), bytes.to_vec());
    }

    pub(in crate::click_log) fn remove(&self, name: &str) {
        self.state().objects.remove(name);
    }

    /// How many requests there were, and how many of them read.
    pub(in crate::click_log) fn asked(&self) -> (usize, usize) {
        let state = self.state();
        (state.asked, state.looked_up)
    }
}

/// Reaches a shelf.
#[derive(Debug)]
pub(in crate::click_log) struct Reached(pub(in crate::click_log) Arc<Shelf>);

impl Buckets for Reached {
    fn open(&self, name: &str) -> io::Result<Arc<dyn Bucket>> {
        if !name.starts_with("shelf://") {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "it is no shelf"));
        }
        Ok(Arc::new(Named { shelf: self.0.clone(), name: name.to_owned() }))
    }

    fn stop(&self) {}
}

#[derive(Debug)]
struct Named {
    shelf: Arc<Shelf>,
    name: String,
}

impl Named {
    fn ask<T>(&self, run: impl FnOnce(&mut State, String) -> io::Result<T>, key: &str) -> io::Result<T> {
        let mut state = self.shelf.state();
        state.asked += 1;
        if state.takes(Ill::Down) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody is there"));
        }
        let name = format!("{}/{key}", self.name);
        if state.forbidden.contains(&name) {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        run(&mut state, name)
    }
}

impl Bucket for Named {
    fn put_new(&self, key: &str, bytes: Bytes, _: Duration) -> io::Result<Put> {
        self.ask(
            |state, name| {
                if state.takes(Ill::PutRefused) {
                    return Err(io::Error::other("503"));
                }
                if state.objects.contains_key(&name) {
                    return Ok(Put::IsThere);
                }
                let mut bytes = bytes.to_vec();
                let is_answered_wrong = state.takes(Ill::PutAnsweredWrong);
                // Both together look like somebody else's object, and that stays.
                if !is_answered_wrong && state.takes(Ill::PutChanged) {
                    bytes[9] ^= 1;
                }
                state.objects.insert(name, bytes);
                match is_answered_wrong {
                    true => Err(io::Error::other("503")),
                    false => Ok(Put::Done),
                }
            },
            key,
        )
    }

    fn length(&self, key: &str, _: Duration) -> io::Result<Option<u64>> {
        self.ask(|state, name| Ok(state.objects.get(&name).map(|bytes| bytes.len() as u64)), key)
    }

    fn read(&self, key: &str, ranges: &[Range<u64>], _: Duration) -> io::Result<Vec<Bytes>> {
        self.ask(
            |state, name| {
                state.looked_up += 1;
                if state.takes(Ill::ReadLate) {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 5 s"));
                }
                let (is_short, is_changed) = (state.takes(Ill::ReadShort), state.takes(Ill::ReadChanged));
                let Some(object) = state.objects.get(&name) else {
                    return Err(io::Error::from(io::ErrorKind::NotFound));
                };
                let read = ranges.iter().map(|range| {
                    let end = object.len().min(range.end as usize);
                    let mut bytes = object[end.min(range.start as usize)..end].to_vec();
                    if is_short {
                        bytes.pop();
                    } else if is_changed && !bytes.is_empty() {
                        // Somewhere else each time.
                        let at = state.looked_up % bytes.len();
                        bytes[at] ^= 1;
                    }
                    Bytes::from(bytes)
                });
                Ok(read.collect())
            },
            key,
        )
    }

    fn delete(&self, key: &str, _: Duration) -> io::Result<()> {
        self.ask(
            |state, name| {
                if state.takes(Ill::DeleteRefused) {
                    return Err(io::Error::from(io::ErrorKind::PermissionDenied));
                }
                state.objects.remove(&name);
                Ok(())
            },
            key,
        )
    }
}
