//! Puts a list and the facts together. Pure: no clock, no store.
//!
//! A line finds its facts by the most trusted key that finds any: the partner's click id, ours, the event id, the order
//! id. Among several facts of one click the other keys decide, then the event's name, then amount and time. Lines that
//! agree with a fact in everything are served first, so that no other line takes their fact.

use std::collections::{BTreeMap, HashMap, HashSet};

use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::money;
use roundtrip_domain::time::{Timestamp, human};

use super::verdict::{Cause, Verdict};
use super::{Against, Fact, Finding, Reconciliation, Row, Terms, Totals, micros};

/// Amounts that differ by no more than this are the same: half of a hundredth.
const AMOUNT_TOLERANCE: i64 = 5_000;
/// How far time zones lie from the hour, in milliseconds: they are multiples of this.
const ZONE_STEP_MS: i64 = 15 * 60 * 1_000;
/// The widest offset between two zones that is looked for.
const ZONE_MAX_MS: i64 = 14 * 3_600_000;
/// How near to such a multiple two times must differ.
const ZONE_TOLERANCE_MS: i64 = 2 * 60 * 1_000;
/// Lines that must differ by the same offset before it is said of the whole list.
const ZONE_LINES_MIN: u64 = 2;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    PartnerClick(String),
    Click(ClickId),
    /// Bits of an event's or conversion's id.
    Event(String),
    Order(String),
}

/// Facts with the same key that one line is compared with: those nearest in time.
const SHARED_MAX: usize = 500;

/// A line, with what is looked at often.
#[derive(Debug)]
struct Line {
    row: Row,
    keys: Vec<Key>,
    /// From when to when it is, both included.
    time: Option<(Timestamp, Timestamp)>,
}

/// A fact, with what is looked at often.
#[derive(Debug)]
struct Held {
    fact: Fact,
    keys: Vec<Key>,
    /// From when it happened to when it had arrived.
    span: (Timestamp, Timestamp),
}

/// A list, and the facts that could be its lines.
#[derive(Debug)]
pub struct Join {
    lines: Vec<Line>,
    keys: HashSet<Key>,
    terms: Terms,
    /// The kinds of conversions that are compared; empty: all.
    kinds: Vec<&'static str>,
    held: Vec<Held>,
    /// Facts that no line can be, by their place among all that were offered.
    unlisted: Vec<Fact>,
}

/// What a line came to.
enum Place {
    /// It is this fact.
    Of(usize),
    /// It repeats the line that is this fact.
    Repeats(usize),
    /// The click has facts, and none of this name.
    OtherName,
    /// Nothing is known of it here.
    Unknown,
}

impl Join {
    /// A list to be compared on these terms. Lines keep their order.
    pub fn new(rows: Vec<Row>, terms: Terms) -> Self {
        let line = |row: Row| {
            let keys = keys_of_row(&row, terms.against);
            let time = row.time.as_deref().and_then(Timestamp::parse).map(|from| {
                (from, row.time_to.as_deref().and_then(Timestamp::parse).map_or(from, |to| to.plus_ms(-1)))
            });
            Line { row, keys, time }
        };
        let lines: Vec<Line> = rows.into_iter().map(line).collect();
        let keys = lines.iter().flat_map(|line| line.keys.iter().cloned()).collect();
        Self { lines, keys, terms, kinds: Vec::new(), held: Vec::new(), unlisted: Vec::new() }
    }

    /// The same, about conversions of these kinds alone, which are some of [`super::KINDS`]: neither is anything of
    /// another kind missed in the list, nor is a line of one.
    #[must_use]
    pub fn of_kinds(self, kinds: Vec<&'static str>) -> Self {
        Self { kinds, ..self }
    }

    fn is_of_kind(&self, fact: &Fact) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|kind| *kind == fact.kind)
    }

    /// How many facts are kept because they share a key with a line.
    pub fn kept(&self) -> usize {
        self.held.len()
    }

    /// Offers a fact. Offer all that were received in the period, and for [`super::AROUND_MS`] around it.
    pub fn offer(&mut self, fact: Fact) {
        let keys = keys_of_fact(&fact, self.terms.against);
        if keys.iter().any(|key| self.keys.contains(key)) {
            let span = span(&fact);
            self.held.push(Held { fact, keys, span });
        } else if self.is_in_period(&fact) && self.is_of_kind(&fact) {
            self.unlisted.push(fact);
        }
    }

    fn is_in_period(&self, fact: &Fact) -> bool {
        (self.terms.from..self.terms.to).contains(&fact.received())
    }

    /// Compares, and says of which lines nothing is known here: whoever can ask further names their cause with
    /// [`Finding::set`]. At most `findings_max` findings are listed; all are counted.
    pub fn finish(mut self, findings_max: usize) -> Reconciliation {
        let places = self.places();
        let mut totals = Totals { rows: self.lines.len() as u64, ..Totals::default() };
        let mut findings = Vec::new();
        let mut is_listed = vec![false; self.held.len()];
        let mut offsets: BTreeMap<i64, u64> = BTreeMap::new();
        let mut compared = 0_u64;
        for (line, place) in self.lines.iter().zip(&places) {
            let row = &line.row;
            let finding = match place {
                Place::Of(at) => {
                    let Some(held) = self.held.get(*at) else { continue };
                    if let Some(listed) = is_listed.get_mut(*at) {
                        *listed = true;
                    }
                    if !self.is_of_kind(&held.fact) {
                        totals.outside += 1;
                        findings.push(of_both(row, &held.fact, Verdict::Outside, Cause::OtherKind));
                        continue;
                    }
                    totals.facts += 1;
                    compared += 1;
                    if let Some(offset) = zone_offset(line, held) {
                        *offsets.entry(offset).or_default() += 1;
                    }
                    self.compare(line, held)
                }
                Place::Repeats(at) => self.held.get(*at).map(|held| match self.is_of_kind(&held.fact) {
                    true => repeated(row, &held.fact),
                    false => of_both(row, &held.fact, Verdict::Outside, Cause::OtherKind),
                }),
                Place::OtherName => Some(of_row(row, Verdict::MissingHere, Cause::OtherEvent)),
                Place::Unknown => Some(self.unknown(line)),
            };
            match &finding {
                None => totals.matched += 1,
                Some(finding) => match finding.verdict {
                    Verdict::OtherAmount => totals.other_amount += 1,
                    Verdict::OtherTime => totals.other_time += 1,
                    Verdict::Duplicate => totals.duplicate += 1,
                    Verdict::Outside => totals.outside += 1,
                    _ => {
                        totals.missing_here += 1;
                        totals.listed_not_told += u64::from(matches!(place, Place::Of(_)));
                    }
                },
            }
            findings.extend(finding);
        }
        let off_by = offsets
            .iter()
            .max_by_key(|(_, lines)| **lines)
            .filter(|(_, lines)| **lines >= ZONE_LINES_MIN && **lines * 2 > compared);
        let off_by = off_by.map(|(offset, _)| *offset);
        let mut missing: Vec<Fact> = std::mem::take(&mut self.unlisted);
        let held = std::mem::take(&mut self.held);
        missing.extend(held.into_iter().zip(is_listed).filter(|(_, is)| !is).map(|(held, _)| held.fact));
        missing.sort_by(|a, b| (&a.received_at, &a.event).cmp(&(&b.received_at, &b.event)));
        for fact in missing.iter().filter(|fact| self.is_in_period(fact) && self.is_of_kind(fact)) {
            totals.facts += 1;
            let finding = self.missing(fact, off_by);
            match finding.verdict {
                Verdict::NotTold => totals.not_told += 1,
                _ => totals.missing_there += 1,
            }
            findings.push(finding);
        }
        let left_off = findings.len().saturating_sub(findings_max) as u64;
        findings.truncate(findings_max);
        Reconciliation {
            totals,
            clean: totals.is_clean(),
            findings,
            findings_left_off: left_off,
            time_zone_off_by: off_by.map(signed),
        }
    }

    /// Whether it arrived; nobody has to tell the owner of the owner's orders.
    fn is_told(&self, fact: &Fact) -> bool {
        self.terms.against == Against::Orders
            || fact.deliveries.iter().any(|delivery| delivery.state == "delivered")
    }

    /// Which fact each line is.
    fn places(&self) -> Vec<Place> {
        let mut by_key: HashMap<&Key, Vec<usize>> = HashMap::new();
        for (at, held) in self.held.iter().enumerate() {
            for key in &held.keys {
                let places = by_key.entry(key).or_default();
                if places.last() != Some(&at) {
                    places.push(at);
                }
            }
        }
        let candidates: Vec<Vec<usize>> =
            self.lines.iter().map(|line| self.candidates(line, &by_key)).collect();
        // Which line a fact was given to.
        let mut taken: Vec<Option<usize>> = vec![None; self.held.len()];
        let mut places: Vec<Option<Place>> = self.lines.iter().map(|_| None).collect();
        for whole in [true, false] {
            for ((number, line), fits) in self.lines.iter().enumerate().zip(&candidates) {
                if places.get(number).is_none_or(Option::is_some) {
                    continue;
                }
                let free = fits.iter().copied().filter(|at| taken.get(*at).is_some_and(Option::is_none));
                let best = free
                    .filter_map(|at| Some((at, self.held.get(at)?)))
                    .filter(|(_, held)| {
                        !whole || (self.is_told(&held.fact) && self.compare(line, held).is_none())
                    })
                    .min_by_key(|(at, held)| {
                        let is_other = other_amount(&line.row, &held.fact, self.terms.against).is_some();
                        (!self.is_told(&held.fact), is_other, apart(line, held), *at)
                    });
                // What is told of the same as an earlier line repeats that one, rather than being a fact of another amount.
                let is_other = best.as_ref().is_some_and(|(_, held)| {
                    self.is_told(&held.fact)
                        && other_amount(&line.row, &held.fact, self.terms.against).is_some()
                });
                if is_other
                    && let Some(at) = self.agreed(line, fits)
                    && let Some(place) = places.get_mut(number)
                {
                    *place = Some(Place::Repeats(at));
                    continue;
                }
                if let (Some((at, _)), Some(place)) = (best, places.get_mut(number)) {
                    *place = Some(Place::Of(at));
                    if let Some(taken) = taken.get_mut(at) {
                        *taken = Some(number);
                    }
                }
            }
        }
        let left = |(line, fits): (&Line, &Vec<usize>)| {
            let at = self.agreed(line, fits).or_else(|| fits.first().copied());
            let Some(at) = at else { return Place::Unknown };
            let taker = taken.get(at).copied().flatten().and_then(|number| self.lines.get(number));
            // A line of another name than the one that took the only fact of the click is no repeat of it.
            let is_other = taker.is_some_and(|taker| {
                let (a, b) = (&taker.row.event, &line.row.event);
                a.is_some() && b.is_some() && !same_word(a, b)
            });
            if is_other { Place::OtherName } else { Place::Repeats(at) }
        };
        let lines = self.lines.iter().zip(&candidates);
        places.into_iter().zip(lines).map(|(place, rest)| place.unwrap_or_else(|| left(rest))).collect()
    }

    /// The fact that a line agrees with in everything, whoever it was given to.
    fn agreed(&self, line: &Line, fits: &[usize]) -> Option<usize> {
        let is_same = |held: &Held| self.is_told(&held.fact) && self.compare(line, held).is_none();
        fits.iter().copied().find(|at| self.held.get(*at).is_some_and(is_same))
    }

    /// The facts that a line can be, by its most trusted key that finds any, narrowed by its others.
    fn candidates(&self, line: &Line, by_key: &HashMap<&Key, Vec<usize>>) -> Vec<usize> {
        let mut fits = line.keys.iter().find_map(|key| by_key.get(key)).cloned().unwrap_or_default();
        if fits.len() > SHARED_MAX {
            fits.sort_by_cached_key(|at| (self.held.get(*at).map(|held| apart(line, held)), *at));
            fits.truncate(SHARED_MAX);
        }
        let mut narrow = |test: &dyn Fn(&Held) -> bool| {
            if fits.len() > 1 && fits.iter().any(|at| self.held.get(*at).is_some_and(test)) {
                fits.retain(|at| self.held.get(*at).is_some_and(test));
            }
        };
        narrow(&|held| self.is_of_kind(&held.fact));
        for key in &line.keys {
            narrow(&|held| held.keys.contains(key));
        }
        if let Some(event) = &line.row.event {
            let is_named = |name: &String| name.eq_ignore_ascii_case(event.trim());
            narrow(&|held| held.fact.told_as.iter().chain([&held.fact.name]).any(is_named));
            narrow(&|held| held.fact.told_as.iter().chain([&held.fact.name, &held.fact.kind]).any(is_named));
        }
        fits
    }

    /// What differs between a line and its fact; `None`: nothing.
    fn compare(&self, line: &Line, held: &Held) -> Option<Finding> {
        let (row, fact) = (&line.row, &held.fact);
        if let Some((cause, detail)) = self.untold(fact) {
            let mut finding = of_both(row, fact, Verdict::MissingHere, cause);
            finding.set(cause, detail);
            return Some(finding);
        }
        if let Some((cause, here)) = other_amount(row, fact, self.terms.against) {
            let mut finding = of_both(row, fact, Verdict::OtherAmount, cause);
            finding.here = Some(here);
            return Some(finding);
        }
        let apart = apart(line, held);
        if apart <= self.terms.tolerance_ms {
            return None;
        }
        let mut finding = of_both(row, fact, Verdict::OtherTime, Cause::TimeDiffers);
        match zone_offset(line, held) {
            Some(offset) => finding.set(Cause::TimeZone, Some(signed(offset))),
            None if row.time_to.is_some() && apart <= ZONE_MAX_MS => finding.set(Cause::DayBoundary, None),
            None => finding.set(Cause::TimeDiffers, Some(human(apart))),
        }
        finding.here = Some(fact.occurred_at.clone());
        finding.there = row.time.clone();
        Some(finding)
    }

    /// Why the partner cannot have heard of a fact, or should not list it; `None`: it was told.
    fn untold(&self, fact: &Fact) -> Option<(Cause, Option<String>)> {
        if fact.environment != "production" {
            return Some((Cause::Test, None));
        }
        if fact.status == "rejected" {
            return Some((Cause::Rejected, None));
        }
        if self.terms.against == Against::Orders {
            return (fact.status == "pending").then_some((Cause::Pending, None));
        }
        if self.is_told(fact) {
            return None;
        }
        let state = |word: &str| fact.deliveries.iter().rev().find(|delivery| delivery.state == word);
        for (word, cause) in [
            ("scheduled", Cause::Waiting),
            ("held", Cause::Held),
            ("dead", Cause::Failed),
            ("expired", Cause::Expired),
            ("cancelled", Cause::Cancelled),
        ] {
            if let Some(delivery) = state(word) {
                return Some((cause, Some(delivery.reason.clone()).filter(|reason| !reason.is_empty())));
            }
        }
        if fact.status == "pending" {
            return Some((Cause::Pending, None));
        }
        if fact.suppressed.is_empty() {
            return Some((Cause::NoRule, None));
        }
        Some((Cause::NeverSent, Some(fact.suppressed.join(", "))))
    }

    fn unknown(&self, line: &Line) -> Finding {
        let row = &line.row;
        let around =
            self.terms.from.plus_ms(-self.terms.tolerance_ms)..self.terms.to.plus_ms(self.terms.tolerance_ms);
        if line.time.is_some_and(|(from, to)| !around.contains(&from) && !around.contains(&to)) {
            return of_row(row, Verdict::Outside, Cause::OutsidePeriod);
        }
        let cause = if line.keys.is_empty() {
            Cause::NoKey
        } else if self.terms.against == Against::Orders
            || (row.click_id.is_none() && row.rt_click_id.is_none())
        {
            Cause::OrderUnknown
        } else {
            Cause::NeverOurs
        };
        of_row(row, Verdict::MissingHere, cause)
    }

    /// A fact that no line is.
    fn missing(&self, fact: &Fact, off_by: Option<i64>) -> Finding {
        let (verdict, cause, detail) = match self.untold(fact) {
            Some((cause @ (Cause::Waiting | Cause::Held | Cause::Failed | Cause::Expired), detail)) => {
                (Verdict::MissingThere, cause, detail)
            }
            Some((cause, detail)) => (Verdict::NotTold, cause, detail),
            None if self.terms.against == Against::Orders => {
                (Verdict::MissingThere, Cause::NotInOrders, None)
            }
            None => {
                let (cause, detail) = self.unlisted_cause(fact, off_by);
                (Verdict::MissingThere, cause, detail)
            }
        };
        let mut finding = of_fact(fact, verdict, cause);
        finding.set(cause, detail);
        finding
    }

    /// Why a fact that was delivered is not in the list.
    fn unlisted_cause(&self, fact: &Fact, off_by: Option<i64>) -> (Cause, Option<String>) {
        let first = fact.arrivals().map_or_else(|| fact.received(), |(first, _)| first);
        if first >= self.terms.to {
            return (Cause::Late, Some(first.to_string()));
        }
        // The days that the list is about, and those that it would be about by the zone that its times betray.
        let (from, to) = self.terms.listed.unwrap_or((self.terms.from, self.terms.to));
        let off_by = off_by.unwrap_or_default();
        let listed = from.plus_ms(-off_by)..to.plus_ms(-off_by);
        let happened = Timestamp::parse(&fact.occurred_at).unwrap_or(first);
        if !listed.contains(&happened) && !listed.contains(&fact.received()) {
            return (Cause::DayBoundary, None);
        }
        (Cause::Delivered, Some(first.to_string()))
    }
}

impl Finding {
    /// Names a cause, and says it in words.
    pub fn set(&mut self, cause: Cause, detail: Option<String>) {
        self.cause = cause;
        self.sentence = match &detail {
            Some(detail) => format!("{} ({detail})", cause.sentence()),
            None => cause.sentence().to_owned(),
        };
        self.detail = detail;
    }
}

fn of_row(row: &Row, verdict: Verdict, cause: Cause) -> Finding {
    Finding {
        verdict,
        cause,
        detail: None,
        sentence: cause.sentence().to_owned(),
        line: Some(row.line),
        event: None,
        kind: None,
        click_id: row.click_id.clone().or_else(|| row.rt_click_id.clone()),
        order_id: row.order_id.clone(),
        here: None,
        there: with_currency(row.amount.clone(), row.currency.as_deref()),
        replay: None,
    }
}

fn of_fact(fact: &Fact, verdict: Verdict, cause: Cause) -> Finding {
    let replay = (verdict == Verdict::MissingThere && cause.is_mended_by_replay())
        .then(|| fact.deliveries.last().map(|delivery| delivery.id.clone()))
        .flatten();
    Finding {
        verdict,
        cause,
        detail: None,
        sentence: cause.sentence().to_owned(),
        line: None,
        event: Some(fact.event.clone()),
        kind: Some(fact.kind.clone()),
        click_id: fact.partner_click_id.clone().or_else(|| fact.click_id.clone()),
        order_id: fact.order_id.clone(),
        here: known_amount(fact),
        there: None,
        replay,
    }
}

fn of_both(row: &Row, fact: &Fact, verdict: Verdict, cause: Cause) -> Finding {
    Finding {
        event: Some(fact.event.clone()),
        kind: Some(fact.kind.clone()),
        here: known_amount(fact),
        ..of_row(row, verdict, cause)
    }
}

fn with_currency(amount: Option<String>, currency: Option<&str>) -> Option<String> {
    amount.map(|amount| [Some(amount.as_str()), currency].into_iter().flatten().collect::<Vec<_>>().join(" "))
}

/// The amount that a partner was told, or, where it was told none, the one that was booked.
fn known_amount(fact: &Fact) -> Option<String> {
    let told = fact.told_amounts.iter().find(|amount| micros(amount).is_some());
    with_currency(told.or(fact.amount.as_ref()).cloned(), fact.currency.as_deref())
}

fn repeated(row: &Row, fact: &Fact) -> Finding {
    let told = fact.deliveries.iter().filter(|delivery| delivery.state == "delivered").count();
    let cause = if told > 1 { Cause::ToldTwice } else { Cause::ListedTwice };
    of_both(row, fact, Verdict::Duplicate, cause)
}

fn same_word(a: &Option<String>, b: &Option<String>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.trim().eq_ignore_ascii_case(b.trim()),
        _ => a.is_none() && b.is_none(),
    }
}

/// Why the amounts differ, and what is known here. A line without an amount says nothing of it.
fn other_amount(row: &Row, fact: &Fact, against: Against) -> Option<(Cause, String)> {
    let there = micros(row.amount.as_deref()?)?;
    let booked = fact.amount.as_deref();
    let known: Vec<&str> = match fact.told_amounts.as_slice() {
        [] => booked.into_iter().collect(),
        told => told.iter().map(String::as_str).collect(),
    };
    let currency = fact.currency.as_deref();
    let shown = known.first().map(|amount| match currency {
        Some(currency) => format!("{amount} {currency}"),
        None => (*amount).to_owned(),
    });
    let Some(shown) = shown else {
        // Of nothing, nothing is listed; anything else was not told.
        return (there.abs() > AMOUNT_TOLERANCE).then(|| (Cause::AmountNotTold, "no amount".to_owned()));
    };
    let here: Vec<i64> = known.iter().filter_map(|amount| micros(amount)).collect();
    let is_same = here.iter().any(|here| (here - there).abs() <= AMOUNT_TOLERANCE);
    let listed = row.currency.as_deref().filter(|listed| !listed.trim().is_empty());
    let is_other_currency = listed.zip(currency).is_some_and(|(a, b)| !a.trim().eq_ignore_ascii_case(b));
    if is_other_currency {
        return Some((Cause::OtherCurrency, shown));
    }
    if is_same {
        return None;
    }
    let near =
        |a: i64, b: i64| (i128::from(a) * 100 - i128::from(b)).abs() <= 100 * i128::from(AMOUNT_TOLERANCE);
    let cause = if fact.told_amounts.is_empty() && against == Against::Told {
        Cause::AmountNotTold
    } else if here.iter().any(|here| near(*here, there) || near(there, *here)) {
        Cause::MinorUnits
    } else if here.iter().any(|here| (here - there).abs() < money::MICROS && there % money::MICROS == 0) {
        Cause::Rounded
    } else {
        Cause::AmountDiffers
    };
    Some((cause, shown))
}

/// From when to when a fact took place: it happened, it reached us, it arrived at the partner.
fn span(fact: &Fact) -> (Timestamp, Timestamp) {
    let received = fact.received();
    let happened = Timestamp::parse(&fact.occurred_at).unwrap_or(received);
    let arrived = fact.arrivals().map_or(received, |(_, last)| last);
    (happened.min(received), arrived.max(received).max(happened))
}

/// By how much a line's time is off from all times of a fact, in milliseconds; zero for a line without one.
fn apart(line: &Line, held: &Held) -> i64 {
    let Some((from, to)) = line.time else { return 0 };
    let (first, last) = held.span;
    first.since(to).max(from.since(last)).max(0)
}

/// The offset between two time zones that would explain how far a line's time is from when it happened or arrived.
fn zone_offset(line: &Line, held: &Held) -> Option<i64> {
    if line.row.time_to.is_some() || apart(line, held) <= ZONE_TOLERANCE_MS {
        return None;
    }
    let (there, _) = line.time?;
    let offset = |from: Timestamp| {
        let off = there.since(from);
        let steps = (off + off.signum() * ZONE_STEP_MS / 2) / ZONE_STEP_MS;
        let zone = steps * ZONE_STEP_MS;
        let is_zone = steps != 0 && (off - zone).abs() <= ZONE_TOLERANCE_MS && zone.abs() <= ZONE_MAX_MS;
        // Zones are mostly whole hours; quarters are believed only to the second.
        let is_exact = zone % 3_600_000 == 0 || (off - zone).abs() <= 1_000;
        (is_zone && is_exact).then_some(zone)
    };
    offset(held.span.0).or_else(|| offset(held.span.1))
}

/// `+02:00`.
fn signed(ms: i64) -> String {
    let minutes = ms.abs() / 60_000;
    format!("{}{:02}:{:02}", if ms < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
}

fn text(value: &Option<String>) -> Option<&str> {
    value.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

/// The bits behind `evt_` and `cnv_` are the same ones.
fn event_key(id: &str) -> Key {
    let bits = id.trim().rsplit('_').next().unwrap_or(id);
    Key::Event(bits.to_ascii_uppercase())
}

/// A line's keys, the most trusted first.
fn keys_of_row(row: &Row, against: Against) -> Vec<Key> {
    let mut keys = Vec::new();
    if against == Against::Told {
        keys.extend(text(&row.click_id).map(|id| Key::PartnerClick(id.to_owned())));
        for id in [&row.click_id, &row.rt_click_id] {
            keys.extend(text(id).and_then(|id| ClickId::parse(id.as_bytes())).map(Key::Click));
        }
    }
    keys.extend(text(&row.event_id).map(event_key));
    for id in [&row.order_id, &row.event_id] {
        keys.extend(text(id).map(|id| Key::Order(id.to_owned())));
    }
    keys
}

fn keys_of_fact(fact: &Fact, against: Against) -> Vec<Key> {
    let mut keys = Vec::new();
    if against == Against::Told {
        keys.extend(text(&fact.partner_click_id).map(|id| Key::PartnerClick(id.to_owned())));
        keys.extend(text(&fact.click_id).and_then(|id| ClickId::parse(id.as_bytes())).map(Key::Click));
    }
    keys.push(event_key(&fact.event));
    for id in [&fact.order_id, &fact.source_event_id] {
        keys.extend(text(id).map(|id| Key::Order(id.to_owned())));
    }
    keys
}
