//! Installations, and how events find theirs: by the installation's own key, by a customer, by a device.
//!
//! Runs inside the writer's transaction, as a part of [`super::decide`]. Whatever makes an installation known
//! to more events has those decided again.

use roundtrip_domain::attribution::{self, Candidate};
use roundtrip_domain::event::Event;
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::time::Timestamp;
use rusqlite::OptionalExtension;

use super::decide::Step;
use super::event::{self, TIE_INSTALL};
use super::id_from;
use super::statements::sql;
use crate::Error;

/// Most installations that are looked at for one customer or device. A person has a handful; what has more
/// (`guest`, a test device) names nobody.
const INSTALLS_OF_IDENTITY_MAX: u32 = 200;
/// Most customers and devices of one installation whose events wait for it.
const IDENTITIES_OF_INSTALL_MAX: u32 = 100;
/// Most events that one customer or device has decided again at once; the newest.
const WAKE_MAX: u32 = 1_000;

/// An installation's row.
pub(super) struct Install {
    pub(super) event: Id<kind::Event>,
    pub(super) installed_at: Timestamp,
}

/// An event's installation, and what tied them.
pub(super) struct Tied {
    pub(super) install: Install,
    /// One of the `tie_…` notes.
    pub(super) tie: &'static str,
    /// Whether there were more installations to choose from than are looked at.
    pub(super) is_crowded: bool,
}

impl Step<'_> {
    /// The installation of that key.
    pub(super) fn install(&self, key: &[u8; 16]) -> Result<Option<Install>, Error> {
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
    pub(super) fn tied(&self, event: &Event, own: Option<Install>) -> Result<Option<Tied>, Error> {
        if !self.app.platform.is_mobile() {
            return Ok(None);
        }
        if let Some(install) = own {
            return Ok(Some(Tied { install, tie: "tie_install_id", is_crowded: false }));
        }
        for (kind, key) in event::ties(event).into_iter().filter(|(kind, _)| *kind != TIE_INSTALL) {
            let mut statement = self.conn.prepare_cached(sql("identity_installs"))?;
            let app = self.app.id.bytes();
            let mut rows = statement.query((
                self.ws(),
                app.as_slice(),
                kind,
                key.as_slice(),
                INSTALLS_OF_IDENTITY_MAX,
            ))?;
            let mut found: Option<Install> = None;
            let mut count = 0;
            while let Some(row) = rows.next()? {
                count += 1;
                let installed_at = Timestamp::from_ms(row.get(1)?);
                if found.is_none() || installed_at <= event.reference_at() {
                    let id: Vec<u8> = row.get(0)?;
                    found = Some(Install { event: id_from(&id, "install", "event")?, installed_at });
                }
            }
            if let Some(install) = found {
                let tie = if kind == event::TIE_CUSTOMER { "tie_customer_id" } else { "tie_device_id" };
                let is_crowded = count >= INSTALLS_OF_IDENTITY_MAX;
                return Ok(Some(Tied { install, tie, is_crowded }));
            }
        }
        Ok(None)
    }

    /// Whether an event that found no installation waits for one.
    pub(super) fn waits(&self, event: &Event) -> bool {
        self.app.platform.is_mobile() && !event::ties(event).is_empty()
    }

    /// Has that event decided again.
    pub(super) fn again(&self, event: Id<kind::Event>) -> Result<(), Error> {
        self.conn.prepare_cached(sql("todo_insert"))?.execute((self.ws(), event.bytes().as_slice()))?;
        Ok(())
    }

    /// Stores the installation; the events that waited for it are decided again. Says whether it is new.
    pub(super) fn bear(
        &self,
        event: &Event,
        key: &[u8; 16],
        at: Timestamp,
        notes: &mut Vec<&'static str>,
    ) -> Result<bool, Error> {
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
        self.conn.prepare_cached(sql("todo_by_tie"))?.execute((
            self.ws(),
            app.as_slice(),
            TIE_INSTALL,
            key.as_slice(),
            event.id.bytes().as_slice(),
        ))?;
        // Also the events that can only find it by a customer or a device seen with it, whichever event
        // told of those.
        let mut identities: Vec<(u8, [u8; 16])> = Vec::new();
        {
            let mut statement = self.conn.prepare_cached(sql("identity_of_install"))?;
            let mut rows =
                statement.query((self.ws(), app.as_slice(), key.as_slice(), IDENTITIES_OF_INSTALL_MAX))?;
            while let Some(row) = rows.next()? {
                identities.push((row.get(0)?, row.get(1)?));
            }
        }
        for (kind, identity) in identities {
            self.wake(kind, &identity, event.id, notes)?;
        }
        Ok(known.is_none())
    }

    /// Has the events with that customer or device decided again, all but one. Bounded: what everybody shares,
    /// such as a customer called `guest`, names nobody, and must not have its whole past decided again with
    /// each new installation.
    fn wake(
        &self,
        kind: u8,
        key: &[u8; 16],
        but: Id<kind::Event>,
        notes: &mut Vec<&'static str>,
    ) -> Result<(), Error> {
        let (ws, app) = (self.ws(), self.app.id.bytes());
        let installs: u32 = self
            .conn
            .prepare_cached(sql("identity_crowd"))?
            .query_row((ws, app.as_slice(), kind, key.as_slice(), INSTALLS_OF_IDENTITY_MAX), |row| {
                row.get(0)
            })?;
        if installs >= INSTALLS_OF_IDENTITY_MAX {
            note(notes, "crowded_identity");
            return Ok(());
        }
        let but = but.bytes();
        let of = (ws, app.as_slice(), kind, key.as_slice(), but.as_slice(), WAKE_MAX + 1);
        let waiting: u32 = self.conn.prepare_cached(sql("tie_crowd"))?.query_row(of, |row| row.get(0))?;
        if waiting > WAKE_MAX {
            note(notes, "wake_capped");
        }
        let of = (ws, app.as_slice(), kind, key.as_slice(), but.as_slice(), WAKE_MAX);
        self.conn.prepare_cached(sql("todo_by_identity"))?.execute(of)?;
        Ok(())
    }

    /// Stores which customer and devices were seen with the installation.
    pub(super) fn identify(
        &self,
        event: &Event,
        key: Option<[u8; 16]>,
        notes: &mut Vec<&'static str>,
    ) -> Result<(), Error> {
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
                self.wake(kind, &key, event.id, notes)?;
            }
        }
        Ok(())
    }

    /// Whether a later birth can change what its installation earned: by an earlier time, a click id that was
    /// not judged yet, or a device id that the first one did not name. Apps report `open` every day, and send
    /// the same referrer with it; those must cost nothing.
    pub(super) fn adds_to(
        &self,
        event: &Event,
        install: &Install,
        candidates: &[Candidate],
    ) -> Result<bool, Error> {
        if event.reference_at() < install.installed_at {
            return Ok(true);
        }
        if attribution::evidence(event).iter().any(|named| !attribution::is_known(named, candidates)) {
            return Ok(true);
        }
        let first = event::get(self.conn, self.ws(), &install.event.bytes())?;
        let known = first.map(|first| first.device.ids).unwrap_or_default();
        Ok(attribution::device_evidence(event).any(|id| !known.contains(id)))
    }

    /// The birth that an installation not stored yet is known by, if that is another event than this one: of
    /// several the earliest, an `install` before an `open`. Whichever comes to be decided first, the same one
    /// makes the conversion.
    pub(super) fn firstborn(&self) -> Result<Option<Event>, Error> {
        let event = self.event();
        let Some(key) = event::install_key(event).filter(|_| !self.births().is_empty()) else {
            return Ok(None);
        };
        if self.install(&key)?.is_some() {
            return Ok(None);
        }
        let first = self.births().iter().min_by_key(|b| (b.reference_at(), b.name == "open", b.id.bits()));
        Ok(first.filter(|first| first.id != event.id).cloned())
    }
}

fn note(notes: &mut Vec<&'static str>, word: &'static str) {
    if !notes.contains(&word) {
        notes.push(word);
    }
}
