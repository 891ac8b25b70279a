//! From a decision to deliveries: every rule is considered, and what became of each is kept.
//!
//! What was told stays told; what was suppressed is judged anew with each revision; what waits and is not to be told
//! any more is cancelled. Runs inside the writer's
//! transaction, as a part of [`super::decide`].

use roundtrip_domain::attribution::{Because, Decision, Winner};
use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::event::{ConversionKind, Environment, Event};
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::postback::{self, Considered, Context, Suppressed};
use roundtrip_domain::settings::Rule;
use roundtrip_domain::status::{Status, StatusChange};
use roundtrip_domain::time::Timestamp;

use super::decide::{Due, NOBODY, Step};
use super::revision::{decision_at, previous_decision};
use super::rollup::Metric;
use super::statements::sql;
use super::{booked, delivery, event, id_from, key16, rows, todo};
use crate::Error;

/// What is told of.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    /// The event under whose id it is told and in whose bucket it counts.
    pub(super) row: &'a Event,
    /// The event that makes the conversion: the same, unless a change of its status is told.
    pub(super) event: &'a Event,
    /// The births of its installation, if it is one of them.
    pub(super) births: &'a [Event],
    /// The installation's event, and when it was born.
    pub(super) born: Option<(Id<kind::Event>, Timestamp)>,
    /// Whether the conversion counts.
    pub(super) status: Status,
    /// The change that is told.
    pub(super) change: Option<(Id<kind::Event>, &'a StatusChange)>,
    /// Whether a later change is recorded.
    pub(super) is_superseded: bool,
}

impl About<'_> {
    /// Whether it is a conversion that does not count; that it was rejected is told nevertheless.
    fn is_rejected(&self) -> bool {
        self.change.is_none() && self.status == Status::Rejected
    }
}

/// Why what waits for a rejected conversion is cancelled.
const REJECTED: &str = "conversion_rejected";

/// What a rule told a partner before.
struct Told {
    rule: Id<kind::Rule>,
    partner: [u8; 16],
    delivery: Option<Id<kind::Delivery>>,
    /// By which revision of the decision.
    revision: u32,
}

/// Of whom "first" is counted for what is told.
#[derive(Clone, Copy)]
struct Subjects {
    own: [u8; 16],
    /// One click earns one install per app, as far as a partner is told too.
    click: Option<[u8; 16]>,
}

impl Subjects {
    fn of(
        event: &Event,
        kind: &ConversionKind,
        born: Option<(Id<kind::Event>, Timestamp)>,
        winner: Option<&Winner>,
    ) -> Self {
        Self {
            own: subject(event, born.map(|(id, _)| id), winner),
            click: winner
                .filter(|_| *kind == ConversionKind::Install)
                .map(|w| event::keyed(event, "click", &w.touch.id.bytes())),
        }
    }
}

impl Step<'_> {
    /// Considers every rule, stores what became of each, and plans what is to be told.
    pub(super) fn tell(
        &mut self,
        about: About<'_>,
        decision: &Decision,
        revision: u32,
    ) -> Result<Vec<Due>, Error> {
        let Some(kind) = &decision.kind else { return Ok(Vec::new()) };
        let About { row, event, born, .. } = about;
        let winner = decision.credit.winner();
        let is_install = born.is_some_and(|(id, _)| id == event.id);
        let conn = self.conn;
        let ws = self.ws();
        let subjects = Subjects::of(event, kind, born, winner);
        let seen = |rule: Id<kind::Rule>, partner: &[u8; 16], subject: &[u8; 16]| -> Result<bool, Error> {
            Ok(conn.prepare_cached(sql("first_told_get"))?.exists((
                ws,
                rule.bytes().as_slice(),
                partner.as_slice(),
                subject.as_slice(),
                row.id.bytes().as_slice(),
            ))?)
        };
        let failure = std::cell::RefCell::new(None);
        let told_before = |rule: &Rule, partner: Option<Id<kind::Partner>>| {
            let partner = partner.map_or(NOBODY, Id::bytes);
            seen(rule.id, &partner, &subjects.own).unwrap_or_else(|error| {
                *failure.borrow_mut() = Some(error);
                true
            })
        };
        // All that this conversion is known by, but for the change itself.
        let heard = |partner: Id<kind::Partner>| {
            let asked = || -> Result<bool, Error> {
                Ok(conn.prepare_cached(sql("partner_heard"))?.exists((
                    ws,
                    event.id.bytes().as_slice(),
                    row.id.bytes().as_slice(),
                    partner.bytes().as_slice(),
                ))?)
            };
            asked().unwrap_or_else(|error| {
                *failure.borrow_mut() = Some(error);
                false
            })
        };
        let install = match born {
            Some((id, _)) if id != event.id => event::get(conn, ws, &id.bytes())?,
            _ => None,
        };
        let context = Context {
            install: install.as_ref(),
            births: about.births,
            install_at: born.map(|(_, at)| at),
            is_install,
            status: about.status,
            change: about.change,
            is_superseded: about.is_superseded,
            heard: &heard,
            told_before: &told_before,
        };
        let considered = postback::plan(event, decision, self.app, self.settings, context);
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        let told = self.told(row, kind)?;
        let mut seconds = Vec::new();
        for one in &told {
            seconds.extend(self.take_back(about, kind, one, &considered)?);
        }
        if about.is_rejected() {
            // What was told before is not told again either: a replay stands in the queue and nowhere else.
            delivery::cancel_of_event(conn, ws, row.id, REJECTED, self.at, self.rollups)?;
        }
        let mut planned = Vec::new();
        for mut one in considered {
            let partner = one.partner.map_or(NOBODY, Id::bytes);
            let before = told.iter().find(|t| (t.rule, t.partner) == (one.rule, partner));
            if before.is_some() && one.outcome.is_err() {
                continue;
            }
            let mut replaces = None;
            if let Some(before) = before {
                // What was told stays told; what was cancelled before it was sent is told now.
                let Some(delivery) = before.delivery else { continue };
                if delivery::is_cancelled(conn, ws, &delivery.bytes())? != Some(true) {
                    continue;
                }
                replaces = Some(delivery);
            }
            if let (Ok(_), Some(click)) = (&one.outcome, &subjects.click)
                && seen(one.rule, &partner, click)?
            {
                if replaces.is_some() {
                    continue;
                }
                one.outcome = Err(Suppressed::NotFirst);
                one.detail = None;
            }
            planned.extend(self.plan_one(row, kind, revision, &one, subjects, replaces)?);
        }
        for second in seconds {
            planned.extend(self.tell_again(second)?);
        }
        Ok(planned)
    }

    /// The rules that told already, each with whom. Suppressed ones are taken back: they are judged anew.
    fn told(&mut self, event: &Event, kind: &ConversionKind) -> Result<Vec<Told>, Error> {
        let (conn, ws, id) = (self.conn, self.ws(), event.id.bytes());
        let mut told = Vec::new();
        let mut statement = conn.prepare_cached(sql("told_list"))?;
        let mut rows = statement.query((ws, id.as_slice()))?;
        let mut any = false;
        while let Some(row) = rows.next()? {
            any = true;
            let (rule, partner, reason): (Vec<u8>, [u8; 16], u8) = (row.get(0)?, row.get(1)?, row.get(2)?);
            match Suppressed::from_number(reason) {
                None => {
                    let delivery: Option<Vec<u8>> = row.get(3)?;
                    let delivery = delivery.as_deref().and_then(Id::from_slice);
                    let (rule, revision) = (id_from(&rule, "told", "rule")?, row.get(5)?);
                    told.push(Told { rule, partner, delivery, revision });
                }
                Some(reason) => self.rollups.consider(event, &partner, Some(reason), kind.name(), -1),
            }
        }
        if any {
            conn.prepare_cached(sql("told_clear"))?.execute((ws, id.as_slice()))?;
        }
        Ok(told)
    }

    /// Cancels what was planned and is not to be told any more, as far as nothing of it was sent: everything that
    /// waits for a rejected conversion or tells of an outdated status, and what its rule delays and would not
    /// plan now, or not with these values. Says which events would have been the first instead.
    fn take_back(
        &mut self,
        about: About<'_>,
        kind: &ConversionKind,
        told: &Told,
        considered: &[Considered],
    ) -> Result<Vec<Id<kind::Event>>, Error> {
        let (conn, ws) = (self.conn, self.ws());
        let Some(id) = told.delivery else { return Ok(Vec::new()) };
        let reason = if about.is_rejected() {
            REJECTED
        } else if about.is_superseded {
            "status_changed"
        } else {
            let mut of_rule = considered.iter().filter(|one| one.rule == told.rule).peekable();
            // A rule that is gone is considered no more; what it planned stays.
            let is_known = of_rule.peek().is_some();
            let wanted = of_rule
                .find(|one| one.partner.map_or(NOBODY, Id::bytes) == told.partner)
                .and_then(|one| one.outcome.as_ref().ok());
            if !is_known || !delivery::is_delayed(conn, ws, &id.bytes())? {
                return Ok(Vec::new());
            }
            // The credit can have moved to another click of the same partner: then what it would say is wrong.
            if wanted.is_some() && wanted == delivery::values(conn, ws, id)?.as_ref() {
                return Ok(Vec::new());
            }
            "decision_changed"
        };
        let is_cancelled = delivery::cancel(conn, ws, id, reason, self.at, self.rollups)?;
        // What an outdated change waited for was cancelled when the later one was recorded.
        let was_cancelled = about.is_superseded
            && !is_cancelled
            && delivery::is_cancelled(conn, ws, &id.bytes())? == Some(true);
        if !is_cancelled && !was_cancelled {
            return Ok(Vec::new());
        }
        // Nobody heard of it, so another may be the first: of those that it was the first of when it was planned.
        let Some((credit, because, _)) = decision_at(conn, ws, about.row.id, told.revision)? else {
            return Ok(Vec::new());
        };
        let born = if about.change.is_some() { about.born } else { self.born(about.event, &because) };
        let subjects = Subjects::of(about.event, kind, born, credit.winner());
        let mut seconds = Vec::new();
        for subject in [Some(subjects.own), subjects.click].into_iter().flatten() {
            conn.prepare_cached(sql("first_told_delete"))?.execute((
                ws,
                told.rule.bytes().as_slice(),
                told.partner.as_slice(),
                subject.as_slice(),
                about.row.id.bytes().as_slice(),
            ))?;
            let key = (ws, told.rule.bytes(), told.partner, subject);
            {
                let mut statement = conn.prepare_cached(sql("second_list"))?;
                let mut rows = statement.query(key)?;
                while let Some(row) = rows.next()? {
                    let event: Vec<u8> = row.get(0)?;
                    seconds.push(id_from(&event, "second", "event")?);
                }
            }
            conn.prepare_cached(sql("second_delete"))?.execute(key)?;
        }
        seconds.retain(|id| *id != about.row.id);
        Ok(seconds)
    }

    /// Judges the suppressed rules of an event once more, by the decision that holds: it was not the first, and
    /// the one that was is cancelled.
    fn tell_again(&mut self, id: Id<kind::Event>) -> Result<Vec<Due>, Error> {
        let (conn, ws) = (self.conn, self.ws());
        let Some(row) = event::get(conn, ws, &id.bytes())? else { return Ok(Vec::new()) };
        let Some(known) = previous_decision(conn, ws, id)? else { return Ok(Vec::new()) };
        let decision = Decision {
            event: id,
            kind: known.kind,
            credit: known.credit,
            because: known.because,
            settings_version: self.settings.version,
        };
        let of = match &row.change {
            Some(change) => {
                event::get(conn, ws, &change.of.bytes())?.zip(previous_decision(conn, ws, change.of)?)
            }
            None => None,
        };
        let (event, because) = match &of {
            Some((original, known)) => (original, &known.because),
            None => (&row, &decision.because),
        };
        let (born, births) = self.origin(event, because)?;
        let change = row.change.as_deref().map(|change| (id, change));
        let is_superseded = match &row.change {
            Some(change) => self.is_superseded(id, change.of)?,
            None => false,
        };
        let about =
            About { row: &row, event, births: &births, born, status: known.status, change, is_superseded };
        self.tell(about, &decision, known.revision)
    }

    /// The installation of an event that was decided, and its births if the event is one of them.
    pub(super) fn origin(&self, event: &Event, because: &Because) -> Result<Origin, Error> {
        let is_birth = self.app.platform.is_mobile() && event.names_install();
        let births = if is_birth { todo::births(self.conn, event)? } else { Vec::new() };
        Ok((self.born(event, because), births))
    }

    /// The event by which an event's installation was born, and when; by its own decision.
    fn born(&self, event: &Event, because: &Because) -> Option<(Id<kind::Event>, Timestamp)> {
        let is_birth = self.app.platform.is_mobile() && event.names_install();
        match because.follows {
            Some(install) => Some((install, because.reference_at)),
            None => is_birth.then_some((event.id, because.reference_at)),
        }
    }

    /// Stores what became of a rule. `replaces` is a delivery that was cancelled: its place is taken by a new one,
    /// which counts as a replay of it, so that the books keep both.
    fn plan_one(
        &mut self,
        event: &Event,
        kind: &ConversionKind,
        revision: u32,
        one: &Considered,
        subjects: Subjects,
        replaces: Option<Id<kind::Delivery>>,
    ) -> Result<Option<Due>, Error> {
        let (conn, ws, id) = (self.conn, self.ws(), event.id.bytes());
        let partner = one.partner.map_or(NOBODY, Id::bytes);
        let rule = one.rule.bytes();
        let mut due = None;
        if let (Ok(values), Some(to)) = (&one.outcome, one.partner) {
            let delivery: Id<kind::Delivery> = self.ids.id(self.at);
            let endpoint = Endpoint::Postback { rule: one.rule, partner: to };
            let new = delivery::Row {
                event: event.id,
                fact: event.id,
                revision,
                endpoint,
                teller_version: one.rule_version,
                app: event.app.bytes(),
                kind: kind.name().to_owned(),
                created_at: self.at,
                booked_at: (event.environment == Environment::Production).then_some(event.received_at),
                deadline: one.deadline,
                replay_of: replaces,
                values: rows::values_write(values),
            };
            delivery::insert(conn, ws, delivery, &new)?;
            let item = Due {
                workspace: event.workspace,
                endpoint,
                due: self.at.plus_ms(one.delay.ms()),
                delivery,
                sends: 0,
            };
            let why = if one.delay.ms() > 0 { delivery::DELAYED } else { "planned" };
            delivery::enqueue_first(conn, &new, &item, why, self.rollups)?;
            for subject in [Some(subjects.own), subjects.click].into_iter().flatten() {
                conn.prepare_cached(sql("first_told_put"))?.execute((
                    ws,
                    rule.as_slice(),
                    partner.as_slice(),
                    subject.as_slice(),
                    id.as_slice(),
                ))?;
            }
            due = Some(item);
        }
        let detail = one.detail.as_ref().map(rows::detail_write);
        if let (Some(_), Some(item)) = (replaces, &due) {
            conn.prepare_cached(sql("told_again"))?.execute(rusqlite::params![
                ws,
                id.as_slice(),
                rule.as_slice(),
                partner.as_slice(),
                one.rule_version,
                revision,
                item.delivery.bytes().to_vec(),
                detail,
            ])?;
            booked::count(conn, item, Metric::Replayed, None, 1, self.rollups)?;
            return Ok(due);
        }
        let reason = match &one.outcome {
            Ok(_) if due.is_some() => None,
            Ok(_) => Some(Suppressed::NobodyToTell),
            Err(reason) => Some(*reason),
        };
        conn.prepare_cached(sql("told_put"))?.execute(rusqlite::params![
            ws,
            id.as_slice(),
            rule.as_slice(),
            partner.as_slice(),
            one.rule_version,
            revision,
            reason.map_or(0, |r| r as u8),
            due.map(|d| d.delivery.bytes().to_vec()),
            detail,
        ])?;
        if reason == Some(Suppressed::NotFirst) {
            for subject in [Some(subjects.own), subjects.click].into_iter().flatten() {
                conn.prepare_cached(sql("second_put"))?.execute((ws, rule, partner, subject, id))?;
            }
        }
        self.rollups.consider(event, &partner, reason, kind.name(), 1);
        Ok(due)
    }
}

/// When and by which event an installation was born, and its births.
pub(super) type Origin = (Option<(Id<kind::Event>, Timestamp)>, Vec<Event>);

/// Of whom "first" is counted: the installation, else the customer, else the click, else the event.
fn subject(event: &Event, install: Option<Id<kind::Event>>, winner: Option<&Winner>) -> [u8; 16] {
    if let Some(install) = install {
        return key16("install", &install.bytes());
    }
    if let Some(customer) = &event.customer_id {
        return event::keyed(event, "customer", customer.as_bytes());
    }
    match winner {
        Some(winner) => event::keyed(event, "click", &winner.touch.id.bytes()),
        None => key16("event", &event.id.bytes()),
    }
}
