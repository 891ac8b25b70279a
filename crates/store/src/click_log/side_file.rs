//! The side file of a closed slice: where the clicks with a print are.
//!
//! Fixed-width rows sorted by `(scope, kind, hash)`, then by click id, searched where they lie with positioned
//! reads. Integers are big-endian, so a row compares as its bytes do.
//!
//! ```text
//! header, 64 bytes:  "RTPRINTS" · version u32 · node u32 · seq u64 · rows u64 · checksum of the rows u64 · by how many
//!                    milliseconds an id is later than its click at most, u64 · zero 8 bytes · checksum of the header so
//!                    far u64                                                  (SipHash-1-3, zero key)
//! row, 41 bytes:     scope 16 · kind 1 · hash 8 · click id 16
//! ```
//!
//! Opening checks the header and the length. The checksum of the rows is checked only by [`verify`], in the
//! background: a look-up may not read a whole file. A wrong row is therefore possible and harmless: it names a
//! click, and the caller compares the click itself. The file can always be made again from its slice.

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::device::Print;
use siphasher::sip::SipHasher13;

use super::durable;
use super::pour::{Pace, Paced};
use super::slice::Name;

const MAGIC: &[u8; 8] = b"RTPRINTS";
const VERSION: u32 = 1;
const HEADER: usize = 64;
const KEY: usize = 25;
const ROW: usize = KEY + 16;

/// `(scope, kind, hash, id)`.
type Row = (u128, u8, u64, ClickId);

/// Writes the file under a temporary name, syncs it, renames it, syncs the directory. `rows` are sorted; no id is more
/// than `lag_max_ms` later than its click was received.
pub(super) fn write(
    path: &Path,
    name: &Name,
    rows: &[Row],
    lag_max_ms: i64,
    pace: Pace<'_>,
) -> io::Result<()> {
    let tmp = path.with_extension("prints.tmp");
    let mut hasher = SipHasher13::new();
    let mut out = BufWriter::with_capacity(1 << 18, Paced::new(File::create(&tmp)?, pace));
    out.write_all(&[0; HEADER])?;
    for (scope, kind, hash, id) in rows {
        let mut row = [0; ROW];
        row[..KEY].copy_from_slice(&key(*scope, *kind, *hash));
        row[KEY..].copy_from_slice(&id.bytes());
        hasher.write(&row);
        out.write_all(&row)?;
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?.file;
    file.write_all_at(&header(name, rows.len() as u64, hasher.finish(), lag_max_ms.max(0)), 0)?;
    file.sync_all()?;
    drop(file);
    durable::rename(&tmp, path)
}

fn header(name: &Name, rows: u64, checksum: u64, lag_max_ms: i64) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_be_bytes());
    out[12..16].copy_from_slice(&u32::from(name.node).to_be_bytes());
    out[16..24].copy_from_slice(&name.seq.to_be_bytes());
    out[24..32].copy_from_slice(&rows.to_be_bytes());
    out[32..40].copy_from_slice(&checksum.to_be_bytes());
    out[40..48].copy_from_slice(&lag_max_ms.to_be_bytes());
    let mut hasher = SipHasher13::new();
    hasher.write(&out[..56]);
    out[56..].copy_from_slice(&hasher.finish().to_be_bytes());
    out
}

fn key(scope: u128, kind: u8, hash: u64) -> [u8; KEY] {
    let mut out = [0; KEY];
    out[..16].copy_from_slice(&scope.to_be_bytes());
    out[16] = kind;
    out[17..].copy_from_slice(&hash.to_be_bytes());
    out
}

/// A side file whose header and length are right.
pub(super) struct SideFile {
    file: File,
    rows: u64,
    checksum: u64,
    /// No id is later than its click was received by more than this, in milliseconds.
    pub(super) lag_max_ms: i64,
}

impl SideFile {
    /// Opens it. Anything but a good header with the right length is `InvalidData`.
    pub(super) fn open(path: &Path, name: &Name) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let bad = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
        if len < HEADER as u64 {
            return Err(bad("shorter than its header"));
        }
        let mut head = [0; HEADER];
        file.read_exact_at(&mut head, 0)?;
        let word = |at: usize| head[at..at + 8].iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
        let (rows, checksum) = (word(24), word(32));
        let lag_max_ms = i64::try_from(word(40)).map_err(|_| bad("bad header"))?;
        if head != header(name, rows, checksum, lag_max_ms) {
            return Err(bad("bad header"));
        }
        if rows.checked_mul(ROW as u64).and_then(|n| n.checked_add(HEADER as u64)) != Some(len) {
            return Err(bad("length and header disagree"));
        }
        Ok(Self { file, rows, checksum, lag_max_ms })
    }

    /// The rows of the clicks with this print whose ids are of these moments, in milliseconds, both of them included:
    /// the first, and the one behind the last.
    pub(super) fn rows_of(&self, print: &Print, first_ms: i64, last_ms: i64) -> io::Result<(u64, u64)> {
        // An id's moment has 48 bits.
        let id = |ms: i64| u128::from(ms.clamp(0, (1 << 48) - 1).unsigned_abs()) << 80;
        let bound = |id: u128| {
            let mut row = [0; ROW];
            row[..KEY].copy_from_slice(&key(print.scope, print.kind as u8, print.hash));
            row[KEY..].copy_from_slice(&id.to_be_bytes());
            row
        };
        let first = bound(id(first_ms));
        let end = match last_ms {
            ms if ms < 0 => first,
            ms if ms < (1 << 48) - 1 => bound(id(ms + 1)),
            _ => bound(u128::MAX),
        };
        let end = self.partition(|row| *row < end)?;
        Ok((self.partition(|row| *row < first)?.min(end), end))
    }

    /// The ids in the rows from `first` to before `until`, the last first.
    pub(super) fn ids(&self, first: u64, until: u64) -> io::Result<Vec<ClickId>> {
        let mut bytes = vec![0; until.saturating_sub(first) as usize * ROW];
        self.file.read_exact_at(&mut bytes, HEADER as u64 + first * ROW as u64)?;
        Ok(bytes.chunks_exact(ROW).rev().filter_map(|row| ClickId::from_slice(&row[KEY..])).collect())
    }

    /// The first row for which `before` is false.
    fn partition(&self, before: impl Fn(&[u8; ROW]) -> bool) -> io::Result<u64> {
        let (mut low, mut high) = (0, self.rows);
        let mut found = [0; ROW];
        while low < high {
            let middle = low + (high - low) / 2;
            self.file.read_exact_at(&mut found, HEADER as u64 + middle * ROW as u64)?;
            if before(&found) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

/// Reads the whole file and compares the checksum of its rows.
pub(super) fn verify(path: &Path, name: &Name) -> io::Result<bool> {
    let side = SideFile::open(path, name)?;
    let mut hasher = SipHasher13::new();
    let mut file = side.file;
    let mut buffer = vec![0; 1 << 18];
    let mut skip = HEADER;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish() == side.checksum),
            n => {
                let from = skip.min(n);
                skip -= from;
                hasher.write(&buffer[from..n]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roundtrip_domain::device::PrintKind;

    #[test]
    fn finds_what_was_written_and_refuses_what_was_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.prints");
        let name = Name { node: 1, began_ms: 2, seq: 3 };
        let id = |ms: u64| ClickId::from_bits(u128::from(ms) << 80 | 0xffff);
        let mut rows: Vec<_> = (0..1_000_u64).map(|i| (u128::from(i % 3), 1, i / 5, id(10 * i))).collect();
        rows.sort_unstable();
        write(&path, &name, &rows, 77, Pace::HURRIED).unwrap();
        let side = SideFile::open(&path, &name).unwrap();
        assert_eq!(side.lag_max_ms, 77);
        let find = |print: &Print, first_ms, last_ms| {
            let (first, until) = side.rows_of(print, first_ms, last_ms).unwrap();
            side.ids(first, until).unwrap()
        };
        for (scope, _, hash, at) in &rows {
            let print = Print { scope: *scope, kind: PrintKind::Gaid, hash: *hash };
            let all = |first: i64, last: i64| {
                let mut want: Vec<_> = rows
                    .iter()
                    .filter(|r| (r.0, r.2) == (*scope, *hash) && (first..=last).contains(&r.3.ms()))
                    .map(|r| r.3)
                    .collect();
                want.reverse();
                want
            };
            for (first, last) in [
                (0, i64::MAX),
                (i64::MIN, at.ms()),
                (at.ms(), at.ms()),
                (at.ms() + 1, i64::MAX),
                (0, at.ms() - 1),
            ] {
                assert_eq!(find(&print, first, last), all(first, last), "{first} to {last}");
            }
            assert_eq!(find(&print, i64::MIN, -1), []);
        }
        let none = Print { scope: 1, kind: PrintKind::Idfa, hash: 0 };
        assert!(find(&none, 0, i64::MAX).is_empty());
        assert!(verify(&path, &name).unwrap());

        let good = std::fs::read(&path).unwrap();
        assert!(SideFile::open(&path, &Name { seq: 4, ..name }).is_err(), "another slice's");
        for at in [0, 30, 45, 60] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(SideFile::open(&path, &name).is_err(), "byte {at}");
        }
        std::fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(SideFile::open(&path, &name).is_err(), "cut");
        let mut bad = good.clone();
        bad[HEADER + 500] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        assert!(!verify(&path, &name).unwrap(), "a changed row");
    }
}
