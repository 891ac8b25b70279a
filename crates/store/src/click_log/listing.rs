//! Which files there are, for people.

use roundtrip_domain::time::Timestamp;

use super::ClickLog;
use super::registry::{Segment, Slice, State};

/// A segment, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Where it lies, below the log's directory or its bucket's prefix.
    pub file: String,
    /// Node that wrote its clicks.
    pub node: u16,
    /// Its number.
    pub seq: u64,
    /// Start of its hour: that of its first id.
    pub hour: Timestamp,
    /// Moment of its first id.
    pub id_first: Timestamp,
    /// Moment of its last id.
    pub id_last: Timestamp,
    /// How many clicks.
    pub clicks: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// SipHash-1-3 (zero key) of the file.
    pub checksum: u64,
    /// Whether it is listed and not where it should be.
    pub is_missing: bool,
    /// The bucket that it lies in; `None`: the log's directory.
    pub bucket: Option<String>,
}

/// A slice, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceInfo {
    /// Name of the file, below the log's directory.
    pub file: String,
    /// Node that wrote it.
    pub node: u16,
    /// Its number.
    pub seq: u64,
    /// How far it came: active, closing, closed, published or missing.
    pub state: &'static str,
    /// When it began; no id in it is older.
    pub began: Timestamp,
    /// Moment of its last id; when it began while there is none.
    pub id_last: Timestamp,
    /// How many clicks.
    pub clicks: u64,
    /// Bytes of the file; 0 while it is written or being closed.
    pub bytes: u64,
}

impl ClickLog {
    /// Every slice, by the moment it began. One whose clicks are in a segment is not among them.
    pub fn slices(&self) -> Vec<SliceInfo> {
        let info = |slice: &Slice| {
            let (name, extent) = (slice.name, slice.extent());
            let listed = slice.listed();
            let state = match &slice.state {
                State::Live { active: true, .. } => "active",
                State::Live { .. } | State::Closed { recorded: false, .. } => "closing",
                State::Closed { listed, .. } if listed.published => "published",
                State::Closed { .. } => "closed",
                State::Missing { .. } => "missing",
            };
            SliceInfo {
                file: name.file(slice.part()),
                node: name.node,
                seq: name.seq,
                state,
                began: Timestamp::from_ms(name.began_ms),
                id_last: Timestamp::from_ms(extent.id_last_ms.max(name.began_ms)),
                clicks: extent.clicks,
                bytes: listed.map_or(0, |listed| listed.bytes),
            }
        };
        let view = self.shared().registry.all();
        view.slices.iter().filter(|s| !s.listed().is_some_and(|listed| listed.elsewhere)).map(info).collect()
    }

    /// Every segment, by the moment of its first id.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let view = self.shared().registry.all();
        let info = |segment: &Segment| {
            let (name, extent) = (segment.sealed.name, segment.extent());
            SegmentInfo {
                file: name.key(),
                node: name.node,
                seq: name.seq,
                hour: Timestamp::from_ms(name.hour_ms),
                id_first: Timestamp::from_ms(extent.id_first_ms),
                id_last: Timestamp::from_ms(extent.id_last_ms),
                clicks: extent.clicks,
                bytes: segment.sealed.bytes,
                checksum: segment.sealed.checksum,
                is_missing: segment.is_missing,
                bucket: segment.moved.as_ref().map(|moved| moved.bucket.clone()),
            }
        };
        view.segments.iter().map(info).collect()
    }
}
