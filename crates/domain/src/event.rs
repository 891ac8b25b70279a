//! An event as it is recorded: what an app, a server or an advertiser's postback told us.

use std::fmt;
use std::net::IpAddr;

use crate::device::Device;
use crate::id::{Id, WorkspaceNo, kind};
use crate::location::Location;
use crate::money::{Amount, Currency};
use crate::status::StatusChange;
use crate::time::Timestamp;

/// Which door an event came through. Numbers are stored: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Source {
    /// `/v1/events` with a client key: an app or page reported it itself.
    Client = 1,
    /// `/v1/events` with a server key.
    Server = 2,
    /// `/postback`.
    Postback = 3,
    /// The owner, by page, API or command: a change of a conversion's status.
    Owner = 4,
}

impl Source {
    /// The source with that number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Client,
            2 => Self::Server,
            3 => Self::Postback,
            4 => Self::Owner,
            _ => return None,
        })
    }

    /// The word used in explanations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Postback => "postback",
            Self::Owner => "owner",
        }
    }
}

/// Whether an event counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Environment {
    /// It counts.
    #[default]
    Production,
    /// Kept and shown, never counted, told only by rules that ask for it.
    Sandbox,
}

/// Money on an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revenue {
    /// The amount, read from the raw text.
    pub amount: Amount,
    /// Its currency; `None` when neither the event nor the app names one (finding `currency_missing`).
    pub currency: Option<Currency>,
    /// False for revenue that a client key reported.
    pub verified: bool,
}

/// An install referrer with the times that the store reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstallReferrer {
    /// The raw text.
    pub referrer: String,
    /// Click time by the device's clock.
    pub click_at: Option<Timestamp>,
    /// Click time by the store's clock.
    pub click_server_at: Option<Timestamp>,
    /// When the installation began, by the device's clock.
    pub install_begin_at: Option<Timestamp>,
    /// When the installation began, by the store's clock.
    pub install_begin_server_at: Option<Timestamp>,
}

/// Fields that only an inbound postback has (Tracknow's names).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PostbackFields {
    /// The campaign it is booked on.
    pub campaign: Option<Id<kind::Campaign>>,
    /// `goal`: selects what the conversion is.
    pub goal: Option<String>,
    /// The shop's own order id.
    pub order_id: Option<String>,
    /// `commission`: replaces the amount as the base of a commission; as sent.
    pub commission: Option<Amount>,
    /// `conversion_rate`: the caller's own rate, as sent.
    pub conversion_rate: Option<String>,
    /// `coupon`.
    pub coupon: Option<String>,
    /// `ref_id`: the partner named directly.
    pub ref_id: Option<String>,
    /// `ref_custom_id`.
    pub ref_custom_id: Option<String>,
    /// `new_customer=true`.
    pub new_customer: bool,
    /// `skip_lifetime=true`.
    pub skip_lifetime: bool,
    /// `comment`: visible to the partner.
    pub comment: Option<String>,
    /// Booked as pending: told to nobody until approved.
    pub pending: bool,
    /// The whole query as received, the token removed.
    pub query: Vec<u8>,
}

/// An event.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id; also the outbound `event_id` of what is told about it.
    pub id: Id<kind::Event>,
    /// Owner.
    pub workspace: WorkspaceNo,
    /// The app or site it is of.
    pub app: Id<kind::App>,
    /// Which door it came through.
    pub source: Source,
    /// The caller's idempotency key.
    pub source_event_id: Option<String>,
    /// Its name, as sent. What it means is the app's mapping at decision time.
    pub name: String,
    /// Whether it counts.
    pub environment: Environment,
    /// When it reached us.
    pub received_at: Timestamp,
    /// When it happened, as the sender says; else when it reached us.
    pub occurred_at: Timestamp,
    /// The app's stable id of this installation.
    pub install_id: Option<String>,
    /// Our click id, as the sender passed it on: not yet checked.
    pub click_id: Option<String>,
    /// The store's referrer.
    pub referrer: Option<InstallReferrer>,
    /// The owner's id of the person.
    pub customer_id: Option<String>,
    /// The device.
    pub device: Device,
    /// Money.
    pub revenue: Option<Revenue>,
    /// The sender's own properties: a JSON object, as sent.
    pub properties: Option<String>,
    /// Consent signals: a JSON object, as sent.
    pub consent: Option<String>,
    /// The person's address, as a server says, else the connection's.
    pub ip: Option<IpAddr>,
    /// The person's browser or app, as a server says, else the header.
    pub user_agent: Option<String>,
    /// Where `ip` was when it arrived; what it counts as may be elsewhere, see [`Location::of`].
    pub location: Location,
    /// What only postbacks have.
    pub postback: Option<PostbackFields>,
    /// For an event that changes a conversion's status: which, and how. Such an event has nothing else.
    pub change: Option<Box<StatusChange>>,
    /// What was odd about it: stable words such as `currency_missing`.
    pub findings: Vec<String>,
}

impl fmt::Debug for Event {
    /// Personal data is not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("occurred_at", &self.occurred_at)
            .field("received_at", &self.received_at)
            .finish_non_exhaustive()
    }
}

impl Event {
    /// The earlier of event time and receive time: where windows end.
    pub fn reference_at(&self) -> Timestamp {
        self.occurred_at.min(self.received_at)
    }

    /// Whether its name makes it the birth of an installation: `install` or `open` on a mobile app.
    pub fn names_install(&self) -> bool {
        self.source != Source::Postback
            && self.change.is_none()
            && matches!(self.name.as_str(), "install" | "open")
    }
}

/// What a conversion is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConversionKind {
    /// The first install or open of an installation.
    Install,
    /// Signup, onboarding.
    Signup,
    /// Purchase, revenue.
    Purchase,
    /// Any other event, by its own name.
    Event,
    /// The status of a conversion changed, to any but rejected. No conversion of its own: it counts nowhere.
    StatusChange,
    /// A conversion was rejected. No conversion of its own: it counts nowhere.
    Rejected,
}

impl ConversionKind {
    /// Its word in the API, the file and explanations.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Signup => "signup",
            Self::Purchase => "purchase",
            Self::Event => "event",
            Self::StatusChange => "status_change",
            Self::Rejected => "rejected",
        }
    }

    /// The kind of that word.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "install" => Self::Install,
            "signup" => Self::Signup,
            "purchase" => Self::Purchase,
            "event" => Self::Event,
            "status_change" => Self::StatusChange,
            "rejected" => Self::Rejected,
            _ => return None,
        })
    }

    /// Whether it tells of another conversion and is none itself.
    pub const fn is_change(&self) -> bool {
        matches!(self, Self::StatusChange | Self::Rejected)
    }
}
