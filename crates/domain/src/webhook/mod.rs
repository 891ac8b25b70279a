//! Webhooks: what the owner is told, where and how.
//!
//! The cast: a [`Webhook`] is one receiver of the owner's; [`Topic`] is a kind of fact, and [`Wanted`] says which of
//! them it asks for; [`sign`] makes the headers by which it knows that a request is ours. What a fact looks like on
//! the wire is the store's affair, which keeps it; sending is the engine's.
//!
//! Not relied on: nothing here decides whether a fact is true, or whether a conversion counts.

pub mod sign;
mod topic;

use std::fmt;

use crate::id::{Id, kind};
use crate::rate::Rate;
use crate::retry::Retry;

use self::sign::Signing;
pub use self::topic::{Fact, Topic, Unwanted, Wanted};

/// How much of a fact a webhook's body says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// All that is known.
    #[default]
    Full,
    /// Which fact it is, of which app, and when: whoever gets it asks the API for the rest.
    Thin,
}

/// Hosts of Slack's incoming webhooks, which take messages and nothing else.
const SLACK_HOSTS: &[&str] = &["hooks.slack.com", "hooks.slack-gov.com"];

/// A receiver of the owner's.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: Id<kind::Webhook>,
    /// Its key in file and API.
    pub slug: String,
    /// The settings version that last changed it.
    pub version: u64,
    /// The app whose facts it is told; `None`: of all apps, and what is of none.
    pub app: Option<Id<kind::App>>,
    /// Where it is.
    pub url: String,
    /// What it is told of.
    pub wanted: Wanted,
    /// How much it is told.
    pub form: Form,
    /// What is left out of the body: dotted paths.
    pub without: Vec<String>,
    /// Headers of its own.
    pub headers: Vec<(String, String)>,
    /// What signs for it.
    pub signing: Signing,
    /// Also told of sandbox events.
    pub sandbox: bool,
    /// Also told of conversions that wait for approval.
    pub pending: bool,
    /// Most sends a second.
    pub rate: Option<Rate>,
    /// What it says about sending again.
    pub retry: Retry,
}

/// URLs and headers can hold secrets.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("id", &self.id).field("slug", &self.slug).finish_non_exhaustive()
    }
}

impl Webhook {
    /// Whether it gets Slack messages instead of facts.
    pub fn is_slack(&self) -> bool {
        is_slack(&self.url)
    }

    /// Whether it is told of that.
    pub fn wants(&self, fact: Fact<'_>) -> bool {
        self.app.is_none_or(|app| fact.app == Some(app)) && self.wanted.has(fact)
    }
}

/// Whether a URL is one of Slack's incoming webhooks.
pub fn is_slack(url: &str) -> bool {
    let url = url::Url::parse(url);
    url.is_ok_and(|url| url.host_str().is_some_and(|host| SLACK_HOSTS.contains(&host)))
}
