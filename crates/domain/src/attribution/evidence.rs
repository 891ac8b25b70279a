//! What an event names that could lead to a touch, and what the click log can answer.
//!
//! Pure: nothing is looked up here. Whoever has a click log asks it for what [`evidence`] says, and makes
//! [`Lead`]s of the answers.

use super::MatchType;
use crate::click::Touch;
use crate::click_id::ClickId;
use crate::device::DeviceId;
use crate::event::{Event, Source};
use crate::id::{Id, kind};
use crate::referrer::{self, Referrer};
use crate::time::Timestamp;

/// Longest text of a click id that a story keeps, in characters.
const TEXT_CHARS_MAX: usize = 64;

/// A click id that an event names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// How a touch of that id would be found.
    pub match_type: MatchType,
    /// The id as the sender passed it on, cut to 64 characters.
    pub text: String,
    /// The id, if the text is one.
    pub id: Option<ClickId>,
}

impl Named {
    /// The lead to a touch.
    pub fn touch(&self, touch: Touch, event: &Event) -> Lead {
        Lead::Touch { match_type: self.match_type, touch, carrier: Carrier::of(event) }
    }

    /// The lead to nothing.
    pub fn dead(&self, why: DeadEnd) -> Lead {
        Lead::Dead { match_type: self.match_type, text: self.text.clone(), why }
    }
}

/// The device ids of an event by which clicks are found.
pub fn device_evidence(event: &Event) -> impl Iterator<Item = &DeviceId> {
    event.device.ids.iter().filter(|id| id.kind.matches_clicks())
}

/// The click ids that an event names: in the store's referrer, and by itself.
pub fn evidence(event: &Event) -> Vec<Named> {
    let mut evidence = Vec::new();
    let mut name = |match_type, text: &str| {
        evidence.push(Named {
            match_type,
            text: text.chars().take(TEXT_CHARS_MAX).collect(),
            id: ClickId::parse(text.trim().as_bytes()),
        });
    };
    if let Some(referrer) = &event.referrer
        && let Referrer::Ours { click_id } = referrer::parse(&referrer.referrer)
    {
        name(MatchType::InstallReferrer, &click_id);
    }
    if let Some(click_id) = &event.click_id {
        let by = if event.source == Source::Postback { MatchType::Postback } else { MatchType::ClickId };
        name(by, click_id);
    }
    evidence
}

/// What one piece of evidence led to in the click log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all leads are touches; a box would only add a hop")]
pub enum Lead {
    /// To a touch.
    Touch {
        /// How it was found.
        match_type: MatchType,
        /// The touch.
        touch: Touch,
        /// Which event carried the evidence.
        carrier: Carrier,
    },
    /// To nothing.
    Dead {
        /// How it would have been found.
        match_type: MatchType,
        /// The click id as the sender passed it on, cut to 64 characters.
        text: String,
        /// Why there is nothing.
        why: DeadEnd,
    },
}

/// The event that carried a piece of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carrier {
    /// Its id.
    pub event: Id<kind::Event>,
    /// The earlier of when it happened, as it claims, and when it reached us.
    pub claimed_at: Timestamp,
    /// When it reached us.
    pub received_at: Timestamp,
    /// Whether any touch that it names must have come before it: true for all but `open`, which also happens
    /// long after the installation.
    pub follows_touch: bool,
    /// The device ids it named.
    pub device_ids: Vec<DeviceId>,
}

impl Carrier {
    /// The carrier that an event is.
    pub fn of(event: &Event) -> Self {
        Self {
            event: event.id,
            claimed_at: event.reference_at(),
            received_at: event.received_at,
            follows_touch: event.name != "open",
            device_ids: event.device.ids.clone(),
        }
    }
}

/// Why a click id leads to no touch. Numbers are stored: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DeadEnd {
    /// It is no UUID.
    Malformed = 1,
    /// None of our keys made it: mangled, guessed, or another system's.
    NotOurs = 2,
    /// Ours, but its record was lost when it was made.
    NotStored = 3,
    /// Ours, but older than the log keeps clicks.
    Expired = 4,
}

impl DeadEnd {
    /// The dead end with that number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Malformed,
            2 => Self::NotOurs,
            3 => Self::NotStored,
            4 => Self::Expired,
            _ => return None,
        })
    }

    /// The stable reason.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "click_id_malformed",
            Self::NotOurs => "click_id_not_ours",
            Self::NotStored => "click_not_stored",
            Self::Expired => "click_expired",
        }
    }
}
