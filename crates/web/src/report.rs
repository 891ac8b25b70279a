//! Counts for people: clicks → installs → events → postbacks, by day and by partner, campaign, link, app or country.
//!
//! Made from the ledger's rollups and, for clicks whose slice is not published yet, from the click log. Not
//! relied on for the books: those are `books`, and they are counted twice.

use std::collections::{BTreeMap, HashSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use roundtrip_domain::click::TouchKind;
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::location::Country;
use roundtrip_domain::money;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::Settings;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::click_log::{ClickLog, SliceCount};
use roundtrip_store::ledger::{BUCKET_MS, Ledger, Metric, ReportRow, Status};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conversions;
use crate::problem;
use crate::story::Named;

/// The longest span of one report, in days.
pub const DAYS_MAX: i64 = 400;
/// How many days a report has when nobody says, today included.
const DAYS_DEFAULT: i64 = 7;
/// How often counts are read again when a slice is published meanwhile.
const TRIES: usize = 3;

const DAY_MS: i64 = 86_400_000;

/// What rows are grouped by, beside the day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum By {
    /// Who has the credit.
    #[default]
    Partner,
    /// The campaign.
    Campaign,
    /// The link.
    Link,
    /// The app.
    App,
    /// Where touches and events came from. An event without an address has the place of its click.
    Country,
}

impl By {
    /// Its word in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Partner => "partner",
            Self::Campaign => "campaign",
            Self::Link => "link",
            Self::App => "app",
            Self::Country => "country",
        }
    }

    /// All groupings, the default first.
    pub const ALL: [Self; 5] = [Self::Partner, Self::Campaign, Self::Link, Self::App, Self::Country];

    /// The grouping of that word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.name() == text)
    }

    /// Whether rules and deliveries are counted that finely: they belong to an app and a partner.
    const fn has_postbacks(self) -> bool {
        matches!(self, Self::Partner | Self::App)
    }
}

/// From when to when, and whose days.
#[derive(Debug, Clone)]
pub struct Period {
    /// The first bucket.
    pub from: Timestamp,
    /// The first bucket that is not in it.
    pub to: Timestamp,
    zone: TimeZone,
    /// The time zone's name.
    pub tz: String,
}

impl Period {
    /// Reads `from`, `to` (days, both included, or moments of RFC 3339) and `tz` (an IANA name; absent: UTC).
    /// Absent ends mean the last seven days.
    ///
    /// # Errors
    /// With `parameter_invalid` for what cannot be read, is the wrong way round or longer than [`DAYS_MAX`].
    pub fn parse(
        from: Option<&str>,
        to: Option<&str>,
        tz: Option<&str>,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        let invalid = |field: &str, message: String| Problem::new(Code::ParameterInvalid, field, message);
        let tz = tz.unwrap_or("UTC").to_owned();
        let zone = TimeZone::get(&tz)
            .map_err(|_| invalid("tz", format!("`{tz}` is no IANA time zone such as Europe/Berlin")))?;
        let today = day_of(now, &zone);
        let end = |field: &str, text: &str, days_after: i64| match day(text) {
            Some(date) => start_of(date, days_after, &zone)
                .ok_or_else(|| invalid(field, format!("`{text}` is no day of this era"))),
            None => Timestamp::parse(text).ok_or_else(|| {
                invalid(
                    field,
                    format!("`{text}` is neither a day such as 2026-06-04 nor a moment with an offset"),
                )
            }),
        };
        let to = match to {
            Some(text) => end("to", text, 1)?,
            None => start_of(today, 1, &zone).unwrap_or(now),
        };
        let from = match from {
            Some(text) => end("from", text, 0)?,
            None => start_of(day_of(to.plus_ms(-1), &zone), 1 - DAYS_DEFAULT, &zone).unwrap_or(to),
        };
        // Counts are kept in buckets: one that is cut by an end is counted whole.
        let (from, to) = (from.floor_to(BUCKET_MS), to.plus_ms(BUCKET_MS - 1).floor_to(BUCKET_MS));
        if from >= to {
            return Err(invalid("to", "the report ends before it begins".to_owned()));
        }
        if to.since(from) > (DAYS_MAX + 1) * DAY_MS {
            return Err(invalid("from", format!("a report is about at most {DAYS_MAX} days")));
        }
        Ok(Self { from, to, zone, tz })
    }

    /// The last `hours`, in whole buckets, for counts that are not split into days.
    pub fn last_hours(hours: i64, now: Timestamp) -> Self {
        let to = now.plus_ms(BUCKET_MS - 1).floor_to(BUCKET_MS);
        Self { from: to.plus_ms(-hours * 3_600_000), to, zone: TimeZone::UTC, tz: "UTC".to_owned() }
    }
}

fn day(text: &str) -> Option<Date> {
    (text.len() == 10).then(|| text.parse().ok())?
}

fn day_of(at: Timestamp, zone: &TimeZone) -> Date {
    let at = jiff::Timestamp::from_millisecond(at.ms()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    zone.to_datetime(at).date()
}

/// The first moment of the day so many days after that one.
fn start_of(date: Date, days_after: i64, zone: &TimeZone) -> Option<Timestamp> {
    let date = date.checked_add(jiff::Span::new().try_days(days_after).ok()?).ok()?;
    let zoned = date.to_zoned(zone.clone()).ok()?;
    Some(Timestamp::from_ms(zoned.timestamp().as_millisecond()))
}

/// What happened to the rules that were considered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PostbackCounts {
    /// Conversions × matching rules.
    pub considered: i64,
    /// Deliveries that rules planned.
    pub planned: i64,
    /// Deliveries that replays made.
    pub replayed: i64,
    /// Rules that did not fire.
    pub suppressed: i64,
    /// Deliveries that the partner has.
    pub delivered: i64,
    /// Deliveries that were given up.
    pub dead: i64,
    /// Deliveries whose receiver did not accept them any more.
    pub expired: i64,
    /// Deliveries that ended in another way.
    pub ended_otherwise: i64,
    /// Deliveries that wait.
    pub waiting: i64,
}

/// A sum of money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sum {
    /// Decimal, with a point.
    pub amount: String,
    /// ISO 4217; absent for amounts that came without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
}

/// The counts of a row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Clicks of visitors and of partners' servers.
    pub clicks: i64,
    /// Of these, those without a partner click id.
    pub clicks_without_id: i64,
    /// Of these, those whose partner click id is still a macro.
    pub clicks_with_macro: i64,
    /// Impressions.
    pub impressions: i64,
    /// Previews, prefetches and HEAD requests: no touches.
    pub previews: i64,
    /// Conversions of kind install.
    pub installs: i64,
    /// Conversions of kind signup.
    pub signups: i64,
    /// Conversions of kind purchase.
    pub purchases: i64,
    /// Conversions of kind event.
    pub events: i64,
    /// Conversions that wait for approval, of any kind: in no other count.
    #[serde(default)]
    pub pending: i64,
    /// Conversions that were rejected, of any kind: in no other count.
    #[serde(default)]
    pub rejected: i64,
    /// Revenue by currency, as servers and partners report it.
    pub revenue: Vec<Sum>,
    /// Revenue that client keys report, which anybody can read out of an app: not in `revenue`.
    #[serde(default)]
    pub revenue_unverified: Vec<Sum>,
    /// Revenue of the pending conversions: not in `revenue`.
    #[serde(default)]
    pub revenue_pending: Vec<Sum>,
    /// Revenue of the rejected conversions: not in `revenue`.
    #[serde(default)]
    pub revenue_rejected: Vec<Sum>,
    /// Rules and deliveries. Absent by campaign, link and country: they are counted by app and partner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postbacks: Option<PostbackCounts>,
}

impl Counts {
    /// Its money in words, what counts first: `49.90 EUR`, `3.00 EUR unverified`, `1.00 EUR pending`.
    pub fn money(&self) -> Vec<String> {
        let sums = [
            (&self.revenue, ""),
            (&self.revenue_unverified, " unverified"),
            (&self.revenue_pending, " pending"),
        ];
        sums.into_iter()
            .flat_map(|(sums, word)| {
                let text = move |sum: &Sum| {
                    format!("{} {}{word}", sum.amount, sum.currency.as_deref().unwrap_or("?"))
                };
                sums.iter().map(text)
            })
            .collect()
    }
}

/// A day's counts of one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// The day, in the report's time zone.
    pub day: String,
    /// The partner, campaign, link, app or country (whose id is its two letters); absent: nobody won it, or no
    /// database knew where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Named>,
    /// Its counts.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// From when.
    pub from: String,
    /// To when, not included.
    pub to: String,
    /// Whose days.
    pub tz: String,
    /// `partner`, `campaign`, `link`, `app` or `country`.
    pub by: String,
    /// By day, then by group. Events count on the day on which they arrived, and all that follows with them.
    pub rows: Vec<Row>,
    /// All rows together.
    pub total: Counts,
}

/// What is added up before it is shown.
#[derive(Debug, Clone, Default)]
struct Tally {
    counts: Counts,
    revenue: BTreeMap<(Status, String), i64>,
    postbacks: PostbackCounts,
}

impl Tally {
    fn row(&mut self, row: &ReportRow) {
        self.row_times(row, 1);
    }

    /// Adds a row so many times; −1 takes it away.
    fn row_times(&mut self, row: &ReportRow, times: i64) {
        let n = row.count * times;
        match row.metric {
            Metric::Touch => self.touch(&row.kind, n),
            Metric::FlaggedClick => match row.kind.as_str() {
                "partner_click_id_absent" => self.counts.clicks_without_id += n,
                "partner_click_id_unexpanded" => self.counts.clicks_with_macro += n,
                _ => {}
            },
            Metric::Conversion => {
                match row.kind.as_str() {
                    _ if row.status == Status::Pending => self.counts.pending += n,
                    _ if row.status == Status::Rejected => self.counts.rejected += n,
                    "install" => self.counts.installs += n,
                    "signup" => self.counts.signups += n,
                    "purchase" => self.counts.purchases += n,
                    _ => self.counts.events += n,
                }
                if row.micros != 0 {
                    *self.revenue.entry((row.status, row.currency.clone())).or_default() +=
                        row.micros * times;
                }
            }
            Metric::Considered => self.postbacks.considered += n,
            Metric::Planned => self.postbacks.planned += n,
            Metric::Replayed => self.postbacks.replayed += n,
            Metric::Suppressed => self.postbacks.suppressed += n,
            Metric::Finished => match row.kind.rsplit(':').next() {
                Some("delivered") => self.postbacks.delivered += n,
                Some("dead") => self.postbacks.dead += n,
                Some("expired") => self.postbacks.expired += n,
                _ => self.postbacks.ended_otherwise += n,
            },
            Metric::Sent
            | Metric::Latency
            | Metric::WebhookPlanned
            | Metric::WebhookReplayed
            | Metric::WebhookFinished
            | Metric::WebhookSent
            | Metric::WebhookLatency => {}
        }
    }

    fn touch(&mut self, kind: &str, n: i64) {
        if [TouchKind::Click.name(), TouchKind::ServerClick.name()].contains(&kind) {
            self.counts.clicks += n;
        } else if kind == TouchKind::Impression.name() {
            self.counts.impressions += n;
        } else {
            self.counts.previews += n;
        }
    }

    fn slice(&mut self, count: &SliceCount) {
        self.touch(count.kind.name(), count.count as i64);
        if let Some(flagged) = count.flagged_clicks() {
            self.counts.clicks_without_id += flagged.absent as i64;
            self.counts.clicks_with_macro += flagged.unexpanded as i64;
        }
    }

    fn add(&mut self, row: &ReportRow, total: &mut Self) {
        self.row(row);
        total.row(row);
    }

    fn is_nothing(&self) -> bool {
        self.counts == Counts::default() && self.revenue.values().all(|micros| *micros == 0)
    }

    fn shown(self, has_postbacks: bool) -> Counts {
        let Self { mut counts, revenue, mut postbacks } = self;
        for ((status, currency), micros) in revenue {
            let sums = match status {
                Status::Pending => &mut counts.revenue_pending,
                Status::Rejected => &mut counts.revenue_rejected,
                Status::Unverified => &mut counts.revenue_unverified,
                Status::Approved | Status::None => &mut counts.revenue,
            };
            // What was taken from one and given to another leaves nothing here.
            if micros != 0 {
                let currency = Some(currency).filter(|currency| !currency.is_empty());
                sums.push(Sum { amount: money::decimal(micros, 2), currency });
            }
        }
        let PostbackCounts { planned, replayed, delivered, dead, expired, ended_otherwise, .. } = postbacks;
        postbacks.waiting = planned + replayed - delivered - dead - expired - ended_otherwise;
        counts.postbacks = has_postbacks.then_some(postbacks);
        counts
    }
}

/// Where counts come from, inside one workspace.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The rollups.
    pub ledger: &'a Ledger,
    /// Clicks that the rollups do not have yet.
    pub clicks: &'a ClickLog,
    /// The workspace's settings of now.
    pub settings: &'a Settings,
}

impl Sources<'_> {
    /// A report.
    ///
    /// # Errors
    /// With `store_unavailable` when the ledger cannot answer.
    pub async fn report(&self, period: &Period, by: By) -> Result<Report, Problem> {
        let (rows, slices) = self.read(period, by).await.map_err(|error| problem::of_store(&error))?;
        let mut total = Tally::default();
        let mut groups: BTreeMap<(Date, Option<u128>), Tally> = BTreeMap::new();
        for row in &rows {
            if !is_shown(row.metric) {
                continue;
            }
            let group = match by {
                By::Partner => row.partner.map(Id::bits),
                By::Campaign => row.campaign.map(Id::bits),
                By::Link => row.link.map(Id::bits),
                By::App => Some(row.app.bits()),
                By::Country => None,
            };
            if let Some(country) = row.country {
                // It was counted among all before; what no country claims stays with "unknown".
                let day = day_of(row.bucket, &period.zone);
                groups.entry((day, Some(bits_of(country)))).or_default().row(row);
                groups.entry((day, None)).or_default().row_times(row, -1);
                continue;
            }
            if !by.has_postbacks() && is_about_rules(row.metric) {
                continue;
            }
            groups.entry((day_of(row.bucket, &period.zone), group)).or_default().add(row, &mut total);
        }
        for count in &slices {
            let group = match by {
                By::Partner => Some(count.partner.bits()),
                By::Campaign => Some(count.campaign.bits()),
                By::Link => Some(count.link.bits()),
                By::App => Some(count.app.bits()),
                By::Country => count.country.map(bits_of),
            };
            groups.entry((day_of(count.bucket_start, &period.zone), group)).or_default().slice(count);
            total.slice(count);
        }
        let named = |bits: u128| match by {
            By::Partner => conversions::partner(Id::<kind::Partner>::from_bits(bits), self.settings),
            By::Campaign => conversions::campaign(Id::<kind::Campaign>::from_bits(bits), self.settings),
            By::Link => conversions::link(Id::<kind::Link>::from_bits(bits), self.settings),
            By::App => conversions::app(Id::<kind::App>::from_bits(bits), self.settings),
            By::Country => Named { id: letters_of(bits), slug: None },
        };
        let mut rows: Vec<Row> = groups
            .into_iter()
            // What every country was taken from and nothing is left of is no row.
            .filter(|((_, group), tally)| by != By::Country || group.is_some() || !tally.is_nothing())
            .map(|((day, group), tally)| Row {
                day: day.to_string(),
                group: group.map(named),
                counts: tally.shown(by.has_postbacks()),
            })
            .collect();
        // By day, then by label; nobody's come last.
        rows.sort_by(|a, b| {
            let key = |row: &Row| {
                (row.day.clone(), row.group.is_none(), row.group.as_ref().map(|g| g.label().to_owned()))
            };
            key(a).cmp(&key(b))
        });
        Ok(Report {
            from: period.from.to_string(),
            to: period.to.to_string(),
            tz: period.tz.clone(),
            by: by.name().to_owned(),
            rows,
            total: total.shown(by.has_postbacks()),
        })
    }

    /// Rollups, and counts of slices that are not in them. A slice that is published between the two looks would
    /// be counted twice or not at all, so they are repeated then.
    async fn read(
        &self,
        period: &Period,
        by: By,
    ) -> Result<(Vec<ReportRow>, Vec<SliceCount>), roundtrip_store::Error> {
        let ws = self.settings.workspace;
        let mut published: HashSet<(u16, u64)> = self.ledger.slices_published().await?.into_iter().collect();
        for _ in 1..TRIES {
            let answer = self.read_once(period, by, &published).await?;
            let after: HashSet<(u16, u64)> = self.ledger.slices_published().await?.into_iter().collect();
            if after == published {
                return Ok(answer);
            }
            published = after;
        }
        tracing::debug!(workspace = ws.0, "slices are published faster than a report is read");
        self.read_once(period, by, &published).await
    }

    async fn read_once(
        &self,
        period: &Period,
        by: By,
        published: &HashSet<(u16, u64)>,
    ) -> Result<(Vec<ReportRow>, Vec<SliceCount>), roundtrip_store::Error> {
        let ws = self.settings.workspace;
        let active = self.clicks.active_counts();
        let rows = match by {
            By::Country => self.ledger.report_by_country(ws, period.from, period.to).await?,
            _ => self.ledger.report(ws, period.from, period.to).await?,
        };
        let slices = active
            .into_iter()
            .filter(|slice| !published.contains(&(slice.node, slice.seq)))
            .flat_map(|slice| slice.counts)
            .filter(|count| count.workspace == ws && (period.from..period.to).contains(&count.bucket_start))
            .collect();
        Ok((rows, slices))
    }
}

/// A country as the bits of a group.
fn bits_of(country: Country) -> u128 {
    u128::from(u16::from_be_bytes(country.bytes()))
}

/// The letters in such bits.
fn letters_of(bits: u128) -> String {
    (bits as u16).to_be_bytes().map(char::from).iter().collect()
}

/// Whether it is in this report at all. What the owner is told, and how long sends took, is in the books.
const fn is_shown(metric: Metric) -> bool {
    match metric {
        Metric::Sent
        | Metric::Latency
        | Metric::WebhookPlanned
        | Metric::WebhookReplayed
        | Metric::WebhookFinished
        | Metric::WebhookSent
        | Metric::WebhookLatency => false,
        Metric::Touch
        | Metric::FlaggedClick
        | Metric::Conversion
        | Metric::Considered
        | Metric::Planned
        | Metric::Suppressed
        | Metric::Finished
        | Metric::Replayed => true,
    }
}

const fn is_about_rules(metric: Metric) -> bool {
    is_shown(metric) && !matches!(metric, Metric::Touch | Metric::FlaggedClick | Metric::Conversion)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(from: Option<&str>, to: Option<&str>, tz: Option<&str>) -> Result<(String, String), String> {
        let now = Timestamp::parse("2026-06-04T09:21:44Z").unwrap();
        let period = Period::parse(from, to, tz, now).map_err(|problem| problem.field)?;
        Ok((period.from.to_string(), period.to.to_string()))
    }

    #[test]
    fn what_waits_for_approval_or_nobody_vouches_for_is_in_no_total() {
        let row = |kind: &str, status, micros| ReportRow {
            bucket: Timestamp::from_ms(0),
            app: Id::from_bits(1),
            partner: None,
            campaign: None,
            link: None,
            country: None,
            metric: Metric::Conversion,
            kind: kind.to_owned(),
            status,
            currency: "EUR".to_owned(),
            count: 1,
            micros,
        };
        let mut tally = Tally::default();
        tally.row(&row("purchase", Status::Approved, 10_000_000));
        tally.row(&row("purchase", Status::Pending, 20_000_000));
        tally.row(&row("install", Status::Pending, 0));
        tally.row(&row("purchase", Status::Unverified, 30_000_000));
        let counts = tally.shown(false);
        assert_eq!((counts.purchases, counts.installs, counts.pending), (2, 0, 2));
        assert_eq!(counts.money(), ["10.00 EUR", "30.00 EUR unverified", "20.00 EUR pending"]);
    }

    #[test]
    fn flagged_clicks_are_clicks() {
        let count = |kind| SliceCount {
            workspace: roundtrip_domain::id::WorkspaceNo::DEFAULT,
            app: Id::from_bits(1),
            campaign: Id::from_bits(1),
            partner: Id::from_bits(1),
            link: Id::from_bits(1),
            kind,
            country: None,
            bucket_start: Timestamp::from_ms(0),
            count: 5,
            partner_click_id_absent: 2,
            partner_click_id_unexpanded: 1,
        };
        let mut tally = Tally::default();
        for kind in [TouchKind::Click, TouchKind::ServerClick, TouchKind::Impression, TouchKind::Preview] {
            tally.slice(&count(kind));
        }
        let counts = tally.shown(false);
        assert_eq!((counts.clicks, counts.impressions, counts.previews), (10, 5, 5));
        assert_eq!((counts.clicks_without_id, counts.clicks_with_macro), (4, 2));
    }

    #[test]
    fn days_are_the_viewers() {
        let day = |from: &str, to: &str| Ok((format!("{from}.000Z"), format!("{to}.000Z")));
        assert_eq!(period(None, None, None), day("2026-05-29T00:00:00", "2026-06-05T00:00:00"));
        assert_eq!(
            period(Some("2026-03-29"), Some("2026-03-29"), Some("Europe/Berlin")),
            day("2026-03-28T23:00:00", "2026-03-29T22:00:00"),
            "a day of 23 hours"
        );
        assert_eq!(
            period(Some("2026-06-04T10:07:00+02:00"), Some("2026-06-04T08:31:00Z"), None),
            day("2026-06-04T08:00:00", "2026-06-04T08:45:00"),
            "a bucket that is cut is counted whole"
        );
        for (from, to, tz, field) in [
            (Some("yesterday"), None, None, "from"),
            (None, Some("2026-13-01"), None, "to"),
            (None, None, Some("Mars/Olympus"), "tz"),
            (Some("2026-06-05"), Some("2026-06-04"), None, "to"),
            (Some("2020-01-01"), None, None, "from"),
        ] {
            assert_eq!(period(from, to, tz), Err(field.to_owned()));
        }
    }
}
