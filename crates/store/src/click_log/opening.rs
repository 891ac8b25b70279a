//! The start: what is on the disk, how far it came, and what is wrong with it.
//!
//! Everything is told from the files' names and contents; the manifest only adds what should be there too. A
//! damaged or missing slice is named in the report and never stops the start.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, RwLock};

use roundtrip_domain::time::Timestamp;

use super::ahead;
use super::closer::{self, How, Job};
use super::damage::{self, Cause, Damage};
use super::durable;
use super::error::Error;
use super::index::Index;
use super::manifest::{self, Listed, Manifest};
use super::registry::{Segment, Slice, State, View};
use super::side_file::SideFile;
use super::slice::{self, Name, Part};
use super::writer::Active;
use super::{Config, Durability, agree, sealing};

/// A slice that the manifest lists and the disk does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The file that should be there.
    pub file: String,
    /// Number of the slice.
    pub seq: u64,
    /// Clicks that it held.
    pub clicks: u64,
}

/// What opening the log found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Files that were set aside, with what could be saved of them.
    pub damaged: Vec<Damage>,
    /// Slices that are gone.
    pub missing: Vec<Missing>,
    /// Side files that were made again.
    pub side_files_rebuilt: Vec<String>,
    /// Side files that are made again in the background: until then look-ups by print over their clicks fail.
    pub side_files_lost: Vec<String>,
    /// Closed slices that are there.
    pub closed: usize,
    /// Segments that are there, or are taken to be there in a bucket.
    pub segments: usize,
    /// Of these, segments that lie in a bucket.
    pub moved: usize,
    /// Of these, the segments that the manifest did not list.
    pub adopted: Vec<String>,
    /// Of these, numbers of the slices whose counts the ledger has not confirmed: see [`super::ClickLog::to_publish`].
    pub to_publish: Vec<u64>,
    /// Slices that were not closed when the log stopped and are being closed now.
    pub closing: usize,
    /// The slice that goes on being written, with the clicks it has.
    pub resumed: Option<(String, u64)>,
    /// Whether the log is an older copy than the ledger: clicks that the ledger has counted are not here.
    pub is_older: bool,
    /// Numbers of slices whose counts the ledger lacks although it had them: it is the older copy. They are offered again.
    pub told_again: Vec<u64>,
    /// Files with counts that the ledger lacks and that cannot be counted any more.
    pub uncounted: Vec<String>,
}

/// What the log starts with.
pub(super) struct Opened {
    pub(super) manifest: Manifest,
    pub(super) view: View,
    pub(super) active: Option<Active>,
    pub(super) jobs: Vec<Job>,
    pub(super) seq_last: u64,
    pub(super) floor: Option<Timestamp>,
    /// The moment that was believed last: see `believed`.
    pub(super) believed: Timestamp,
    /// Numbers of slices and of side files of segments whose side file is to be made again.
    pub(super) sides_lost: BTreeSet<u64>,
    pub(super) report: OpenReport,
}

type Files = BTreeMap<u64, (Name, Vec<Part>)>;

pub(super) fn open(config: &Config, now: Timestamp) -> Result<Opened, Error> {
    let dir = config.dir.as_path();
    if !dir.is_dir() {
        fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            durable::sync_dir(parent).map_err(Error::io("sync", parent))?;
        }
    }
    let mut report = OpenReport::default();
    let mut manifest = open_manifest(dir, &mut report)?;
    let listed = match manifest.list() {
        Err(error) if error.is_damage() => {
            drop(manifest);
            manifest = replace_manifest(dir, &mut report)?;
            Vec::new()
        }
        other => other?,
    };
    sealing::clear(dir, &mut manifest)?;
    ahead::drop_spare(dir).map_err(Error::io("remove what lies ahead in", dir))?;
    let mut known: BTreeMap<u64, Listed> = listed.into_iter().map(|l| (l.name.seq, l)).collect();
    let mut seq_last = manifest.seq_last()?;
    let mut files = list(dir, &mut report, &mut seq_last)?;
    let on_disk = files.iter().map(|(seq, (name, parts))| (*seq, all_files(name, parts))).collect();
    let mut later = Later { clicks_left: config.sides_at_start_clicks, lost: BTreeSet::new() };
    let recovered =
        sealing::open(config, now, &mut manifest, &on_disk, &mut seq_last, &mut later, &mut report)?;
    files.retain(|seq, _| !recovered.elsewhere.contains(seq));
    // Of a slice whose clicks are in a segment only the counts are left, if the ledger has not confirmed them.
    known.retain(|seq, listed| !recovered.elsewhere.contains(seq) || !listed.published);

    let mut slices = Vec::new();
    let mut jobs = Vec::new();
    let mut live: Vec<(Name, Active)> = Vec::new();
    for (seq, (name, parts)) in files {
        let in_manifest = known.remove(&seq);
        let closed = parts.contains(&Part::Closed);
        if closed && parts.contains(&Part::Live) {
            let file = name.file(Part::Live);
            let set_aside = damage::set_aside(dir, &file).map_err(Error::io("set aside", dir))?;
            report.damaged.push(Damage { file, cause: Cause::Superseded, set_aside, clicks_kept: 0 });
        }
        if closed {
            let listed =
                open_closed(dir, &mut manifest, name, in_manifest.as_ref(), &mut later, &mut report)?;
            match (listed, in_manifest) {
                (Some(listed), _) => {
                    let state = State::Closed { listed: Arc::new(listed), recorded: true };
                    slices.push(Slice { name, state });
                }
                (None, Some(listed)) => {
                    slices.push(Slice { name, state: State::Missing { listed: Arc::new(listed) } });
                }
                (None, None) => {}
            }
        } else if parts.contains(&Part::Live) {
            match open_live(config, &mut manifest, name, &mut report)? {
                Live::Sound(active) => live.push((name, active)),
                Live::Salvaged(listed) => {
                    let state = State::Closed { listed: Arc::new(listed), recorded: true };
                    slices.push(Slice { name, state });
                }
                Live::Nothing => {}
            }
        } else if let Some(listed) = in_manifest {
            known.insert(seq, listed);
        }
    }
    for (seq, mut listed) in known {
        let name = listed.name;
        seq_last = seq_last.max(seq);
        listed.elsewhere |= recovered.elsewhere.contains(&seq);
        if !listed.elsewhere && listed.extent.id_last_ms >= now.ms().saturating_sub(config.retention.ms()) {
            let file = name.file(Part::Closed);
            tracing::error!(
                slice.file = file,
                slice.clicks = listed.extent.clicks,
                "a click slice is missing"
            );
            report.missing.push(Missing { file, seq, clicks: listed.extent.clicks });
        }
        slices.push(Slice { name, state: State::Missing { listed: Arc::new(listed) } });
    }

    let active = pick_active(config, now, live, &mut slices, &mut jobs, &mut report);
    let sealing::Recovered { mut segments, sides, .. } = recovered;
    let seq_counted = config.published.iter().flatten().map(|(_, seq)| *seq).max().unwrap_or(0);
    agree::mend(config, &mut manifest, seq_last, &mut slices, &segments, &mut report)?;
    seq_last = seq_last.max(seq_counted);
    slices.sort_by_key(|s| (s.name.began_ms, s.name.seq));
    for slice in &slices {
        if let State::Closed { listed, .. } | State::Missing { listed } = &slice.state {
            report.closed += usize::from(matches!(slice.state, State::Closed { .. }));
            if !listed.published {
                report.to_publish.push(slice.name.seq);
            }
        }
    }
    segments.sort_by_key(|s| (s.extent().id_first_ms, s.seq()));
    report.moved = segments.iter().filter(|s| s.moved.is_some()).count();
    report.segments = segments.iter().filter(|s| !s.is_missing).count();
    if !later.lost.is_empty() {
        jobs.push(Job::Sides);
    }
    jobs.extend(verify_jobs(config, &slices, &segments));
    let newest = slices.iter().filter(|s| s.name.node == config.node).flat_map(|s| {
        let extent = s.extent();
        [s.name.began_ms, extent.id_last_ms]
    });
    let sealed = segments.iter().filter(|s| s.sealed.name.node == config.node);
    let newest = newest.chain(sealed.map(|s| s.extent().id_last_ms));
    // No id is given twice, not even one of a click that was erased.
    let newest = newest.chain(manifest.id_last(config.node)?);
    let floor = super::writer::floor_of(newest.chain(config.floor.map(Timestamp::ms)));
    let believed = manifest.believed()?.or(floor).unwrap_or(now);
    let view = View { slices, segments, sides };
    Ok(Opened { manifest, view, active, jobs, seq_last, floor, believed, sides_lost: later.lost, report })
}

/// Side files that are lost: as many are made again at once as do not keep a start from its end.
pub(super) struct Later {
    /// Clicks whose side files may still be made at once.
    clicks_left: u64,
    /// Numbers of the slices and of the side files of segments that wait.
    lost: BTreeSet<u64>,
}

impl Later {
    /// Whether there is time for a side file of so many clicks; else it is to be told which one waits.
    pub(super) fn is_now(&mut self, clicks: u64) -> bool {
        let left = self.clicks_left.checked_sub(clicks);
        self.clicks_left = left.unwrap_or(self.clicks_left);
        left.is_some()
    }

    /// Whether a side file, by its number, is left for the background.
    pub(super) fn is_waiting(&self, seq: u64) -> bool {
        self.lost.contains(&seq)
    }

    /// Leaves one for the background, by its number.
    pub(super) fn wait(&mut self, seq: u64, file: String, report: &mut OpenReport) {
        if self.lost.insert(seq) {
            report.side_files_lost.push(file);
        }
    }
}

fn open_manifest(dir: &Path, report: &mut OpenReport) -> Result<Manifest, Error> {
    match Manifest::open(dir) {
        Err(error) if error.is_damage() => replace_manifest(dir, report),
        other => other,
    }
}

fn replace_manifest(dir: &Path, report: &mut OpenReport) -> Result<Manifest, Error> {
    let set_aside = damage::set_aside(dir, manifest::FILE).map_err(Error::io("set aside", dir))?;
    let file = manifest::FILE.to_owned();
    report.damaged.push(Damage { file, cause: Cause::Manifest, set_aside, clicks_kept: 0 });
    Manifest::open(dir)
}

/// The slices by number. Leftovers of interrupted work are cleared away or, where they are whole, put in place.
fn list(dir: &Path, report: &mut OpenReport, seq_last: &mut u64) -> Result<Files, Error> {
    let mut files: Files = BTreeMap::new();
    let entries = fs::read_dir(dir)
        .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
        .map_err(Error::io("list", dir))?;
    let mut names: Vec<String> =
        entries.into_iter().filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    for file in names {
        let path = dir.join(&file);
        let Some((name, part)) = Name::parse(&file) else { continue };
        *seq_last = (*seq_last).max(name.seq);
        let part = match part {
            Part::Other => {
                let leftover = [".tmp", ".tmp-wal", ".tmp-shm"].iter().any(|end| file.ends_with(end));
                let main = ["-wal", "-shm"].iter().find_map(|end| file.strip_suffix(end));
                let orphan = main.is_some_and(|main| !dir.join(main).exists());
                // A slice is renamed only once its file is whole and synced: a log that stayed behind says nothing more.
                let is_done = Name::parse(main.unwrap_or_default()).is_some_and(|(name, part)| {
                    part == Part::Live && dir.join(name.file(Part::Closed)).exists()
                });
                let empty = is_done || path.metadata().is_ok_and(|m| m.len() == 0) || file.ends_with("-shm");
                if leftover || orphan && empty {
                    durable::remove(&path).map_err(Error::io("remove", &path))?;
                } else if orphan {
                    // The database file is gone, its log is not: nothing can read it, somebody may want to.
                    let main = main.unwrap_or_default();
                    let set_aside = damage::set_aside(dir, main).map_err(Error::io("set aside", dir))?;
                    report.damaged.push(Damage { file, cause: Cause::Unreadable, set_aside, clicks_kept: 0 });
                }
                continue;
            }
            Part::Salvaged => {
                let closed = name.file(Part::Closed);
                // It was whole before its damaged original was moved away.
                let moved = dir.join(super::DAMAGED).join(&closed).exists();
                if moved && !dir.join(&closed).exists() {
                    durable::rename(&path, &dir.join(&closed)).map_err(Error::io("rename", &path))?;
                    Part::Closed
                } else {
                    durable::remove(&path).map_err(Error::io("remove", &path))?;
                    continue;
                }
            }
            part => part,
        };
        let entry = files.entry(name.seq).or_insert_with(|| (name, Vec::new()));
        if entry.0 == name {
            entry.1.push(part);
        } else {
            let set_aside = damage::set_aside(dir, &file).map_err(Error::io("set aside", dir))?;
            report.damaged.push(Damage { file, cause: Cause::Superseded, set_aside, clicks_kept: 0 });
        }
    }
    let damaged = dir.join(super::DAMAGED);
    for entry in fs::read_dir(damaged).into_iter().flatten().flatten() {
        // A number stays used though its slice is set aside.
        if let Some((name, _)) = entry.file_name().to_str().and_then(Name::parse) {
            *seq_last = (*seq_last).max(name.seq);
        }
    }
    Ok(files)
}

/// A closed slice. Its length and its side file's header are checked here, its bytes later, in the background.
fn open_closed(
    dir: &Path,
    manifest: &mut Manifest,
    name: Name,
    known: Option<&Listed>,
    later: &mut Later,
    report: &mut OpenReport,
) -> Result<Option<Listed>, Error> {
    let path = dir.join(name.file(Part::Closed));
    let bytes = path.metadata().map_err(Error::io("look at", &path))?.len();
    let sound = match known {
        Some(listed) if listed.bytes == bytes => {
            let side = dir.join(name.file(Part::Prints));
            match SideFile::open(&side, &name) {
                Ok(_) => Ok(listed.clone()),
                Err(_) if !later.is_now(listed.extent.clicks) => {
                    later.wait(name.seq, name.file(Part::Prints), report);
                    Ok(listed.clone())
                }
                Err(_) => {
                    report.side_files_rebuilt.push(name.file(Part::Prints));
                    closer::side_file_rebuild(dir, name).map(|()| listed.clone())
                }
            }
        }
        Some(_) => Err(Error::Damaged { file: path, row: 0 }),
        None => closer::adopt(dir, manifest, name, None),
    };
    match sound {
        Err(error) if error.is_damage() => {
            let cause = if known.is_some() { Cause::Changed } else { Cause::Unreadable };
            let (damage, kept) = closer::replace(dir, manifest, name, cause, known)?;
            report.damaged.push(damage);
            Ok(kept)
        }
        other => other.map(Some),
    }
}

enum Live {
    Sound(Active),
    Salvaged(Listed),
    Nothing,
}

/// A slice that was not closed. Its log is looked at before SQLite does, since recovery drops a bad tail in silence.
fn open_live(
    config: &Config,
    manifest: &mut Manifest,
    name: Name,
    report: &mut OpenReport,
) -> Result<Live, Error> {
    let dir = config.dir.as_path();
    let path = dir.join(name.file(Part::Live));
    let wal = damage::inspect(&slice::beside(&path, "-wal")).map_err(Error::io("read", &path))?;
    let bytes = path.metadata().map_err(Error::io("look at", &path))?.len();
    let cause = if wal.is_damaged() {
        Cause::Wal { groups_behind: wal.groups_behind }
    } else if wal.groups == 0 && bytes <= 4_096 {
        // Its very first commit, the one that makes its tables, was interrupted: no click was ever in it.
        slice::remove_live(&path)?;
        return Ok(Live::Nothing);
    } else {
        if wal.is_torn {
            tracing::info!(
                slice.seq = name.seq,
                wal.tail_bytes = wal.tail_bytes,
                "dropped a torn commit that nobody was answered for"
            );
        }
        damage::cut_tail(&slice::beside(&path, "-wal"), &wal).map_err(Error::io("cut", &path))?;
        let strict = config.durability == Durability::Strict;
        let opened = slice::open_writer(&path, &name, false, strict)
            .and_then(|conn| slice::scan(&conn, &name, &path).map(|index| (conn, index)));
        match opened {
            Ok((conn, index)) if index.extent.clicks == 0 => {
                drop(conn);
                slice::remove_live(&path)?;
                return Ok(Live::Nothing);
            }
            Ok((conn, index)) => {
                let held = index.extent.clicks.saturating_mul(320);
                let bytes = held.max(bytes);
                let index = Arc::new(RwLock::new(index));
                return Active::new(name, conn, &path, index, bytes).map(Live::Sound);
            }
            Err(error) if error.is_damage() => Cause::Unreadable,
            Err(error) => return Err(error),
        }
    };
    let (clicks_kept, set_aside) = damage::salvage_live(dir, &name)?;
    report.damaged.push(Damage { file: name.file(Part::Live), cause, set_aside, clicks_kept });
    if clicks_kept == 0 {
        return Ok(Live::Nothing);
    }
    closer::adopt(dir, manifest, name, None).map(Live::Salvaged)
}

/// The newest live slice goes on, unless it is due; the others are closed.
fn pick_active(
    config: &Config,
    now: Timestamp,
    live: Vec<(Name, Active)>,
    slices: &mut Vec<Slice>,
    jobs: &mut Vec<Job>,
    report: &mut OpenReport,
) -> Option<Active> {
    let newest = live.iter().map(|(name, _)| name.seq).max();
    let mut resumed = None;
    for (name, active) in live {
        let index: Arc<RwLock<Index>> = active.index.clone();
        let clicks = super::registry::read(&index).extent.clicks;
        let goes_on = Some(name.seq) == newest
            && name.node == config.node
            // The ledger counted it when it was longer: what is added now would not be.
            && !config.published.as_ref().is_some_and(|has| has.contains(&(name.node, name.seq)))
            && active.bytes < config.slice_bytes_max
            && now.ms() - name.began_ms < config.slice_age_max.ms();
        slices.push(Slice { name, state: State::Live { index, active: goes_on } });
        if goes_on {
            report.resumed = Some((name.file(Part::Live), clicks));
            resumed = Some(active);
        } else {
            report.closing += 1;
            jobs.push(Job::Close { seq: name.seq, how: How::Pour });
        }
    }
    resumed
}

fn verify_jobs(config: &Config, slices: &[Slice], segments: &[Segment]) -> Vec<Job> {
    let closed = slices.iter().rev().filter(|s| matches!(s.state, State::Closed { .. }));
    let sealed = segments.iter().rev().filter(|s| !s.is_missing && s.moved.is_none());
    let newest = |seqs: &mut dyn Iterator<Item = u64>| -> Vec<Job> {
        seqs.take(config.verify_at_start).map(|seq| Job::Verify { seq }).collect()
    };
    let mut jobs = newest(&mut closed.map(|s| s.name.seq));
    jobs.extend(newest(&mut sealed.map(Segment::seq)));
    jobs
}

/// Whether a slice's clicks are on the disk, and its files, a log beside them too.
fn all_files(name: &Name, parts: &[Part]) -> (bool, Vec<String>) {
    let names = parts.iter().map(|part| name.file(*part));
    let logs = ["-wal", "-shm"].map(|suffix| format!("{}{suffix}", name.file(Part::Live)));
    (parts.iter().any(|part| matches!(part, Part::Live | Part::Closed)), names.chain(logs).collect())
}
