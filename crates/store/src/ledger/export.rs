//! The ledger's facts in the order of their ids, page by page: what an export reads.
//!
//! The cast: [`Ledger::export_page`] reads one bounded page in a read transaction of its own and says where the next one
//! begins; whoever exports calls it again and again, and pauses in between; `crate::export` turns what was read into
//! columns. Every page walks a primary key from a place on it, inside one workspace. A page is bounded by the rows that it
//! looks at, not by those that fit, so a filter that fits nothing holds no transaction open.
//!
//! The time of a row is the one in its id: when the event was received, or the delivery planned. Ids only go up (`ids`), so
//! nothing is added to a span that is over, and a row is in one span and no other, also when the clock is set back by up to
//! a day. Whoever was told that a span is settled is kept to it: no id is minted below that any more.
//!
//! NOT relied on: that the pages of an export show one moment. A conversion's status and a delivery's state are those at
//! the time when its page was read.

use roundtrip_domain::attribution::{Because, Credit};
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::endpoint::Endpoint;
use roundtrip_domain::event::{ConversionKind, Event};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::status::Status;
use roundtrip_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::listed::{DeliveryListed, listed};
use super::revision::StoredDecision;
use super::statements::sql;
use super::{Ledger, event, id_from};
use crate::Error;

/// Rows that one page looks at, at most: a few milliseconds of a reader's time.
pub const EXPORT_PAGE_ROWS: u32 = 500;
/// How long ago something must have been received so that it is on the disk, in milliseconds.
pub const EXPORT_SETTLED_MS: i64 = 60_000;

/// What can be exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExportWhat {
    /// Conversions of the kind install, with their devices.
    Installs,
    /// What apps, servers, advertisers and the owner reported.
    Events,
    /// What events count as, each with its latest decision.
    Conversions,
    /// Every revision of who earned an event.
    Decisions,
    /// Every intent to tell somebody, replays included.
    Deliveries,
}

impl ExportWhat {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Installs, Self::Events, Self::Conversions, Self::Decisions, Self::Deliveries];

    /// Its word in commands, paths and file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Installs => "installs",
            Self::Events => "events",
            Self::Conversions => "conversions",
            Self::Decisions => "decisions",
            Self::Deliveries => "deliveries",
        }
    }

    /// The one of that word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.name() == text)
    }
}

/// A place among the rows of an export: the bits of an id, and the revision of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExportMark {
    id: u128,
    revision: u32,
}

impl ExportMark {
    /// Before all rows of that moment and later. A moment before 1970 is the beginning.
    pub const fn at(moment: Timestamp) -> Self {
        let ms = if moment.ms() < 0 { 0 } else { moment.ms() as u128 };
        Self { id: if ms > 0xffff_ffff_ffff { u128::MAX } else { ms << 80 }, revision: 0 }
    }

    const fn behind(id: u128) -> Self {
        Self { id: id.saturating_add(1), revision: 0 }
    }
}

/// Which rows are exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportWish {
    /// Of which workspace.
    pub workspace: WorkspaceNo,
    /// Which facts.
    pub what: ExportWhat,
    /// Of one app only.
    pub app: Option<Id<kind::App>>,
    /// Rows before this moment; exclusive.
    pub to: Timestamp,
}

/// A conversion, its event and its latest decision.
#[derive(Debug, Clone)]
pub struct ExportedConversion {
    /// The conversion.
    pub id: Id<kind::Conversion>,
    /// Of which app.
    pub app: Id<kind::App>,
    /// Its kind.
    pub kind: String,
    /// The event's name.
    pub name: String,
    /// `approved`, `pending` or `rejected`.
    pub status: String,
    /// `production` or `sandbox`.
    pub environment: String,
    /// When its event reached us.
    pub received_at: Timestamp,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// Amount in millionths.
    pub amount_micros: Option<i64>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// False for money that a client key reported.
    pub verified: bool,
    /// What its partner gets, in millionths.
    pub payout_micros: Option<i64>,
    /// ISO 4217.
    pub payout_currency: Option<String>,
    /// Its event.
    pub event: Event,
    /// Its latest decision.
    pub decision: ExportedRevision,
}

/// A revision of a decision.
#[derive(Debug, Clone)]
pub struct ExportedRevision {
    /// Counts from 1.
    pub revision: u32,
    /// When it was decided.
    pub at: Timestamp,
    /// Under which settings.
    pub settings_version: u64,
    /// What conversion it makes.
    pub kind: Option<ConversionKind>,
    /// Who has the credit.
    pub credit: Credit,
    /// Why.
    pub because: Because,
    /// Whether the conversion counted then.
    pub status: Status,
}

/// A revision of a decision, and what it is about.
#[derive(Debug, Clone)]
pub struct ExportedDecision {
    /// The event.
    pub event: Id<kind::Event>,
    /// Of which app.
    pub app: Id<kind::App>,
    /// What was decided.
    pub revision: ExportedRevision,
}

/// A delivery.
#[derive(Debug, Clone)]
pub struct ExportedDelivery {
    /// As lists show it.
    pub listed: DeliveryListed,
    /// The version of the rule or webhook that planned it.
    pub teller_version: u64,
    /// The revision of the decision that planned it.
    pub revision: u32,
    /// In which bucket of the books it is; `None` in none.
    pub booked_at: Option<Timestamp>,
    /// After which it is of no use to its receiver.
    pub deadline: Option<Timestamp>,
}

/// Rows of a page.
#[derive(Debug, Clone)]
pub enum Exported {
    /// Of events.
    Events(Vec<Event>),
    /// Of conversions, and of installs.
    Conversions(Vec<ExportedConversion>),
    /// Of decisions.
    Decisions(Vec<ExportedDecision>),
    /// Of deliveries.
    Deliveries(Vec<ExportedDelivery>),
}

/// A page of an export.
#[derive(Debug, Clone)]
pub struct ExportPage {
    /// The rows that fit, in the order of their ids.
    pub rows: Exported,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<ExportMark>,
}

impl Ledger {
    /// Reads the rows at `from` and behind it, looking at [`EXPORT_PAGE_ROWS`] at most: a page can be empty and have a
    /// next one.
    ///
    /// # Errors
    /// When the ledger cannot answer, or a row contradicts itself.
    pub async fn export_page(&self, wish: ExportWish, from: ExportMark) -> Result<ExportPage, Error> {
        self.export_page_of(wish, from, EXPORT_PAGE_ROWS).await
    }

    /// The same, looking at `rows` rows at most.
    ///
    /// # Errors
    /// As [`Self::export_page`].
    pub async fn export_page_of(
        &self,
        wish: ExportWish,
        from: ExportMark,
        rows: u32,
    ) -> Result<ExportPage, Error> {
        self.read(move |conn| {
            let walk = Walk { conn, wish, from, rows: rows.max(1) };
            match wish.what {
                ExportWhat::Events => walk.events(),
                ExportWhat::Installs | ExportWhat::Conversions => walk.conversions(),
                ExportWhat::Decisions => walk.decisions(),
                ExportWhat::Deliveries => walk.deliveries(),
            }
        })
        .await
    }

    /// When the first row that can be exported came to be, `None` when there is none; and until when no row can come
    /// any more, by its time: what was received in the last minute may not be on the disk yet, and what a decision makes
    /// has the time of its event.
    ///
    /// # Errors
    /// When the ledger cannot answer.
    pub async fn export_first_and_settled(
        &self,
        ws: WorkspaceNo,
        what: ExportWhat,
        now: Timestamp,
    ) -> Result<(Option<Timestamp>, Timestamp), Error> {
        let first = self.export_first(ws, what).await?;
        let over = now.plus_ms(-EXPORT_SETTLED_MS);
        // A clock that is set back behind this answer mints nothing before it. One that stands behind the newest id
        // already changes nothing of what is over by it.
        self.inner.ids.raise(over);
        let waits = match what {
            ExportWhat::Events | ExportWhat::Deliveries => None,
            ExportWhat::Installs | ExportWhat::Conversions | ExportWhat::Decisions => {
                self.export_oldest_undecided(ws).await?
            }
        };
        Ok((first, waits.map_or(over, |at| at.min(over))))
    }

    async fn export_oldest_undecided(&self, ws: WorkspaceNo) -> Result<Option<Timestamp>, Error> {
        self.read(move |conn| {
            let oldest: Option<Vec<u8>> = conn
                .prepare_cached(sql("export_oldest_undecided"))?
                .query_row([ws.0], |row| row.get(0))
                .optional()?;
            let id = oldest.map(|bytes| id_from::<kind::Event>(&bytes, "todo", "event")).transpose()?;
            Ok(id.map(Id::minted_at))
        })
        .await
    }

    /// When the first row that can be exported came to be; `None` when there is none.
    async fn export_first(&self, ws: WorkspaceNo, what: ExportWhat) -> Result<Option<Timestamp>, Error> {
        let name =
            if what == ExportWhat::Deliveries { "export_first_delivery" } else { "export_first_event" };
        self.read(move |conn| {
            let first: Option<Vec<u8>> =
                conn.prepare_cached(sql(name))?.query_row([ws.0], |row| row.get(0)).optional()?;
            let id = first.map(|bytes| id_from::<kind::Event>(&bytes, "event", "id")).transpose()?;
            Ok(id.map(Id::minted_at))
        })
        .await
    }
}

/// One page's way along a primary key.
struct Walk<'a> {
    conn: &'a Connection,
    wish: ExportWish,
    from: ExportMark,
    rows: u32,
}

impl Walk<'_> {
    /// Looks at the rows of a statement whose parameters are workspace, first id, id behind the last, number of rows.
    /// `take` says which row it was.
    fn each(
        &self,
        name: &'static str,
        mut take: impl FnMut(&rusqlite::Row<'_>) -> Result<ExportMark, Error>,
    ) -> Result<Option<ExportMark>, Error> {
        let below = ExportMark::at(self.wish.to).id;
        if self.from.id >= below {
            return Ok(None);
        }
        let mut statement = self.conn.prepare_cached(sql(name))?;
        let (first, below) = (self.from.id.to_be_bytes(), below.to_be_bytes());
        let mut rows = if statement.parameter_count() == 5 {
            statement.query((
                self.wish.workspace.0,
                first.as_slice(),
                below.as_slice(),
                self.rows,
                self.from.revision,
            ))?
        } else {
            statement.query((self.wish.workspace.0, first.as_slice(), below.as_slice(), self.rows))?
        };
        let (mut seen, mut next) = (0, None);
        while let Some(row) = rows.next()? {
            seen += 1;
            next = Some(take(row)?);
        }
        Ok(next.filter(|_| seen == self.rows))
    }

    fn is_of(&self, app: Id<kind::App>) -> bool {
        self.wish.app.is_none_or(|wanted| wanted == app)
    }

    fn events(&self) -> Result<ExportPage, Error> {
        let mut events = Vec::new();
        let next = self.each("export_events", |row| {
            let id: Vec<u8> = row.get(1)?;
            let app: Vec<u8> = row.get(2)?;
            if self.is_of(id_from(&app, "event", "app")?) {
                events.push(event::read_row(row)?);
            }
            Ok(ExportMark::behind(id_from::<kind::Event>(&id, "event", "id")?.bits()))
        })?;
        Ok(ExportPage { rows: Exported::Events(events), next })
    }

    fn conversions(&self) -> Result<ExportPage, Error> {
        let mut conversions = Vec::new();
        let install = ConversionKind::Install.name();
        let next = self.each("export_conversions", |row| {
            let (id, app): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let id: Id<kind::Conversion> = id_from(&id, "conversion", "id")?;
            let app = id_from(&app, "conversion", "app")?;
            let kind: String = row.get(2)?;
            // Changes of a status are no conversions; they stand among the events.
            let is_change = ConversionKind::parse(&kind).is_some_and(|kind| kind.is_change());
            let fits = self.wish.what != ExportWhat::Installs || kind == install;
            if !is_change && fits && self.is_of(app) {
                conversions.push(self.conversion(row, id, app, kind)?);
            }
            Ok(ExportMark::behind(id.bits()))
        })?;
        Ok(ExportPage { rows: Exported::Conversions(conversions), next })
    }

    fn conversion(
        &self,
        row: &rusqlite::Row<'_>,
        id: Id<kind::Conversion>,
        app: Id<kind::App>,
        kind: String,
    ) -> Result<ExportedConversion, Error> {
        let ws = self.wish.workspace.0;
        let missing = |what: &str| Error::Corrupt {
            table: "conversion",
            column: "id",
            row: id.to_string(),
            what: what.to_owned(),
        };
        let of = id.event().bytes();
        let event = event::get(self.conn, ws, &of)?.ok_or_else(|| missing("without its event"))?;
        let decision = self
            .conn
            .prepare_cached(sql("decision_latest"))?
            .query_row((ws, of.as_slice()), StoredDecision::from_row)
            .optional()?
            .ok_or_else(|| missing("without a decision"))?;
        Ok(ExportedConversion {
            id,
            app,
            kind,
            name: row.get(3)?,
            status: row.get(4)?,
            environment: row.get(5)?,
            received_at: Timestamp::from_ms(row.get(6)?),
            occurred_at: Timestamp::from_ms(row.get(7)?),
            amount_micros: row.get(8)?,
            currency: row.get(9)?,
            verified: row.get(10)?,
            payout_micros: row.get(11)?,
            payout_currency: row.get(12)?,
            event,
            decision: revision(&decision, id.event())?,
        })
    }

    fn decisions(&self) -> Result<ExportPage, Error> {
        let mut decisions = Vec::new();
        let next = self.each("export_decisions", |row| {
            let stored = StoredDecision::from_row(row)?;
            let (event, app): (Vec<u8>, Vec<u8>) = (row.get(9)?, row.get(10)?);
            let event: Id<kind::Event> = id_from(&event, "decision", "event")?;
            let app = id_from(&app, "event", "app")?;
            if self.is_of(app) {
                decisions.push(ExportedDecision { event, app, revision: revision(&stored, event)? });
            }
            Ok(ExportMark { id: event.bits(), revision: stored.revision + 1 })
        })?;
        Ok(ExportPage { rows: Exported::Decisions(decisions), next })
    }

    fn deliveries(&self) -> Result<ExportPage, Error> {
        let mut deliveries = Vec::new();
        let next = self.each("export_deliveries", |row| {
            let (id, app): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let id: Id<kind::Delivery> = id_from(&id, "delivery", "id")?;
            if self.is_of(id_from(&app, "delivery", "app")?) {
                let moment = |at| -> rusqlite::Result<Option<Timestamp>> {
                    Ok(row.get::<_, Option<i64>>(at)?.map(Timestamp::from_ms))
                };
                let gone = || Error::Corrupt {
                    table: "delivery",
                    column: "id",
                    row: id.to_string(),
                    what: "it is not there a moment later".into(),
                };
                deliveries.push(ExportedDelivery {
                    listed: listed(self.conn, self.wish.workspace, id)?.ok_or_else(gone)?,
                    teller_version: row.get(2)?,
                    revision: row.get(3)?,
                    booked_at: moment(4)?,
                    deadline: moment(5)?,
                });
            }
            Ok(ExportMark::behind(id.bits()))
        })?;
        Ok(ExportPage { rows: Exported::Deliveries(deliveries), next })
    }
}

fn revision(stored: &StoredDecision, event: Id<kind::Event>) -> Result<ExportedRevision, Error> {
    let (credit, because) = stored.credit(event)?;
    Ok(ExportedRevision {
        revision: stored.revision,
        at: Timestamp::from_ms(stored.at),
        settings_version: stored.settings_version,
        kind: stored.kind(),
        status: stored.status(event)?,
        credit,
        because,
    })
}

impl ExportedRevision {
    /// Our id of the winning click.
    pub fn click(&self) -> Option<ClickId> {
        self.credit.winner().map(|winner| winner.touch.id)
    }
}

impl ExportedDelivery {
    /// Who is told, and by what.
    pub const fn endpoint(&self) -> Endpoint {
        self.listed.endpoint
    }
}
