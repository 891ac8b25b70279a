//! What is to be done next: which clicks go together into which file. Nothing here touches a file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roundtrip_domain::time::{Span, Timestamp};

use crate::click_log::registry::{Segment, Slice, State, View};
use crate::click_log::segment::{HOUR_MS, Side};

const DAY_MS: i64 = 24 * HOUR_MS;

/// One piece of work. It makes one file, or one with its side file.
pub(super) enum Task {
    /// Closed slices of an hour become a segment.
    Seal(Vec<Slice>),
    /// Segments of an hour become one.
    Merge(Vec<Segment>),
    /// Side files of a day become one, for these segments.
    Sides(Vec<Arc<Side>>, Vec<Segment>),
}

/// By what the work is chosen.
pub(super) struct Rules {
    pub(super) now: Timestamp,
    /// How long after the end of its hour a slice is sealed.
    pub(super) seal_after: Span,
    /// Most rows of a segment, unless one slice alone has more.
    pub(super) rows_max: u64,
    /// Slices are sealed whatever the hour.
    pub(super) at_once: bool,
}

/// Hour and node: what goes together.
type Place = (i64, u16);

impl Rules {
    fn is_over(&self, end_ms: i64) -> bool {
        self.now.ms() >= end_ms.saturating_add(self.seal_after.ms())
    }
}

/// What is to be done next; the oldest first. Only slices whose counts are in the ledger are sealed, and nothing is made
/// of files that are `left_out`, by number and checksum.
pub(super) fn next(view: &View, rules: &Rules, left_out: &dyn Fn(u64, u64) -> bool) -> Option<Task> {
    let (waiting, mut unsealed) = slices(view, left_out);
    for (place, slices) in &waiting {
        let is_whole = rules.is_over(place.0 + HOUR_MS) && !unsealed.contains(place);
        let sizes = slices.iter().map(|slice| slice.extent().clicks);
        let (n, is_full) = group(sizes, rules.rows_max);
        if is_full || is_whole || rules.at_once {
            return Some(Task::Seal(slices[..n].iter().copied().cloned().collect()));
        }
    }
    unsealed.extend(waiting.keys());
    merge(view, rules, &unsealed, left_out).or_else(|| sides(view, rules, &unsealed, left_out))
}

/// The segments that are finished, whose last click id is older than `local`, and that are not in a bucket yet; the oldest
/// first. To be asked when [`next`] says that nothing is to be done: of a segment whose hour is over nothing is made any
/// more then.
pub(super) fn to_move(
    view: &View,
    rules: &Rules,
    local: Span,
    left_out: &dyn Fn(u64, u64) -> bool,
) -> Vec<Segment> {
    let (waiting, mut unsealed) = slices(view, left_out);
    unsealed.extend(waiting.keys());
    let is_finished = |segment: &&Segment| {
        let (name, last) = (segment.sealed.name, segment.extent().id_last_ms);
        segment.moved.is_none()
            && !segment.is_missing
            && rules.is_over(name.hour_ms + HOUR_MS)
            && !unsealed.contains(&(name.hour_ms, name.node))
            && last.saturating_add(local.ms()) < rules.now.ms()
            && !left_out(segment.seq(), segment.sealed.checksum)
    };
    view.segments.iter().filter(is_finished).cloned().collect()
}

/// The slices that can be sealed, and where clicks are that cannot be yet.
fn slices<'a>(
    view: &'a View,
    left_out: &dyn Fn(u64, u64) -> bool,
) -> (BTreeMap<Place, Vec<&'a Slice>>, BTreeSet<Place>) {
    let mut waiting: BTreeMap<Place, Vec<&Slice>> = BTreeMap::new();
    let mut unsealed: BTreeSet<Place> = BTreeSet::new();
    for slice in &view.slices {
        let place = (hour_of_slice(slice), slice.name.node);
        match &slice.state {
            State::Closed { listed, recorded: true }
                if listed.published && !left_out(slice.name.seq, listed.checksum) =>
            {
                waiting.entry(place).or_default().push(slice);
            }
            State::Missing { .. } => {}
            State::Live { .. } | State::Closed { .. } => drop(unsealed.insert(place)),
        }
    }
    (waiting, unsealed)
}

/// Segments of an hour that is over, of which several have room in one.
fn merge(
    view: &View,
    rules: &Rules,
    unsealed: &BTreeSet<Place>,
    left_out: &dyn Fn(u64, u64) -> bool,
) -> Option<Task> {
    for (place, mut segments) in by_place(view) {
        // One in a bucket stays what it is.
        segments.retain(|s| s.moved.is_none() && !left_out(s.seq(), s.sealed.checksum));
        if !rules.is_over(place.0 + HOUR_MS) || unsealed.contains(&place) {
            continue;
        }
        let mut rest = &segments[..];
        while !rest.is_empty() {
            let (n, _) = group(rest.iter().map(|s| s.extent().clicks), rules.rows_max);
            if n > 1 {
                return Some(Task::Merge(rest[..n].iter().copied().cloned().collect()));
            }
            rest = &rest[n..];
        }
    }
    None
}

/// Side files of a day that is over, if there is more than one.
fn sides(
    view: &View,
    rules: &Rules,
    unsealed: &BTreeSet<Place>,
    left_out: &dyn Fn(u64, u64) -> bool,
) -> Option<Task> {
    let day = |place: &Place| (place.0.div_euclid(DAY_MS) * DAY_MS, place.1);
    let mut days: BTreeMap<Place, Vec<&Segment>> = BTreeMap::new();
    for (place, segments) in by_place(view) {
        days.entry(day(&place)).or_default().extend(segments);
    }
    for (place, segments) in days {
        if !rules.is_over(place.0 + DAY_MS) || unsealed.iter().any(|hour| day(hour) == place) {
            continue;
        }
        let numbers: BTreeSet<u64> = segments.iter().map(|segment| segment.side).collect();
        // One that is to be made again is not left out of the day's.
        if numbers.len() > 1 && numbers.iter().all(|seq| view.side(*seq).is_some()) {
            let sides: Vec<_> = numbers.iter().filter_map(|seq| view.side(*seq).cloned()).collect();
            if sides.iter().any(|side| left_out(side.name.seq, side.checksum)) {
                continue;
            }
            return Some(Task::Sides(sides, segments.into_iter().cloned().collect()));
        }
    }
    None
}

fn by_place(view: &View) -> BTreeMap<Place, Vec<&Segment>> {
    let mut places: BTreeMap<Place, Vec<&Segment>> = BTreeMap::new();
    for segment in view.segments.iter().filter(|s| !s.is_missing) {
        let name = segment.sealed.name;
        places.entry((name.hour_ms, name.node)).or_default().push(segment);
    }
    places
}

/// How many of these go together, at least one, and whether the next one would be too many.
fn group(sizes: impl Iterator<Item = u64>, rows_max: u64) -> (usize, bool) {
    let (mut n, mut rows) = (0, 0_u64);
    for size in sizes {
        rows = rows.saturating_add(size);
        if n > 0 && rows > rows_max {
            return (n, true);
        }
        n += 1;
    }
    (n, rows >= rows_max)
}

/// The hour of its first id. A live slice without clicks has none: there it is the hour in which it began.
fn hour_of_slice(slice: &Slice) -> i64 {
    let extent = slice.extent();
    let first = if extent.clicks == 0 { slice.name.began_ms } else { extent.id_first_ms };
    Timestamp::from_ms(first).floor_to(HOUR_MS).ms()
}
