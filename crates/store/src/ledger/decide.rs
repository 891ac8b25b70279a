//! From undecided events to decisions, conversions and deliveries: one transaction or nothing.
//!
//! The cast: [`Ledger::undecided`] lists events with what could be evidence; the engine asks the click log
//! what that evidence leads to; [`Ledger::decision_commit`] runs the pure decision inside the writer's
//! transaction, where the state that it depends on (installation, claims, what was told) cannot move.
//!
//! Whatever arrives later and could change an earlier decision puts that event back on the list (`todo`).
//! Deciding is idempotent: the same credit appends no revision, and nothing is told twice. That, and not
//! the order of the list, is what makes the order of arrival not matter.

use roundtrip_domain::attribution::{self, Basis, Because, Carrier, Credit, Decision, Lead, Question};
use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::event::{ConversionKind, Environment, Event};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::settings::{App, Catalog, Settings};
use roundtrip_domain::status::Status;
use roundtrip_domain::time::Timestamp;
use rusqlite::Connection;

use super::claim::{Door, Precedence};
use super::ids::Ids;
use super::install::Tied;
use super::revision::{Previous, previous_decision};
use super::rollup::Rollups;
use super::statements::sql;
use super::tell::About;
use super::todo::Undecided;
use super::{Ledger, event, rows};
use crate::Error;

/// The partner bytes of rows that have none.
pub(super) const NOBODY: [u8; 16] = [0; 16];

/// An event with what its evidence led to.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// As listed.
    pub undecided: Undecided,
    /// What the click log answered.
    pub leads: Vec<Lead>,
}

/// A delivery that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Due {
    /// Owner.
    pub workspace: WorkspaceNo,
    /// Who is told, and by what.
    pub endpoint: Endpoint,
    /// When.
    pub due: Timestamp,
    /// What.
    pub delivery: Id<kind::Delivery>,
    /// Sends so far.
    pub sends: u32,
}

/// What a commit of decisions did.
#[derive(Debug, Clone, Default)]
pub struct Committed {
    /// Revisions appended.
    pub decided: u32,
    /// Events whose decision stands.
    pub unchanged: u32,
    /// Deliveries planned.
    pub planned: Vec<Due>,
}

impl Ledger {
    /// Decides and stores a batch. If one event cannot be decided, the others are, one by one.
    pub async fn decision_commit(&self, batch: Vec<Prepared>, at: Timestamp) -> Result<Committed, Error> {
        let done = self.decision_commit_all(batch, at).await?;
        self.inner.handoff.due(&done.planned);
        Ok(done)
    }

    async fn decision_commit_all(&self, batch: Vec<Prepared>, at: Timestamp) -> Result<Committed, Error> {
        let catalog = self.catalog();
        let ids = self.inner.ids.clone();
        let together = (batch.clone(), catalog.clone(), ids.clone());
        let result = self
            .write(move |conn| {
                let (batch, catalog, ids) = &together;
                commit(conn, batch, catalog, ids, at)
            })
            .await;
        match result {
            Err(error @ (Error::Refused(_) | Error::Corrupt { .. })) => {
                tracing::warn!(error = %error, "a batch of decisions failed; its events are decided one by one");
                let mut all = Committed::default();
                for one in batch {
                    let event = (one.undecided.event.workspace, one.undecided.event.id);
                    let (catalog, ids, one) = (catalog.clone(), ids.clone(), [one]);
                    match self.write(move |conn| commit(conn, &one, &catalog, &ids, at)).await {
                        Ok(done) => {
                            all.decided += done.decided;
                            all.unchanged += done.unchanged;
                            all.planned.extend(done.planned);
                        }
                        Err(error) if error.is_retryable() => return Err(error),
                        Err(error) => {
                            tracing::error!(event.id = %event.1, error = %error, "an event cannot be decided; it stays undecided");
                            self.todo_later(vec![event], at).await?;
                        }
                    }
                }
                Ok(all)
            }
            other => other,
        }
    }
}

fn commit(
    conn: &Connection,
    batch: &[Prepared],
    catalog: &Catalog,
    ids: &Ids,
    at: Timestamp,
) -> Result<Committed, Error> {
    let mut done = Committed::default();
    let mut rollups = Rollups::default();
    for prepared in batch {
        let event = &prepared.undecided.event;
        let scope = catalog.workspace(event.workspace).and_then(|s| Some((s, s.apps.get(&event.app)?)));
        let Some((settings, app)) = scope else {
            let version = catalog.workspace(event.workspace).map_or(0, |s| s.version);
            match orphan(conn, event, version, at)? {
                true => done.decided += 1,
                false => done.unchanged += 1,
            }
            continue;
        };
        let mut decide = |prepared: &Prepared| -> Result<Option<Event>, Error> {
            let mut step = Step { conn, prepared, settings, app, ids, at, rollups: &mut rollups };
            if let Some(change) = &prepared.undecided.event.change {
                match step.decide_change(change)? {
                    Some(planned) => {
                        done.decided += 1;
                        done.planned.extend(planned);
                    }
                    None => done.unchanged += 1,
                }
                return Ok(None);
            }
            if let Some(first) = step.firstborn()? {
                return Ok(Some(first));
            }
            match step.decide()? {
                Some(planned) => {
                    done.decided += 1;
                    done.planned.extend(planned);
                }
                None => done.unchanged += 1,
            }
            Ok(None)
        };
        if let Some(first) = decide(prepared)? {
            // Its evidence is the same: that of all births of the installation.
            let births = prepared.undecided.births.clone();
            let undecided = Undecided { event: first, births };
            decide(&Prepared { undecided, leads: prepared.leads.clone() })?;
            decide(prepared)?;
        }
    }
    rollups.flush(conn)?;
    Ok(done)
}

/// Takes an event off the list; what makes it wait again from here on is news.
pub(super) fn take_off(conn: &Connection, event: &Event) -> Result<(), Error> {
    conn.prepare_cached(sql("todo_delete"))?.execute((event.workspace.0, event.id.bytes().as_slice()))?;
    Ok(())
}

/// An event whose app was deleted says so, unless it was decided before. Says whether it had to.
fn orphan(conn: &Connection, event: &Event, settings_version: u64, at: Timestamp) -> Result<bool, Error> {
    take_off(conn, event)?;
    if previous_decision(conn, event.workspace.0, event.id)?.is_some() {
        return Ok(false);
    }
    let because = Because {
        reference_at: event.reference_at(),
        candidates: Vec::new(),
        rest: 0,
        dead: Vec::new(),
        follows: None,
        notes: vec!["app_deleted"],
    };
    let decision =
        Decision { event: event.id, kind: None, credit: Credit::Organic, because, settings_version };
    store(conn, event.workspace.0, &decision, Status::first_of(event), 1, at)?;
    Ok(true)
}

/// Deciding one event inside the transaction.
pub(super) struct Step<'a> {
    pub(super) conn: &'a Connection,
    prepared: &'a Prepared,
    pub(super) settings: &'a Settings,
    pub(super) app: &'a App,
    pub(super) ids: &'a Ids,
    pub(super) at: Timestamp,
    pub(super) rollups: &'a mut Rollups,
}

impl Step<'_> {
    pub(super) fn event(&self) -> &Event {
        &self.prepared.undecided.event
    }

    /// The births of the event's installation when it is one of them.
    pub(super) fn births(&self) -> &[Event] {
        &self.prepared.undecided.births
    }

    pub(super) fn ws(&self) -> u32 {
        self.event().workspace.0
    }

    /// Decides, and stores what changed. `None` when the decision stands.
    fn decide(&mut self) -> Result<Option<Vec<Due>>, Error> {
        let event = self.event().clone();
        take_off(self.conn, &event)?;
        let previous = previous_decision(self.conn, self.ws(), event.id)?;
        let births = self.app.platform.is_mobile() && event.names_install();
        let key = if self.app.platform.is_mobile() { event::install_key(&event) } else { None };
        let install = match key {
            Some(key) => self.install(&key)?,
            None => None,
        };
        let is_install = births && install.as_ref().is_none_or(|i| i.event == event.id);
        let tied = if is_install { None } else { self.tied(&event, install)? };
        let first_word = self.prepared.undecided.evidence().iter().map(Event::reference_at).min();
        let reference_at = match &tied {
            Some(tied) => tied.install.installed_at,
            None => first_word.filter(|_| is_install).unwrap_or_else(|| event.reference_at()),
        };

        let kind = match &previous {
            Some(previous) => previous.kind.clone(),
            None if is_install => Some(ConversionKind::Install),
            None if births => None,
            None => Some(self.conversion_kind(&event)),
        };
        let waits = tied.is_none() && !is_install && self.waits(&event);
        // One click earns one install per app, through whichever door.
        let competes = tied.is_none() && !waits && kind == Some(ConversionKind::Install);
        let precedence = competes.then(|| Precedence {
            door: if is_install { Door::Birth } else { Door::Other },
            reference_at,
            key: key.filter(|_| is_install).unwrap_or(event.id.bytes()),
        });

        let leads;
        let mut taken = Vec::new();
        let known_of_install;
        let basis = if let Some(Tied { install, tie, .. }) = &tied {
            known_of_install = previous_decision(self.conn, self.ws(), install.event)?;
            let Some(known) = &known_of_install else {
                return Err(Error::Corrupt {
                    table: "install",
                    column: "event",
                    row: install.event.to_string(),
                    what: "an installation without a decision".into(),
                });
            };
            if births && previous.is_none() && self.adds_to(&event, install, &known.because.candidates)? {
                self.again(install.event)?;
            }
            Basis::Install { event: install.event, credit: &known.credit, tie }
        } else if waits {
            Basis::InstallUnknown
        } else {
            leads = self.leads(previous.as_ref())?;
            if let Some(precedence) = precedence {
                taken = self.taken(&leads, &event, precedence)?;
            }
            let earlier = previous.as_ref().map_or(&[][..], |p| &p.because.candidates);
            Basis::Own { leads: &leads, taken: &taken, earlier }
        };
        let question = Question { event: &event, kind, reference_at, basis };
        let mut decision = attribution::decide(&question, self.app, self.settings);
        let notes = &mut decision.because.notes;

        if let Some(tied) = &tied {
            self.conn.prepare_cached(sql("follower_put"))?.execute((
                self.ws(),
                tied.install.event.bytes().as_slice(),
                event.id.bytes().as_slice(),
            ))?;
            notes.extend(tied.is_crowded.then_some("crowded_identity"));
        }
        // Identities first: a birth wakes by all that are known of it.
        self.identify(&event, key, notes)?;
        let was_born = match (is_install, key) {
            (true, Some(key)) => self.bear(&event, &key, reference_at, notes)?,
            _ => false,
        };
        if let Some(precedence) = precedence {
            self.claim(&decision, precedence)?;
        }
        let status = self.status_now(&event)?;
        if previous.as_ref().is_some_and(|p| p.stands(&decision, status)) {
            return Ok(None);
        }
        if self.told_before_winning(&decision)? {
            decision.because.notes.push("told_before_winning");
        }
        let revision = previous.as_ref().map_or(1, |p| p.revision + 1);
        store(self.conn, self.ws(), &decision, status, revision, self.at)?;
        if revision == 1 {
            self.convert(&event, &decision, status)?;
        } else if previous.as_ref().is_some_and(|p| p.status != status) {
            self.conn.prepare_cached(sql("conversion_status"))?.execute((
                self.ws(),
                event.id.bytes().as_slice(),
                status.name(),
            ))?;
        }
        self.count(&event, &decision, status, previous.as_ref());
        // Changes of its status share its credit.
        self.conn.prepare_cached(sql("todo_by_status"))?.execute((self.ws(), event.id.bytes().as_slice()))?;
        if is_install && (was_born || previous.is_some()) {
            self.conn
                .prepare_cached(sql("todo_by_follower"))?
                .execute((self.ws(), event.id.bytes().as_slice()))?;
        }
        let born = if is_install {
            Some((event.id, reference_at))
        } else {
            tied.as_ref().map(|tied| (tied.install.event, tied.install.installed_at))
        };
        let births = self.births().to_vec();
        let about = About {
            row: &event,
            event: &event,
            births: &births,
            born,
            status,
            change: None,
            is_superseded: false,
        };
        let mut planned = self.tell(about, &decision, revision)?;
        planned.extend(self.tell_owner(about, &decision, revision, previous.as_ref())?);
        Ok(Some(planned))
    }

    /// What the click log answered, and what an earlier decision knew that the log has let go since.
    fn leads(&self, previous: Option<&Previous>) -> Result<Vec<Lead>, Error> {
        let mut leads = self.prepared.leads.clone();
        let Some(previous) = previous else { return Ok(leads) };
        let earlier = &previous.because.candidates;
        let mut carriers: Vec<Carrier> = self.prepared.undecided.evidence().iter().map(Carrier::of).collect();
        for candidate in earlier {
            if !carriers.iter().any(|c| c.event == candidate.carrier) {
                let event = event::get(self.conn, self.ws(), &candidate.carrier.bytes())?;
                carriers.extend(event.as_ref().map(Carrier::of));
            }
        }
        attribution::remember(&mut leads, earlier, |id| carriers.iter().find(|c| c.event == id).cloned());
        Ok(leads)
    }

    fn conversion_kind(&self, event: &Event) -> ConversionKind {
        let name = event.postback.as_ref().and_then(|p| p.goal.as_deref()).unwrap_or(&event.name);
        match name {
            "install" if event.postback.is_some() => ConversionKind::Install,
            name => self.app.kind_of(name),
        }
    }

    pub(super) fn convert(&self, event: &Event, decision: &Decision, status: Status) -> Result<(), Error> {
        let Some(kind) = &decision.kind else { return Ok(()) };
        self.conn.prepare_cached(sql("conversion_insert"))?.execute(rusqlite::params![
            self.ws(),
            event.id.bytes().as_slice(),
            event.app.bytes().as_slice(),
            kind.name(),
            &event.name,
            status.name(),
            if event.environment == Environment::Sandbox { "sandbox" } else { "production" },
            event.received_at.ms(),
            event.occurred_at.ms(),
            event.revenue.as_ref().map(|r| r.amount.micros),
            event.revenue.as_ref().and_then(|r| r.currency).map(|c| c.to_string()),
            event.revenue.as_ref().is_none_or(|r| r.verified),
        ])?;
        Ok(())
    }

    /// Whether the winner was told of this event when it had not won: a rule that tells of everything does that,
    /// without the click id that it knows now, and nothing is told twice.
    fn told_before_winning(&self, decision: &Decision) -> Result<bool, Error> {
        let Some(winner) = decision.credit.winner() else { return Ok(false) };
        Ok(self.conn.prepare_cached(sql("told_before_winning"))?.exists((
            self.ws(),
            decision.event.bytes().as_slice(),
            winner.touch.click.partner.bytes().as_slice(),
        ))?)
    }

    /// Counts the conversion for who has the credit now, and takes it from who had it.
    fn count(&mut self, event: &Event, decision: &Decision, status: Status, previous: Option<&Previous>) {
        let Some(kind) = decision.kind.as_ref().filter(|_| event.environment == Environment::Production)
        else {
            return;
        };
        let mut add = |credit: &Credit, status: Status, count: i64| {
            let click = credit.winner().map(|w| &w.touch.click);
            self.rollups.convert(event, click, kind.name(), status, count);
        };
        if let Some(previous) = previous {
            add(&previous.credit, previous.status, -1);
        }
        add(&decision.credit, status, 1);
    }
}

pub(super) fn store(
    conn: &Connection,
    ws: u32,
    decision: &Decision,
    status: Status,
    revision: u32,
    at: Timestamp,
) -> Result<(), Error> {
    let winner = decision.credit.winner();
    let click = winner.map(|w| &w.touch.click);
    let inherited = winner.filter(|_| decision.because.follows.is_some()).map(|w| &w.touch);
    conn.prepare_cached(sql("decision_insert"))?.execute(rusqlite::params![
        ws,
        decision.event.bytes().as_slice(),
        revision,
        at.ms(),
        decision.settings_version,
        decision.kind.as_ref().map(ConversionKind::name),
        decision.credit.name(),
        click.map(|c| c.partner.bytes().to_vec()),
        click.map(|c| c.campaign.bytes().to_vec()),
        click.map(|c| c.link.bytes().to_vec()),
        winner.map(|w| w.touch.id.bytes().to_vec()),
        winner.map(|w| w.match_type as u8),
        rows::because_write(&decision.because, inherited),
        status as u8,
    ])?;
    Ok(())
}
