//! The template library: what known networks and trackers want to be told, and how their click id reaches our link.
//!
//! The entries are data (`entries/*.toml`, compiled in). Each one is taken from the vendor's own pages, names them,
//! says when they were read and what could not be confirmed there; none was tried with a live account, which is what
//! its status says. A template is written in our own macros, so an entry reads the same whatever the vendor calls
//! things; [`Entry::partner_dialect`] names the vendor's language for what is pasted from there.
//!
//! Not relied on: that an entry is right. It is a beginning for a rule that its owner looks at before it is used, and
//! nothing in here is looked up while an event is told.

mod entry;
mod page;

use std::sync::OnceLock;

pub use self::entry::{Body, Check, Click, Entry, Kind, On, Platform, STATUS, Setting, Success};
pub use self::page::page;

/// The embedded files, in no particular order.
const FILES: [&str; 3] = [
    include_str!("entries/trackers.toml"),
    include_str!("entries/networks.toml"),
    include_str!("entries/measurement.toml"),
];

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    entry: Vec<Entry>,
}

fn read() -> Result<Vec<Entry>, toml::de::Error> {
    let mut entries = Vec::new();
    for text in FILES {
        entries.extend(toml::from_str::<File>(text)?.entry);
    }
    entries.sort_by(|a, b| a.slug.cmp(&b.slug));
    Ok(entries)
}

/// Every entry, in the order of their slugs. The files are part of the program and a test reads them, so there is no
/// error to report here.
pub fn entries() -> &'static [Entry] {
    static ENTRIES: OnceLock<Vec<Entry>> = OnceLock::new();
    ENTRIES.get_or_init(|| read().unwrap_or_default())
}

/// The entry of that slug.
pub fn find(slug: &str) -> Option<&'static Entry> {
    entries().iter().find(|entry| entry.slug == slug)
}

/// The slug that was likely meant, for messages: one that holds the text or is held by it.
pub fn likely(slug: &str) -> Option<&'static str> {
    let wanted = slug.trim().to_ascii_lowercase();
    let slugs = || entries().iter().map(|entry| entry.slug.as_str());
    let holds =
        |known: &&str| !wanted.is_empty() && (known.contains(wanted.as_str()) || wanted.contains(*known));
    slugs().find(holds).or_else(|| {
        let alike = |known: &str| known.bytes().zip(wanted.bytes()).take_while(|(a, b)| a == b).count();
        slugs().rev().max_by_key(|known| alike(known)).filter(|known| alike(known) >= 3)
    })
}

#[cfg(test)]
mod tests;
