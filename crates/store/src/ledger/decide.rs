//! From undecided events to decisions, conversions and deliveries: one transaction or nothing.
//!
//! The cast: [`Ledger::undecided`] lists events with what could be evidence; the engine asks the click log
//! what that evidence leads to; [`Ledger::decision_commit`] runs the pure decision inside the writer's
//! transaction, where the state that it depends on (installation, claims, what was told) cannot move.
//!
//! Whatever arrives later and could change an earlier decision puts that event back on the list (`todo`).
//! Deciding is idempotent: the same credit appends no revision, and nothing is told twice. That, and not
//! the order of the list, is what makes the order of arrival not matter.

use roundtrip_ambient::Entropy;
use roundtrip_domain::attribution::{self, Basis, Carrier, Credit, Decision, Lead, Question};
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::event::{ConversionKind, Environment, Event};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::settings::{App, Catalog, Settings};
use roundtrip_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::event::{self, TIE_INSTALL};
use super::revision::{Previous, previous_decision};
use super::rollup::{Metric, Rollups};
use super::statements::sql;
use super::{Ledger, id_from, rows};
use crate::Error;

/// The partner bytes of rows that have none.
pub(super) const NOBODY: [u8; 16] = [0; 16];

/// An event to decide, with the events whose evidence counts for it.
#[derive(Debug, Clone)]
pub struct Undecided {
    /// The event.
    pub event: Event,
    /// The births of its installation, itself included; empty for other events.
    pub births: Vec<Event>,
}

impl Undecided {
    /// The events whose evidence counts: the births of the installation, or the event itself.
    pub fn evidence(&self) -> &[Event] {
        if self.births.is_empty() { std::slice::from_ref(&self.event) } else { &self.births }
    }
}

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
    /// With the partner, the endpoint.
    pub rule: Id<kind::Rule>,
    /// With the rule, the endpoint.
    pub partner: Id<kind::Partner>,
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
    /// The oldest undecided events.
    pub async fn undecided(&self, limit: u32) -> Result<Vec<Undecided>, Error> {
        let catalog = self.catalog();
        self.read(move |conn| {
            let mut statement = conn.prepare_cached(sql("todo_list"))?;
            let mut rows = statement.query([])?;
            let mut list = Vec::new();
            while list.len() < limit as usize
                && let Some(row) = rows.next()?
            {
                let read = event::read_row(row).and_then(|event| {
                    let births =
                        if births_count(&catalog, &event) { births(conn, &event)? } else { Vec::new() };
                    Ok(Undecided { event, births })
                });
                match read {
                    Ok(undecided) => list.push(undecided),
                    // It stays on the list and is named each time; the others must not wait behind it.
                    Err(error @ Error::Corrupt { .. }) => {
                        tracing::error!(error = %error, "an event cannot be read; it stays undecided");
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(list)
        })
        .await
    }

    /// How many events wait for a decision, counted up to 100,000.
    pub async fn undecided_count(&self) -> Result<u64, Error> {
        self.read(|conn| Ok(conn.prepare_cached(sql("todo_count"))?.query_row([], |row| row.get(0))?)).await
    }

    /// Decides and stores a batch. If one event cannot be decided, the others are, one by one.
    pub async fn decision_commit(&self, batch: Vec<Prepared>, at: Timestamp) -> Result<Committed, Error> {
        let done = self.decision_commit_all(batch, at).await?;
        self.inner.handoff.due(&done.planned);
        Ok(done)
    }

    async fn decision_commit_all(&self, batch: Vec<Prepared>, at: Timestamp) -> Result<Committed, Error> {
        let catalog = self.catalog();
        let entropy = self.inner.entropy.clone();
        let together = (batch.clone(), catalog.clone(), entropy.clone());
        let result = self
            .write(move |conn| {
                let (batch, catalog, entropy) = &together;
                commit(conn, batch, catalog, entropy, at)
            })
            .await;
        match result {
            Err(error @ (Error::Refused(_) | Error::Corrupt { .. })) if batch.len() > 1 => {
                tracing::warn!(error = %error, "a batch of decisions failed; its events are decided one by one");
                let mut all = Committed::default();
                for one in batch {
                    let (catalog, entropy, id) = (catalog.clone(), entropy.clone(), one.undecided.event.id);
                    let one = [one];
                    match self.write(move |conn| commit(conn, &one, &catalog, &entropy, at)).await {
                        Ok(done) => {
                            all.decided += done.decided;
                            all.unchanged += done.unchanged;
                            all.planned.extend(done.planned);
                        }
                        Err(error) if error.is_retryable() => return Err(error),
                        Err(error) => {
                            tracing::error!(event.id = %id, error = %error, "an event cannot be decided; it stays undecided");
                        }
                    }
                }
                Ok(all)
            }
            other => other,
        }
    }
}

/// Whether the event is a birth of an installation: by its name, on a mobile app.
fn births_count(catalog: &Catalog, event: &Event) -> bool {
    event.names_install()
        && catalog
            .workspace(event.workspace)
            .and_then(|s| s.apps.get(&event.app))
            .is_some_and(|app| app.platform.is_mobile())
}

fn births(conn: &Connection, event: &Event) -> Result<Vec<Event>, Error> {
    let Some(key) = event::install_key(event) else { return Ok(Vec::new()) };
    let mut statement = conn.prepare_cached(sql("births_list"))?;
    let mut rows = statement.query((event.workspace.0, event.app.bytes().as_slice(), key.as_slice()))?;
    let mut births = Vec::new();
    while let Some(row) = rows.next()? {
        births.push(event::read_row(row)?);
    }
    if !births.iter().any(|b| b.id == event.id) {
        births.push(event.clone());
    }
    Ok(births)
}

fn commit(
    conn: &Connection,
    batch: &[Prepared],
    catalog: &Catalog,
    entropy: &Entropy,
    at: Timestamp,
) -> Result<Committed, Error> {
    let mut done = Committed::default();
    let mut rollups = Rollups::default();
    for prepared in batch {
        let event = &prepared.undecided.event;
        let scope = catalog.workspace(event.workspace).and_then(|s| Some((s, s.apps.get(&event.app)?)));
        let ws = event.workspace.0;
        conn.prepare_cached(sql("todo_delete"))?.execute((ws, event.id.bytes().as_slice()))?;
        let Some((settings, app)) = scope else {
            tracing::error!(event.id = %event.id, "the event's app was deleted; the event is kept undecided");
            continue;
        };
        let mut step = Step { conn, prepared, settings, app, entropy, at, rollups: &mut rollups };
        match step.decide()? {
            Some(planned) => {
                done.decided += 1;
                done.planned.extend(planned);
            }
            None => done.unchanged += 1,
        }
    }
    rollups.flush(conn)?;
    Ok(done)
}

/// An installation's row.
struct Install {
    event: Id<kind::Event>,
    installed_at: Timestamp,
}

/// Deciding one event inside the transaction.
pub(super) struct Step<'a> {
    pub(super) conn: &'a Connection,
    prepared: &'a Prepared,
    pub(super) settings: &'a Settings,
    pub(super) app: &'a App,
    pub(super) entropy: &'a Entropy,
    pub(super) at: Timestamp,
    pub(super) rollups: &'a mut Rollups,
}

impl Step<'_> {
    fn event(&self) -> &Event {
        &self.prepared.undecided.event
    }

    pub(super) fn ws(&self) -> u32 {
        self.event().workspace.0
    }

    /// Decides, and stores what changed. `None` when the decision stands.
    fn decide(&mut self) -> Result<Option<Vec<Due>>, Error> {
        let event = self.event().clone();
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
            Some((install, _)) => install.installed_at,
            None => first_word.filter(|_| is_install).unwrap_or_else(|| event.reference_at()),
        };

        let leads;
        let mut taken = Vec::new();
        let credit_of_install;
        let basis = if let Some((install, tie)) = &tied {
            let Some(known) = previous_decision(self.conn, self.ws(), install.event)? else {
                return Err(Error::Corrupt {
                    table: "install",
                    column: "event",
                    row: install.event.to_string(),
                    what: "an installation without a decision".into(),
                });
            };
            credit_of_install = known.credit;
            Basis::Install { event: install.event, credit: &credit_of_install, tie }
        } else if !is_install && self.waits(&event) {
            Basis::InstallUnknown
        } else {
            leads = self.leads(previous.as_ref())?;
            if is_install {
                taken = self.taken(&leads, &event, reference_at, &key.unwrap_or_default())?;
            }
            Basis::Own { leads: &leads, taken: &taken }
        };

        let kind = match &previous {
            Some(previous) => previous.kind.clone(),
            None if is_install => Some(ConversionKind::Install),
            None if births => None,
            None => Some(self.conversion_kind(&event)),
        };
        let question = Question { event: &event, kind, reference_at, basis };
        let decision = attribution::decide(&question, self.app, self.settings);

        if let Some((install, _)) = &tied {
            self.conn.prepare_cached(sql("follower_put"))?.execute((
                self.ws(),
                install.event.bytes().as_slice(),
                event.id.bytes().as_slice(),
            ))?;
            if births && previous.is_none() && self.adds_to(&event, install)? {
                self.again(install.event)?;
            }
        }
        if is_install {
            self.claim(&decision, reference_at, &key.unwrap_or_default())?;
        }
        // Identities first: a birth wakes by all that are known of it.
        self.identify(&event, key)?;
        let was_born = match (is_install, key) {
            (true, Some(key)) => self.bear(&event, &key, reference_at)?,
            _ => false,
        };
        if previous.as_ref().is_some_and(|p| p.stands(&decision)) {
            return Ok(None);
        }
        let revision = previous.as_ref().map_or(1, |p| p.revision + 1);
        self.store(&decision, revision)?;
        if revision == 1 {
            self.convert(&event, &decision)?;
        }
        self.count(&event, &decision, previous.as_ref());
        if is_install && (was_born || previous.is_some()) {
            self.conn
                .prepare_cached(sql("todo_by_follower"))?
                .execute((self.ws(), event.id.bytes().as_slice()))?;
        }
        let born = if is_install {
            Some((event.id, reference_at))
        } else {
            tied.as_ref().map(|(install, _)| (install.event, install.installed_at))
        };
        self.tell(&event, &decision, revision, born).map(Some)
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

    /// Whether a later birth can change what its installation earned: by an earlier time, a click id, or a
    /// device id that the first one did not name. Apps report `open` every day; those must cost nothing.
    fn adds_to(&self, event: &Event, install: &Install) -> Result<bool, Error> {
        if event.reference_at() < install.installed_at || event.click_id.is_some() || event.referrer.is_some()
        {
            return Ok(true);
        }
        let first = event::get(self.conn, self.ws(), &install.event.bytes())?;
        let known = first.map(|first| first.device.ids).unwrap_or_default();
        Ok(event.device.ids.iter().any(|id| id.kind.matches_clicks() && !known.contains(id)))
    }

    fn conversion_kind(&self, event: &Event) -> ConversionKind {
        let name = event.postback.as_ref().and_then(|p| p.goal.as_deref()).unwrap_or(&event.name);
        match name {
            "install" if event.postback.is_some() => ConversionKind::Install,
            name => self.app.kind_of(name),
        }
    }

    fn install(&self, key: &[u8; 16]) -> Result<Option<Install>, Error> {
        let row: Option<(Vec<u8>, i64)> = self
            .conn
            .prepare_cached(sql("install_get"))?
            .query_row((self.ws(), self.app.id.bytes().as_slice(), key.as_slice()), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        row.map(|(id, at)| {
            Ok(Install { event: id_from(&id, "install", "event")?, installed_at: Timestamp::from_ms(at) })
        })
        .transpose()
    }

    /// The installation that an event belongs to: by its own key, else by customer, else by device. Of
    /// several the latest one before the event, else the earliest.
    fn tied(&self, event: &Event, own: Option<Install>) -> Result<Option<(Install, &'static str)>, Error> {
        if !self.app.platform.is_mobile() {
            return Ok(None);
        }
        if let Some(install) = own {
            return Ok(Some((install, "tie_install_id")));
        }
        for (kind, key) in event::ties(event).into_iter().filter(|(kind, _)| *kind != TIE_INSTALL) {
            let mut statement = self.conn.prepare_cached(sql("identity_installs"))?;
            let app = self.app.id.bytes();
            let mut rows = statement.query((self.ws(), app.as_slice(), kind, key.as_slice()))?;
            let mut found: Option<Install> = None;
            while let Some(row) = rows.next()? {
                let installed_at = Timestamp::from_ms(row.get(1)?);
                if found.is_none() || installed_at <= event.reference_at() {
                    let id: Vec<u8> = row.get(0)?;
                    found = Some(Install { event: id_from(&id, "install", "event")?, installed_at });
                }
            }
            if let Some(install) = found {
                let tie = if kind == event::TIE_CUSTOMER { "tie_customer_id" } else { "tie_device_id" };
                return Ok(Some((install, tie)));
            }
        }
        Ok(None)
    }

    /// Whether an event that found no installation waits for one.
    fn waits(&self, event: &Event) -> bool {
        self.app.platform.is_mobile() && !event::ties(event).is_empty()
    }

    /// Which of the leads' clicks an installation with precedence holds: the earlier one, then the lower
    /// key. Content decides, not the order of arrival.
    fn taken(
        &self,
        leads: &[Lead],
        event: &Event,
        reference_at: Timestamp,
        key: &[u8; 16],
    ) -> Result<Vec<ClickId>, Error> {
        let mut taken = Vec::new();
        let mut statement = self.conn.prepare_cached(sql("claim_taken"))?;
        for lead in leads {
            let Lead::Touch { touch, .. } = lead else { continue };
            let held = statement.exists((
                self.ws(),
                self.app.id.bytes().as_slice(),
                touch.id.bytes().as_slice(),
                event.id.bytes().as_slice(),
                reference_at.ms(),
                key.as_slice(),
            ))?;
            if held {
                taken.push(touch.id);
            }
        }
        Ok(taken)
    }

    /// Stores which clicks the installation competes for, and has the others that compete decided again
    /// where that, or its precedence among them, changed.
    fn claim(&self, decision: &Decision, reference_at: Timestamp, key: &[u8; 16]) -> Result<(), Error> {
        let (ws, app, event) = (self.ws(), self.app.id.bytes(), decision.event.bytes());
        let mut before: Vec<ClickId> = Vec::new();
        let mut moved = false;
        {
            let mut statement = self.conn.prepare_cached(sql("claim_list"))?;
            let mut rows = statement.query((ws, event.as_slice()))?;
            while let Some(row) = rows.next()? {
                let bytes: Vec<u8> = row.get(0)?;
                before.extend(ClickId::from_slice(&bytes));
                moved |= row.get::<_, i64>(1)? != reference_at.ms();
            }
        }
        let now = attribution::claims(decision);
        let left = before.iter().filter(|c| !now.contains(c));
        let changed = left.chain(now.iter().filter(|c| moved || !before.contains(c)));
        for click in changed {
            self.conn.prepare_cached(sql("todo_by_claim"))?.execute((
                ws,
                app.as_slice(),
                click.bytes().as_slice(),
                event.as_slice(),
            ))?;
        }
        for click in before.iter().filter(|c| !now.contains(c)) {
            self.conn.prepare_cached(sql("claim_delete"))?.execute((
                ws,
                app.as_slice(),
                click.bytes().as_slice(),
                event.as_slice(),
            ))?;
        }
        for click in &now {
            self.conn.prepare_cached(sql("claim_put"))?.execute((
                ws,
                app.as_slice(),
                click.bytes().as_slice(),
                event.as_slice(),
                reference_at.ms(),
                key.as_slice(),
            ))?;
        }
        Ok(())
    }

    fn again(&self, event: Id<kind::Event>) -> Result<(), Error> {
        self.conn.prepare_cached(sql("todo_insert"))?.execute((self.ws(), event.bytes().as_slice()))?;
        Ok(())
    }

    /// Stores the installation; the events that waited for it are decided again. Says whether it is new.
    fn bear(&self, event: &Event, key: &[u8; 16], at: Timestamp) -> Result<bool, Error> {
        let app = self.app.id.bytes();
        let known = self.install(key)?;
        if known.as_ref().is_some_and(|i| i.installed_at == at) {
            return Ok(false);
        }
        self.conn.prepare_cached(sql("install_put"))?.execute((
            self.ws(),
            app.as_slice(),
            key.as_slice(),
            event.id.bytes().as_slice(),
            at.ms(),
        ))?;
        self.wake(TIE_INSTALL, key, event.id)?;
        // Also the events that can only find it by a customer or a device seen with it, whichever event
        // told of those.
        self.conn.prepare_cached(sql("todo_by_identity"))?.execute((
            self.ws(),
            app.as_slice(),
            key.as_slice(),
            event.id.bytes().as_slice(),
        ))?;
        Ok(known.is_none())
    }

    /// Has the events with that key decided again, all but one.
    fn wake(&self, kind: u8, key: &[u8; 16], but: Id<kind::Event>) -> Result<(), Error> {
        self.conn.prepare_cached(sql("todo_by_tie"))?.execute((
            self.ws(),
            self.app.id.bytes().as_slice(),
            kind,
            key.as_slice(),
            but.bytes().as_slice(),
        ))?;
        Ok(())
    }

    /// Stores which customer and devices were seen with the installation.
    fn identify(&self, event: &Event, key: Option<[u8; 16]>) -> Result<(), Error> {
        let Some(install) = key else { return Ok(()) };
        for (kind, key) in event::identities(event) {
            let new = self.conn.prepare_cached(sql("identity_put"))?.execute((
                self.ws(),
                self.app.id.bytes().as_slice(),
                kind,
                key.as_slice(),
                install.as_slice(),
            ))?;
            if new > 0 {
                self.wake(kind, &key, event.id)?;
            }
        }
        Ok(())
    }

    fn store(&self, decision: &Decision, revision: u32) -> Result<(), Error> {
        let winner = decision.credit.winner();
        let click = winner.map(|w| &w.touch.click);
        let inherited = winner.filter(|_| decision.because.follows.is_some()).map(|w| &w.touch);
        self.conn.prepare_cached(sql("decision_insert"))?.execute(rusqlite::params![
            self.ws(),
            decision.event.bytes().as_slice(),
            revision,
            self.at.ms(),
            decision.settings_version,
            decision.kind.as_ref().map(ConversionKind::name),
            decision.credit.name(),
            click.map(|c| c.partner.bytes().to_vec()),
            click.map(|c| c.campaign.bytes().to_vec()),
            click.map(|c| c.link.bytes().to_vec()),
            winner.map(|w| w.touch.id.bytes().to_vec()),
            winner.map(|w| w.match_type as u8),
            rows::because_write(&decision.because, inherited),
        ])?;
        Ok(())
    }

    fn convert(&self, event: &Event, decision: &Decision) -> Result<(), Error> {
        let Some(kind) = &decision.kind else { return Ok(()) };
        let pending = event.postback.as_ref().is_some_and(|p| p.pending);
        self.conn.prepare_cached(sql("conversion_insert"))?.execute(rusqlite::params![
            self.ws(),
            event.id.bytes().as_slice(),
            event.app.bytes().as_slice(),
            kind.name(),
            &event.name,
            if pending { "pending" } else { "approved" },
            if event.environment == Environment::Sandbox { "sandbox" } else { "production" },
            event.received_at.ms(),
            event.occurred_at.ms(),
            event.revenue.as_ref().map(|r| r.amount.micros),
            event.revenue.as_ref().and_then(|r| r.currency).map(|c| c.to_string()),
            event.revenue.as_ref().is_none_or(|r| r.verified),
        ])?;
        Ok(())
    }

    /// Counts the conversion for who has the credit now, and takes it from who had it.
    fn count(&mut self, event: &Event, decision: &Decision, previous: Option<&Previous>) {
        let Some(kind) = decision.kind.as_ref().filter(|_| event.environment == Environment::Production)
        else {
            return;
        };
        let micros = event.revenue.as_ref().map_or(0, |r| r.amount.micros);
        let currency =
            event.revenue.as_ref().and_then(|r| r.currency).map(|c| c.to_string()).unwrap_or_default();
        let mut add = |credit: &Credit, sign: i64| {
            let click = credit.winner().map(|w| &w.touch.click);
            self.rollups.add(event, click, Metric::Conversion, kind.name(), &currency, sign, sign * micros);
        };
        if let Some(previous) = previous {
            add(&previous.credit, -1);
        }
        add(&decision.credit, 1);
    }
}
