//! What look-ups leave in memory for the next ones: footers, dictionaries, pages and directories of side files, up to so
//! many bytes together. What was not used for the longest time goes first.
//!
//! A file that is kept is open, and has its space on the disk as long as it is: so a file that is deleted is forgotten, and
//! a look-up that had it in hand at that moment does not keep it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use foldhash::fast::RandomState;
use parquet::column::page::Page;

use super::super::append::lock;
use super::lookup::Segment;
use super::prints::Prints;

/// What a kept thing is. The first number is that of the segment or side file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A segment's file and footer.
    Footer(u64),
    /// The dictionary of a column in a row group.
    Dictionary(u64, u32, u32),
    /// A page of rows: its columns' pages, not decoded.
    Page(u64, u32),
    /// A side file and its directory.
    Prints(u64),
}

impl Key {
    const fn file(self) -> u64 {
        match self {
            Self::Footer(seq) | Self::Dictionary(seq, ..) | Self::Page(seq, _) | Self::Prints(seq) => seq,
        }
    }
}

/// A kept thing.
#[derive(Clone)]
pub(super) enum Kept {
    Footer(Arc<Segment>),
    Dictionary(Arc<Page>),
    Page(Arc<Vec<Option<Page>>>),
    Prints(Arc<Prints>),
}

/// The cache.
pub(in super::super) struct Cache {
    all: Mutex<All>,
    bytes_max: usize,
    files_max: usize,
}

#[derive(Default)]
struct All {
    kept: HashMap<Key, (Kept, usize, u64), RandomState>,
    /// By when they were used last.
    used: BTreeMap<u64, Key>,
    now: u64,
    bytes: usize,
    files: usize,
    /// How often a file was forgotten.
    forgets: u64,
}

impl All {
    fn remove(&mut self, key: Key) {
        if let Some((_, bytes, used)) = self.kept.remove(&key) {
            self.bytes -= bytes;
            self.files -= usize::from(matches!(key, Key::Footer(_) | Key::Prints(_)));
            self.used.remove(&used);
        }
    }
}

impl Cache {
    /// A cache for so many bytes and open files.
    pub(in super::super) fn new(bytes_max: usize, files_max: usize) -> Self {
        Self { all: Mutex::default(), bytes_max, files_max }
    }

    pub(super) fn get(&self, key: Key) -> Option<Kept> {
        let mut guard = lock(&self.all);
        let all = &mut *guard;
        all.now += 1;
        let (kept, _, used) = all.kept.get_mut(&key)?;
        let kept = kept.clone();
        all.used.remove(used);
        *used = all.now;
        all.used.insert(all.now, key);
        Some(kept)
    }

    /// How often a file was forgotten so far. Asked before a thing is opened or read, and told to [`Self::put`].
    pub(super) fn forgets(&self) -> u64 {
        lock(&self.all).forgets
    }

    /// Keeps a thing that takes so many bytes. One that is larger than the cache is not kept, nor one of a file that may
    /// have been forgotten since it was opened.
    pub(super) fn put(&self, key: Key, kept: Kept, bytes: usize, since: u64) {
        if bytes > self.bytes_max {
            return;
        }
        let mut guard = lock(&self.all);
        let all = &mut *guard;
        if all.forgets != since {
            return;
        }
        all.remove(key);
        all.now += 1;
        all.bytes += bytes;
        all.files += usize::from(matches!(key, Key::Footer(_) | Key::Prints(_)));
        all.kept.insert(key, (kept, bytes, all.now));
        all.used.insert(all.now, key);
        while all.bytes > self.bytes_max {
            let Some(out) = all.used.first_key_value().map(|(_, key)| *key) else { break };
            all.remove(out);
        }
        if all.files > self.files_max {
            let oldest = all.used.values().find(|key| matches!(key, Key::Footer(_) | Key::Prints(_)));
            if let Some(out) = oldest.copied() {
                all.remove(out);
            }
        }
    }

    /// Lets go of a file that is gone, so that the disk gets its space back.
    pub(in super::super) fn forget(&self, file: u64) {
        let mut all = lock(&self.all);
        all.forgets += 1;
        let gone: Vec<Key> = all.kept.keys().copied().filter(|key| key.file() == file).collect();
        for key in gone {
            all.remove(key);
        }
    }

    /// Bytes in use.
    #[cfg(test)]
    pub(in super::super) fn bytes(&self) -> usize {
        lock(&self.all).bytes
    }
}
