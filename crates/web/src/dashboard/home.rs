//! The first page: figures of the last 24 hours, the books in a line, the latest conversions.

use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::params::Params;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::Settings;
use roundtrip_domain::time::{Timestamp, human};
use roundtrip_store::ledger::ConversionFilter;

use super::pages::{self, Badge, Figure, Home, HomeRow, Try};
use super::{Inner, Refused};
use crate::books::{self, Asked, Books, Figures};
use crate::conversions::{self, Conversion};
use crate::report::{By, Counts, Period, Sources};

/// Conversions on a page.
const ROWS: u32 = 50;
/// Seconds between reloads of the first page.
const REFRESH_S: u32 = 30;
/// How long counted books stand, in milliseconds.
const BOOKS_KEPT_MS: i64 = 30_000;
/// How far back the books on the page go, in hours.
const BOOKS_HOURS: i64 = 30 * 24;

/// Renders the page.
pub(super) async fn render(
    inner: &Inner,
    settings: &Settings,
    query: &Params,
) -> Result<Result<String, minijinja::Error>, Refused> {
    let state = &inner.state;
    let now = inner.now();
    let before = match query.text("before") {
        None => None,
        Some(text) => Some(text.parse::<Id<kind::Conversion>>().map_err(|_| {
            Problem::new(Code::ParameterInvalid, "before", "it is the id of a conversion (cnv_…)")
        })?),
    };
    let list = conversions::list(&state.ledger, settings, ConversionFilter::default(), before, ROWS).await?;
    let sources = Sources { ledger: &state.ledger, clicks: &state.clicks, settings };
    let report = sources.report(&Period::last_hours(24, now), By::App).await?;
    let books = books(inner, settings, now).await?;
    let is_empty = list.items.is_empty() && before.is_none();
    let context = Home {
        refresh_s: before.is_none().then_some(REFRESH_S),
        figures: figures(&report.total),
        books_balanced: books.balanced,
        speed: speed(&books.total),
        is_lossy: books.total.success_rate.as_deref().is_some_and(|rate| rate != "100.0"),
        waiting: books.waiting.words(),
        books: books.sentence,
        rows: list.items.iter().map(|item| row(item, now)).collect(),
        next: list.next,
        tries: if is_empty { tries(settings, &state.public_url) } else { Vec::new() },
    };
    Ok(pages::home(&context))
}

/// The books, counted at most every [`BOOKS_KEPT_MS`]; whoever comes meanwhile waits for the same count.
async fn books(inner: &Inner, settings: &Settings, now: Timestamp) -> Result<Books, Problem> {
    let mut kept = inner.books.lock().await;
    if let Some((at, books)) = &*kept
        && (0..BOOKS_KEPT_MS).contains(&now.since(*at))
    {
        return Ok(books.clone());
    }
    let period = Period::last_hours(BOOKS_HOURS, now);
    let books = books::read(
        &inner.state.ledger,
        settings,
        &period,
        Asked { whole_period: true, ..Asked::default() },
        now,
    )
    .await?;
    *kept = Some((now, books.clone()));
    Ok(books)
}

/// How sure and how fast postbacks arrive.
fn speed(total: &Figures) -> Option<String> {
    let (rate, latency) = (total.success_rate.as_ref()?, total.latency_ms?);
    let [half, most] = [latency.p50, latency.p99].map(human);
    Some(format!("{rate} % arrived, half within {half}, 99 of 100 within {most}"))
}

/// 1234567 as 1,234,567.
fn thousands(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if n < 0 { format!("-{out}") } else { out }
}

fn figures(total: &Counts) -> Vec<Figure> {
    let figure = |label, n: i64, detail: String| Figure { label, value: thousands(n), detail };
    let flagged = total.clicks_without_id + total.clicks_with_macro;
    let flagged = match flagged {
        0 => String::new(),
        n => format!("{} without a partner click id", thousands(n)),
    };
    let mut revenue = total.money();
    if total.pending > 0 {
        revenue.push(format!("{} conversions pending", thousands(total.pending)));
    }
    let postbacks = total.postbacks.clone().unwrap_or_default();
    let mut trouble = Vec::new();
    // What waits stands in the line below, of whatever day and receiver: two figures of it would never agree.
    for (n, word) in [(postbacks.dead, "given up"), (postbacks.expired, "expired")] {
        if n > 0 {
            trouble.push(format!("{} {word}", thousands(n)));
        }
    }
    vec![
        figure("Clicks", total.clicks, flagged),
        figure("Installs", total.installs, String::new()),
        figure("Signups", total.signups, String::new()),
        figure("Purchases", total.purchases, revenue.join(" · ")),
        figure("Other events", total.events, String::new()),
        figure("Postbacks delivered", postbacks.delivered, trouble.join(" · ")),
    ]
}

fn row(item: &Conversion, now: Timestamp) -> HomeRow {
    let age = Timestamp::parse(&item.received_at).map_or(0, |at| now.since(at).max(0));
    let mark = |text: &str| Badge { tone: "quiet", text: text.to_owned() };
    let mut marks = Vec::new();
    if item.environment != "production" {
        marks.push(mark(&item.environment));
    }
    marks.extend(status_badge(&item.status));
    HomeRow {
        id: item.id.clone(),
        age: if age < 1_000 { "now".to_owned() } else { format!("{} ago", human(age)) },
        received_at: item.received_at.clone(),
        kind: item.kind.clone(),
        name: Some(item.name.clone()).filter(|name| *name != item.kind),
        app: item.app.label().to_owned(),
        partner: item.partner.clone(),
        credit: match item.credit.as_str() {
            "attributed" => "attributed",
            "organic" => "organic",
            _ => "install unknown",
        },
        match_type: item.match_type.as_ref().map(|by| by.replace('_', " ")),
        amount: item
            .amount
            .as_ref()
            .map(|amount| format!("{amount} {}", item.currency.as_deref().unwrap_or("?"))),
        marks,
        postbacks: postbacks(item),
    }
}

fn postbacks(item: &Conversion) -> Vec<Badge> {
    let mut badges: Vec<Badge> =
        item.postbacks.iter().map(|(state, n)| state_badge(state, i64::from(*n))).collect();
    if badges.is_empty() {
        let text = if item.suppressed > 0 { "not told" } else { "no rule" };
        badges.push(Badge { tone: "quiet", text: text.to_owned() });
    }
    badges
}

/// How a conversion's status is shown; `None` for the usual one, approved.
pub(super) fn status_badge(status: &str) -> Option<Badge> {
    let tone = match status {
        "approved" => return None,
        "rejected" => "bad",
        _ => "wait",
    };
    Some(Badge { tone, text: status.to_owned() })
}

/// How deliveries in one state are shown.
pub(crate) fn state_badge(state: &str, n: i64) -> Badge {
    let (tone, word) = match state {
        "delivered" => ("good", "delivered"),
        "scheduled" => ("wait", "waiting"),
        "held" => ("wait", "held"),
        "cancelled" => ("quiet", "cancelled"),
        "dead" => ("bad", "given up"),
        "expired" => ("bad", "expired"),
        other => ("bad", other),
    };
    let text = if n == 1 { word.to_owned() } else { format!("{n} {word}") };
    Badge { tone, text }
}

/// What to try while there is nothing to see, with this installation's own link where there is one.
fn tries(settings: &Settings, public_url: &str) -> Vec<Try> {
    let demo = Try {
        about: "See a whole world in motion, on a directory of its own",
        command: "roundtrip demo".into(),
    };
    if settings.apps.is_empty() {
        let about = "Say what there is: apps, partners, campaigns, links and rules";
        return vec![Try { about, command: "roundtrip apply roundtrip.toml".into() }, demo];
    }
    let mut tries = Vec::new();
    if let Some(link) = settings.links.values().map(|link| &link.public_id).min() {
        tries.push(Try {
            about: "Follow a tracking link, as a visitor would",
            command: format!("curl -i '{public_url}/c/{link}?click_id=my-first-click'"),
        });
    }
    tries.push(Try {
        about: "Report an event, with the click's id and one of your server keys",
        command: format!(
            "curl '{public_url}/v1/events' -H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json' \\\n  -d '{{\"event_name\":\"signup\",\"click_id\":\"…\"}}'"
        ),
    });
    tries.push(demo);
    tries
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn figures_are_readable() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567, -1_000].map(thousands),
            ["0", "999", "1,000", "1,234,567", "-1,000"]
        );
    }
}
