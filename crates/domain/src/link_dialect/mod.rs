//! Link dialects: what other systems call the parameters of a tracking link.
//!
//! A link names one dialect, because the same word means different things in different systems: `ad_id` is
//! an ad in Branch's mouth and a device in Airbridge's, `c` a campaign's name in AppsFlyer's. A dialect is a
//! table of words per canonical name; [`Params`] reads through it, so whoever asks a click for
//! `sub1` gets the value whatever the sender called it. The query itself is kept as received, and a
//! parameter that a table does not know keeps its own name.
//!
//! The tables were made from the vendors' own pages on tracking links; where a system leaves the slot of the
//! partner's click id to the partner (Everflow, Affise, CAKE), the slot is the one that its public
//! integration guides use.
//!
//! Not relied on: that a sender keeps to its dialect. What does not fit is kept, and flagged at most.

mod callback;
#[cfg(test)]
mod tests;
mod words;

use crate::device::{DeviceId, DeviceIdKind};
use crate::params::{Param, Params};
use crate::time::Span;

pub use self::callback::{Callback, CallbackFault, CallbackKind, callback_template};
use self::words::Words;

macro_rules! dialects {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $words:ident;)*) => {
        /// How a link's parameters are named. Numbers are stored: append only.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(u8)]
        pub enum LinkDialect {
            $($(#[$doc])* $variant = $number,)*
        }

        impl LinkDialect {
            /// All dialects, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The dialect with that number.
            pub const fn from_number(number: u8) -> Option<Self> {
                Some(match number {
                    $($number => Self::$variant,)*
                    _ => return None,
                })
            }

            /// Its word in settings.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            const fn words(self) -> &'static Words {
                match self {
                    $(Self::$variant => &words::$words,)*
                }
            }
        }
    };
}

dialects! {
    /// Linkrunner's names, which are ours too.
    #[default]
    Linkrunner = 1, "linkrunner", OURS;
    /// Tracknow's click form: `campaign_id`, `ref_id`, `sub1`…`sub8`.
    Tracknow = 2, "tracknow", OURS;
    /// AppsFlyer: attribution links, OneLink, server-to-server clicks, the engagements API's query.
    AppsFlyer = 3, "appsflyer", APPSFLYER;
    /// Adjust, plain and branded (`adj_…`).
    Adjust = 4, "adjust", ADJUST;
    /// Branch: `~…` and `$…`.
    Branch = 5, "branch", BRANCH;
    /// Singular.
    Singular = 6, "singular", SINGULAR;
    /// Kochava.
    Kochava = 7, "kochava", KOCHAVA;
    /// Airbridge.
    Airbridge = 8, "airbridge", AIRBRIDGE;
    /// AppMetrica.
    AppMetrica = 9, "appmetrica", APPMETRICA;
    /// Trackier: the attribution product and the partner network.
    Trackier = 10, "trackier", TRACKIER;
    /// Tenjin.
    Tenjin = 11, "tenjin", TENJIN;
    /// MyTracker: `mt_…` and UTM.
    MyTracker = 12, "mytracker", MYTRACKER;
    /// TUNE (HasOffers): `aff_sub`…
    Tune = 13, "tune", TUNE;
    /// Everflow.
    Everflow = 14, "everflow", EVERFLOW;
    /// Affise.
    Affise = 15, "affise", AFFISE;
    /// Scaleo.
    Scaleo = 16, "scaleo", SCALEO;
    /// CAKE: `a`, `c`, `s1`…`s5`.
    Cake = 17, "cake", CAKE;
    /// Keitaro's campaign links, and of trackers that use its names.
    Keitaro = 18, "keitaro", KEITARO;
    /// Voluum's campaign links.
    Voluum = 19, "voluum", CAMPAIGN_LINK;
    /// Binom's campaign links.
    Binom = 20, "binom", CAMPAIGN_LINK;
    /// BeMob's campaign links.
    BeMob = 21, "bemob", CAMPAIGN_LINK;
    /// A system that none of the others is: the words that mean one thing wherever they are used.
    Generic = 22, "generic", GENERIC;
}

/// Shortest and longest window that a link's parameter may ask for. AppsFlyer's bounds, which others share.
pub const LOOKBACK_MIN: Span = Span::from_hours(1);
/// See [`LOOKBACK_MIN`].
pub const LOOKBACK_MAX: Span = Span::from_days(30);

/// Device ids that a server's word can carry, raw or hashed.
const DEVICE_IDS: &[&str] = &[
    "gaid",
    "idfa",
    "oaid",
    "android_id",
    "fire_adid",
    "idfv",
    "adid",
    "imei",
    "gaid_sha1",
    "gaid_md5",
    "idfa_sha1",
    "idfa_md5",
    "oaid_sha1",
    "oaid_md5",
    "android_id_sha1",
    "android_id_md5",
];

/// What a link's parameter says of its own window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookback {
    /// Nothing.
    Absent,
    /// This long, between [`LOOKBACK_MIN`] and [`LOOKBACK_MAX`].
    Asked(Span),
    /// Something that is no such window; it is ignored.
    Invalid,
}

impl LinkDialect {
    /// The dialect of that word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|dialect| dialect.name() == name)
    }

    /// The canonical name of a parameter of this dialect; its own name when the dialect does not know it.
    /// `None` for a word that means something here for which there is no canonical name.
    pub fn canonical(self, name: &str) -> Option<&str> {
        let words = self.words();
        match words.aliases.iter().find(|(_, aliases)| aliases.contains(&name)) {
            Some((canonical, _)) => Some(canonical),
            None => (!words.foreign.contains(&name)).then_some(name),
        }
    }

    /// The words of this dialect for a canonical name, in the order in which they count. The canonical name
    /// itself is read behind them, unless it means something else here.
    pub fn aliases(self, canonical: &str) -> &'static [&'static str] {
        let table = self.words().aliases;
        table.binary_search_by(|(name, _)| (*name).cmp(canonical)).map_or(&[], |at| table[at].1)
    }

    /// Every canonical name that this dialect has words of its own for.
    pub fn canonical_names(self) -> impl Iterator<Item = &'static str> {
        self.words().aliases.iter().map(|(name, _)| *name)
    }

    /// The words that say that a server tells of the touch, beside `s2s=1` which all dialects know.
    pub fn server_words(self) -> &'static [(&'static str, &'static str)] {
        self.words().server
    }

    /// The words that say that a request on a click's address is an impression.
    pub fn view_words(self) -> &'static [(&'static str, &'static str)] {
        self.words().view
    }

    /// Headers in which a server tells the visitor's address; they count from trusted proxies only.
    pub fn address_headers(self) -> &'static [&'static str] {
        self.words().address_headers
    }

    /// Longest values in characters, by parameter name as received.
    pub fn limits(self) -> &'static [(&'static str, usize)] {
        self.words().limits
    }

    /// Whether only servers ask for this path: AppsFlyer's engagements interface, whose query says nothing of it.
    pub fn is_for_servers(self, path: &str) -> bool {
        self == Self::AppsFlyer && path.starts_with("/v1.0/s2s/")
    }

    /// Whether links of this dialect can carry their own callback URLs.
    pub fn has_callbacks(self) -> bool {
        self == Self::Adjust
    }

    /// The parameter that a canonical name is read from. See [`Params::get`].
    pub(crate) fn find<'p>(self, params: &'p Params, canonical: &str) -> Option<Param<'p>> {
        let words = self.words();
        if words.aliases.is_empty() {
            return params.received(canonical);
        }
        let mut empty = None;
        let mut filled = |name: &str| {
            let param = params.received(name)?;
            if param.raw.is_empty() {
                empty = empty.or(Some(param));
                return None;
            }
            Some(param)
        };
        let aliases = self.aliases(canonical);
        if let Some(param) = aliases.iter().find_map(|name| filled(name)) {
            return Some(param);
        }
        if !words.foreign.contains(&canonical)
            && !aliases.contains(&canonical)
            && let Some(param) = filled(canonical)
        {
            return Some(param);
        }
        if canonical == "click_id" && !words.click_id_suffix.is_empty() {
            let suffixed =
                params.iter().find(|p| p.name.ends_with(words.click_id_suffix) && !p.raw.is_empty());
            return suffixed.or(empty);
        }
        empty
    }
}

impl Params {
    /// Whether a server tells of the touch: `s2s=1` or the dialect's own word.
    pub fn says_server_to_server(&self) -> bool {
        self.received("s2s").is_some_and(|param| matches!(param.raw, b"1" | b"true"))
            || self.says(self.dialect().server_words())
    }

    /// Whether a server's word has what its own system demands of one; true where none demands anything.
    /// Adjust wants a device id, Branch also the visitor's address and browser, AppMetrica those, its click id
    /// and the time. AppsFlyer wants a device id or referrer, else address, browser and language.
    pub fn is_complete_for_server(&self) -> bool {
        let has = |name: &&str| self.get(name).is_some_and(|param| !param.raw.is_empty());
        let has_device = || DEVICE_IDS.iter().any(has);
        match self.dialect() {
            LinkDialect::Adjust => has_device(),
            LinkDialect::Branch => has_device() && ["ip", "user_agent"].iter().all(has),
            LinkDialect::AppMetrica => ["click_id", "ip", "user_agent", "ts"].iter().all(has),
            LinkDialect::AppsFlyer => {
                has_device() || has(&"af_ref") || ["ip", "user_agent", "lang"].iter().all(has)
            }
            _ => true,
        }
    }

    /// A device id whose kind stands in a parameter of its own, as AppsFlyer's engagements interface has it.
    pub(crate) fn typed_device_id(&self) -> Option<DeviceId> {
        if self.dialect() != LinkDialect::AppsFlyer {
            return None;
        }
        let kind = match self.received("af_device_id_type")?.raw {
            b"advertising_id" => DeviceIdKind::Gaid,
            b"idfa" => DeviceIdKind::Idfa,
            _ => return None,
        };
        DeviceId::parse(kind, &self.text("af_device_id_value")?)
    }

    /// Whether the touch says of itself that it is an impression.
    pub fn says_view(&self) -> bool {
        self.says(self.dialect().view_words())
    }

    fn says(&self, words: &[(&str, &str)]) -> bool {
        words.iter().any(|(name, value)| {
            self.received(name).is_some_and(|param| param.raw.eq_ignore_ascii_case(value.as_bytes()))
        })
    }

    /// Whether the link is meant for people who have the app already.
    pub fn says_retargeting(&self) -> bool {
        let is = |name: &str, words: &[&[u8]]| {
            self.get(name).is_some_and(|param| words.iter().any(|w| param.raw.eq_ignore_ascii_case(w)))
        };
        is("is_retargeting", &[b"1", b"true"]) || is("campaign_type", &[b"retargeting"])
    }

    /// The window that a click (`click_lookback`) or a view (`view_lookback`) asks for itself: a number of
    /// hours or days, `6h`, `14d`.
    pub fn lookback(&self, is_view: bool) -> Lookback {
        let name = if is_view { "view_lookback" } else { "click_lookback" };
        let Some(text) = self.filled(name) else { return Lookback::Absent };
        let text = text.trim();
        let is_asked = |span: &Span| (LOOKBACK_MIN..=LOOKBACK_MAX).contains(span);
        match Span::parse(text).filter(|_| text.ends_with(['h', 'd'])).filter(is_asked) {
            Some(span) => Lookback::Asked(span),
            None => Lookback::Invalid,
        }
    }
}
