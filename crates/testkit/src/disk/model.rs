//! What a disk holds, and what of it would be there after the power was gone.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Unsynced;

/// In so large pieces bytes become durable, or not.
const PAGE: usize = 4_096;
/// The directory at the top.
pub(super) const ROOT: u64 = 1;

/// Why something is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The power is gone, or a sync was to fail.
    Io,
    /// There is no such name.
    Absent,
    /// The name is taken.
    Taken,
    /// It is not a directory.
    NoDirectory,
    /// It is a directory.
    Directory,
    /// The directory has something in it.
    NotEmpty,
    /// There is no room left.
    Full,
}

/// A step that changes something or makes it durable, with the last part of the name that it was done to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// `write`, `sync`, `name` or `sync names`.
    pub what: Cow<'static, str>,
    /// Of the file or directory.
    pub name: String,
}

#[derive(Debug, Default)]
struct File {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Pages written since they were synced.
    dirty: BTreeSet<usize>,
}

/// Changes of a directory that happen together or not at all.
type Change = Vec<(OsString, Option<u64>)>;

#[derive(Debug, Default)]
struct Dir {
    now: BTreeMap<OsString, u64>,
    synced: BTreeMap<OsString, u64>,
    since: Vec<Change>,
}

#[derive(Debug)]
enum Node {
    File(File),
    Dir(Dir),
}

/// What a file or directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) inode: u64,
    pub(super) is_dir: bool,
    pub(super) bytes: u64,
    pub(super) links: u32,
}

/// The disk.
#[derive(Debug)]
pub(super) struct Model {
    nodes: BTreeMap<u64, Node>,
    last: u64,
    /// What was done, while somebody wants to know.
    pub(super) steps: Vec<Step>,
    /// How many steps were done.
    pub(super) done: u64,
    /// The power goes before the step that has this number, counted from 1.
    pub(super) cut_at: Option<u64>,
    /// Syncs of files with this in their name fail, so many times.
    pub(super) failing: Option<(String, u32)>,
    pub(super) is_dead: bool,
    /// Bytes that may still be written, if that is bounded.
    pub(super) room: Option<u64>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Node::Dir(Dir::default()))]),
            last: ROOT,
            steps: Vec::new(),
            done: 0,
            cut_at: None,
            failing: None,
            is_dead: false,
            room: None,
        }
    }
}

impl Model {
    fn step(&mut self, what: &'static str, name: &OsStr) -> Result<(), Refused> {
        if self.is_dead {
            return Err(Refused::Io);
        }
        // Nothing of an index that is in memory only, and that its owner makes again, has to be durable; the system
        // writes it when it likes.
        if name.as_encoded_bytes().ends_with(b"-shm") {
            return Ok(());
        }
        self.done += 1;
        if self.cut_at == Some(self.done) {
            self.is_dead = true;
            return Err(Refused::Io);
        }
        self.steps.push(Step { what: Cow::Borrowed(what), name: name.to_string_lossy().into_owned() });
        Ok(())
    }

    fn dir(&mut self, inode: u64) -> Result<&mut Dir, Refused> {
        match self.nodes.get_mut(&inode) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(Refused::NoDirectory),
            None => Err(Refused::Absent),
        }
    }

    fn file(&mut self, inode: u64) -> Result<&mut File, Refused> {
        match self.nodes.get_mut(&inode) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(Refused::Directory),
            None => Err(Refused::Absent),
        }
    }

    /// A name of a file, for steps.
    fn name_of(&self, inode: u64) -> OsString {
        let dirs = self.nodes.values().filter_map(|node| match node {
            Node::Dir(dir) => Some(dir),
            Node::File(_) => None,
        });
        let mut names = dirs.flat_map(|dir| &dir.now).filter(|(_, n)| **n == inode).map(|(name, _)| name);
        names.next().cloned().unwrap_or_default()
    }

    fn change(&mut self, dir: u64, change: Change) -> Result<(), Refused> {
        let dir = self.dir(dir)?;
        for (name, inode) in &change {
            match inode {
                Some(inode) => drop(dir.now.insert(name.clone(), *inode)),
                None => drop(dir.now.remove(name)),
            }
        }
        dir.since.push(change);
        Ok(())
    }

    pub(super) fn look_up(&mut self, dir: u64, name: &OsStr) -> Result<Seen, Refused> {
        let inode = *self.dir(dir)?.now.get(name).ok_or(Refused::Absent)?;
        self.see(inode)
    }

    pub(super) fn see(&self, inode: u64) -> Result<Seen, Refused> {
        let (is_dir, bytes) = match self.nodes.get(&inode).ok_or(Refused::Absent)? {
            Node::File(file) => (false, file.now.len() as u64),
            Node::Dir(_) => (true, 0),
        };
        let mut links = 0;
        for node in self.nodes.values() {
            if let Node::Dir(dir) = node {
                links += dir.now.values().filter(|n| **n == inode).count() as u32;
            }
        }
        Ok(Seen { inode, is_dir, bytes, links: links.max(u32::from(inode == ROOT)) })
    }

    pub(super) fn names(&mut self, dir: u64) -> Result<Vec<(OsString, Seen)>, Refused> {
        let names = self.dir(dir)?.now.clone();
        names.into_iter().map(|(name, inode)| Ok((name, self.see(inode)?))).collect()
    }

    pub(super) fn make(&mut self, dir: u64, name: &OsStr, is_dir: bool) -> Result<Seen, Refused> {
        if self.dir(dir)?.now.contains_key(name) {
            return Err(Refused::Taken);
        }
        self.step("name", name)?;
        self.last += 1;
        let inode = self.last;
        let node = if is_dir { Node::Dir(Dir::default()) } else { Node::File(File::default()) };
        self.nodes.insert(inode, node);
        self.change(dir, vec![(name.to_owned(), Some(inode))])?;
        self.see(inode)
    }

    pub(super) fn link(&mut self, inode: u64, dir: u64, name: &OsStr) -> Result<Seen, Refused> {
        if self.dir(dir)?.now.contains_key(name) {
            return Err(Refused::Taken);
        }
        self.file(inode)?;
        self.step("name", name)?;
        self.change(dir, vec![(name.to_owned(), Some(inode))])?;
        self.see(inode)
    }

    pub(super) fn unlink(&mut self, dir: u64, name: &OsStr) -> Result<(), Refused> {
        let seen = self.look_up(dir, name)?;
        if seen.is_dir && !self.dir(seen.inode)?.now.is_empty() {
            return Err(Refused::NotEmpty);
        }
        self.step("name", name)?;
        self.change(dir, vec![(name.to_owned(), None)])
    }

    pub(super) fn rename(
        &mut self,
        (dir, name): (u64, &OsStr),
        (to_dir, to): (u64, &OsStr),
        replaces: bool,
    ) -> Result<(), Refused> {
        let seen = self.look_up(dir, name)?;
        if !replaces && self.dir(to_dir)?.now.contains_key(to) {
            return Err(Refused::Taken);
        }
        self.step("name", to)?;
        let (gone, there) = ((name.to_owned(), None), (to.to_owned(), Some(seen.inode)));
        if dir == to_dir {
            return self.change(dir, vec![gone, there]);
        }
        self.change(to_dir, vec![there])?;
        self.change(dir, vec![gone])
    }

    pub(super) fn read(&mut self, inode: u64, offset: u64, size: usize) -> Result<Vec<u8>, Refused> {
        // Also without power: a page of a mapped file (SQLite's shared memory) that the machine had put away and cannot
        // read again ends the process with SIGBUS. Nothing that is read then counts for anything.
        let bytes = &self.file(inode)?.now;
        let from = (offset as usize).min(bytes.len());
        Ok(bytes[from..bytes.len().min(from + size)].to_vec())
    }

    pub(super) fn write(&mut self, inode: u64, offset: u64, data: &[u8]) -> Result<(), Refused> {
        let name = self.name_of(inode);
        self.step("write", &name)?;
        let (from, to) = (offset as usize, offset as usize + data.len());
        let grows = to.saturating_sub(self.file(inode)?.now.len()) as u64;
        if let Some(room) = &mut self.room {
            *room = room.checked_sub(grows).ok_or(Refused::Full)?;
        }
        let file = self.file(inode)?;
        if file.now.len() < to {
            file.now.resize(to, 0);
        }
        file.now[from..to].copy_from_slice(data);
        file.dirty.extend(from / PAGE..to.div_ceil(PAGE));
        Ok(())
    }

    pub(super) fn truncate(&mut self, inode: u64, bytes: u64) -> Result<(), Refused> {
        let name = self.name_of(inode);
        self.step("write", &name)?;
        let file = self.file(inode)?;
        let (old, new) = (file.now.len(), bytes as usize);
        file.now.resize(new, 0);
        // A hole reads as zeros, whatever was there before it was cut off.
        file.dirty.extend(old.min(new) / PAGE..new.max(old).div_ceil(PAGE));
        Ok(())
    }

    /// Makes a file's bytes and its length durable. One that fails loses what it was to make durable: later ones say
    /// that all is well, and it is not. So does Linux.
    pub(super) fn sync(&mut self, inode: u64) -> Result<(), Refused> {
        let name = self.name_of(inode);
        self.step("sync", &name)?;
        let fails = match &mut self.failing {
            Some((part, times)) if *times > 0 && name.to_string_lossy().contains(part.as_str()) => {
                *times -= 1;
                true
            }
            _ => false,
        };
        let file = self.file(inode)?;
        let dirty = std::mem::take(&mut file.dirty);
        if fails {
            return Err(Refused::Io);
        }
        file.synced.resize(file.now.len(), 0);
        for page in dirty {
            copy_page(&file.now, &mut file.synced, page);
        }
        Ok(())
    }

    /// Makes a directory's names durable.
    pub(super) fn sync_names(&mut self, inode: u64) -> Result<(), Refused> {
        let name = self.name_of(inode);
        self.step("sync names", &name)?;
        let dir = self.dir(inode)?;
        dir.synced.clone_from(&dir.now);
        dir.since.clear();
        Ok(())
    }

    /// What is there after the power was gone, each directory before what is in it.
    pub(super) fn left(&self, unsynced: &Unsynced) -> Vec<(PathBuf, Left)> {
        let mut all = Vec::new();
        self.left_of(ROOT, Path::new(""), unsynced, &mut BTreeMap::new(), &mut all);
        all
    }

    fn left_of(
        &self,
        inode: u64,
        at: &Path,
        unsynced: &Unsynced,
        first: &mut BTreeMap<u64, PathBuf>,
        all: &mut Vec<(PathBuf, Left)>,
    ) {
        let Some(Node::Dir(dir)) = self.nodes.get(&inode) else { return };
        all.push((at.to_owned(), Left::Dir));
        let mut names = dir.synced.clone();
        if let Unsynced::Torn(entropy) = unsynced {
            let kept = entropy.u32() as usize % (dir.since.len() + 1);
            for (name, inode) in dir.since[..kept].iter().flatten() {
                match inode {
                    Some(inode) => drop(names.insert(name.clone(), *inode)),
                    None => drop(names.remove(name)),
                }
            }
        }
        for (name, inode) in names {
            let path = at.join(name);
            match self.nodes.get(&inode) {
                Some(Node::Dir(_)) => self.left_of(inode, &path, unsynced, first, all),
                Some(Node::File(file)) => match first.get(&inode) {
                    Some(first) => all.push((path, Left::Link(first.clone()))),
                    None => {
                        all.push((path.clone(), Left::File(file.durable(unsynced))));
                        first.insert(inode, path);
                    }
                },
                None => {}
            }
        }
    }
}

/// Something that is there after the power was gone.
#[derive(Debug)]
pub(super) enum Left {
    Dir,
    File(Vec<u8>),
    /// Another name of a file that has this one.
    Link(PathBuf),
}

/// Writes what is left into a directory.
pub(super) fn write_left(left: &[(PathBuf, Left)], to: &Path) -> std::io::Result<()> {
    for (path, what) in left {
        let path = to.join(path);
        match what {
            Left::Dir => std::fs::create_dir_all(path)?,
            Left::File(bytes) => std::fs::write(path, bytes)?,
            Left::Link(first) => std::fs::hard_link(to.join(first), path)?,
        }
    }
    Ok(())
}

impl File {
    fn durable(&self, unsynced: &Unsynced) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let Unsynced::Torn(entropy) = unsynced else { return bytes };
        if self.dirty.is_empty() {
            return bytes;
        }
        if entropy.u32() % 2 == 0 {
            bytes.resize(self.now.len(), 0);
        }
        for page in &self.dirty {
            if entropy.u32() % 2 == 0 {
                copy_page(&self.now, &mut bytes, *page);
            }
        }
        bytes
    }
}

/// Copies what both have of a page.
fn copy_page(from: &[u8], to: &mut [u8], page: usize) {
    let at = page * PAGE;
    let end = (at + PAGE).min(from.len()).min(to.len());
    if at < end {
        to[at..end].copy_from_slice(&from[at..end]);
    }
}

#[cfg(test)]
mod tests {
    use roundtrip_ambient::Entropy;

    use super::*;

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    /// What is there after the power was gone: names, and how they begin.
    fn after(model: &Model, unsynced: &Unsynced) -> Vec<(String, Vec<u8>)> {
        let dir = tempfile::tempdir().unwrap();
        write_left(&model.left(unsynced), dir.path()).unwrap();
        let mut all: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|e| (e.file_name().to_string_lossy().into_owned(), std::fs::read(e.path()).unwrap()))
            .collect();
        all.sort();
        all
    }

    #[test]
    fn what_was_not_synced_is_gone() {
        let mut disk = Model::default();
        let a = disk.make(ROOT, name("a"), false).unwrap().inode;
        disk.write(a, 0, b"one").unwrap();
        assert_eq!(after(&disk, &Unsynced::Lost), [], "neither the name nor the bytes were synced");
        disk.sync(a).unwrap();
        assert_eq!(after(&disk, &Unsynced::Lost), [], "the bytes are there and nobody finds them");
        disk.sync_names(ROOT).unwrap();
        disk.write(a, 3, b"two").unwrap();
        assert_eq!(after(&disk, &Unsynced::Lost), [("a".into(), b"one".to_vec())]);
        disk.rename((ROOT, name("a")), (ROOT, name("b")), true).unwrap();
        disk.sync(a).unwrap();
        assert_eq!(after(&disk, &Unsynced::Lost), [("a".into(), b"onetwo".to_vec())]);
        disk.unlink(ROOT, name("b")).unwrap();
        disk.sync_names(ROOT).unwrap();
        assert_eq!(after(&disk, &Unsynced::Lost), []);
    }

    #[test]
    fn a_sync_that_failed_loses_what_it_was_for() {
        let mut disk = Model::default();
        let a = disk.make(ROOT, name("slice-wal"), false).unwrap().inode;
        disk.sync_names(ROOT).unwrap();
        disk.write(a, 0, &[1; PAGE]).unwrap();
        disk.failing = Some(("-wal".into(), 1));
        assert_eq!(disk.sync(a), Err(Refused::Io));
        disk.write(a, PAGE as u64, &[2; 10]).unwrap();
        disk.sync(a).unwrap();
        let bytes = &after(&disk, &Unsynced::Lost)[0].1;
        assert_eq!((bytes.len(), bytes[0], bytes[PAGE]), (PAGE + 10, 0, 2));
        assert_eq!(disk.read(a, 0, 1).unwrap(), [1], "whoever runs still reads it");
    }

    #[test]
    fn the_power_goes_before_the_step_that_was_chosen() {
        let mut disk = Model { cut_at: Some(3), ..Model::default() };
        let a = disk.make(ROOT, name("a"), false).unwrap().inode;
        disk.make(ROOT, name("a-shm"), false).unwrap();
        disk.sync_names(ROOT).unwrap();
        assert_eq!(disk.write(a, 0, b"x"), Err(Refused::Io));
        assert_eq!(disk.sync(a), Err(Refused::Io));
        assert_eq!(disk.read(a, 0, 1), Ok(Vec::new()), "what is mapped can be read, and holds nothing new");
        assert_eq!(after(&disk, &Unsynced::Lost).len(), 2);
    }

    #[test]
    fn torn_is_between_lost_and_all() {
        let mut disk = Model::default();
        let a = disk.make(ROOT, name("a"), false).unwrap().inode;
        disk.sync_names(ROOT).unwrap();
        disk.write(a, 0, &[7; 3 * PAGE]).unwrap();
        disk.rename((ROOT, name("a")), (ROOT, name("b")), true).unwrap();
        let mut seen = BTreeSet::new();
        let entropy = Entropy::seeded(1);
        for _ in 0..200 {
            let found = after(&disk, &Unsynced::Torn(entropy.clone()));
            let [(name, bytes)] = &found[..] else { panic!("a rename happens or does not: {found:?}") };
            assert!(bytes.iter().all(|b| *b == 0 || *b == 7));
            seen.insert((name.clone(), bytes.chunks(PAGE).map(|page| page[0]).collect::<Vec<_>>()));
        }
        assert_eq!(seen.len(), 18, "each name, with no bytes or each of three pages or not");
    }
}
