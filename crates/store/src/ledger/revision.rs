//! Revisions of decisions, read back from their rows.

use roundtrip_domain::attribution::{self, Credit, Decision, MatchType, Winner};
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::event::ConversionKind;
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::status::Status;
use rusqlite::{Connection, OptionalExtension};

use super::rows;
use super::statements::sql;
use crate::Error;

/// The latest decision of an event, as far as deciding again needs it.
pub(super) struct Previous {
    pub(super) revision: u32,
    pub(super) kind: Option<ConversionKind>,
    pub(super) credit: Credit,
    pub(super) because: attribution::Because,
    pub(super) status: Status,
}

impl Previous {
    /// Whether a decision says the same. What it follows, when that was born and whether the conversion counts
    /// are looked at too: rules look at all of them.
    pub(super) fn stands(&self, decision: &Decision, status: Status) -> bool {
        let (a, b) = (&self.because, &decision.because);
        self.status == status
            && self.credit.same(&decision.credit)
            && (a.follows, a.reference_at) == (b.follows, b.reference_at)
    }
}

/// The latest revision of an event's decision.
pub(super) fn previous_decision(
    conn: &Connection,
    ws: u32,
    event: Id<kind::Event>,
) -> Result<Option<Previous>, Error> {
    let row = conn
        .prepare_cached(sql("decision_latest"))?
        .query_row((ws, event.bytes().as_slice()), StoredDecision::from_row)
        .optional()?;
    row.map(|row| {
        let (credit, because) = row.credit(event)?;
        Ok(Previous { revision: row.revision, kind: row.kind(), credit, because, status: row.status(event)? })
    })
    .transpose()
}

/// Who had the credit by a revision, why, and whether the conversion counted.
pub(super) fn decision_at(
    conn: &Connection,
    ws: u32,
    event: Id<kind::Event>,
    revision: u32,
) -> Result<Option<(Credit, attribution::Because, Status)>, Error> {
    let mut statement = conn.prepare_cached(sql("decision_all"))?;
    let rows = statement.query_map((ws, event.bytes().as_slice()), StoredDecision::from_row)?;
    for row in rows {
        let row = row?;
        if row.revision == revision {
            let (credit, because) = row.credit(event)?;
            return Ok(Some((credit, because, row.status(event)?)));
        }
    }
    Ok(None)
}

/// A row of `decision_latest` or `decision_all`.
pub(super) struct StoredDecision {
    pub(super) revision: u32,
    pub(super) at: i64,
    pub(super) settings_version: u64,
    kind: Option<String>,
    credit: String,
    match_type: Option<u8>,
    click: Option<Vec<u8>>,
    body: String,
    status: u8,
}

impl StoredDecision {
    pub(super) fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            revision: row.get(0)?,
            at: row.get(1)?,
            settings_version: row.get(2)?,
            kind: row.get(3)?,
            credit: row.get(4)?,
            match_type: row.get(5)?,
            click: row.get(6)?,
            body: row.get(7)?,
            status: row.get(8)?,
        })
    }

    pub(super) fn kind(&self) -> Option<ConversionKind> {
        self.kind.as_deref().and_then(ConversionKind::parse)
    }

    /// Whether the conversion counted.
    pub(super) fn status(&self, event: Id<kind::Event>) -> Result<Status, Error> {
        Status::from_number(self.status).ok_or_else(|| Error::Corrupt {
            table: "decision",
            column: "status",
            row: format!("{event} revision {}", self.revision),
            what: format!("{} is no status", self.status),
        })
    }

    /// The credit and its reasons.
    pub(super) fn credit(&self, event: Id<kind::Event>) -> Result<(Credit, attribution::Because), Error> {
        let row = format!("{event} revision {}", self.revision);
        let (because, inherited) = rows::because_read(&row, &self.body)?;
        let credit = match self.credit.as_str() {
            "organic" => Credit::Organic,
            "install_unknown" => Credit::InstallUnknown,
            _ => {
                let click = self.click.as_deref().and_then(ClickId::from_slice);
                let touch = because
                    .candidates
                    .iter()
                    .map(|c| &c.touch)
                    .find(|t| Some(t.id) == click)
                    .cloned()
                    .or(inherited);
                let match_type = self.match_type.and_then(MatchType::from_number);
                let (Some(touch), Some(match_type)) = (touch, match_type) else {
                    return Err(Error::Corrupt {
                        table: "decision",
                        column: "body",
                        row,
                        what: "an attributed decision without its touch".into(),
                    });
                };
                Credit::Touch(Box::new(Winner { touch, match_type }))
            }
        };
        Ok((credit, because))
    }
}
