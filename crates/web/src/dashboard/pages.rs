//! The templates and their contexts. A context is a struct, so a template never guesses; a test renders every
//! template from samples. Values are escaped for HTML because the templates' names end in `.html`.

use std::sync::OnceLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, UndefinedBehavior};
use roundtrip_domain::problem::Problem;
use serde::Serialize;

use crate::story::{ClickStory, Story};

const TEMPLATES: [(&str, &str); 6] = [
    ("layout.html", include_str!("../../templates/layout.html")),
    ("parts.html", include_str!("../../templates/parts.html")),
    ("login.html", include_str!("../../templates/login.html")),
    ("home.html", include_str!("../../templates/home.html")),
    ("story.html", include_str!("../../templates/story.html")),
    ("click.html", include_str!("../../templates/click.html")),
];
const MESSAGE: (&str, &str) = ("message.html", include_str!("../../templates/message.html"));

fn environment() -> Result<&'static Environment<'static>, Error> {
    static ENVIRONMENT: OnceLock<Result<Environment<'static>, Error>> = OnceLock::new();
    let made = ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        // A misspelt name is an error where it is printed; absent facts are asked for with `if`.
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        for (name, text) in TEMPLATES.into_iter().chain([MESSAGE]) {
            environment.add_template(name, text)?;
        }
        Ok(environment)
    });
    made.as_ref().map_err(|error| Error::new(error.kind(), error.to_string()))
}

fn render(name: &str, context: &impl Serialize) -> Result<String, Error> {
    environment()?.get_template(name)?.render(minijinja::value::Serde(context))
}

/// A small coloured word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Badge {
    /// `good`, `bad`, `wait` or `quiet`.
    pub(super) tone: &'static str,
    pub(super) text: String,
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
    pub(super) partner: Option<String>,
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
    pub(super) waiting: Option<String>,
    pub(super) rows: Vec<HomeRow>,
    pub(super) next: Option<String>,
    pub(super) tries: Vec<Try>,
}

pub(super) fn home(context: &Home) -> Result<String, Error> {
    render("home.html", context)
}

/// The story of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct StoryPage {
    /// The id that was asked for.
    pub(super) id: String,
    pub(super) full: bool,
    pub(super) credit: Badge,
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
    message: &'a str,
    fix: &'a str,
}

pub(super) fn message(problem: &Problem) -> Result<String, Error> {
    render("message.html", &Message { code: problem.code.text(), message: &problem.message, fix: problem.code.fix() })
}
