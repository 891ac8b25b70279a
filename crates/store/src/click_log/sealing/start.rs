//! What a start finds of sealed clicks, and puts right.
//!
//! The names and contents of the files say what there is; the manifest says what should be, and what may go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use roundtrip_domain::time::Timestamp;

use super::feed::{NEVER, Rows, numbers};
use super::make::{UNFINISHED, read_extent};
use super::{delete, ill, is_ours};
use crate::click_log::damage::{self, Cause, Damage};
use crate::click_log::error::Error;
use crate::click_log::manifest::{Change, ListedSegment, Manifest};
use crate::click_log::opening::{Later, Missing};
use crate::click_log::pour::Pace;
use crate::click_log::registry::Segment;
use crate::click_log::segment::prints::Prints;
use crate::click_log::segment::{About, Sealed, SegmentName, Side, SideName};
use crate::click_log::{Config, DAMAGED, OpenReport, durable};

/// The directory of the side files of segments.
const SIDES: &str = "prints";

/// What the log starts with of sealed clicks.
pub(in super::super) struct Recovered {
    pub(in super::super) segments: Vec<Segment>,
    pub(in super::super) sides: Vec<Arc<Side>>,
    /// Numbers of slices whose clicks are in segments that were listed just now. Their files are gone.
    pub(in super::super) elsewhere: BTreeSet<u64>,
}

/// Deletes what the manifest says is to be deleted. Comes before anything else is looked at.
pub(in super::super) fn clear(dir: &Path, manifest: &mut Manifest) -> Result<(), Error> {
    let doomed = manifest.doomed()?;
    let files: Vec<String> = doomed.iter().filter(|file| is_ours(file)).cloned().collect();
    delete(dir, &files)?;
    manifest.deleted(&doomed)
}

/// The numbers of damaged files that were set aside: they stay used.
pub(in super::super) fn set_aside_seqs(dir: &Path) -> u64 {
    let names = fs::read_dir(dir.join(DAMAGED)).into_iter().flatten().flatten();
    let seq = |name: std::ffi::OsString| {
        let name = name.into_string().ok()?;
        let (_, seq) = name.split_once(".parquet")?.0.split_once('-')?;
        seq.parse::<u64>().ok()
    };
    names.filter_map(|entry| seq(entry.file_name())).max().unwrap_or(0)
}

/// What there is on the disk.
struct Disk {
    segments: BTreeMap<u64, SegmentName>,
    sides: BTreeMap<u64, SideName>,
}

/// The slices that have files on the disk, by number: whether one of the files holds the clicks, and all of them.
pub(in super::super) type SliceFiles = BTreeMap<u64, (bool, Vec<String>)>;

/// Puts everything in order.
pub(in super::super) fn open(
    config: &Config,
    now: Timestamp,
    manifest: &mut Manifest,
    slices: &SliceFiles,
    seq_last: &mut u64,
    later: &mut Later,
    report: &mut OpenReport,
) -> Result<Recovered, Error> {
    let dir = config.dir.as_path();
    let disk = list(dir)?;
    let listed = manifest.segments()?;
    let sides_listed = manifest.sides()?;
    let numbers_used = disk.segments.keys().chain(disk.sides.keys()).copied();
    let numbers_listed =
        listed.iter().map(|s| s.sealed.name.seq).chain(sides_listed.iter().map(|s| s.name.seq));
    *seq_last = numbers_used.chain(numbers_listed).fold(*seq_last, u64::max).max(set_aside_seqs(dir));
    let mut start = Start {
        config,
        dir,
        now,
        disk,
        seq_last,
        later,
        report,
        segments: Vec::new(),
        sides: sides_listed.into_iter().map(|side| (side.name.seq, side)).collect(),
        change: Change::default(),
    };
    start.listed(listed)?;
    let elsewhere = start.orphans(slices)?;
    start.sides()?;
    let Start { segments, mut sides, change, .. } = start;
    manifest.change(&change)?;
    delete(dir, &change.doomed)?;
    manifest.deleted(&change.doomed)?;
    sides.retain(|seq, _| !change.sides_gone.contains(seq));
    Ok(Recovered { segments, sides: sides.into_values().map(Arc::new).collect(), elsewhere })
}

struct Start<'a> {
    config: &'a Config,
    dir: &'a Path,
    now: Timestamp,
    disk: Disk,
    seq_last: &'a mut u64,
    later: &'a mut Later,
    report: &'a mut OpenReport,
    /// What there is from now on.
    segments: Vec<Segment>,
    sides: BTreeMap<u64, Side>,
    /// What the manifest is told.
    change: Change,
}

/// A segment that the manifest does not list.
struct Orphan {
    name: SegmentName,
    rows: Rows,
    sources: Vec<u64>,
    replaces: Vec<u64>,
}

impl Start<'_> {
    fn new_seq(&mut self) -> u64 {
        *self.seq_last += 1;
        *self.seq_last
    }

    /// Segments of the manifest: their length is looked at here, their bytes later, in the background.
    /// Those in a bucket are taken to be there: a start waits for nobody.
    fn listed(&mut self, listed: Vec<ListedSegment>) -> Result<(), Error> {
        for ListedSegment { sealed, side, moved } in listed {
            let name = sealed.name;
            if let Some(moved) = moved {
                // What was read of it here, and was not deleted any more.
                self.change.doomed.extend(self.disk.segments.remove(&name.seq).map(|left| left.key()));
                let moved = Some(Arc::new(moved));
                self.segments.push(Segment { sealed: Arc::new(sealed), side, is_missing: false, moved });
                continue;
            }
            let path = self.dir.join(name.key());
            let bytes = self.disk.segments.remove(&name.seq).map(|_| path.metadata().map(|m| m.len()));
            match bytes.transpose().map_err(Error::io("look at", &path))? {
                Some(bytes) if bytes == sealed.bytes => {
                    let sealed = Arc::new(sealed);
                    self.segments.push(Segment { sealed, side, is_missing: false, moved: None });
                }
                Some(_) => self.damaged(name, Cause::Changed)?,
                None => {
                    let sealed = Arc::new(sealed);
                    self.segments.push(Segment { sealed, side, is_missing: true, moved: None });
                }
            }
        }
        Ok(())
    }

    /// Goes on with what can be read of a segment, and sets it aside.
    fn damaged(&mut self, name: SegmentName, cause: Cause) -> Result<(), Error> {
        let seqs = (self.new_seq(), self.new_seq());
        let made = ill::salvage(self.dir, &self.dir.join(name.key()), name, seqs, &self.config.faults)?;
        let set_aside = damage::set_aside(self.dir, &name.key()).map_err(Error::io("set aside", self.dir))?;
        let clicks_kept = made.as_ref().map_or(0, |made| made.sealed.extent.clicks);
        self.report.damaged.push(Damage { file: name.key(), cause, set_aside, clicks_kept });
        self.change.segments_gone.push(name.seq);
        if let Some(made) = made {
            self.adopt(made.sealed, made.side);
        }
        Ok(())
    }

    fn adopt(&mut self, sealed: Sealed, side: Side) {
        let number = side.name.seq;
        self.change.segments.push((sealed.clone(), number));
        if self.sides.insert(number, side.clone()).is_none() {
            self.change.sides.push(side);
        }
        let sealed = Arc::new(sealed);
        self.segments.push(Segment { sealed, side: number, is_missing: false, moved: None });
    }

    /// Files that the manifest does not list. One whose sources are there was never seen by anybody and is deleted;
    /// the others are listed, and whatever they were made of goes. Returns the slices that went.
    fn orphans(&mut self, slices: &SliceFiles) -> Result<BTreeSet<u64>, Error> {
        let whole = slices.iter().filter(|(_, (has_clicks, _))| *has_clicks).map(|(seq, _)| seq);
        let there: BTreeSet<u64> = whole
            .chain(self.disk.segments.keys())
            .copied()
            .chain(self.segments.iter().filter(|s| !s.is_missing).map(Segment::seq))
            .collect();
        let mut orphans = Vec::new();
        for (_, name) in std::mem::take(&mut self.disk.segments) {
            match Rows::of_segment(&self.dir.join(name.key()), name, false) {
                Ok(rows) => {
                    let sources = numbers(rows.said(About::MADE_FROM));
                    if !sources.is_empty() && sources.iter().all(|seq| there.contains(seq)) {
                        tracing::info!(
                            segment.file = name.key(),
                            "deleted a segment that was never finished"
                        );
                        self.change.doomed.push(name.key());
                    } else {
                        let replaces = numbers(rows.said(About::REPLACES));
                        orphans.push(Orphan { name, rows, sources, replaces });
                    }
                }
                Err(error) if error.is_damage() => self.damaged(name, Cause::Unreadable)?,
                Err(error) => return Err(error),
            }
        }
        let held = if orphans.is_empty() { BTreeSet::new() } else { self.replaced() };
        let mut gone: BTreeSet<u64> = BTreeSet::new();
        for orphan in orphans.into_iter().rev() {
            // The highest number first: it may hold all that a lower one holds. One whose clicks are all in another is
            // what was left of a step that came to nothing and was done again.
            let is_elsewhere = !orphan.replaces.is_empty()
                && orphan.replaces.iter().all(|seq| held.contains(seq) || gone.contains(seq));
            if gone.contains(&orphan.name.seq) || is_elsewhere {
                self.change.doomed.push(orphan.name.key());
                continue;
            }
            let Orphan { name, rows, sources, replaces } = orphan;
            match self.orphan(name, &rows) {
                Ok(()) => {
                    tracing::warn!(
                        segment.file = name.key(),
                        "listed a segment that the manifest did not know"
                    );
                    self.report.adopted.push(name.key());
                }
                Err(error) if error.is_damage() => self.damaged(name, Cause::Unreadable)?,
                Err(error) => return Err(error),
            }
            gone.extend(replaces);
            gone.extend(sources);
        }
        for segment in &self.segments {
            if gone.contains(&segment.seq()) {
                self.change.segments_gone.push(segment.seq());
                if !segment.is_missing {
                    self.change.doomed.extend(segment.local());
                }
            }
        }
        let out = &self.change.segments_gone;
        self.segments.retain(|segment| !out.contains(&segment.seq()));
        for seq in &gone {
            self.change.doomed.extend(slices.get(seq).into_iter().flat_map(|(_, files)| files.clone()));
        }
        self.change.slices_gone = gone.iter().copied().collect();
        for segment in self.segments.iter().filter(|segment| segment.is_missing) {
            let (name, extent) = (segment.sealed.name, segment.extent());
            if extent.id_last_ms >= self.now.ms().saturating_sub(self.config.retention.ms()) {
                tracing::error!(
                    segment.file = name.key(),
                    segment.clicks = extent.clicks,
                    "a click segment is missing"
                );
                let (file, seq) = (name.key(), name.seq);
                self.report.missing.push(Missing { file, seq, clicks: extent.clicks });
            }
        }
        Ok(gone)
    }

    /// Numbers of all files whose clicks are in the listed segments.
    fn replaced(&self) -> BTreeSet<u64> {
        let there = self.segments.iter().filter(|segment| !segment.is_missing);
        let said = there.filter_map(|segment| {
            if let Some(moved) = &segment.moved {
                return Some(moved.replaces.clone());
            }
            let name = segment.sealed.name;
            let rows = Rows::of_segment(&self.dir.join(name.key()), name, true).ok()?;
            Some(numbers(rows.said(About::REPLACES)))
        });
        said.flatten().collect()
    }

    /// Lists a segment as it is, with the side file that is there for it, or a new one.
    fn orphan(&mut self, name: SegmentName, rows: &Rows) -> Result<(), Error> {
        let path = self.dir.join(name.key());
        let damaged = || Error::Damaged { file: path.clone(), row: 0 };
        let extent = rows.said(About::EXTENT).and_then(read_extent).ok_or_else(damaged)?;
        let bytes = path.metadata().map_err(Error::io("look at", &path))?.len();
        let checksum = durable::checksum(&path).map_err(Error::io("read", &path))?;
        let sealed = Sealed { name, extent, bytes, checksum };
        let known = self.sides.values().find(|side| side.segments.contains(&name.seq)).cloned();
        let side = match known.filter(|side| is_there(self.dir, side)) {
            Some(side) => side,
            None => match self.unlisted_side(name.seq)? {
                Some(side) => side,
                None => {
                    let seq = self.new_seq();
                    match self.later.is_now(extent.clicks) {
                        true => ill::side_again(self.dir, &path, name, seq, Pace::HURRIED, &NEVER)?,
                        false => self.waiting(name, seq),
                    }
                }
            },
        };
        self.adopt(sealed, side);
        Ok(())
    }

    /// A side file that is listed and not there: it is made in the background, or its segment is given up there.
    fn waiting(&mut self, segment: SegmentName, seq: u64) -> Side {
        let name = SideName { node: segment.node, seq };
        self.later.wait(seq, name.key(), self.report);
        Side { name, segments: vec![segment.seq], bytes: 0, checksum: 0 }
    }

    /// A sound side file that is not listed and was made for a segment.
    fn unlisted_side(&mut self, segment: u64) -> Result<Option<Side>, Error> {
        for name in self.disk.sides.values().rev().filter(|name| !self.sides.contains_key(&name.seq)) {
            let path = self.dir.join(name.key());
            let Ok(prints) = Prints::open(&path) else { continue };
            if !prints.segments().contains(&segment) || !prints.verify().unwrap_or(false) {
                continue;
            }
            return prints.side(*name).map(Some).map_err(Error::io("read", &path));
        }
        Ok(None)
    }

    /// Every segment has a side file behind this, and no side file is without a segment.
    fn sides(&mut self) -> Result<(), Error> {
        let mut good: BTreeMap<u64, bool> = BTreeMap::new();
        // Side files of segments in buckets that are to be made again, which a start does not do. What else they covered
        // gets one of its own.
        let mut lost: BTreeSet<u64> = BTreeSet::new();
        let far: BTreeSet<u64> = self.segments.iter().filter(|s| s.moved.is_some()).map(|s| s.side).collect();
        for at in 0..self.segments.len() {
            let (name, side, is_missing) =
                (self.segments[at].sealed.name, self.segments[at].side, self.segments[at].is_missing);
            if is_missing {
                continue;
            }
            let is_good = *good
                .entry(side)
                .or_insert_with(|| self.sides.get(&side).is_some_and(|side| is_there(self.dir, side)));
            if is_good || self.later.is_waiting(side) {
                continue;
            }
            if self.segments[at].moved.is_some() {
                lost.insert(side);
                continue;
            }
            let is_now = self.later.is_now(self.segments[at].extent().clicks);
            if !is_now && self.sides.contains_key(&side) && !far.contains(&side) {
                self.later.wait(side, SideName { node: name.node, seq: side }.key(), self.report);
                continue;
            }
            let (seq, path) = (self.new_seq(), self.dir.join(name.key()));
            let again = || ill::side_again(self.dir, &path, name, seq, Pace::HURRIED, &NEVER);
            let made = match is_now.then(again) {
                None => self.waiting(name, seq),
                // Nobody may take it for a segment without prints: a look-up by print cannot answer before the background
                // has given it up, and what can be read of it goes on.
                Some(Err(error)) if error.is_damage() => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        segment.file = name.key(),
                        "a click segment cannot be read for its side file"
                    );
                    self.waiting(name, seq)
                }
                Some(made) => {
                    let made = made?;
                    let key = SideName { node: name.node, seq: side }.key();
                    if !self.report.side_files_rebuilt.contains(&key) {
                        self.report.side_files_rebuilt.push(key);
                    }
                    made
                }
            };
            self.segments[at].side = seq;
            match self.change.segments.iter_mut().find(|(sealed, _)| sealed.name.seq == name.seq) {
                Some((_, side)) => *side = seq,
                None => self.change.sides_of.push((name.seq, seq)),
            }
            self.change.sides.push(made.clone());
            self.sides.insert(seq, made);
        }
        for side in lost.iter().filter_map(|seq| self.sides.remove(seq)) {
            self.change.sides_gone.push(side.name.seq);
            self.change.doomed.push(side.name.key());
        }
        let used: BTreeSet<u64> = self.segments.iter().map(|segment| segment.side).collect();
        for side in self.sides.values().filter(|side| !used.contains(&side.name.seq)) {
            self.change.sides_gone.push(side.name.seq);
            self.change.doomed.push(side.name.key());
        }
        for name in self.disk.sides.values().filter(|name| !self.sides.contains_key(&name.seq)) {
            self.change.doomed.push(name.key());
        }
        Ok(())
    }
}

fn is_there(dir: &Path, side: &Side) -> bool {
    let prints = Prints::open(&dir.join(side.name.key()));
    prints.and_then(|prints| prints.side(side.name)).is_ok_and(|found| found == *side)
}

/// Walks the directories of sealed clicks. Unfinished files are deleted.
fn list(dir: &Path) -> Result<Disk, Error> {
    let mut disk = Disk { segments: BTreeMap::new(), sides: BTreeMap::new() };
    for name in names(dir)? {
        let path = dir.join(&name);
        if name.ends_with(UNFINISHED) {
            durable::remove(&path).map_err(Error::io("remove", &path))?;
        } else if name == SIDES {
            for file in names(&path)? {
                if file.ends_with(".tmp") {
                    let path = path.join(&file);
                    durable::remove(&path).map_err(Error::io("remove", &path))?;
                }
                if let Some(name) = SideName::parse(&format!("{SIDES}/{file}")) {
                    disk.sides.insert(name.seq, name);
                }
            }
        } else if name.starts_with("dt=") && path.is_dir() {
            for hour in names(&path)? {
                let hour_dir = path.join(&hour);
                if !hour.starts_with("hr=") || !hour_dir.is_dir() {
                    continue;
                }
                for file in names(&hour_dir)? {
                    if let Some(name) = SegmentName::parse(&format!("{name}/{hour}/{file}")) {
                        disk.segments.insert(name.seq, name);
                    }
                }
            }
        }
    }
    Ok(disk)
}

fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(dir)
        .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
        .map_err(Error::io("list", dir))?;
    Ok(entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}
