//! What is kept in memory about a slice that has no side file yet: its prints, its counts, its span.
//!
//! Bounded by the size of a slice, and rebuilt from its rows when the log is opened. It knows only rows
//! whose commit is durable.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use roundtrip_domain::click::{Click, Flags, TouchKind};
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::device::Print;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::location::Country;
use roundtrip_domain::params::Params;
use roundtrip_domain::time::Timestamp;

/// Width of the buckets in which clicks are counted: 15 minutes, as the ledger's rollups.
pub const BUCKET_MS: i64 = 15 * 60 * 1000;

/// How many touches of one kind one link had from one country in one bucket of one slice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SliceCount {
    /// Owner of the link.
    pub workspace: WorkspaceNo,
    /// The app or site that the link promotes.
    pub app: Id<kind::App>,
    /// The campaign of the link.
    pub campaign: Id<kind::Campaign>,
    /// Whose link it is.
    pub partner: Id<kind::Partner>,
    /// The link.
    pub link: Id<kind::Link>,
    /// What kind of touch.
    pub kind: TouchKind,
    /// Where they came from; `None`: unknown.
    pub country: Option<Country>,
    /// Start of the 15-minute bucket of `received_at`.
    pub bucket_start: Timestamp,
    /// Touches stored.
    pub count: u64,
    /// Of these, how many had no partner click id.
    pub partner_click_id_absent: u64,
    /// Of these, how many had one that was still a macro.
    pub partner_click_id_unexpanded: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct CountKey {
    workspace: WorkspaceNo,
    app: Id<kind::App>,
    campaign: Id<kind::Campaign>,
    partner: Id<kind::Partner>,
    link: Id<kind::Link>,
    kind: TouchKind,
    country: Option<Country>,
    bucket_start: Timestamp,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    count: u64,
    absent: u64,
    unexpanded: u64,
}

/// What the index needs of a click; made on the caller's thread.
pub(super) struct Noted {
    key: CountKey,
    flags: Flags,
    received_at: Timestamp,
    prints: Vec<Print>,
}

impl Noted {
    pub(super) fn of(click: &Click, params: &Params) -> Self {
        Self {
            key: CountKey {
                workspace: click.workspace,
                app: click.app,
                campaign: click.campaign,
                partner: click.partner,
                link: click.link,
                kind: click.kind,
                country: click.location.country,
                bucket_start: click.received_at.floor_to(BUCKET_MS),
            },
            flags: click.flags,
            received_at: click.received_at,
            prints: click.prints(params),
        }
    }

    /// When the click was received.
    pub(super) fn received_at(&self) -> Timestamp {
        self.received_at
    }
}

/// First and last moments of a slice, and how much is in it. Milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) id_first_ms: i64,
    pub(super) id_last_ms: i64,
    pub(super) received_first_ms: i64,
    pub(super) received_last_ms: i64,
    pub(super) clicks: u64,
}

impl Extent {
    pub(super) const EMPTY: Self = Self {
        id_first_ms: i64::MAX,
        id_last_ms: i64::MIN,
        received_first_ms: i64::MAX,
        received_last_ms: i64::MIN,
        clicks: 0,
    };

    /// Takes in one more touch.
    pub(super) fn add(&mut self, id: ClickId, received_at: Timestamp) {
        self.id_first_ms = self.id_first_ms.min(id.ms());
        self.id_last_ms = self.id_last_ms.max(id.ms());
        self.received_first_ms = self.received_first_ms.min(received_at.ms());
        self.received_last_ms = self.received_last_ms.max(received_at.ms());
        self.clicks += 1;
    }

    pub(super) fn received_overlaps(&self, from: Timestamp, to: Timestamp) -> bool {
        self.received_first_ms <= to.ms() && self.received_last_ms >= from.ms()
    }
}

/// One print of one click; `prev` chains the entries of one hash, newest first.
struct Entry {
    scope: u128,
    hash: u64,
    id_high: u64,
    id_low: u64,
    prev: u32,
    kind: u8,
}

const NONE: u32 = u32::MAX;

pub(super) struct Index {
    /// Keyed by the print's hash alone. Partners choose the hashed values, so the hasher is seeded by each process.
    heads: HashMap<u64, u32, RandomState>,
    entries: Vec<Entry>,
    counts: HashMap<CountKey, Tally, RandomState>,
    pub(super) extent: Extent,
    lag_max_ms: i64,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            heads: HashMap::default(),
            entries: Vec::new(),
            counts: HashMap::default(),
            extent: Extent::EMPTY,
            lag_max_ms: 0,
        }
    }

    pub(super) fn add(&mut self, id: ClickId, noted: &Noted) {
        self.extent.add(id, noted.received_at);
        self.lag_max_ms = self.lag_max_ms.max(id.ms().saturating_sub(noted.received_at.ms()));
        let tally = self.counts.entry(noted.key).or_default();
        tally.count += 1;
        tally.absent += u64::from(noted.flags.has(Flags::PARTNER_CLICK_ID_ABSENT));
        tally.unexpanded += u64::from(noted.flags.has(Flags::PARTNER_CLICK_ID_UNEXPANDED));
        for print in &noted.prints {
            let at = self.entries.len() as u32;
            let prev = self.heads.insert(print.hash, at).unwrap_or(NONE);
            self.entries.push(Entry {
                scope: print.scope,
                hash: print.hash,
                id_high: (id.bits() >> 64) as u64,
                id_low: id.bits() as u64,
                prev,
                kind: print.kind as u8,
            });
        }
    }

    /// By how many milliseconds an id is later than its click was received, at most. It is the time that a click waits
    /// for its commit, or by how much the clock was set back.
    pub(super) fn lag_max_ms(&self) -> i64 {
        self.lag_max_ms
    }

    /// Ids of the clicks with this print, the last first, and where to go on: after so many entries of its hash the rest
    /// is left for the next call. Entries are only added, so a place stays what it is.
    pub(super) fn find(
        &self,
        print: &Print,
        from: Option<u32>,
        entries_max: usize,
    ) -> (Vec<ClickId>, Option<u32>) {
        let mut found = Vec::new();
        let mut at = from.unwrap_or_else(|| self.heads.get(&print.hash).copied().unwrap_or(NONE));
        for _ in 0..entries_max {
            let Some(entry) = self.entries.get(at as usize) else { return (found, None) };
            if entry.scope == print.scope && entry.kind == print.kind as u8 && entry.hash == print.hash {
                found.push(entry.id());
            }
            at = entry.prev;
        }
        (found, Some(at).filter(|at| *at != NONE))
    }

    /// Every `(scope, kind, hash, id)`, sorted: the rows of the side file.
    pub(super) fn prints_sorted(&self) -> Vec<(u128, u8, u64, ClickId)> {
        let mut rows: Vec<_> = self.entries.iter().map(|e| (e.scope, e.kind, e.hash, e.id())).collect();
        rows.sort_unstable();
        rows
    }

    /// The counts, sorted, so that two runs over the same rows say the same.
    pub(super) fn counts(&self) -> Vec<SliceCount> {
        let mut counts: Vec<_> = self
            .counts
            .iter()
            .map(|(key, tally)| SliceCount {
                workspace: key.workspace,
                app: key.app,
                campaign: key.campaign,
                partner: key.partner,
                link: key.link,
                kind: key.kind,
                country: key.country,
                bucket_start: key.bucket_start,
                count: tally.count,
                partner_click_id_absent: tally.absent,
                partner_click_id_unexpanded: tally.unexpanded,
            })
            .collect();
        counts.sort_unstable();
        counts
    }
}

impl Entry {
    fn id(&self) -> ClickId {
        ClickId::from_bits((self.id_high as u128) << 64 | self.id_low as u128)
    }
}
