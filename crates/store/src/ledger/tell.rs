//! From a decision to deliveries: every rule is considered, and what became of each is kept.
//!
//! What was told stays told; what was suppressed is judged anew with each revision. Runs inside the writer's
//! transaction, as a part of [`super::decide`].

use roundtrip_domain::attribution::{Decision, Winner};
use roundtrip_domain::event::{ConversionKind, Event};
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::postback::{self, Considered, Context, Suppressed};
use roundtrip_domain::settings::Rule;
use roundtrip_domain::time::Timestamp;

use super::decide::{Due, NOBODY, Step};
use super::statements::sql;
use super::{event, id_from, key16, rows};
use crate::Error;

/// A rule and the bytes of the partner that it told.
type Told = (Id<kind::Rule>, [u8; 16]);

impl Step<'_> {
    /// Considers every rule, stores what became of each, and plans what is to be told.
    pub(super) fn tell(
        &mut self,
        event: &Event,
        decision: &Decision,
        revision: u32,
        born: Option<(Id<kind::Event>, Timestamp)>,
    ) -> Result<Vec<Due>, Error> {
        let Some(kind) = &decision.kind else { return Ok(Vec::new()) };
        let winner = decision.credit.winner();
        let is_install = born.is_some_and(|(id, _)| id == event.id);
        let subject = subject(event, born.map(|(id, _)| id), winner);
        let conn = self.conn;
        let ws = self.ws();
        // One click earns one install per app, as far as a partner is told too.
        let click_subject = winner
            .filter(|_| *kind == ConversionKind::Install)
            .map(|w| event::keyed(event, "click", &w.touch.id.bytes()));
        let seen = |rule: Id<kind::Rule>, partner: &[u8; 16], subject: &[u8; 16]| -> Result<bool, Error> {
            Ok(conn.prepare_cached(sql("first_told_get"))?.exists((
                ws,
                rule.bytes().as_slice(),
                partner.as_slice(),
                subject.as_slice(),
                event.id.bytes().as_slice(),
            ))?)
        };
        let failure = std::cell::RefCell::new(None);
        let told_before = |rule: &Rule, partner: Option<Id<kind::Partner>>| {
            let partner = partner.map_or(NOBODY, Id::bytes);
            seen(rule.id, &partner, &subject).unwrap_or_else(|error| {
                *failure.borrow_mut() = Some(error);
                true
            })
        };
        let install = match born {
            Some((id, _)) if id != event.id => event::get(conn, ws, &id.bytes())?,
            _ => None,
        };
        let context = Context {
            install: install.as_ref(),
            births: self.births(),
            install_at: born.map(|(_, at)| at),
            is_install,
            told_before: &told_before,
        };
        let considered = postback::plan(event, decision, self.app, self.settings, context);
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        let told = self.told(event, kind)?;
        let mut planned = Vec::new();
        for mut one in considered {
            let partner = one.partner.map_or(NOBODY, Id::bytes);
            if told.contains(&(one.rule, partner)) {
                continue;
            }
            if let (Ok(_), Some(click)) = (&one.outcome, &click_subject)
                && seen(one.rule, &partner, click)?
            {
                one.outcome = Err(Suppressed::NotFirst);
            }
            let delivery = self.plan_one(event, kind, revision, &one, &subject, click_subject.as_ref())?;
            planned.extend(delivery);
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
                None => told.push((id_from(&rule, "told", "rule")?, partner)),
                Some(reason) => self.rollups.consider(event, &partner, Some(reason), kind.name(), -1),
            }
        }
        if any {
            conn.prepare_cached(sql("told_clear"))?.execute((ws, id.as_slice()))?;
        }
        Ok(told)
    }

    fn plan_one(
        &mut self,
        event: &Event,
        kind: &ConversionKind,
        revision: u32,
        one: &Considered,
        subject: &[u8; 16],
        click: Option<&[u8; 16]>,
    ) -> Result<Option<Due>, Error> {
        let (conn, ws, id) = (self.conn, self.ws(), event.id.bytes());
        let partner = one.partner.map_or(NOBODY, Id::bytes);
        let rule = one.rule.bytes();
        let mut due = None;
        if let (Ok(values), Some(to)) = (&one.outcome, one.partner) {
            let delivery: Id<kind::Delivery> = self.entropy.id(self.at);
            conn.prepare_cached(sql("delivery_insert"))?.execute(rusqlite::params![
                ws,
                delivery.bytes().as_slice(),
                id.as_slice(),
                revision,
                rule.as_slice(),
                one.rule_version,
                partner.as_slice(),
                kind.name(),
                self.at.ms(),
                None::<Vec<u8>>,
                rows::values_write(values),
            ])?;
            let item = Due {
                workspace: event.workspace,
                rule: one.rule,
                partner: to,
                due: self.at,
                delivery,
                sends: 0,
            };
            super::delivery::enqueue(conn, &item, "planned")?;
            for subject in [Some(subject), click].into_iter().flatten() {
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
        ])?;
        self.rollups.consider(event, &partner, reason, kind.name(), 1);
        Ok(due)
    }
}

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
