//! Which installation earns a click that several would: content decides, not the order of arrival.
//!
//! Runs inside the writer's transaction, as a part of [`super::decide`].

use roundtrip_domain::attribution::{self, Decision, Lead};
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::event::{Environment, Event};
use roundtrip_domain::time::Timestamp;

use super::decide::Step;
use super::statements::sql;
use crate::Error;

/// Which door an install came through. What the app itself saw goes first: the credit of everything that
/// follows the installation hangs on it, and a click id is all that an inbound postback needs. Numbers are
/// stored: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Door {
    /// A birth: `install` or `open` of an app.
    Birth = 0,
    /// Any other event that is an install, such as an inbound postback.
    Other = 1,
}

/// What decides among installs that compete for a click: the door, then the earlier one, then the lower key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Precedence {
    pub(super) door: Door,
    pub(super) reference_at: Timestamp,
    /// The installation's key; the event's id where there is no installation.
    pub(super) key: [u8; 16],
}

fn is_sandbox(event: &Event) -> bool {
    event.environment == Environment::Sandbox
}

impl Step<'_> {
    /// Which of the leads' clicks an install with precedence holds, in the same environment.
    pub(super) fn taken(
        &self,
        leads: &[Lead],
        event: &Event,
        own: Precedence,
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
                is_sandbox(event),
                own.door as u8,
                own.reference_at.ms(),
                own.key.as_slice(),
            ))?;
            if held {
                taken.push(touch.id);
            }
        }
        Ok(taken)
    }

    /// Stores which clicks the install competes for, and has the others that compete decided again
    /// where that, or its precedence among them, changed.
    pub(super) fn claim(&self, decision: &Decision, own: Precedence) -> Result<(), Error> {
        let (ws, app, event) = (self.ws(), self.app.id.bytes(), decision.event.bytes());
        let sandbox = is_sandbox(self.event());
        let mut before: Vec<ClickId> = Vec::new();
        let mut moved = false;
        {
            let mut statement = self.conn.prepare_cached(sql("claim_list"))?;
            let mut rows = statement.query((ws, event.as_slice()))?;
            while let Some(row) = rows.next()? {
                let bytes: Vec<u8> = row.get(0)?;
                before.extend(ClickId::from_slice(&bytes));
                moved |= row.get::<_, i64>(1)? != own.reference_at.ms();
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
                sandbox,
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
                sandbox,
                own.door as u8,
                own.reference_at.ms(),
                own.key.as_slice(),
            ))?;
        }
        Ok(())
    }
}
