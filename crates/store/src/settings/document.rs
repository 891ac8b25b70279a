//! The documents: one shape of each resource for the file, the API, the pages and the ledger.
//!
//! A field that is absent has its default, and a default is not written: so two documents say the same
//! exactly if they are equal, and adding a field later changes no stored document. Names of fields are the
//! public contract of `roundtrip.toml`; comments here become the descriptions in the API document.
//!
//! Not relied on: deserializing proves nothing about content. Durations, currencies, addresses, references
//! and templates are texts here and are judged by `judge`, which can name everything that is wrong at once.

mod rule;

use std::collections::BTreeMap;

use roundtrip_domain::click::LinkDialect;
use roundtrip_domain::event::ConversionKind;
use roundtrip_domain::settings as domain;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::rule::{Auth, BasicAuth, Body, OAuth2, On, Rule, Scope, Signature, SignedMessage, TokenStyle};
use super::retry::RetryDoc;
use super::{ResourceKind, Secret};

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Everything that a workspace's owner set up, keyed by slug. This is the resource part of
/// `roundtrip.toml`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The workspace's slug; absent: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Mobile apps and web sites.
    #[serde(default, skip_serializing_if = "is_default")]
    pub apps: BTreeMap<String, App>,
    /// Campaigns of apps.
    #[serde(default, skip_serializing_if = "is_default")]
    pub campaigns: BTreeMap<String, Campaign>,
    /// Affiliates and ad networks.
    #[serde(default, skip_serializing_if = "is_default")]
    pub partners: BTreeMap<String, Partner>,
    /// Tracking links. The slug is what stands in the URL.
    #[serde(default, skip_serializing_if = "is_default")]
    pub links: BTreeMap<String, Link>,
    /// Partners that rules tell together.
    #[serde(default, skip_serializing_if = "is_default")]
    pub partner_groups: BTreeMap<String, PartnerGroup>,
    /// What partners are told, when and how.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rules: BTreeMap<String, Rule>,
    /// What the owner is told, where and how.
    #[serde(default, skip_serializing_if = "is_default")]
    pub webhooks: BTreeMap<String, Webhook>,
    /// Credentials.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keys: BTreeMap<String, Key>,
}

/// What an app runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    /// Android.
    Android,
    /// iOS and iPadOS.
    Ios,
    /// A web site or shop.
    Web,
}

impl From<Platform> for domain::Platform {
    fn from(platform: Platform) -> Self {
        match platform {
            Platform::Android => Self::Android,
            Platform::Ios => Self::Ios,
            Platform::Web => Self::Web,
        }
    }
}

/// What an event of the app's own name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventMeaning {
    /// Signup, onboarding.
    Signup,
    /// Purchase, revenue.
    Purchase,
    /// Any other event, told by its own name.
    Event,
}

impl From<EventMeaning> for ConversionKind {
    fn from(meaning: EventMeaning) -> Self {
        match meaning {
            EventMeaning::Signup => Self::Signup,
            EventMeaning::Purchase => Self::Purchase,
            EventMeaning::Event => Self::Event,
        }
    }
}

/// Whether inbound postbacks need a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PostbackAuthMode {
    /// They carry a postback key, or come from a listed address.
    #[default]
    Token,
    /// Anyone may send; everything books as pending.
    None,
}

/// Who may send inbound postbacks for an app.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostbackAuth {
    /// Addresses or networks (`203.0.113.7`, `198.51.100.0/24`, `2001:db8::/48`) that need no token.
    #[serde(default, skip_serializing_if = "is_default")]
    pub addresses: Vec<String>,
    /// `token` (default) or `none`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub auth: PostbackAuthMode,
}

/// A mobile app or a web site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// For people; absent: the slug.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it runs on. Cannot be changed.
    pub platform: Platform,
    /// Android's package name or Apple's bundle id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle_id: Option<String>,
    /// The store's page of the app. Without one, Android's is made from the bundle id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_url: Option<String>,
    /// ISO 4217 code for events with revenue that name no currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// What the app's own event names mean. `signup` and `purchase` mean themselves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub events: BTreeMap<String, EventMeaning>,
    /// How long a click may earn something; at most 90d. Absent: 7d for apps, 30d for the web.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub click_window: Option<String>,
    /// Who may send inbound postbacks.
    #[serde(default, skip_serializing_if = "is_default")]
    pub postback: PostbackAuth,
}

/// A campaign of an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    /// For people, and `{campaign}`; absent: the slug.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The app that it promotes, by slug. Cannot be changed.
    pub app: String,
    /// `campaign_id` on links and postbacks, unique in the workspace; absent: the slug.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_id: Option<String>,
    /// Where a visitor lands on the web; a destination template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landing_page: Option<String>,
    /// Parameters that every inbound postback must carry.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mandatory: Vec<String>,
}

/// An affiliate or ad network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Partner {
    /// For people, and the source in reports; absent: the slug.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its public id, unique in the workspace; absent: the slug.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ref_id: Option<String>,
    /// Its own settings, for `{cfg.NAME}` in templates. Shown masked; in the file they may be `env:NAME` or
    /// `file:PATH`. Sent back masked, a value stays as it is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cfg: BTreeMap<String, Secret>,
    /// Whether its links may carry their own callback URLs, as Adjust's do, for rules with `callback = true`. They
    /// are refused without it: whoever writes a click chooses the host that the server calls.
    #[serde(default, skip_serializing_if = "is_default")]
    pub in_link_callbacks: bool,
    /// Most sends to it a second, by all rules together: 0.1 to 10000. Absent: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// How long after the click it accepts installs, such as `7d`; 1h to 3650d. It binds the rules that tell it of
    /// installs and do not say otherwise; a longer click window is warned of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepts_within: Option<String>,
    /// Macros that it needs in every postback, such as `click_id`; a template without one is warned of.
    #[serde(default, skip_serializing_if = "is_default")]
    pub needs: Vec<String>,
    /// How its own list of conversions is read by `roundtrip reconcile`. Absent: as it was, also as `--save-mapping`
    /// saved it; `{}` takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<PartnerReport>,
}

/// How a partner's own list of conversions is read, CSV or JSON. `roundtrip reconcile --save-mapping` writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartnerReport {
    /// What stands in which column: `click_id` (the partner's), `rt_click_id` (Roundtrip's), `event_id`, `order_id`,
    /// `event`, `amount`, `currency`, `time`; each with the column's name in the list.
    #[serde(default, skip_serializing_if = "is_default")]
    pub columns: BTreeMap<String, String>,
    /// Whose times they are, where a time says no offset: an IANA name such as `Europe/Berlin`; absent: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// ISO 4217: the currency of amounts, where no column says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// How times are written, such as `%d.%m.%Y %H:%M`; absent: RFC 3339, `2026-06-04 09:21:44`, days, unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_format: Option<String>,
    /// The decimal sign of amounts; absent: whichever the list's amounts end with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimal: Option<DecimalSign>,
}

/// What stands before the decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DecimalSign {
    /// `12.50`
    Point,
    /// `12,50`
    Comma,
}

impl PartnerReport {
    /// What columns can hold.
    pub const COLUMNS: [&str; 8] =
        ["click_id", "rt_click_id", "event_id", "order_id", "event", "amount", "currency", "time"];
}

/// Partners that rules tell together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartnerGroup {
    /// For people; absent: the slug.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its members, by slug; at least one, at most 1,000.
    pub partners: Vec<String>,
}

/// How a link's parameters are named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "LinkDialect")]
pub enum Dialect {
    /// Linkrunner's names, which are Roundtrip's own too.
    #[default]
    Linkrunner,
    /// Tracknow's click form.
    Tracknow,
    /// AppsFlyer: attribution links, OneLink, server-to-server clicks.
    AppsFlyer,
    /// Adjust, plain and branded.
    Adjust,
    /// Branch.
    Branch,
    /// Singular.
    Singular,
    /// Kochava.
    Kochava,
    /// Airbridge.
    Airbridge,
    /// AppMetrica.
    AppMetrica,
    /// Trackier: the attribution product and the partner network.
    Trackier,
    /// Tenjin.
    Tenjin,
    /// MyTracker.
    MyTracker,
    /// TUNE (HasOffers).
    Tune,
    /// Everflow.
    Everflow,
    /// Affise.
    Affise,
    /// Scaleo.
    Scaleo,
    /// CAKE.
    Cake,
    /// Keitaro, and trackers that use its names.
    Keitaro,
    /// Voluum.
    Voluum,
    /// Binom.
    Binom,
    /// BeMob.
    BeMob,
    /// Any other system: words that mean one thing wherever they are used.
    Generic,
}

impl From<Dialect> for LinkDialect {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Linkrunner => Self::Linkrunner,
            Dialect::Tracknow => Self::Tracknow,
            Dialect::AppsFlyer => Self::AppsFlyer,
            Dialect::Adjust => Self::Adjust,
            Dialect::Branch => Self::Branch,
            Dialect::Singular => Self::Singular,
            Dialect::Kochava => Self::Kochava,
            Dialect::Airbridge => Self::Airbridge,
            Dialect::AppMetrica => Self::AppMetrica,
            Dialect::Trackier => Self::Trackier,
            Dialect::Tenjin => Self::Tenjin,
            Dialect::MyTracker => Self::MyTracker,
            Dialect::Tune => Self::Tune,
            Dialect::Everflow => Self::Everflow,
            Dialect::Affise => Self::Affise,
            Dialect::Scaleo => Self::Scaleo,
            Dialect::Cake => Self::Cake,
            Dialect::Keitaro => Self::Keitaro,
            Dialect::Voluum => Self::Voluum,
            Dialect::Binom => Self::Binom,
            Dialect::BeMob => Self::BeMob,
            Dialect::Generic => Self::Generic,
        }
    }
}

/// Where a link leads. Each is a destination template, in which `{click_id}` is Roundtrip's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Destinations {
    /// For Android; absent: the app's store page with our referrer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub android: Option<String>,
    /// For iOS; absent: the app's store page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ios: Option<String>,
    /// For everything else; absent: the campaign's landing page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web: Option<String>,
    /// Tried first on a phone: opens the app where it is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deep_link: Option<String>,
    /// When nothing else fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
}

/// A tracking link: campaign × partner. Its slug is its public id, unique in the installation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The campaign, by slug. Cannot be changed.
    pub campaign: String,
    /// The partner, by slug. Cannot be changed.
    pub partner: String,
    /// How its parameters are named; absent: `linkrunner`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dialect: Dialect,
    /// Where it leads.
    #[serde(default, skip_serializing_if = "is_default")]
    pub destinations: Destinations,
    /// Prefixes of destinations that a request may ask for, each ending behind the host (`https://shop.example/`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub allow_destinations: Vec<String>,
    /// How long its clicks may earn something; at most 90d. Absent: the app's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub click_window: Option<String>,
    /// Where else its clicks come in: URLs that partners have already, without what varies. The host may be left
    /// out: `https://click.example.com/com.example.app?pid=acme_int`, `/aff_c?offer_id=12&aff_id=7`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub also: Vec<String>,
    /// Where else its impressions come in.
    #[serde(default, skip_serializing_if = "is_default")]
    pub also_impressions: Vec<String>,
}

/// How much of a fact a webhook's body says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookForm {
    /// All that is known.
    #[default]
    Full,
    /// Which fact it is, of which app, and when. The rest is read from the API.
    Thin,
}

/// What the owner is told, where and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The app whose facts it is told, by slug; absent: of all apps, and what is of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Where it is. Below Slack's `hooks.slack.com` it gets messages for a channel instead of facts.
    pub url: String,
    /// What it is told of: `install`, `organic_install`, `signup`, `purchase`, `event`, `event:NAME`, `approved`,
    /// `rejected`, `attribution_updated`, `postback_delivered`, `postback_failed`, `postback_expiring`,
    /// `endpoint_failing`, `endpoint_disabled`, `endpoint_recovered`, `success_rate_low`, `silence`,
    /// `books_unbalanced`. Absent or empty: the first eight, but for names.
    #[serde(default, skip_serializing_if = "is_default")]
    pub events: Vec<String>,
    /// What signs, `whsec_` and the base64 of 24 to 64 bytes; never shown again. In the file it is `env:NAME` or
    /// `file:PATH`. Absent: a new webhook gets one, shown once in the answer; an old one keeps its own. Another one
    /// rotates: both sign until the overlap ends. One that was replaced does not come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// How long a secret or key pair that was replaced signs on; 0s to 30d. Absent: 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
    /// From when on the newest secret signs the plain header, a time such as `2026-06-04T12:00:00Z`; absent: from
    /// when the overlap ends. A time before the secret was last replaced says nothing of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_over: Option<String>,
    /// Also signs with a key pair (`v1a`, Ed25519), which is made if none is given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ed25519: bool,
    /// The private key of that pair, `whsk_…`; never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ed25519_key: Option<Secret>,
    /// The name of the header with the plain hex signature; absent: `x-roundtrip-signature`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_header: Option<String>,
    /// `full` (default) or `thin`, which leaves out all that is about people and money.
    #[serde(default, skip_serializing_if = "is_default")]
    pub form: WebhookForm,
    /// What is left out of the body, by path: `user.customer_id`, `device`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub without: Vec<String>,
    /// Headers of its own, by name; values are secrets.
    #[serde(default, skip_serializing_if = "is_default")]
    pub headers: BTreeMap<String, Secret>,
    /// Also told of sandbox events.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sandbox: bool,
    /// Also told of conversions that wait for approval; they are told when they are approved otherwise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pending: bool,
    /// Most sends a second: 0.1 to 10000. Absent: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// When it is sent again: the waits between sends, such as `["10s", "5m"]`, or `{waits, for}`. Absent: twelve
    /// sends over 71 h 42 m. All but a 2xx is sent again; 410 disables the webhook.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry: RetryDoc,
    /// How long a send may take; 1s to 30s. Absent: 15s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
}

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyUse {
    /// Ships inside apps and pages.
    Client,
    /// Reports events from a server.
    Server,
    /// Stands as `token` in inbound postbacks.
    Postback,
    /// Speaks to the API.
    Admin,
}

impl From<KeyUse> for domain::KeyKind {
    fn from(kind: KeyUse) -> Self {
        match kind {
            KeyUse::Client => Self::Client,
            KeyUse::Server => Self::Server,
            KeyUse::Postback => Self::Postback,
            KeyUse::Admin => Self::Admin,
        }
    }
}

/// What an admin key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyScope {
    /// Read settings, reports, stories.
    Read,
    /// Change settings.
    Write,
    /// Replay deliveries.
    Replay,
    /// See personal data whole, in what the other scopes open.
    Personal,
}

impl From<KeyScope> for domain::KeyScope {
    fn from(scope: KeyScope) -> Self {
        match scope {
            KeyScope::Read => Self::Read,
            KeyScope::Write => Self::Write,
            KeyScope::Replay => Self::Replay,
            KeyScope::Personal => Self::Personal,
        }
    }
}

/// A credential. Only its hash is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What it may be used for.
    pub kind: KeyUse,
    /// The app it speaks for, by slug; needed for client and server keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// For admin keys: what they may do.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scopes: Vec<KeyScope>,
    /// The token, of at least 32 characters; never shown again. In the file it is `env:NAME` or `file:PATH`.
    /// Absent: a new key gets 256 random bits, shown once in the answer; an old one keeps its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
}

/// A document of any kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Any {
    /// An app.
    App(App),
    /// A campaign.
    Campaign(Campaign),
    /// A partner.
    Partner(Partner),
    /// A link.
    Link(Link),
    /// A group of partners.
    PartnerGroup(PartnerGroup),
    /// A rule.
    Rule(Box<Rule>),
    /// A webhook.
    Webhook(Box<Webhook>),
    /// A key.
    Key(Key),
}

impl Any {
    /// Reads a document of that kind. Fails at the first problem: user input goes through the lenient check
    /// first.
    pub(super) fn from_value(
        kind: ResourceKind,
        value: serde_json::Value,
    ) -> Result<Self, serde_json::Error> {
        Ok(match kind {
            ResourceKind::App => Self::App(serde_json::from_value(value)?),
            ResourceKind::Campaign => Self::Campaign(serde_json::from_value(value)?),
            ResourceKind::Partner => Self::Partner(serde_json::from_value(value)?),
            ResourceKind::Link => Self::Link(serde_json::from_value(value)?),
            ResourceKind::PartnerGroup => Self::PartnerGroup(serde_json::from_value(value)?),
            ResourceKind::Rule => Self::Rule(serde_json::from_value(value)?),
            ResourceKind::Webhook => Self::Webhook(serde_json::from_value(value)?),
            ResourceKind::Key => Self::Key(serde_json::from_value(value)?),
        })
    }

    /// The document as JSON, without defaults and with its secrets.
    pub(super) fn to_value(&self) -> serde_json::Value {
        let value = match self {
            Self::App(doc) => serde_json::to_value(doc),
            Self::Campaign(doc) => serde_json::to_value(doc),
            Self::Partner(doc) => serde_json::to_value(doc),
            Self::Link(doc) => serde_json::to_value(doc),
            Self::PartnerGroup(doc) => serde_json::to_value(doc),
            Self::Rule(doc) => serde_json::to_value(doc),
            Self::Webhook(doc) => serde_json::to_value(doc),
            Self::Key(doc) => serde_json::to_value(doc),
        };
        // These structs hold texts, booleans and maps with text keys, which always serialize.
        value.unwrap_or_default()
    }
}

/// Adds the schema of a kind's document to a generator; the reference to it comes back.
pub fn schema_of(kind: ResourceKind, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    match kind {
        ResourceKind::App => generator.subschema_for::<App>(),
        ResourceKind::Campaign => generator.subschema_for::<Campaign>(),
        ResourceKind::Partner => generator.subschema_for::<Partner>(),
        ResourceKind::Link => generator.subschema_for::<Link>(),
        ResourceKind::PartnerGroup => generator.subschema_for::<PartnerGroup>(),
        ResourceKind::Rule => generator.subschema_for::<Rule>(),
        ResourceKind::Webhook => generator.subschema_for::<Webhook>(),
        ResourceKind::Key => generator.subschema_for::<Key>(),
    }
}
