//! The templates and their contexts. A context is a struct, so a template never guesses; a test renders every
//! template from samples. Values are escaped for HTML because the templates' names end in `.html`.

use minijinja::Error;
use roundtrip_domain::problem::Problem;
use serde::Serialize;

use crate::deliveries::DeliveryRow;
use crate::jobs::Job;
use crate::story::{ClickStory, DeliveryStory, Named, Story};
use crate::templates::Templates;

static TEMPLATES: Templates = Templates::of(&[
    ("layout.html", include_str!("../../templates/layout.html")),
    ("parts.html", include_str!("../../templates/parts.html")),
    ("login.html", include_str!("../../templates/login.html")),
    ("home.html", include_str!("../../templates/home.html")),
    ("deliveries.html", include_str!("../../templates/deliveries.html")),
    ("delivery.html", include_str!("../../templates/delivery.html")),
    ("jobs.html", include_str!("../../templates/jobs.html")),
    ("endpoints.html", include_str!("../../templates/endpoints.html")),
    ("endpoint.html", include_str!("../../templates/endpoint.html")),
    ("webhooks.html", include_str!("../../templates/webhooks.html")),
    ("partners.html", include_str!("../../templates/partners.html")),
    ("story.html", include_str!("../../templates/story.html")),
    ("click.html", include_str!("../../templates/click.html")),
    ("message.html", include_str!("../../templates/message.html")),
]);

/// A page of that template. Contexts stand here, and beside the pages that are made of more than one list.
pub(super) fn render(name: &str, context: &impl Serialize) -> Result<String, Error> {
    TEMPLATES.render(name, context)
}

/// A small coloured word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Badge {
    /// `good`, `bad`, `wait` or `quiet`.
    pub(crate) tone: &'static str,
    /// The word.
    pub(crate) text: String,
}

/// A figure of the last 24 hours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Figure {
    pub(super) label: &'static str,
    pub(super) value: String,
    pub(super) detail: String,
}

/// A conversion in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct HomeRow {
    pub(super) id: String,
    pub(super) age: String,
    pub(super) received_at: String,
    pub(super) kind: String,
    /// The event's own name, where it says more than the kind.
    pub(super) name: Option<String>,
    pub(super) app: String,
    /// Who has the credit; absent: nobody.
    pub(super) partner: Option<Named>,
    pub(super) credit: &'static str,
    pub(super) match_type: Option<String>,
    pub(super) amount: Option<String>,
    /// Sandbox, pending.
    pub(super) marks: Vec<Badge>,
    pub(super) postbacks: Vec<Badge>,
}

/// A command that gets a first conversion in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Try {
    pub(super) about: &'static str,
    pub(super) command: String,
}

/// The list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Home {
    /// Seconds between reloads; absent on later pages.
    pub(super) refresh_s: Option<u32>,
    pub(super) figures: Vec<Figure>,
    pub(super) books_balanced: bool,
    pub(super) books: String,
    /// How sure and how fast postbacks arrive.
    pub(super) speed: Option<String>,
    /// Whether something of it did not arrive.
    pub(super) is_lossy: bool,
    pub(super) waiting: Option<String>,
    pub(super) rows: Vec<HomeRow>,
    pub(super) next: Option<String>,
    pub(super) tries: Vec<Try>,
}

pub(super) fn home(context: &Home) -> Result<String, Error> {
    render("home.html", context)
}

/// A delivery in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ListedDelivery {
    pub(super) row: DeliveryRow,
    pub(super) age: String,
    pub(super) state: Badge,
    /// Why it stands so, where the page does not say it already.
    pub(super) why: Option<String>,
    /// When it goes on, if it waits and that is known.
    pub(super) goes_on: Option<Moment>,
}

/// A moment, to the letter and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Moment {
    pub(super) at: String,
    pub(super) words: String,
}

/// A choice of the filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Choice {
    pub(super) value: &'static str,
    pub(super) label: &'static str,
    pub(super) chosen: bool,
}

/// What stands in the filter's fields, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct FilterFields {
    pub(super) partner: String,
    pub(super) rule: String,
    pub(super) webhook: String,
    pub(super) kind: String,
    pub(super) outcome: String,
    pub(super) since: String,
}

/// The list of deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct DeliveriesPage {
    pub(super) states: Vec<Choice>,
    pub(super) wanted: FilterFields,
    pub(super) rows: Vec<ListedDelivery>,
    pub(super) note: Option<String>,
    /// Whether nothing was left out by the question.
    pub(super) is_all: bool,
    /// The path of the next page, its query encoded.
    pub(super) older: Option<String>,
}

pub(super) fn deliveries(context: &DeliveriesPage) -> Result<String, Error> {
    render("deliveries.html", context)
}

/// A job in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ListedJob {
    pub(super) job: Job,
    pub(super) age: String,
    pub(super) state: Badge,
    /// What it means, in words.
    pub(super) of: String,
    /// What it left alone, in words.
    pub(super) skipped: Vec<String>,
}

/// The list of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct JobsPage {
    /// Seconds between reloads while a job is under way.
    pub(super) refresh_s: Option<u32>,
    pub(super) rows: Vec<ListedJob>,
    pub(super) next: Option<String>,
    pub(super) is_later: bool,
}

pub(super) fn jobs(context: &JobsPage) -> Result<String, Error> {
    render("jobs.html", context)
}

/// A partner in the list of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct PartnerRow {
    pub(super) slug: String,
    pub(super) name: String,
    /// Its links.
    pub(super) links: usize,
    /// Rules that can tell it something.
    pub(super) rules: usize,
}

#[derive(Serialize)]
struct Partners<'a> {
    rows: &'a [PartnerRow],
}

pub(super) fn partners(rows: &[PartnerRow]) -> Result<String, Error> {
    render("partners.html", &Partners { rows })
}

/// The story of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct StoryPage {
    /// The id that was asked for.
    pub(super) id: String,
    pub(super) full: bool,
    pub(super) credit: Badge,
    /// Only where it is not the usual one, approved.
    pub(super) status: Option<Badge>,
    pub(super) told: Vec<Badge>,
    pub(super) story: Story,
}

pub(super) fn story(context: &StoryPage) -> Result<String, Error> {
    render("story.html", context)
}

/// The story of a click.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ClickPage {
    /// The id that was asked for.
    pub(super) id: String,
    pub(super) full: bool,
    pub(super) click: ClickStory,
}

pub(super) fn click(context: &ClickPage) -> Result<String, Error> {
    render("click.html", context)
}

/// The story of a delivery that tells of no event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct DeliveryPage {
    /// The id that was asked for.
    pub(super) id: String,
    pub(super) full: bool,
    pub(super) state: Badge,
    pub(super) story: DeliveryStory,
}

pub(super) fn delivery(context: &DeliveryPage) -> Result<String, Error> {
    render("delivery.html", context)
}

#[derive(Serialize)]
struct Login<'a> {
    problem: Option<&'a str>,
    next: &'a str,
}

pub(super) fn login(problem: Option<&Problem>, next: &str) -> Result<String, Error> {
    render("login.html", &Login { problem: problem.map(|problem| problem.message.as_str()), next })
}

#[derive(Serialize)]
struct Message<'a> {
    code: &'a str,
    field: &'a str,
    message: &'a str,
    fix: &'a str,
}

pub(super) fn message(problem: &Problem) -> Result<String, Error> {
    render(
        "message.html",
        &Message {
            code: problem.code.text(),
            field: &problem.field,
            message: &problem.message,
            fix: problem.fix(),
        },
    )
}

#[cfg(test)]
mod tests {
    use roundtrip_domain::problem::Code;
    use serde_json::{Value, json};

    use super::*;

    fn badge() -> Badge {
        Badge { tone: "good", text: "<b>".to_owned() }
    }

    fn click_value() -> Value {
        let named = json!({ "id": "prt_1", "slug": "<i>" });
        json!({
            "id": "0197a3f0", "kind": "server_click", "received_at": "then", "sentence": "It happened.", "partner": named,
            "campaign": { "id": "cmp_1" }, "link": named, "app": named, "params": [{ "name": "sub1", "value": "<u>" }],
        })
    }

    /// The smallest story, and one in which everything is there.
    fn stories() -> [Story; 2] {
        let named = json!({ "id": "app_1", "slug": "<i>" });
        let event = json!({
            "id": "evt_1", "name": "<script>", "app": named, "source": "client", "environment": "sandbox",
            "status": "pending", "received_at": "then", "occurred_at": "then", "sentence": "It came.",
        });
        let small = json!({ "sentence": "In short.", "event": event, "rules": [], "deliveries": [], "next": [{ "sentence": "Nothing." }] });
        let mut large = small.clone();
        large["event"]["revenue"] = json!({ "amount": "1.00", "verified": false });
        large["event"]["device"] =
            json!({ "platform": "ios", "ids": [{ "name": "idfa", "value": "6D92…E7DC" }] });
        large["event"]["properties"] = json!({ "plan": "<script>" });
        large["event"]["findings"] = json!([{ "code": "currency_missing", "sentence": "Odd." }]);
        large["event"]["postback"] =
            json!({ "fields": [{ "name": "goal", "value": "<u>" }], "query": "goal=<u>" });
        large["decision"] = json!({
            "revision": 2, "at": "then", "settings_version": 3, "credit": "attributed", "status": "rejected", "winner": click_value(),
            "handover": { "by": "store", "sentence": "It went on." }, "sentence": "Because.", "reference_at": "then",
            "follows": "evt_2", "candidates_more": 4, "candidates": [{
                "won": false, "verdict": "outside_window", "sentence": "Lost.", "match_type": "device_id", "tier": 2,
                "carrier": "evt_1", "window": "7d", "age": "9 d", "age_ms": 1, "click": click_value(),
            }],
            "dead_ends": [{ "text": "<s>", "match_type": "click_id", "code": "click_id_malformed", "sentence": "No." }],
            "notes": [{ "code": "clock_skew", "sentence": "Late." }],
        });
        large["earlier"] = json!([{ "revision": 1, "at": "then", "credit": "organic", "status": "pending", "sentence": "Nobody." }]);
        large["rules"] = json!([{ "rule": named, "version": 1, "revision": 1, "fired": false, "suppressed": "not_first", "sentence": "No." }]);
        large["deliveries"] = json!([{
            "id": "dlv_1", "fact": "evt_1", "kind": "install", "rule": named, "version": 1, "partner": named, "revision": 1, "created_at": "then",
            "replay_of": "dlv_0", "state": "scheduled", "reason": "planned", "sentence": "Waits.", "due": "soon", "sends": 1,
            "attempts": [{
                "n": 1, "at": "then", "outcome": "http_500", "status": 500, "total_us": 7, "sentence": "It failed.",
                "request": { "origin": "https://p.example", "line": "POST /<s> HTTP/1.1", "headers": [{ "name": "host", "value": "p.example" }], "body": "<s>" },
                "answer": { "status": 500, "headers": [{ "name": "server", "value": "<s>" }], "body": "<s>", "is_cut": true },
                "error": "It broke.", "empty_macros": ["sub2"],
            }],
        }]);
        large["event"]["relates_to"] = json!("evt_3");
        large["changes"] = json!([{
            "event": "evt_4", "at": "then", "from": "approved", "to": "rejected", "by": "<s>", "reason": "<u>",
            "sentence": "<s> made it rejected.", "rules": large["rules"], "deliveries": large["deliveries"],
        }]);
        [small, large].map(|value| serde_json::from_value(value).unwrap())
    }

    #[test]
    fn every_template_renders_from_samples() {
        let problem = Problem::new(Code::IdUnknown, "id", "there is no <b>");
        let row = HomeRow {
            id: "cnv_1".to_owned(),
            age: "1 m ago".to_owned(),
            received_at: "then".to_owned(),
            kind: "event".to_owned(),
            name: Some("<script>".to_owned()),
            app: "shop".to_owned(),
            partner: Some(Named { id: "ptn_1".to_owned(), slug: Some("<i>".to_owned()) }),
            credit: "organic",
            match_type: None,
            amount: None,
            marks: vec![badge()],
            postbacks: vec![badge()],
        };
        let full = Home {
            refresh_s: None,
            figures: vec![Figure { label: "Clicks", value: "1".to_owned(), detail: "<b>".to_owned() }],
            books_balanced: false,
            books: "They do not add up.".to_owned(),
            speed: Some("all arrived <b>".to_owned()),
            is_lossy: false,
            waiting: Some("1 waiting".to_owned()),
            rows: vec![row],
            next: Some("cnv_0".to_owned()),
            tries: Vec::new(),
        };
        let tries = vec![Try { about: "Try", command: "curl '<url>'".to_owned() }];
        let empty = Home { rows: Vec::new(), tries, refresh_s: Some(30), next: None, ..full.clone() };
        let past_the_end = Home { tries: Vec::new(), ..empty.clone() };
        let mut pages = vec![
            login(None, "/"),
            login(Some(&problem), "/\"><script>"),
            message(&problem),
            home(&full),
            home(&empty),
            home(&past_the_end),
            partners(&[]),
            partners(&[PartnerRow { slug: "<i>".to_owned(), name: "<b>".to_owned(), links: 1, rules: 2 }]),
        ];
        for (story, full) in stories().into_iter().zip([false, true]) {
            let page = StoryPage {
                id: "evt_1".to_owned(),
                full,
                credit: badge(),
                status: Some(badge()),
                told: vec![badge()],
                story,
            };
            pages.push(super::story(&page));
        }
        let earned = json!([{ "event": "evt_1", "name": "<script>", "received_at": "then", "holds": false, "sentence": "So." }]);
        for (events, kept) in [(json!([]), true), (earned, false)] {
            let click =
                json!({ "sentence": "In short.", "click": click_value(), "kept": kept, "events": events });
            let click = serde_json::from_value(click).unwrap();
            pages.push(super::click(&ClickPage { id: "0197a3f0".to_owned(), full: kept, click }));
        }
        for page in pages {
            let page = page.unwrap();
            assert!(page.contains("</html>"), "{page}");
            for raw in ["<script", "<b>", "<s>", "<u>", "<i>", "<url>"] {
                assert!(!page.contains(raw), "{raw} was not escaped: {page}");
            }
        }
        let story = super::story(&StoryPage {
            id: "evt_1".to_owned(),
            full: true,
            credit: badge(),
            status: None,
            told: vec![],
            story: stories()[1].clone(),
        });
        let text = story.unwrap();
        for fact in ["500\n&lt;s&gt;", "Sent empty", "… and 4 more", "Late.", "Revision 1 of then"] {
            assert!(text.contains(fact), "{fact} is missing: {text}");
        }
    }
}
