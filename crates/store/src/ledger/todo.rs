//! The events that wait for a decision, or for another one.
//!
//! Fair in two ways: each workspace has its share of a list, and an event that fails steps back, longer each
//! time, so that what cannot be decided never holds up what can.

use std::collections::HashSet;

use roundtrip_domain::event::Event;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::settings::Catalog;
use roundtrip_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::event::{self, BIRTH_RANK_MAX};
use super::statements::sql;
use super::{Ledger, id_from};
use crate::Error;

/// Most births of one installation that are read for a decision.
const BIRTHS_MAX: usize = 60;
/// Of these, how many of each rank are read whatever the higher ranks bring: with them the earliest.
const BIRTHS_OF_RANK: usize = 10;
/// The longest time that an event that failed waits: one hour.
const WAIT_MS_MAX: i64 = 3_600_000;

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

/// An event, and whose.
pub type Waiting = (WorkspaceNo, Id<kind::Event>);

impl Ledger {
    /// Events that wait for a decision at that time, at most `limit`: an equal share of each workspace, the
    /// oldest first. Events that cannot be read are named in the log and put off, as by [`Self::todo_later`].
    pub async fn undecided(&self, limit: u32, now: Timestamp) -> Result<Vec<Undecided>, Error> {
        self.undecided_beside(limit, now, HashSet::new()).await
    }

    /// The same without those that are in hand: the next batch can be made ready while one is committed.
    ///
    /// What the commit finds out is not missed. Whatever it decides was recorded before this list was read, so the
    /// evidence here is no older than what the commit knows; and what depends on its decisions is looked up inside the
    /// transaction of the batch that follows.
    pub async fn undecided_beside(
        &self,
        limit: u32,
        now: Timestamp,
        in_hand: HashSet<Waiting>,
    ) -> Result<Vec<Undecided>, Error> {
        let catalog = self.catalog();
        let (list, unreadable) = self
            .read(move |conn| {
                let (mut list, mut unreadable) = (Vec::new(), Vec::new());
                for (ws, id) in waiting(conn, limit as usize, now, &in_hand)? {
                    match one(conn, &catalog, ws, id) {
                        Ok(undecided) => list.push(undecided),
                        Err(error @ Error::Corrupt { .. }) => {
                            tracing::error!(event.id = %id, error = %error, "an event cannot be read; it stays undecided");
                            unreadable.push((ws, id));
                        }
                        Err(error) => return Err(error),
                    }
                }
                Ok((list, unreadable))
            })
            .await?;
        if !unreadable.is_empty() {
            self.todo_later(unreadable, now).await?;
        }
        Ok(list)
    }

    /// Puts off events that could not be decided now: 2 s, then twice as long each time, at most an hour.
    /// Those that do not wait any more are left alone.
    pub async fn todo_later(
        &self,
        events: Vec<(WorkspaceNo, Id<kind::Event>)>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let put_off = self
            .write(move |conn| {
                let mut put_off = Vec::new();
                for (ws, id) in &events {
                    let known: Option<u32> = conn
                        .prepare_cached(sql("todo_tries"))?
                        .query_row((ws.0, id.bytes().as_slice()), |row| row.get(0))
                        .optional()?;
                    let Some(tries) = known.map(|tries| tries.saturating_add(1)) else { continue };
                    let wait_ms = WAIT_MS_MAX.min(1_000 << tries.min(12));
                    let after = now.plus_ms(wait_ms).ms();
                    conn.prepare_cached(sql("todo_later"))?.execute((
                        ws.0,
                        id.bytes().as_slice(),
                        tries,
                        after,
                    ))?;
                    put_off.push((*id, tries, wait_ms));
                }
                Ok(put_off)
            })
            .await?;
        for (id, tries, wait_ms) in put_off {
            tracing::warn!(event.id = %id, tries, wait_ms, "an event could not be decided; it is tried again later");
        }
        Ok(())
    }

    /// How many events wait for a decision, counted up to 100,000.
    pub async fn undecided_count(&self) -> Result<u64, Error> {
        self.read(|conn| Ok(conn.prepare_cached(sql("todo_count"))?.query_row([], |row| row.get(0))?)).await
    }
}

/// Who waits: one of each workspace in turn, until the list is full.
fn waiting(
    conn: &Connection,
    limit: usize,
    now: Timestamp,
    in_hand: &HashSet<Waiting>,
) -> Result<Vec<Waiting>, Error> {
    let mut lists: Vec<(WorkspaceNo, std::vec::IntoIter<Id<kind::Event>>)> = Vec::new();
    {
        let mut statement = conn.prepare_cached(sql("todo_workspaces"))?;
        let workspaces = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<u32>, _>>()?;
        for ws in workspaces {
            let mut statement = conn.prepare_cached(sql("todo_due"))?;
            let mut rows = statement.query((ws, now.ms(), (limit + in_hand.len()) as u64))?;
            let mut ids = Vec::new();
            while let Some(row) = rows.next()? {
                let id = id_from(&row.get::<_, Vec<u8>>(0)?, "todo", "event")?;
                if !in_hand.contains(&(WorkspaceNo(ws), id)) {
                    ids.push(id);
                }
            }
            lists.push((WorkspaceNo(ws), ids.into_iter()));
        }
    }
    let mut fair = Vec::new();
    while fair.len() < limit && !lists.is_empty() {
        lists.retain_mut(|(ws, ids)| {
            let next = if fair.len() < limit { ids.next() } else { None };
            fair.extend(next.map(|id| (*ws, id)));
            next.is_some()
        });
    }
    Ok(fair)
}

fn one(
    conn: &Connection,
    catalog: &Catalog,
    ws: WorkspaceNo,
    id: Id<kind::Event>,
) -> Result<Undecided, Error> {
    let event = event::get(conn, ws.0, &id.bytes())?.ok_or_else(|| Error::Corrupt {
        table: "todo",
        column: "event",
        row: id.to_string(),
        what: "an event that is not kept".into(),
    })?;
    let births = if births_count(catalog, &event) { births(conn, &event)? } else { Vec::new() };
    Ok(Undecided { event, births })
}

/// Whether the event is a birth of an installation: by its name, on a mobile app.
fn births_count(catalog: &Catalog, event: &Event) -> bool {
    event.names_install()
        && catalog
            .workspace(event.workspace)
            .and_then(|s| s.apps.get(&event.app))
            .is_some_and(|app| app.platform.is_mobile())
}

/// The births of an event's installation. Of more than can be read those that name most count, and some of
/// each rank: an app that is opened daily must not hide the `install` that brings the referrer late.
pub(super) fn births(conn: &Connection, event: &Event) -> Result<Vec<Event>, Error> {
    let Some(key) = event::install_key(event) else { return Ok(Vec::new()) };
    let (mut chosen, mut spare) = (Vec::new(), Vec::new());
    for rank in (1..=BIRTH_RANK_MAX).rev() {
        let mut statement = conn.prepare_cached(sql("births_list"))?;
        let app = event.app.bytes();
        let mut rows =
            statement.query((event.workspace.0, app.as_slice(), key.as_slice(), rank, BIRTHS_MAX as u64))?;
        let mut of_rank = 0;
        while let Some(row) = rows.next()? {
            let id: Id<kind::Event> = id_from(&row.get::<_, Vec<u8>>(0)?, "tie", "event")?;
            of_rank += 1;
            if of_rank <= BIRTHS_OF_RANK { chosen.push(id) } else { spare.push(id) }
        }
    }
    let room = BIRTHS_MAX.saturating_sub(chosen.len());
    chosen.extend(spare.into_iter().take(room));
    chosen.sort_unstable_by_key(|id| id.bits());
    let mut births = Vec::with_capacity(chosen.len());
    for id in chosen {
        births.extend(event::get(conn, event.workspace.0, &id.bytes())?);
    }
    if !births.iter().any(|b| b.id == event.id) {
        births.push(event.clone());
    }
    Ok(births)
}
