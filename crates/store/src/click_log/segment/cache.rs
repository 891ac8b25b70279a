//! What look-ups leave in memory for the next ones: footers, dictionaries, pages and directories of side files, up to so
//! many bytes together. What was not used for the longest time goes first. Pages beyond their share go before all
//! else: a footer serves every look-up into its file, and a page those of a thousand clicks.
//!
//! A file that is kept is open, and has its space on the disk as long as it is: so a file that is deleted is forgotten, and
//! a look-up that had it in hand at that moment does not keep it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use foldhash::fast::RandomState;
use parquet::column::page::Page;
use parquet::errors::ParquetError;

use super::super::append::lock;
use super::lookup::Segment;
use super::prints::Prints;
use super::value::Dictionary;

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
    Dictionary(Arc<Dictionary>),
    Page(Arc<Vec<Option<Page>>>),
    Prints(Arc<Prints>),
}

/// Pages take this part of the cache (one of so many), where the rest needs what is left.
const PAGES_SHARE: usize = 4;
/// Decompressors that are kept: as many as look up at once, usually.
const UNPACKERS_MAX: usize = 4;
/// The longest page that is decompressed, in bytes. 1,024 rows of the longest query are 16 MiB.
const PAGE_BYTES_MAX: usize = 64 << 20;

/// The cache.
pub(in super::super) struct Cache {
    all: Mutex<All>,
    bytes_max: usize,
    files_max: usize,
    /// Making one takes longer than decompressing a page.
    unpackers: Mutex<Vec<zstd::bulk::Decompressor<'static>>>,
}

#[derive(Default)]
struct All {
    kept: HashMap<Key, (Kept, usize, u64), RandomState>,
    pages: Share,
    rest: Share,
    now: u64,
    files: usize,
    /// How often a file was forgotten.
    forgets: u64,
}

/// Kept things of one sort.
#[derive(Default)]
struct Share {
    /// By when they were used last.
    used: BTreeMap<u64, Key>,
    bytes: usize,
}

impl All {
    fn share(&mut self, key: Key) -> &mut Share {
        if matches!(key, Key::Page(..)) { &mut self.pages } else { &mut self.rest }
    }

    fn remove(&mut self, key: Key) {
        if let Some((_, bytes, used)) = self.kept.remove(&key) {
            self.files -= usize::from(matches!(key, Key::Footer(_) | Key::Prints(_)));
            let share = self.share(key);
            share.bytes -= bytes;
            share.used.remove(&used);
        }
    }

    /// What goes next when there is no room.
    fn oldest(&self, pages_max: usize) -> Option<Key> {
        let first = |share: &Share| share.used.first_key_value().map(|(_, key)| *key);
        let (page, other) = (first(&self.pages), first(&self.rest));
        if self.pages.bytes > pages_max { page.or(other) } else { other.or(page) }
    }
}

impl Cache {
    /// A cache for so many bytes and open files.
    pub(in super::super) fn new(bytes_max: usize, files_max: usize) -> Self {
        Self { all: Mutex::default(), bytes_max, files_max, unpackers: Mutex::default() }
    }

    /// Decompresses a page.
    ///
    /// # Errors
    /// When the bytes are no zstd frame, or one of more than 64 MiB: they are not what was written.
    pub(super) fn unpack(&self, bytes: &[u8]) -> Result<Vec<u8>, ParquetError> {
        let kept = lock(&self.unpackers).pop();
        let mut unpacker = kept.map_or_else(zstd::bulk::Decompressor::new, Ok)?;
        let unpacked = unpacker.decompress(bytes, PAGE_BYTES_MAX);
        let unpacked = unpacked.map_err(|error| ParquetError::General(error.to_string()))?;
        let mut kept = lock(&self.unpackers);
        if kept.len() < UNPACKERS_MAX {
            kept.push(unpacker);
        }
        Ok(unpacked)
    }

    pub(super) fn get(&self, key: Key) -> Option<Kept> {
        let mut guard = lock(&self.all);
        let all = &mut *guard;
        all.now += 1;
        let now = all.now;
        let (kept, _, used) = all.kept.get_mut(&key)?;
        let (kept, before) = (kept.clone(), std::mem::replace(used, now));
        let share = all.share(key);
        share.used.remove(&before);
        share.used.insert(now, key);
        Some(kept)
    }

    /// How often a file was forgotten so far. Asked before a thing is opened or read, and told to [`Self::put`].
    pub(super) fn forgets(&self) -> u64 {
        lock(&self.all).forgets
    }

    /// Keeps a thing that takes so many bytes. One that is larger than the cache is not kept, nor one of a file that may
    /// have been forgotten since it was opened: what is read of a file is kept beside its footer only.
    pub(super) fn put(&self, key: Key, kept: Kept, bytes: usize, since: u64) {
        if bytes > self.bytes_max {
            return;
        }
        let mut guard = lock(&self.all);
        let all = &mut *guard;
        let is_part = matches!(key, Key::Page(..) | Key::Dictionary(..));
        if all.forgets != since || is_part && !all.kept.contains_key(&Key::Footer(key.file())) {
            return;
        }
        all.remove(key);
        all.now += 1;
        let now = all.now;
        all.files += usize::from(matches!(key, Key::Footer(_) | Key::Prints(_)));
        all.kept.insert(key, (kept, bytes, now));
        let share = all.share(key);
        share.bytes += bytes;
        share.used.insert(now, key);
        while all.pages.bytes + all.rest.bytes > self.bytes_max {
            let Some(out) = all.oldest(self.bytes_max / PAGES_SHARE) else { break };
            all.remove(out);
        }
        if all.files > self.files_max {
            let oldest = all.rest.used.values().find(|key| matches!(key, Key::Footer(_) | Key::Prints(_)));
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
        let all = lock(&self.all);
        all.pages.bytes + all.rest.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::error::Error;
    use super::*;

    #[test]
    fn what_cannot_be_decompressed_is_damage_and_not_a_trouble_of_the_disk() {
        let cache = Cache::new(0, 0);
        let packed = zstd::bulk::compress(b"a page of some bytes, a page of some bytes", 1).unwrap();
        assert_eq!(cache.unpack(&packed).unwrap(), b"a page of some bytes, a page of some bytes");
        // Of no bytes at all zstd makes none.
        for cut in 1..packed.len() {
            let error = cache.unpack(&packed[..cut]).map(drop).unwrap_err();
            let error = Error::parquet("read", std::path::Path::new("a.parquet"))(error);
            assert!(error.is_damage() && !error.is_retryable(), "{cut}: {error:?}");
        }
    }
}
