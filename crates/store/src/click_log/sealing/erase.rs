//! Erasure: the clicks of a person are left out when their files are written anew.
//!
//! Files are gone through by their numbers. A new file always has a higher number than all before it, so whatever is
//! sealed or merged meanwhile comes up later; whoever knows the last number that was done goes on behind it. Counts in
//! the ledger's rollups stay: they name nobody.
//!
//! A side file may cover other segments too, and may still have rows of one whose clicks were merged into the file that
//! is gone through. It is written anew as well, for the segments that stay: a row holds the hash of a device id.
//!
//! Not reached: files that were set aside as damaged (they are named, for the operator to delete), and backups.

use std::sync::Arc;

use roundtrip_domain::click::Touch;

use super::feed::{Feed, Rows};
use super::ill::ask;
use super::make::{Made, Order, make};
use super::{discard, is_ours, is_same_segment, moving, new_seq, sides, swap, sweep};
use crate::click_log::append::lock;
use crate::click_log::error::Error;
use crate::click_log::manifest::Change;
use crate::click_log::pour::Pace;
use crate::click_log::registry::{Segment, Slice, State, View};
use crate::click_log::segment::{Side, SideName};
use crate::click_log::slice::Part;
use crate::click_log::{ClickLog, DAMAGED, Shared};

/// One file that was gone through: the proof that it holds nothing of the person any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasedFile {
    /// Its number: the next step goes on behind it.
    pub seq: u64,
    /// The file, below the log's directory or its bucket's prefix. Where clicks were erased it is gone.
    pub file: String,
    /// Clicks that it held.
    pub clicks: u64,
    /// Of these, how many were erased.
    pub erased: u64,
    /// The segment that has the others; `None` when nothing was erased, or everything.
    pub replaced_by: Option<String>,
    /// Nothing finds what was erased any more, and the old file cannot be deleted yet. It is deleted before a step says that
    /// there is nothing left to go through.
    pub is_left: bool,
}

/// A file that clicks are in.
enum Place {
    Slice(Slice),
    Segment(Segment),
}

impl ClickLog {
    /// Goes through the file with the lowest number above `after` and erases the clicks that match: it is written anew
    /// without them, in place of the old one in the same transaction, and the old one is deleted, now or by a later step.
    /// `None` when there is no such file: all are done, and no old one is left, here or in a bucket. Clicks in a slice that
    /// is not closed yet are not reached, so [`Self::close_now`] comes first, once. A step that was interrupted changed
    /// nothing, and may be repeated. Blocks.
    ///
    /// # Errors
    /// When files cannot be read or written, or a bucket does not give one; the same step may be tried again. Behind the last
    /// file, when an old one cannot be deleted yet. No step that erased something is an error: what it counts is the proof.
    pub fn erase_next(
        &self,
        after: u64,
        matches: &dyn Fn(&Touch) -> bool,
    ) -> Result<Option<ErasedFile>, Error> {
        let shared = self.shared();
        let _one = lock(&shared.sealing);
        loop {
            let Some((seq, place)) = lowest(&shared.registry.all(), after) else {
                // What an earlier step could not delete, or expired meanwhile, may hold the person too.
                moving::delete_objects(shared, |_| true)?;
                return are_gone(shared).map(|()| None);
            };
            if let Some(erased) = erase(shared, seq, &place, matches)? {
                return Ok(Some(erased));
            }
            // It was replaced meanwhile; what replaced it has a higher number, or the same and other bytes.
        }
    }

    /// Files that were set aside as damaged, and may hold clicks of anybody: names in `damaged/`, sorted.
    pub fn set_aside(&self) -> Vec<String> {
        let entries =
            std::fs::read_dir(self.shared().config.dir.join(DAMAGED)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

/// Deletes what could not be deleted before, in earlier steps or because a backup reads it.
fn are_gone(shared: &Shared) -> Result<(), Error> {
    sweep(shared)?;
    moving::clear_brought(shared)?;
    let doomed = lock(&shared.manifest).doomed()?;
    is_gone(shared, &doomed.into_iter().filter(|file| is_ours(file)).collect::<Vec<_>>())
}

/// What is said to be gone is gone: a file that is still there could come back with an older list of the files.
fn is_gone(shared: &Shared, doomed: &[String]) -> Result<(), Error> {
    match doomed.iter().map(|file| shared.config.dir.join(file)).find(|path| path.exists()) {
        Some(file) => {
            let source = std::io::Error::other("it cannot be deleted yet; erase again");
            Err(Error::Io { what: "delete", file, source })
        }
        None => Ok(()),
    }
}

fn lowest(view: &View, after: u64) -> Option<(u64, Place)> {
    let slices = view.slices.iter().filter(|s| matches!(s.state, State::Closed { recorded: true, .. }));
    let slices = slices.map(|slice| (slice.name.seq, Place::Slice(slice.clone())));
    let segments = view.segments.iter().filter(|s| !s.is_missing);
    let segments = segments.map(|segment| (segment.seq(), Place::Segment(segment.clone())));
    slices.chain(segments).filter(|(seq, _)| *seq > after).min_by_key(|(seq, _)| *seq)
}

/// `None` when the file is not what it was any more.
fn erase(
    shared: &Shared,
    seq: u64,
    place: &Place,
    matches: &dyn Fn(&Touch) -> bool,
) -> Result<Option<ErasedFile>, Error> {
    let dir = &shared.config.dir;
    let pace = Pace::calm(&shared.queue);
    let (node, file, clicks) = match place {
        Place::Slice(slice) => (slice.name.node, slice.name.file(Part::Closed), slice.extent().clicks),
        Place::Segment(segment) => {
            (segment.sealed.name.node, segment.sealed.name.key(), segment.extent().clicks)
        }
    };
    // A segment in a bucket is read here: once to look, and once more if it is written anew.
    let brought = match place {
        Place::Slice(_) => None,
        Place::Segment(segment) => match moving::bring(shared, segment, pace) {
            Err(_) if !is_same_segment(&shared.registry.all(), segment) => return Ok(None),
            other => Some(other.inspect_err(|error| look_at(shared, seq, error))?),
        },
    };
    let path = brought.as_ref().map_or_else(|| dir.join(&file), |brought| brought.path().to_owned());
    let rows = || match place {
        Place::Slice(slice) => Rows::of_slice(dir, slice.name),
        Place::Segment(segment) => Rows::of_segment(&path, segment.sealed.name, false),
    };
    let same = |view: &View| match place {
        Place::Slice(slice) => view.slice(seq).is_some_and(|now| match (&now.state, &slice.state) {
            (State::Closed { listed, recorded: true }, State::Closed { listed: then, .. }) => {
                listed.checksum == then.checksum
            }
            _ => false,
        }),
        Place::Segment(segment) => is_same_segment(view, segment),
    };
    let looked = || -> Result<u64, Error> {
        let mut found = 0;
        for touch in Feed::new(vec![rows()?], pace, &shared.sealing_stop) {
            found += u64::from(matches(&touch?));
        }
        Ok(found)
    };
    let erased = match looked() {
        Err(_) if !same(&shared.registry.all()) => return Ok(None),
        other => other.inspect_err(|error| look_at(shared, seq, error))?,
    };
    if erased == 0 {
        return Ok(Some(ErasedFile { seq, file, clicks, erased, replaced_by: None, is_left: false }));
    }
    let feed = Feed::new(vec![rows()?], pace, &shared.sealing_stop);
    let covering = Covering::all(&shared.registry.all(), seq, &feed.replaces());
    let seqs = (new_seq(shared)?, new_seq(shared)?);
    let order = Order { dir, node, seqs, sources: &[seq], pace, faults: &shared.config.faults };
    let made = make(&order, feed, &|touch| !matches(touch))?;
    let mut change = Change::default();
    match place {
        Place::Slice(slice) => {
            change.slices_gone.push(seq);
            change.doomed.extend([Part::Closed, Part::Prints].map(|part| slice.name.file(part)));
        }
        Place::Segment(segment) => {
            change.segments_gone.push(seq);
            change.doomed.extend(segment.local());
        }
    }
    if let Some(Made { sealed, side }) = &made {
        change.segments.push((sealed.clone(), side.name.seq));
        change.sides.push(side.clone());
    }
    let same = |view: &View| same(view) && covering.iter().all(|side| side.is_same(view));
    if let Err(error) = covering.iter().try_for_each(|side| side.write_anew(shared, pace, &mut change)) {
        discard(dir, &change);
        return if same(&shared.registry.all()) { Err(error) } else { Ok(None) };
    }
    if !swap(shared, &change, same)? {
        return Ok(None);
    }
    drop(brought);
    // From here on it is done, whatever is left of the old file: an error would take the count out of the proof.
    let gone = moving::delete_objects(shared, |object| object.seq == seq);
    let gone = gone.and_then(|()| is_gone(shared, &change.doomed));
    let is_left = gone.is_err();
    if let Err(error) = gone {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(
            error,
            segment.file = file,
            "a file that clicks were erased from cannot be deleted yet"
        );
    }
    let replaced_by = made.map(|made| made.sealed.name.key());
    tracing::info!(segment.file = file, segment.clicks_erased = erased, "erased clicks from a file");
    Ok(Some(ErasedFile { seq, file, clicks, erased, replaced_by, is_left }))
}

/// Has a file looked at that cannot be read: it is gone or damaged, or nothing is wrong with it. Otherwise nobody might, and
/// each later erasure would end there too.
fn look_at(shared: &Shared, seq: u64, error: &Error) {
    if !matches!(error, Error::Stopped) {
        ask(shared, seq);
    }
}

/// A side file with rows of clicks that go.
struct Covering {
    side: Arc<Side>,
    /// The segments that stay behind it.
    stay: Vec<Segment>,
}

impl Covering {
    /// All of them, for a file that goes, given the numbers of all files that its clicks ever were in: the side file of a
    /// day keeps the rows of a segment that was merged into another since.
    fn all(view: &View, seq: u64, replaces: &[u64]) -> Vec<Self> {
        let behind = |side: &Side| {
            let stays = |s: &&Segment| s.side == side.name.seq && !s.is_missing && s.seq() != seq;
            view.segments.iter().filter(stays).cloned().collect()
        };
        let covers = |side: &&Arc<Side>| side.segments.iter().any(|seq| replaces.contains(seq));
        let sides = view.sides.iter().filter(covers);
        sides.map(|side| Self { side: side.clone(), stay: behind(side) }).collect()
    }

    fn is_same(&self, view: &View) -> bool {
        self.stay.iter().all(|segment| is_same_segment(view, segment))
    }

    /// Writes one for the segments that stay, if there are any, and has the old one go.
    fn write_anew(&self, shared: &Shared, pace: Pace<'_>, change: &mut Change) -> Result<(), Error> {
        let dir = &shared.config.dir;
        let old = &self.side.name;
        if !self.stay.is_empty() {
            let path = dir.join(old.key());
            let prints = sides::sound(&path).inspect_err(|_| ask(shared, old.seq));
            let prints = prints.map_err(Error::io("read", &path))?;
            let stays = |seq: &&u64| self.stay.iter().any(|segment| segment.seq() == **seq);
            let stay: Vec<u64> = self.side.segments.iter().filter(stays).copied().collect();
            let name = SideName { node: old.node, seq: new_seq(shared)? };
            change.sides.push(sides::write(shared, name, &stay, &[&prints], pace)?);
            change.sides_of.extend(self.stay.iter().map(|segment| (segment.seq(), name.seq)));
        }
        change.sides_gone.push(old.seq);
        change.doomed.push(old.key());
        Ok(())
    }
}
