//! The first admin key: `admin.token` in the data directory, readable by its owner alone.
//!
//! The file is the truth. A running server keeps only the hash, and looks at the file's identity on each use,
//! so that `roundtrip key reset` takes the old token's power away at once and needs neither a running server
//! nor a word with it. A file that is missing or cannot be used opens nothing.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use roundtrip_ambient::Entropy;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::data_dir::write_private;

/// The file's name in the data directory.
pub(crate) const FILE: &str = "admin.token";
/// What our own tokens begin with, so that a leaked one is recognised by who finds it.
const PREFIX: &str = "rta_";
/// A token of the operator's own making is at least this long, in bytes; ours have 56.
const BYTES_MIN: usize = 32;
/// The longest token that is read, in bytes.
const BYTES_MAX: u64 = 1024;

/// The admin token, for comparing.
#[derive(Debug)]
pub(crate) struct AdminToken {
    path: PathBuf,
    known: Mutex<Known>,
}

/// What the file held when it was last read. `hash` is `None` while it opens nothing.
#[derive(Debug, Default)]
struct Known {
    identity: Option<Identity>,
    hash: Option<[u8; 32]>,
}

/// Tells one content of the file from the next: a replacement is a new inode, an edit a new time.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    inode: u64,
    changed: (i64, i64),
    bytes: u64,
}

impl AdminToken {
    /// Opens the token of a data directory, and makes it where there is none.
    ///
    /// # Errors
    /// When it cannot be written, or is there and cannot be used.
    pub(crate) fn open_or_create(dir: &Path, entropy: &Entropy) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        if !path.try_exists().with_context(|| format!("look for {}", path.display()))? {
            reset(dir, entropy)?;
            tracing::info!(admin_token.path = %path.display(), "made the first admin key");
        }
        let mode = fs::metadata(&path)?.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
                .with_context(|| format!("make {} readable for its owner alone", path.display()))?;
            tracing::warn!(
                admin_token.path = %path.display(),
                "the admin key could be read by others; its mode is 0600 again, and roundtrip key reset replaces it"
            );
        }
        read(&path)?;
        Ok(Self { path, known: Mutex::default() })
    }

    /// Whether this is the token, as the file has it now. Costs one look at the file's metadata.
    pub(crate) fn matches(&self, presented: &str) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = Identity::of(&self.path).ok();
        if identity.is_none() || known.identity != identity {
            let token = read(&self.path);
            if let Err(error) = &token {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the admin key cannot be used, so nobody gets in"
                );
            }
            known.hash = token.ok().map(|token| Sha256::digest(token.as_bytes()).into());
            known.identity = identity;
        }
        known.hash.is_some_and(|hash| bool::from(hash.ct_eq(&presented)))
    }
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        Ok(Self { inode: meta.ino(), changed: (meta.ctime(), meta.ctime_nsec()), bytes: meta.len() })
    }
}

/// Reads the token of a data directory, for a client on the same machine.
///
/// # Errors
/// When there is none, or it cannot be read or used.
pub(crate) fn read_from(dir: &Path) -> anyhow::Result<String> {
    read(&dir.join(FILE))
}

/// Replaces the token of a data directory and gives back its path. Whoever has the old one is locked out from
/// the next request on.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn reset(dir: &Path, entropy: &Entropy) -> anyhow::Result<PathBuf> {
    let path = dir.join(FILE);
    let mut text = mint(entropy);
    text.push('\n');
    write_private(&path, text.as_bytes()).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    file.take(BYTES_MAX + 1).read_to_string(&mut text).with_context(|| format!("read {}", path.display()))?;
    let token = text.trim();
    let usable = (BYTES_MIN as u64..=BYTES_MAX).contains(&(token.len() as u64));
    if !usable || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        anyhow::bail!(
            "use {}: a token is one word of {BYTES_MIN} to {BYTES_MAX} printable ASCII characters; \
             roundtrip key reset makes a new one",
            path.display()
        );
    }
    Ok(token.to_owned())
}

/// `rta_` and 256 random bits in 52 Crockford characters; the last one carries a single bit.
fn mint(entropy: &Entropy) -> String {
    const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    let mut text = String::from(PREFIX);
    for index in 0..52 {
        let digit = (index * 5..index * 5 + 5).fold(0, |digit, bit| {
            let set = bytes.get(bit / 8).is_some_and(|byte| byte >> (7 - bit % 8) & 1 == 1);
            digit << 1 | usize::from(set)
        });
        text.push(char::from(CROCKFORD[digit]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let token = AdminToken::open_or_create(dir.path(), &Entropy::System).unwrap();
        let text = read_from(dir.path()).unwrap();
        assert!(text.starts_with("rta_") && text.len() == 56, "{text}");
        assert_eq!(fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(token.matches(&text));
        assert!(!token.matches(&text[..55]) && !token.matches(""));

        AdminToken::open_or_create(dir.path(), &Entropy::System).unwrap();
        assert_eq!(read_from(dir.path()).unwrap(), text, "a second start keeps it");
    }

    #[test]
    fn a_reset_reaches_a_running_server() {
        let dir = tempfile::tempdir().unwrap();
        let token = AdminToken::open_or_create(dir.path(), &Entropy::System).unwrap();
        let old = read_from(dir.path()).unwrap();
        assert!(token.matches(&old));
        reset(dir.path(), &Entropy::System).unwrap();
        let new = read_from(dir.path()).unwrap();
        assert!(!token.matches(&old), "the old one is dead at once");
        assert!(token.matches(&new));
        fs::remove_file(dir.path().join(FILE)).unwrap();
        assert!(!token.matches(&new), "without a file nobody gets in");
        reset(dir.path(), &Entropy::System).unwrap();
        assert!(!token.matches(&new) && token.matches(&read_from(dir.path()).unwrap()));
    }

    #[test]
    fn an_open_file_is_closed_and_a_weak_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        fs::write(&path, "x".repeat(32)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        AdminToken::open_or_create(dir.path(), &Entropy::System).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for bad in ["", "short", &"x".repeat(2_000), &"two words ".repeat(5)] {
            fs::write(&path, bad).unwrap();
            assert!(AdminToken::open_or_create(dir.path(), &Entropy::System).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_256_bits_are_printed() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let text = mint(&Entropy::seeded(seed));
            assert_eq!(text.len(), 56);
            assert!(matches!(text.as_bytes()[55], b'0' | b'G'), "one bit, padded with zeros: {text}");
            seen.insert(text);
        }
        assert_eq!(seen.len(), 200);
    }
}
