//! Which column of a list is what, and how its amounts and times are written.
//!
//! A mapping is put together from what is said on the command line, what is kept with the partner, and what the names
//! of the columns suggest, in this order. Not relied on: guesses; they are printed before anything is compared.

use anyhow::{Context as _, bail};
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use roundtrip_domain::money::{Amount, Currency};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::settings::document::{DecimalSign, PartnerReport};
use roundtrip_web::reconcile::Row;

use super::table::{Line, Table};

/// What the names of columns suggest, letters and digits only; of several the first that is there.
const NAMES: &[(&str, &[&str])] = &[
    (
        "click_id",
        &[
            "clickid",
            "partnerclickid",
            "affclickid",
            "clickref",
            "subid",
            "subid1",
            "affsub",
            "affsub1",
            "sub1",
            "s1",
            "s2",
            "aff",
            "cid",
            "clid",
            "externalid",
            "afclickid",
            "tracker",
            "click",
        ],
    ),
    ("rt_click_id", &["rtclickid", "roundtripclickid"]),
    ("event_id", &["eventid", "rteventid", "webhookid", "conversionid", "transactionid", "txid", "txnid"]),
    (
        "order_id",
        &["orderid", "order", "ordernumber", "orderno", "advsub", "invoiceid", "invoice", "reference"],
    ),
    ("event", &["eventname", "event", "goalname", "goal", "conversiontype", "action", "type"]),
    (
        "amount",
        &[
            "amount",
            "revenue",
            "saleamount",
            "ordervalue",
            "orderamount",
            "value",
            "total",
            "price",
            "payout",
            "commission",
        ],
    ),
    ("currency", &["currency", "currencycode", "cur"]),
    (
        "time",
        &[
            "conversiontime",
            "convtime",
            "conversiondate",
            "eventtime",
            "time",
            "timestamp",
            "datetime",
            "createdat",
            "created",
            "date",
            "orderdate",
            "day",
        ],
    ),
];
/// How times are written, when nobody says so. Month before day is never guessed.
const TIMES: &[&str] = &[
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
];
/// How days are written.
const DAYS: &[&str] = &["%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%Y%m%d"];
/// How many odd cells are told of.
const ODD_MAX: usize = 5;

/// A mapping that fits a list.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    /// As it is kept with the partner.
    pub(super) report: PartnerReport,
    /// What of it the columns' names suggested.
    pub(super) guessed: Vec<String>,
    columns: Vec<(&'static str, usize)>,
    zone: TimeZone,
    decimal: DecimalSign,
}

/// A list, read.
#[derive(Debug, Clone)]
pub(super) struct List {
    pub(super) rows: Vec<Row>,
    /// Cells that are neither amount nor time where one should stand, in words; at most a few.
    pub(super) odd: Vec<String>,
    /// How many of them there are.
    pub(super) odd_count: u64,
    /// From the first moment of the list's first day to the last of its last, in its own zone.
    pub(super) days: Option<(Timestamp, Timestamp)>,
}

impl Mapping {
    /// Puts a mapping together: `said` (`what=column` pairs and the rest) over `kept` over what names suggest.
    ///
    /// # Errors
    /// When a column is not in the list, a word is none, or nothing names a conversion.
    pub(super) fn of(
        table: &Table,
        said: PartnerReport,
        kept: Option<PartnerReport>,
    ) -> anyhow::Result<Self> {
        let kept = kept.unwrap_or_default();
        let mut report = PartnerReport {
            columns: kept.columns,
            time_zone: said.time_zone.or(kept.time_zone),
            currency: said.currency.or(kept.currency),
            date_format: said.date_format.or(kept.date_format),
            decimal: said.decimal.or(kept.decimal),
        };
        let is_kept = !report.columns.is_empty();
        report.columns.extend(said.columns);
        let mut guessed = Vec::new();
        // A mapping that is kept was looked at by a person: nothing is added to it.
        if !is_kept {
            for (what, names) in NAMES {
                if report.columns.contains_key(*what) {
                    continue;
                }
                let column =
                    names.iter().find_map(|name| table.head.iter().find(|head| plain(head) == *name));
                let column = column.filter(|column| !report.columns.values().any(|taken| taken == *column));
                if let Some(column) = column {
                    guessed.push(format!("{what}={column}"));
                    report.columns.insert((*what).to_owned(), column.clone());
                }
            }
        }
        let mut columns = Vec::new();
        for (what, column) in &report.columns {
            let Some(what) = PartnerReport::COLUMNS.iter().find(|known| *known == what) else {
                bail!("use `{what}={column}`: a column is one of {}", PartnerReport::COLUMNS.join(", "));
            };
            let found = table.head.iter().position(|head| head == column);
            let found = found.or_else(|| table.head.iter().position(|head| plain(head) == plain(column)));
            let Some(at) = found else {
                bail!("use `{what}={column}`: the list has no such column, but {}", table.head.join(", "));
            };
            columns.push((*what, at));
        }
        let is_key = |what: &str| ["click_id", "rt_click_id", "event_id", "order_id"].contains(&what);
        if !columns.iter().any(|(what, _)| is_key(what)) {
            bail!(
                "find the click or order ids: the columns are {}; say which it is, such as --map click_id=COLUMN",
                table.head.join(", ")
            );
        }
        let name = report.time_zone.as_deref().unwrap_or("UTC");
        let zone = TimeZone::get(name).with_context(|| format!("use the time zone `{name}`"))?;
        if let Some(currency) = &report.currency
            && Currency::parse(currency).is_none()
        {
            bail!("use the currency `{currency}`: it is no ISO 4217 code");
        }
        let amounts = columns.iter().find(|(what, _)| *what == "amount").map(|(_, at)| *at);
        let decimal = report.decimal.unwrap_or_else(|| decimal_of(table, amounts));
        Ok(Self { report, guessed, columns, zone, decimal })
    }

    /// The time zone of the list.
    pub(super) const fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Reads the lines.
    pub(super) fn read(&self, table: &Table) -> List {
        let mut list =
            List { rows: Vec::with_capacity(table.lines.len()), odd: Vec::new(), odd_count: 0, days: None };
        for line in &table.lines {
            let row = self.row(line, &mut list);
            list.rows.push(row);
        }
        list
    }

    fn row(&self, line: &Line, list: &mut List) -> Row {
        let cell = |what: &str| {
            let (_, at) = self.columns.iter().find(|(known, _)| *known == what)?;
            line.cells.get(*at).map(|cell| cell.trim()).filter(|cell| !cell.is_empty())
        };
        let text = |what: &str| cell(what).map(str::to_owned);
        let mut row = Row {
            line: line.number,
            click_id: text("click_id"),
            rt_click_id: text("rt_click_id"),
            event_id: text("event_id"),
            order_id: text("order_id"),
            event: text("event"),
            currency: text("currency"),
            ..Row::default()
        };
        let mut odd = |what: &str, cell: &str| {
            list.odd_count += 1;
            if list.odd.len() < ODD_MAX {
                list.odd.push(format!("line {}: `{cell}` is no {what}", line.number));
            }
        };
        if let Some(cell) = cell("amount") {
            match amount(cell, self.decimal) {
                Some(amount) => row.amount = Some(amount.text),
                None => odd("amount", cell),
            }
        }
        if row.amount.is_some() && row.currency.is_none() {
            row.currency = self.report.currency.clone();
        }
        if let Some(cell) = cell("time") {
            match self.moment(cell) {
                Some((from, to)) => {
                    let days = self.days(from, to);
                    list.days = match (list.days, days) {
                        (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
                        (known, new) => known.or(new),
                    };
                    row.time = Some(from.to_string());
                    row.time_to = to.map(|to| to.to_string());
                }
                None => odd("time", cell),
            }
        }
        row
    }

    /// A moment; of a day, from when to when.
    fn moment(&self, cell: &str) -> Option<(Timestamp, Option<Timestamp>)> {
        if let Some(format) = &self.report.date_format {
            return self.written(cell, format);
        }
        if let Some(day) = DAYS.iter().find_map(|format| self.written(cell, format)) {
            return Some(day);
        }
        if let Some(at) = Timestamp::parse(cell) {
            return Some((at, None));
        }
        TIMES.iter().find_map(|format| self.written(cell, format))
    }

    fn written(&self, cell: &str, format: &str) -> Option<(Timestamp, Option<Timestamp>)> {
        let broken = strtime::parse(format, cell).ok()?;
        // With an offset or an epoch in it, it is a moment by itself.
        if let Ok(at) = broken.to_timestamp() {
            return Some((Timestamp::from_ms(at.as_millisecond()), None));
        }
        match broken.to_datetime() {
            Ok(at) if broken.hour().is_some() => Some((self.at(at)?, None)),
            _ => {
                let date = broken.to_date().ok()?;
                let from = self.at(date.at(0, 0, 0, 0))?;
                Some((from, Some(self.at(date.tomorrow().ok()?.at(0, 0, 0, 0))?)))
            }
        }
    }

    fn at(&self, at: DateTime) -> Option<Timestamp> {
        let zoned = at.to_zoned(self.zone.clone()).ok()?;
        Some(Timestamp::from_ms(zoned.timestamp().as_millisecond()))
    }

    /// The whole days around a moment, in the list's zone.
    fn days(&self, from: Timestamp, to: Option<Timestamp>) -> Option<(Timestamp, Timestamp)> {
        if let Some(to) = to {
            return Some((from, to));
        }
        let date = self.zone.to_datetime(jiff::Timestamp::from_millisecond(from.ms()).ok()?).date();
        Some((self.at(date.at(0, 0, 0, 0))?, self.at(date.tomorrow().ok()?.at(0, 0, 0, 0))?))
    }
}

/// Letters and digits, in lower case.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The sign before the last one or two digits of most amounts that have one; a point if none has.
fn decimal_of(table: &Table, column: Option<usize>) -> DecimalSign {
    let Some(column) = column else { return DecimalSign::Point };
    let mut commas = 0_i64;
    for line in &table.lines {
        let Some(cell) = line.cells.get(column) else { continue };
        let digits = cell.trim_end_matches(|c: char| !c.is_ascii_digit());
        let rest = digits.trim_end_matches(|c: char| c.is_ascii_digit());
        if (1..=2).contains(&(digits.len() - rest.len())) {
            commas += i64::from(rest.ends_with(',')) - i64::from(rest.ends_with('.'));
        }
    }
    if commas > 0 { DecimalSign::Comma } else { DecimalSign::Point }
}

/// An amount with its currency sign and thousands taken away.
fn amount(cell: &str, decimal: DecimalSign) -> Option<Amount> {
    let (point, thousands) = match decimal {
        DecimalSign::Point => ('.', ','),
        DecimalSign::Comma => (',', '.'),
    };
    let is_mark = |c: char| c.is_alphabetic() || c.is_whitespace() || "$€£¥₹₽₺₩".contains(c);
    let number = cell.trim_matches(is_mark);
    let mut text = String::with_capacity(number.len());
    for c in number.chars() {
        match c {
            c if c == point => text.push('.'),
            c if c == thousands || c == '\'' || c == '\u{2019}' || c.is_whitespace() => {}
            c => text.push(c),
        }
    }
    Amount::parse(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str, said: PartnerReport) -> (Mapping, List) {
        let table = Table::read(text.as_bytes()).unwrap();
        let mapping = Mapping::of(&table, said, None).unwrap();
        let list = mapping.read(&table);
        (mapping, list)
    }

    fn zone(name: &str) -> PartnerReport {
        PartnerReport { time_zone: Some(name.into()), ..PartnerReport::default() }
    }

    #[test]
    fn columns_are_guessed_by_their_names() {
        let (mapping, list) = list(
            "Aff Sub;Sale Amount;Currency;Conversion Time;Goal\nx1;1.234,50;EUR;04.06.2026 11:21;sale\n",
            zone("Europe/Berlin"),
        );
        assert_eq!(
            mapping.guessed,
            [
                "click_id=Aff Sub",
                "event=Goal",
                "amount=Sale Amount",
                "currency=Currency",
                "time=Conversion Time"
            ]
        );
        let row = &list.rows[0];
        assert_eq!(
            (row.click_id.as_deref(), row.amount.as_deref(), row.time.as_deref(), row.line),
            (Some("x1"), Some("1234.50"), Some("2026-06-04T09:21:00.000Z"), 2)
        );
        let days = list.days.map(|(from, to)| (from.to_string(), to.to_string()));
        assert_eq!(days, Some(("2026-06-03T22:00:00.000Z".into(), "2026-06-04T22:00:00.000Z".into())));
    }

    #[test]
    fn times_and_amounts_are_read_as_they_are_written() {
        let (_, list) = list(
            "click_id,amount,time\na,$1'000.25,2026-06-04\nb,12,1780564904\nc,n/a,06/04/2026\nd,-3,2026-06-04T09:21:44+02:00\n",
            PartnerReport { currency: Some("USD".into()), ..zone("America/New_York") },
        );
        let got: Vec<_> = list
            .rows
            .iter()
            .map(|r| (r.amount.as_deref(), r.currency.as_deref(), r.time.as_deref(), r.time_to.as_deref()))
            .collect();
        assert_eq!(
            got,
            [
                (
                    Some("1000.25"),
                    Some("USD"),
                    Some("2026-06-04T04:00:00.000Z"),
                    Some("2026-06-05T04:00:00.000Z")
                ),
                (Some("12"), Some("USD"), Some("2026-06-04T09:21:44.000Z"), None),
                (None, None, None, None),
                (None, None, Some("2026-06-04T07:21:44.000Z"), None),
            ]
        );
        assert_eq!(list.odd_count, 3);
        assert_eq!(list.odd[0], "line 4: `n/a` is no amount");
        // What is ambiguous is read when somebody says how.
        let said = PartnerReport { date_format: Some("%m/%d/%Y".into()), ..PartnerReport::default() };
        let (_, list) = super::tests::list("click_id,time\nc,06/04/2026\n", said);
        assert_eq!(list.rows[0].time.as_deref(), Some("2026-06-04T00:00:00.000Z"));
    }

    #[test]
    fn what_is_kept_is_used_and_what_is_said_comes_first() {
        let table = Table::read(b"a,b,clickid\n1,2,3\n").unwrap();
        let columns = |what: &str, column: &str| [(what.to_owned(), column.to_owned())].into();
        let kept = PartnerReport { columns: columns("order_id", "A"), ..zone("Asia/Tokyo") };
        let said = PartnerReport { columns: columns("amount", "b"), ..PartnerReport::default() };
        let mapping = Mapping::of(&table, said.clone(), Some(kept.clone())).unwrap();
        let row = &mapping.read(&table).rows[0];
        assert_eq!(
            (row.order_id.as_deref(), row.amount.as_deref(), row.click_id.as_deref()),
            (Some("1"), Some("2"), None)
        );
        assert!(mapping.guessed.is_empty());
        assert_eq!(mapping.report.time_zone.as_deref(), Some("Asia/Tokyo"));
        let wrong = PartnerReport { columns: columns("click_id", "nothing"), ..PartnerReport::default() };
        let error = Mapping::of(&table, wrong, None).unwrap_err().to_string();
        assert!(error.contains("no such column, but a, b, clickid"), "{error}");
        let none = Table::read(b"x,y\n1,2\n").unwrap();
        assert!(Mapping::of(&none, PartnerReport::default(), None).is_err());
    }
}
