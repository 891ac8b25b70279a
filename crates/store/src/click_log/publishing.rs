//! Counts of clicks on their way into the ledger: offered when a slice is closed, kept until the ledger has them.

use std::sync::Arc;

use roundtrip_domain::time::Timestamp;

use super::ClickLog;
use super::append::lock;
use super::error::Error;
use super::index::SliceCount;
use super::manifest::Listed;
use super::registry::{self, Slice, State};
use super::slice::Part;

/// A closed slice whose counts the ledger is to put into its rollups, in one transaction with a row that says
/// `(node, seq)` is in. A slice may be offered again after a crash; the row makes the second time do nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedSlice {
    /// Name of the file.
    pub file: String,
    /// Node that wrote it.
    pub node: u16,
    /// Its number; never used twice by one data directory.
    pub seq: u64,
    /// When it began; no id in it is older.
    pub began: Timestamp,
    /// Moment of its first id.
    pub id_first: Timestamp,
    /// Moment of its last id.
    pub id_last: Timestamp,
    /// How many touches it holds.
    pub clicks: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// SipHash-1-3 (zero key) of the file.
    pub checksum: u64,
    /// What is counted, sorted.
    pub counts: Vec<SliceCount>,
}

/// Counts of one slice that may not be in the ledger yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpublishedCounts {
    /// Node of the slice.
    pub node: u16,
    /// Its number. A reader that finds it among the ledger's slices has these counts already.
    pub seq: u64,
    /// What is counted, sorted.
    pub counts: Vec<SliceCount>,
}

impl ClickLog {
    /// Closed slices whose counts the ledger has not confirmed, oldest first.
    pub fn to_publish(&self) -> Vec<ClosedSlice> {
        let view = self.shared().registry.all();
        let mut out: Vec<_> = view
            .slices
            .iter()
            .filter_map(|slice| match &slice.state {
                State::Closed { listed, recorded: true } | State::Missing { listed } if !listed.published => {
                    Some(ClosedSlice {
                        file: slice.name.file(Part::Closed),
                        node: slice.name.node,
                        seq: slice.name.seq,
                        began: Timestamp::from_ms(slice.name.began_ms),
                        id_first: Timestamp::from_ms(listed.extent.id_first_ms),
                        id_last: Timestamp::from_ms(listed.extent.id_last_ms),
                        clicks: listed.extent.clicks,
                        bytes: listed.bytes,
                        checksum: listed.checksum,
                        counts: listed.counts.clone(),
                    })
                }
                _ => None,
            })
            .collect();
        out.sort_by_key(|s| s.seq);
        out
    }

    /// Notes that the ledger's transaction with this slice's counts is committed. Blocks for one small commit; doing
    /// it twice, or for a slice that is not there, does nothing.
    ///
    /// # Errors
    /// When the manifest cannot be written; the slice is offered again.
    pub fn published(&self, seq: u64) -> Result<(), Error> {
        let shared = self.shared();
        let _files = lock(&shared.files);
        let Some(Slice { name, state }) = shared.registry.get(seq) else { return Ok(()) };
        let told = |listed: &Arc<Listed>| {
            Arc::new(Listed { published: true, counts: Vec::new(), ..(**listed).clone() })
        };
        let state = match &state {
            State::Closed { listed, recorded: true } => {
                State::Closed { listed: told(listed), recorded: true }
            }
            State::Missing { listed } => State::Missing { listed: told(listed) },
            State::Live { .. } | State::Closed { .. } => return Ok(()),
        };
        lock(&shared.manifest).publish(seq)?;
        match &state {
            State::Missing { listed } if listed.elsewhere => {
                shared.registry.remove(seq);
                lock(&shared.manifest).forget(seq)
            }
            _ => {
                shared.registry.put(Slice { name, state });
                Ok(())
            }
        }
    }

    /// Counts of the slices that are not confirmed to be in the ledger: the active one, those being closed, and
    /// those closed but not published. A reader of counts adds them to the ledger's, leaving out each `(node, seq)`
    /// that the ledger has already.
    pub fn active_counts(&self) -> Vec<UnpublishedCounts> {
        let view = self.shared().registry.all();
        let counts_of = |slice: &Slice| match &slice.state {
            State::Live { index, .. } => Some(registry::read(index).counts()),
            State::Closed { listed, .. } | State::Missing { listed } => {
                (!listed.published).then(|| listed.counts.clone())
            }
        };
        view.slices
            .iter()
            .filter_map(|slice| {
                let counts = counts_of(slice).filter(|counts| !counts.is_empty())?;
                Some(UnpublishedCounts { node: slice.name.node, seq: slice.name.seq, counts })
            })
            .collect()
    }
}
