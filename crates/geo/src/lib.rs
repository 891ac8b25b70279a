//! Where an address is, by databases in MaxMind's format (`.mmdb`) that the operator names.
//!
//! A look-up is a walk in memory and waits for nobody. Files are read whole, checked record by record, and only then
//! used; a file that is replaced or changed is noticed by [`Geo::refresh`], and one that cannot be used leaves what was
//! read before in place. They are read and not mapped: a mapped file that somebody truncates ends the process
//! with SIGBUS.
//!
//! Not relied on: that there is a database. Without one every look-up says nothing, at no cost, and everything else
//! goes on.

mod database;
mod record;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use roundtrip_domain::location::Location;
use roundtrip_domain::time::Timestamp;

pub use self::database::{BYTES_MAX, Refused};
use self::database::{Database, Stamp};

/// Most databases that can be named.
pub const DATABASES_MAX: usize = 8;
/// How often a file that could not be used is read again while it looks the same: what was read while somebody wrote
/// it can be whole a moment later, without its size or times having moved since.
const TRIES_MAX: u32 = 3;

/// The databases, in the order in which they are asked. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Geo(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    files: Vec<File>,
    /// One refresh at a time. Neither a look-up nor a question waits for it.
    refreshing: Mutex<()>,
    seen: Mutex<Vec<Seen>>,
    loads: AtomicU64,
    failures: AtomicU64,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    current: ArcSwapOption<Database>,
}

/// What the last look at a file came to.
#[derive(Debug, Clone, Default)]
struct Seen {
    stamp: Option<Stamp>,
    tries: u32,
    trouble: Option<String>,
}

/// What a refresh found at one file. Only what is new is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The file.
    pub path: PathBuf,
    /// What happened.
    pub what: What,
}

/// What happened to a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It was read and is used from now on.
    Loaded(About),
    /// It cannot be used, for this reason; what was read before is used on.
    Kept(String),
    /// It cannot be used, for this reason, and nothing was read before.
    Missing(String),
}

/// What a database says of itself, and how much is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its type, such as `GeoLite2-City`.
    pub kind: String,
    /// When it was built.
    pub built_at: Timestamp,
    /// Ranges of addresses that it knows something about.
    pub networks: u64,
    /// Its size, in bytes; so much memory it takes.
    pub bytes: u64,
}

/// How one database stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The file.
    pub path: PathBuf,
    /// What is used; `None`: nothing was read yet.
    pub about: Option<About>,
    /// Why the file as it is now cannot be used.
    pub trouble: Option<String>,
}

/// How often files were read since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files that were read and used.
    pub loads: u64,
    /// Files that could not be used; each look at one counts.
    pub failures: u64,
}

impl Geo {
    /// Takes databases by their paths, of which the first [`DATABASES_MAX`] count, and reads them. What cannot be
    /// read is told and not fatal: a restart must not depend on a file that somebody is just replacing.
    pub fn open(paths: Vec<PathBuf>) -> (Self, Vec<Change>) {
        if paths.is_empty() {
            return (Self::default(), Vec::new());
        }
        let file = |path| File { path, current: ArcSwapOption::empty() };
        let files: Vec<File> = paths.into_iter().take(DATABASES_MAX).map(file).collect();
        let seen = Mutex::new(files.iter().map(|_| Seen::default()).collect());
        let (loads, failures) = (AtomicU64::new(0), AtomicU64::new(0));
        let inner = Inner { files, refreshing: Mutex::new(()), seen, loads, failures };
        let geo = Self(Some(Arc::new(inner)));
        let changes = geo.refresh();
        (geo, changes)
    }

    /// Whether any database is named.
    pub fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Where an address is. Nothing for a private or otherwise special one, and for one that no database knows.
    ///
    /// Each part comes from the first database that has it; but of a database that names another country than the
    /// one found so far, the place is not used, since a city must lie in its country.
    pub fn look_up(&self, ip: IpAddr) -> Location {
        let Some(inner) = &self.0 else { return Location::default() };
        let ip = ip.to_canonical();
        let mut found = Location::default();
        if is_special(ip) {
            return found;
        }
        for file in &inner.files {
            let database = file.current.load();
            let Some(record) = database.as_ref().and_then(|database| database.record(ip)) else { continue };
            record.add_to(&mut found);
        }
        found
    }

    /// Looks at each file and reads those that changed. Blocks while it reads; call it where that is allowed.
    pub fn refresh(&self) -> Vec<Change> {
        let Some(inner) = &self.0 else { return Vec::new() };
        let _alone = inner.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = inner.seen().clone();
        let pairs = inner.files.iter().zip(seen.iter_mut());
        let changes = pairs.filter_map(|(file, seen)| inner.look(file, seen)).collect();
        *inner.seen() = seen;
        changes
    }

    /// How each database stands, in the order in which they are asked.
    pub fn standing(&self) -> Vec<Standing> {
        let Some(inner) = &self.0 else { return Vec::new() };
        let seen = inner.seen();
        let pairs = inner.files.iter().zip(seen.iter());
        pairs
            .map(|(file, seen)| Standing {
                path: file.path.clone(),
                about: file.current.load().as_ref().map(|database| database.about.clone()),
                trouble: seen.trouble.clone(),
            })
            .collect()
    }

    /// How often files were read.
    pub fn counts(&self) -> Counts {
        self.0.as_ref().map_or_else(Counts::default, |inner| Counts {
            loads: inner.loads.load(Ordering::Relaxed),
            failures: inner.failures.load(Ordering::Relaxed),
        })
    }
}

impl Inner {
    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, file: &File, seen: &mut Seen) -> Option<Change> {
        let stamp = Stamp::of(&file.path).map_err(|error| Refused::Unreadable(error.to_string()));
        if let Ok(stamp) = &stamp
            && seen.stamp.as_ref() == Some(stamp)
            && (seen.trouble.is_none() || seen.tries >= TRIES_MAX)
        {
            return None;
        }
        let is_same = stamp.as_ref().ok() == seen.stamp.as_ref();
        let read = match &stamp {
            Ok(_) => Database::read(&file.path),
            Err(error) => Err(error.clone()),
        };
        match read {
            Ok((database, stamp)) => {
                let what = What::Loaded(database.about.clone());
                file.current.store(Some(Arc::new(database)));
                *seen = Seen { stamp: Some(stamp), ..Seen::default() };
                self.loads.fetch_add(1, Ordering::Relaxed);
                Some(Change { path: file.path.clone(), what })
            }
            Err(refused) => {
                let trouble = refused.to_string();
                let is_new = seen.trouble.as_deref() != Some(&trouble);
                let tries = if is_same { seen.tries + 1 } else { 1 };
                *seen = Seen { stamp: stamp.ok(), tries, trouble: Some(trouble.clone()) };
                self.failures.fetch_add(1, Ordering::Relaxed);
                is_new.then(|| Change { path: file.path.clone(), what: self.refused(file, trouble) })
            }
        }
    }

    fn refused(&self, file: &File, trouble: String) -> What {
        if file.current.load().is_some() { What::Kept(trouble) } else { What::Missing(trouble) }
    }
}

impl Standing {
    /// What is wrong, in words for an operator; `None` while nothing is.
    pub fn sentence(&self) -> Option<String> {
        let trouble = self.trouble.as_deref()?;
        let path = shown(&self.path);
        Some(match self.about {
            Some(_) => format!("{path}: {trouble}; what was read before is used on"),
            None => format!("{path}: {trouble}; addresses are not looked up in it"),
        })
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Whether an address belongs to no place: it is nobody's, or somebody's own network's. Addresses of
/// documentation are left out of this list: examples and tests may have a database of their own for them.
fn is_special(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || a == 0
                // Carriers share 100.64.0.0/10 among their customers (RFC 6598).
                || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_nowhere() {
        for text in [
            "10.1.2.3",
            "127.0.0.1",
            "169.254.1.1",
            "192.168.0.1",
            "172.31.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(is_special(text.parse().unwrap()), "{text}");
        }
        for text in
            ["203.0.113.9", "100.63.0.1", "100.128.0.1", "172.32.0.1", "8.8.8.8", "2001:db8::1", "2a00::1"]
        {
            assert!(!is_special(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn without_databases_there_is_nothing_to_do() {
        let (geo, changes) = Geo::open(Vec::new());
        assert!(
            !geo.is_wanted() && changes.is_empty() && geo.refresh().is_empty() && geo.standing().is_empty()
        );
        assert!(geo.look_up("203.0.113.9".parse().unwrap()).is_empty());
    }
}
