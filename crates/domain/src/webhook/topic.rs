//! Kinds of facts, and which of them a webhook asks for.

use std::collections::BTreeSet;

use crate::attribution::Credit;
use crate::event::ConversionKind;
use crate::id::{Id, kind};
use crate::status::Status;

/// A kind of fact. The words are the public contract; in code the order is that of the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// An installation that a partner earned, or of which that is not known.
    Install,
    /// An installation that nobody earned.
    OrganicInstall,
    /// A signup, an onboarding.
    Signup,
    /// A purchase, revenue.
    Purchase,
    /// Any other conversion.
    Event,
    /// A conversion that waited was approved.
    Approved,
    /// A conversion was rejected.
    Rejected,
    /// A conversion that was told before has other credit now.
    AttributionUpdated,
    /// A partner took a postback.
    PostbackDelivered,
    /// A postback was given up or came too late.
    PostbackFailed,
    /// Three quarters of the time in which a network takes a conversion are over, and it was not taken yet.
    PostbackExpiring,
    /// An endpoint has not taken anything for a while.
    EndpointFailing,
    /// An endpoint was disabled; what is for it is held.
    EndpointDisabled,
    /// An endpoint that was failing takes again what is sent.
    EndpointRecovered,
    /// Fewer sends than is usual succeed.
    SuccessRateLow,
    /// Nothing was reported for longer than is usual.
    Silence,
    /// The books do not add up.
    BooksUnbalanced,
    /// Somebody tests the endpoint.
    Test,
}

impl Topic {
    /// Every topic that can be asked for. A test is sent to whom it is for.
    pub const ALL: [Self; 17] = [
        Self::Install,
        Self::OrganicInstall,
        Self::Signup,
        Self::Purchase,
        Self::Event,
        Self::Approved,
        Self::Rejected,
        Self::AttributionUpdated,
        Self::PostbackDelivered,
        Self::PostbackFailed,
        Self::PostbackExpiring,
        Self::EndpointFailing,
        Self::EndpointDisabled,
        Self::EndpointRecovered,
        Self::SuccessRateLow,
        Self::Silence,
        Self::BooksUnbalanced,
    ];

    /// What a webhook is told of that does not say.
    pub const DEFAULT: [Self; 8] = [
        Self::Install,
        Self::OrganicInstall,
        Self::Signup,
        Self::Purchase,
        Self::Event,
        Self::Approved,
        Self::Rejected,
        Self::AttributionUpdated,
    ];

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::OrganicInstall => "organic_install",
            Self::Signup => "signup",
            Self::Purchase => "purchase",
            Self::Event => "event",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::AttributionUpdated => "attribution_updated",
            Self::PostbackDelivered => "postback_delivered",
            Self::PostbackFailed => "postback_failed",
            Self::PostbackExpiring => "postback_expiring",
            Self::EndpointFailing => "endpoint_failing",
            Self::EndpointDisabled => "endpoint_disabled",
            Self::EndpointRecovered => "endpoint_recovered",
            Self::SuccessRateLow => "success_rate_low",
            Self::Silence => "silence",
            Self::BooksUnbalanced => "books_unbalanced",
            Self::Test => "test",
        }
    }

    /// The topic of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().chain([Self::Test]).find(|topic| topic.name() == word)
    }

    /// What it means, as the end of the sentence "told when …".
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Install => "an installation was earned by a partner, or may have been",
            Self::OrganicInstall => "an installation was earned by nobody",
            Self::Signup => "somebody signed up",
            Self::Purchase => "somebody bought something",
            Self::Event => "any other event was reported",
            Self::Approved => "a conversion that waited was approved",
            Self::Rejected => "a conversion was rejected",
            Self::AttributionUpdated => "a conversion that was told before has other credit",
            Self::PostbackDelivered => "a partner took a postback",
            Self::PostbackFailed => "a postback was given up, or came too late",
            Self::PostbackExpiring => {
                "a postback has been waiting for three quarters of its partner's window"
            }
            Self::EndpointFailing => "an endpoint has taken nothing for a while",
            Self::EndpointDisabled => "an endpoint was disabled, and what is for it is held",
            Self::EndpointRecovered => "an endpoint that was failing takes what is sent again",
            Self::SuccessRateLow => "fewer sends succeed than should",
            Self::Silence => "nothing was reported for longer than is usual",
            Self::BooksUnbalanced => "the books do not add up",
            Self::Test => "somebody tests the endpoint",
        }
    }

    /// Whether it is about a conversion, and not about how telling goes.
    pub fn is_conversion(self) -> bool {
        Self::DEFAULT.contains(&self)
    }

    /// The topic of a conversion that is told for the first time.
    pub const fn of_conversion(kind: &ConversionKind, credit: &Credit, status: Status) -> Self {
        match kind {
            ConversionKind::Install => match credit {
                Credit::Organic => Self::OrganicInstall,
                Credit::Touch(_) | Credit::InstallUnknown => Self::Install,
            },
            ConversionKind::Signup => Self::Signup,
            ConversionKind::Purchase => Self::Purchase,
            ConversionKind::Event => Self::Event,
            ConversionKind::StatusChange | ConversionKind::Rejected => match status {
                Status::Rejected => Self::Rejected,
                Status::Approved | Status::Pending => Self::Approved,
            },
        }
    }
}

/// A fact, as far as is needed to know whom it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact<'a> {
    /// Of which app, if of one.
    pub app: Option<Id<kind::App>>,
    /// Its kind.
    pub topic: Topic,
    /// The name of the event, as its sender calls it; empty where there is none.
    pub event: &'a str,
}

/// What a webhook asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    topics: BTreeSet<Topic>,
    events: Vec<String>,
}

/// Why a word of a subscription is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unwanted {
    /// No topic has that name.
    Unknown,
    /// It names an event without a name.
    NameMissing,
    /// A topic that this release decides nothing of.
    NotDecided,
}

/// Topics that the field has and this release decides nothing of.
const NOT_DECIDED: &[&str] = &["reengagement", "reinstall"];

impl Default for Wanted {
    fn default() -> Self {
        Self { topics: Topic::DEFAULT.into(), events: Vec::new() }
    }
}

impl Wanted {
    /// Reads topics, and events by name (`event:level_up`). None at all: [`Topic::DEFAULT`].
    pub fn parse(words: &[String]) -> Result<Self, Vec<(usize, Unwanted)>> {
        if words.is_empty() {
            return Ok(Self::default());
        }
        let mut wanted = Self { topics: BTreeSet::new(), events: Vec::new() };
        let mut wrong = Vec::new();
        for (index, word) in words.iter().enumerate() {
            match word.strip_prefix("event:") {
                Some("") => wrong.push((index, Unwanted::NameMissing)),
                Some(name) => wanted.events.push(name.to_owned()),
                None => match Topic::parse(word).filter(|topic| *topic != Topic::Test) {
                    Some(topic) => drop(wanted.topics.insert(topic)),
                    None if NOT_DECIDED.contains(&word.as_str()) => wrong.push((index, Unwanted::NotDecided)),
                    None => wrong.push((index, Unwanted::Unknown)),
                },
            }
        }
        if wrong.is_empty() { Ok(wanted) } else { Err(wrong) }
    }

    /// Whether it asks for that.
    pub fn has(&self, fact: Fact<'_>) -> bool {
        let by_name = fact.topic.is_conversion()
            && !matches!(fact.topic, Topic::Approved | Topic::Rejected)
            && self.events.iter().any(|name| name == fact.event);
        fact.topic == Topic::Test || self.topics.contains(&fact.topic) || by_name
    }

    /// The topics that it asks for, then its events by name as settings write them (`event:level_up`).
    pub fn words(&self) -> Vec<String> {
        let topics = self.topics.iter().map(|topic| topic.name().to_owned());
        topics.chain(self.events.iter().map(|name| format!("event:{name}"))).collect()
    }

    /// Whether it asks for that kind at all.
    pub fn has_topic(&self, topic: Topic) -> bool {
        self.topics.contains(&topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(words: &[&str]) -> Result<Wanted, Vec<(usize, Unwanted)>> {
        Wanted::parse(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[track_caller]
    fn check(words: &[&str], topic: Topic, event: &str, has: bool) {
        let wanted = wanted(words).expect("words that there are");
        assert_eq!(wanted.has(Fact { app: None, topic, event }), has, "{words:?} {topic:?} {event}");
    }

    #[test]
    fn asks_for_topics_and_for_events_by_name() {
        check(&[], Topic::Install, "install", true);
        check(&[], Topic::PostbackFailed, "", false);
        check(&["install"], Topic::OrganicInstall, "install", false);
        check(&["event:level_up"], Topic::Event, "level_up", true);
        check(&["event:level_up"], Topic::Event, "level_down", false);
        check(&["event:order"], Topic::Purchase, "order", true);
        check(&["event:order"], Topic::AttributionUpdated, "order", true);
        check(&["event:order"], Topic::Rejected, "order", false);
        check(&["postback_failed"], Topic::Test, "", true);
    }

    #[test]
    fn says_what_it_asks_for_as_settings_write_it() {
        assert_eq!(wanted(&["event:level_up", "install"]).unwrap().words(), ["install", "event:level_up"]);
        assert_eq!(Wanted::default().words().len(), Topic::DEFAULT.len());
    }

    #[test]
    fn says_which_words_are_none() {
        let wrong = wanted(&["install", "instal", "event:", "reinstall", "test"]).unwrap_err();
        assert_eq!(
            wrong,
            [
                (1, Unwanted::Unknown),
                (2, Unwanted::NameMissing),
                (3, Unwanted::NotDecided),
                (4, Unwanted::Unknown)
            ]
        );
    }

    #[test]
    fn every_topic_is_read_as_it_is_printed() {
        for topic in Topic::ALL {
            assert_eq!(Topic::parse(topic.name()), Some(topic));
            assert!(!topic.sentence().is_empty());
        }
    }
}
