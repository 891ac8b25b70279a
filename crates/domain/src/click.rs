//! A touch as it is recorded: a click, an impression, or a request that only looked like one.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::device::{DeviceId, DeviceIdKind, Print};
use crate::id::{Id, WorkspaceNo, kind};
use crate::link_dialect::Lookback;
use crate::location::Location;
use crate::money::{Amount, Currency};
use crate::params::{Params, PartnerClickId};
use crate::time::{Span, Timestamp};

pub use crate::link_dialect::LinkDialect;

/// What kind of touch it is. Numbers are stored: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TouchKind {
    /// A visitor followed a tracking link.
    Click = 1,
    /// A partner's server told of a click.
    ServerClick = 2,
    /// An ad was shown.
    Impression = 3,
    /// HEAD, prefetch or a link preview: answered and kept, never a touch that earns anything.
    Preview = 4,
}

impl TouchKind {
    /// The kind with that number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Click,
            2 => Self::ServerClick,
            3 => Self::Impression,
            4 => Self::Preview,
            _ => return None,
        })
    }

    /// The word used in explanations and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Click => "click",
            Self::ServerClick => "server_click",
            Self::Impression => "impression",
            Self::Preview => "preview",
        }
    }

    /// Whether it can earn an install as a click.
    pub const fn is_click(self) -> bool {
        matches!(self, Self::Click | Self::ServerClick)
    }
}

/// What was odd about a touch; a bit set that is stored with it. Bits are append-only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u32);

impl Flags {
    /// No partner click id on the link.
    pub const PARTNER_CLICK_ID_ABSENT: Self = Self(1);
    /// The partner click id is still a macro.
    pub const PARTNER_CLICK_ID_UNEXPANDED: Self = Self(1 << 1);
    /// A value or the query was over-long and cut.
    pub const CUT: Self = Self(1 << 2);
    /// A percent escape was bad.
    pub const BAD_ESCAPE: Self = Self(1 << 3);
    /// A value is no UTF-8.
    pub const BAD_UTF8: Self = Self(1 << 4);
    /// A parameter came twice.
    pub const REPEATED: Self = Self(1 << 5);
    /// A destination from the request was outside the link's allow-list and was not followed.
    pub const DESTINATION_REFUSED: Self = Self(1 << 6);
    /// The link carries a callback that its partner may not use, or that is none.
    pub const CALLBACK_REFUSED: Self = Self(1 << 7);
    /// The cost is no amount, or its currency is none. It is kept and handed on as it came.
    pub const COST_INVALID: Self = Self(1 << 8);
    /// The window that the link asks for itself is none, and is ignored.
    pub const LOOKBACK_INVALID: Self = Self(1 << 9);
    /// The time that the link claims cannot be read, or lies ahead. Windows never count from it.
    pub const ENGAGEMENT_TIME_INVALID: Self = Self(1 << 10);
    /// The time that the link claims is more than [`Click::ENGAGEMENT_AGE_MAX`] before its arrival.
    pub const ENGAGEMENT_LATE: Self = Self(1 << 11);
    /// A server told of the touch without what its own system demands, which would have refused it.
    pub const SERVER_INCOMPLETE: Self = Self(1 << 13);
    /// Not odd: the link is meant for people who have the app already.
    pub const RETARGETING: Self = Self(1 << 12);

    const NAMES: [(Self, &'static str); 14] = [
        (Self::PARTNER_CLICK_ID_ABSENT, "partner_click_id_absent"),
        (Self::PARTNER_CLICK_ID_UNEXPANDED, "partner_click_id_unexpanded"),
        (Self::CUT, "value_cut"),
        (Self::BAD_ESCAPE, "percent_escape_invalid"),
        (Self::BAD_UTF8, "utf8_invalid"),
        (Self::REPEATED, "parameter_repeated"),
        (Self::DESTINATION_REFUSED, "destination_refused"),
        (Self::CALLBACK_REFUSED, "callback_refused"),
        (Self::COST_INVALID, "cost_invalid"),
        (Self::LOOKBACK_INVALID, "lookback_invalid"),
        (Self::ENGAGEMENT_TIME_INVALID, "engagement_time_invalid"),
        (Self::ENGAGEMENT_LATE, "engagement_late"),
        (Self::RETARGETING, "retargeting"),
        (Self::SERVER_INCOMPLETE, "server_incomplete"),
    ];

    /// Adds a flag.
    pub fn set(&mut self, flag: Self) {
        self.0 |= flag.0;
    }

    /// Whether a flag is set.
    pub const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 == flag.0
    }

    /// The names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| name)
    }
}

/// A touch, before and after the log gave it its id.
#[derive(Clone, PartialEq, Eq)]
pub struct Click {
    /// Owner of everything else named here.
    pub workspace: WorkspaceNo,
    /// The app or site that the link promotes.
    pub app: Id<kind::App>,
    /// The campaign of the link.
    pub campaign: Id<kind::Campaign>,
    /// Whose link it is.
    pub partner: Id<kind::Partner>,
    /// The link.
    pub link: Id<kind::Link>,
    /// What kind of touch it is.
    pub kind: TouchKind,
    /// How its parameters are named.
    pub dialect: LinkDialect,
    /// What was odd about it.
    pub flags: Flags,
    /// When it reached us. Windows count from here.
    pub received_at: Timestamp,
    /// The query, as received.
    pub query: Vec<u8>,
    /// The visitor's address (from the connection, a trusted proxy, or a server-to-server parameter).
    pub ip: Option<IpAddr>,
    /// The visitor's browser, at most [`Click::HEADER_BYTES_MAX`] bytes.
    pub user_agent: Option<String>,
    /// Where the visitor came from, at most [`Click::HEADER_BYTES_MAX`] bytes.
    pub referer: Option<String>,
    /// The visitor's languages, at most 128 bytes.
    pub language: Option<String>,
    /// Where `ip` was when it arrived; empty without a database, or for an address that none knows.
    pub location: Location,
}

impl std::fmt::Debug for Click {
    /// Personal data (query, address, browser) is not printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Click")
            .field("workspace", &self.workspace)
            .field("link", &self.link)
            .field("kind", &self.kind)
            .field("received_at", &self.received_at)
            .finish_non_exhaustive()
    }
}

impl Click {
    /// Longest header value that is kept, in bytes.
    pub const HEADER_BYTES_MAX: usize = 512;
    /// How late a server may tell of a touch without a flag: 12 hours, AppMetrica's bound.
    pub const ENGAGEMENT_AGE_MAX: Span = Span::from_hours(12);
    /// How far ahead the clock of a server may be without a flag.
    const CLOCK_AHEAD_MAX: Span = Span::from_hours(1);

    /// The query, read as the link's dialect has it.
    pub fn params(&self) -> Params {
        Params::parse_as(&self.query, self.dialect)
    }

    /// The window that the link's own parameter asks for, if it is a window.
    pub fn lookback(&self) -> Option<Span> {
        let is_view = self.kind == TouchKind::Impression;
        // Nearly all links ask for none, and a query is read for this only where it can hold one: the word,
        // or an escape of one of its letters.
        if !self.query.windows(8).any(|part| part == b"lookback" || part.starts_with(b"%6")) {
            return None;
        }
        match self.params().lookback(is_view) {
            Lookback::Asked(span) => Some(span),
            Lookback::Absent | Lookback::Invalid => None,
        }
    }

    /// Sets the flags that follow from the query. Returns what was read, so that ingest reads once.
    pub fn flag(&mut self) -> Params {
        let params = self.params();
        match PartnerClickId::judge(params.get("click_id")) {
            PartnerClickId::Present => {}
            PartnerClickId::Absent => self.flags.set(Flags::PARTNER_CLICK_ID_ABSENT),
            PartnerClickId::Unexpanded => self.flags.set(Flags::PARTNER_CLICK_ID_UNEXPANDED),
        }
        let odd = params.oddities;
        let is_view = self.kind == TouchKind::Impression;
        let (is_time_invalid, is_late) = self.engagement(&params);
        for (is, flag) in [
            (cost_is_invalid(&params), Flags::COST_INVALID),
            (params.lookback(is_view) == Lookback::Invalid, Flags::LOOKBACK_INVALID),
            (is_time_invalid, Flags::ENGAGEMENT_TIME_INVALID),
            (is_late, Flags::ENGAGEMENT_LATE),
            (params.says_retargeting(), Flags::RETARGETING),
            (params.says_server_to_server() && !params.is_complete_for_server(), Flags::SERVER_INCOMPLETE),
            (odd.cut, Flags::CUT),
            (odd.bad_escape, Flags::BAD_ESCAPE),
            (odd.bad_utf8, Flags::BAD_UTF8),
            (odd.repeated, Flags::REPEATED),
        ] {
            if is {
                self.flags.set(flag);
            }
        }
        params
    }

    /// Whether the time that the link claims is none, and whether it is long past.
    fn engagement(&self, params: &Params) -> (bool, bool) {
        // Where no dialect says what `ts` is, it is anything: many senders put a random number there.
        if self.dialect.aliases("ts").is_empty() {
            return (false, false);
        }
        let Some(text) = params.filled("ts") else { return (false, false) };
        match Timestamp::parse(&text) {
            Some(at) if at.since(self.received_at) <= Self::CLOCK_AHEAD_MAX.ms() => {
                (false, self.received_at.since(at) > Self::ENGAGEMENT_AGE_MAX.ms())
            }
            _ => (true, false),
        }
    }

    /// Raw device ids that the link carried and that can match an install.
    pub fn device_ids(params: &Params) -> Vec<DeviceId> {
        let mut ids: Vec<DeviceId> = DeviceIdKind::ALL
            .into_iter()
            .filter(|kind| kind.matches_clicks())
            .filter_map(|kind| DeviceId::parse(kind, &params.filled(kind.name())?))
            .collect();
        ids.extend(params.typed_device_id().filter(|id| !ids.contains(id)));
        ids
    }

    /// Where this touch can be found: its device ids and its partner click id. Previews have none.
    /// `params` is its query, read: the redirect path reads it once.
    pub fn prints(&self, params: &Params) -> Vec<Print> {
        if self.kind == TouchKind::Preview {
            return Vec::new();
        }
        let mut prints: Vec<Print> =
            Self::device_ids(params).iter().map(|id| Print::device(self.app, id)).collect();
        let partner_click_id = params.get("click_id");
        if let (PartnerClickId::Present, Some(param)) =
            (PartnerClickId::judge(partner_click_id), partner_click_id)
        {
            prints.push(Print::partner_click_id(self.partner, &param.bytes()));
        }
        if self.kind == TouchKind::Impression {
            prints = prints.into_iter().map(Print::on_view).collect();
        }
        prints
    }
}

/// Whether a cost is given that no report could count.
fn cost_is_invalid(params: &Params) -> bool {
    let is_bad_amount = |text: Cow<'_, str>| Amount::parse(&text).is_err();
    let is_bad_currency = |text: Cow<'_, str>| Currency::parse(&text).is_none();
    params.filled("cost_value").is_some_and(is_bad_amount)
        || params.filled("cost_currency").is_some_and(is_bad_currency)
}

/// A touch that the log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// Its id.
    pub id: crate::click_id::ClickId,
    /// What was recorded.
    pub click: Click,
}
