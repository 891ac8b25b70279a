//! The click log and the ledger as copies of different moments: somebody put an older copy of one beside the other.
//!
//! Each slice is counted in the ledger once, by its number. An older log would give numbers again that the ledger has, and
//! what is counted under them would be taken for told; an older ledger lacks counts that the log believes to be told. So
//! a start is told which slices the ledger has. Numbers go on behind them, a slice that the ledger has is not written on, and
//! what the ledger lacks is counted once more: from the slice, or from the segment that has its clicks now, which says
//! between which ids they are.
//!
//! Not relied on: that either copy is a whole and tidy one. Lost for the counts are the clicks that were erased or expired
//! in between.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::index::{Index, Noted};
use super::manifest::{Listed, Manifest};
use super::opening::OpenReport;
use super::registry::{Segment, Slice, State};
use super::sealing::{Rows, SliceSpan};
use super::slice::{self, Name, Part};
use super::{Config, Error};

/// Compares what the ledger has with what the log believes of it, and mends the log's side. `seq_own` is the highest number
/// that the log itself knows of.
pub(super) fn mend(
    config: &Config,
    manifest: &mut Manifest,
    seq_own: u64,
    slices: &mut Vec<Slice>,
    segments: &[Segment],
    report: &mut OpenReport,
) -> Result<(), Error> {
    let Some(counted) = &config.published else { return Ok(()) };
    let has = |name: &Name| counted.contains(&(name.node, name.seq));
    report.is_older = counted.iter().any(|(_, seq)| *seq > seq_own)
        || slices.iter().any(|slice| slice.is_live() && has(&slice.name));
    if report.is_older {
        tracing::warn!(
            click_log.seq = seq_own,
            "the click log is an older copy than the ledger: clicks that came after it was made are not in it"
        );
    }
    let last = manifest.published_last()?;
    let is_known = |seq: u64| counted.iter().any(|(_, counted)| *counted == seq);
    let lacks = |slice: &Slice| slice.listed().is_some_and(|l| l.published) && !has(&slice.name);
    if last.is_none_or(is_known) && !slices.iter().any(lacks) {
        return Ok(());
    }
    let dir = config.dir.as_path();
    for slice in slices.iter_mut().filter(|slice| lacks(slice)) {
        let name = slice.name;
        match &slice.state {
            State::Closed { listed, recorded } => {
                let path = dir.join(name.file(Part::Closed));
                let index =
                    slice::open_reader(&path, true).and_then(|conn| slice::scan(&conn, &name, &path))?;
                let listed = Listed { published: false, counts: index.counts(), ..Listed::clone(listed) };
                manifest.count_again(&listed)?;
                slice.state = State::Closed { listed: Arc::new(listed), recorded: *recorded };
                report.told_again.push(name.seq);
            }
            State::Live { .. } | State::Missing { .. } => report.uncounted.push(name.file(Part::Closed)),
        }
    }
    for segment in segments {
        let name = segment.sealed.name;
        // A start asks no bucket which slices are in a segment that lies there.
        if segment.is_missing || segment.moved.is_some() {
            report.uncounted.push(name.key());
            continue;
        }
        let path = dir.join(name.key());
        let spans = || -> Result<Vec<SliceSpan>, Error> {
            Ok(Rows::of_segment(&path, name, false)?.slices().to_vec())
        };
        let lacking = |span: &SliceSpan| {
            !counted.contains(&(name.node, span.seq)) && !slices.iter().any(|s| s.name.seq == span.seq)
        };
        let told = spans().and_then(|mut spans| {
            spans.retain(lacking);
            count(&path, segment, &spans)
        });
        let told = match told {
            Err(error) if error.is_damage() => {
                report.uncounted.push(name.key());
                continue;
            }
            other => other?,
        };
        let clicks: u64 = told.iter().map(|listed| listed.extent.clicks).sum();
        if clicks > 0 {
            // Tens of seconds for ten million clicks, and nothing is served meanwhile.
            tracing::info!(
                segment.file = name.key(),
                segment.clicks = clicks,
                "counted a segment's clicks anew"
            );
        }
        for listed in told {
            manifest.count_again(&listed)?;
            report.told_again.push(listed.name.seq);
            slices.push(Slice { name: listed.name, state: State::Missing { listed: Arc::new(listed) } });
        }
    }
    report.told_again.sort_unstable();
    tracing::warn!(
        click_log.slices = report.told_again.len(),
        "the ledger is an older copy than the click log: counts that it lacks are told once more"
    );
    for file in &report.uncounted {
        tracing::error!(
            slice.file = file,
            "counts that the ledger lacks cannot be made again: the clicks are not there"
        );
    }
    Ok(())
}

/// Counts the clicks of slices that are in a segment.
fn count(path: &Path, segment: &Segment, spans: &[SliceSpan]) -> Result<Vec<Listed>, Error> {
    let name = segment.sealed.name;
    if spans.is_empty() {
        return Ok(Vec::new());
    }
    let mut counted: BTreeMap<u64, Index> = BTreeMap::new();
    for touch in Rows::of_segment(path, name, false)?.all() {
        let touch = touch?;
        if let Some(span) = spans.iter().find(|span| span.holds(touch.id)) {
            let noted = Noted::of(&touch.click, &touch.click.params());
            counted.entry(span.seq).or_insert_with(Index::new).add(touch.id, &noted);
        }
    }
    let listed = |(seq, index): (u64, Index)| Listed {
        name: Name { node: name.node, began_ms: index.extent.id_first_ms.max(0), seq },
        extent: index.extent,
        bytes: 0,
        checksum: 0,
        published: false,
        elsewhere: true,
        counts: index.counts(),
    };
    Ok(counted.into_iter().map(listed).collect())
}
