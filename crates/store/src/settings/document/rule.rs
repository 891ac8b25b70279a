//! The document of a rule: what a partner is told, how the request is made, signed and proven.
//!
//! As everywhere in documents, texts are judged elsewhere; a secret is never here, only the name of a partner's setting.

use std::collections::BTreeMap;

use roundtrip_domain::event::ConversionKind;
use roundtrip_domain::settings as domain;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::condition::When;
use super::super::retry::{AcceptsFrom, IfLate, RetryDoc, Success};
use super::super::share::ShareRevenue;
use super::is_default;

/// What a rule sends after its headers; one of the three.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RuleBody")]
pub struct Body {
    /// `application/x-www-form-urlencoded`: `a={x}&b={y}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<String>,
    /// `application/json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<String>,
    /// `text/plain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A kind of conversion, or of change to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ConversionKind")]
pub enum On {
    /// The first install or open of an installation.
    Install,
    /// Signup, onboarding.
    Signup,
    /// Purchase, revenue.
    Purchase,
    /// Any other event.
    Event,
    /// A conversion's status changed: it was approved or rejected.
    StatusChange,
    /// A conversion was rejected.
    Rejected,
}

impl From<On> for ConversionKind {
    fn from(on: On) -> Self {
        match on {
            On::Install => Self::Install,
            On::Signup => Self::Signup,
            On::Purchase => Self::Purchase,
            On::Event => Self::Event,
            On::StatusChange => Self::StatusChange,
            On::Rejected => Self::Rejected,
        }
    }
}

/// Which conversions a rule tells of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RuleScope")]
pub enum Scope {
    /// Those that its partner won.
    #[default]
    Attributed,
    /// All; what only the winner may see is empty for others.
    All,
}

impl From<Scope> for domain::Scope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Attributed => Self::Attributed,
            Scope::All => Self::All,
        }
    }
}

/// What a partner is told, when and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The app whose conversions it tells of, by slug.
    pub app: String,
    /// The partner that is told, by slug; absent: the group, else whichever partner won.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner: Option<String>,
    /// The partners that are told, by their group's slug; not beside `partner`. With `scope = "all"` each member is
    /// told, else the one that won.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The kind of conversion.
    pub on: On,
    /// For `on = "event"`: the names; absent or empty: any name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub events: Vec<String>,
    /// Whose macros the template has: `canonical` (default), which is `{name}`; `generic`; or a system's name, such as
    /// `appsflyer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<String>,
    /// What words of the template mean, where its dialect does not know them or means something else: a macro of
    /// ours without its braces by the word, such as `"DID" = "click_id"`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub macros: BTreeMap<String, String>,
    /// Signatures that are computed for each sending, in order: a later one may hold an earlier one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub signatures: Vec<Signature>,
    /// GET, POST or PUT; absent: GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The URL template, in which `{click_id}` is the partner's. Must be there unless `callback` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Instead of `url`: the winning click's own callback is told, such as the `install_callback` of an Adjust link.
    /// An event's callback is the one whose token is its name here, or what `rename` makes of that. Whoever won must
    /// have `in_link_callbacks`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub callback: bool,
    /// Names and value templates.
    #[serde(default, skip_serializing_if = "is_default")]
    pub headers: BTreeMap<String, String>,
    /// What proves to the receiver who sends it: one of `basic`, `bearer` and `oauth2`. Secrets are named settings of
    /// the partner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// The body template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// `attributed` (default) or `all`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scope: Scope,
    /// Only the first conversion of its kind for an installation, customer or click.
    #[serde(default, skip_serializing_if = "is_default")]
    pub first_only: bool,
    /// How much of the revenue is told: `none` or false (default), `exact` or true, `{rounded = "1"}`,
    /// `{percent = 70}`. None empties every money macro; all but exact empty `{event_value}`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub share_revenue: ShareRevenue,
    /// What else must be true of a conversion.
    #[serde(default, skip_serializing_if = "is_default")]
    pub when: When,
    /// How long after the decision it is sent; at most 7d. Absent: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// Most sends a second to each partner that it tells: 0.1 to 10000. Absent: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Event names as the partner knows them. When not empty, other names are not told.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rename: BTreeMap<String, String>,
    /// Also tells of sandbox events.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sandbox: bool,
    /// Also tells of pending conversions.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pending: bool,
    /// How long after the install (or click) the partner is told; at most 3650d. Absent: 30d. The setting that
    /// holds when the event is decided counts, not the one at the install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// When it is sent again: a list of waits (`["10s", "5m", "2h"]`), or a table such as `{waits = ["1m"], for =
    /// "12h", on = [404]}`. At most 50 waits of at least 1s, together at most 30d. Absent: 10 sends over 23 h 42 m.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry: RetryDoc,
    /// How long a send may take, 1s to 30s; absent: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// What an answer of 2xx must say to be a success; absent: nothing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub success: Success,
    /// How long its receiver accepts it, 1h to 3650d; `none` for ever. The last send is pulled inside. Absent: for
    /// installs as the partner says, for anything else for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepts_within: Option<String>,
    /// From when that counts: the partner's `click` (default; where it has none, the conversion) or the
    /// `conversion`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub accepts_from: AcceptsFrom,
    /// What becomes of what is later: `expire` (default), or `try_once`, which sends it one more time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub late: IfLate,
    /// Macros that its receiver needs, such as `click_id`; a template without one is warned of.
    #[serde(default, skip_serializing_if = "is_default")]
    pub needs: Vec<String>,
}

/// How a rule's requests prove who sends them; one of the three. A secret is always the name of a partner's setting.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RuleAuth")]
pub struct Auth {
    /// `authorization: Basic`: a user and a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuth>,
    /// `authorization: Bearer`: the partner's setting that is the token, such as `cfg.token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<String>,
    /// `authorization: Bearer` with a token that is fetched by OAuth2's client credentials, kept and renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,
}

/// A user and password of basic authentication (RFC 7617).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// The user: a text, or the partner's setting, such as `cfg.user`.
    pub user: String,
    /// The partner's setting that is the password, such as `cfg.password`.
    pub password: String,
}

/// OAuth2's client credentials. Each but the secret is a text, or the name of a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OAuth2 {
    /// Where a token is asked for.
    pub token_url: String,
    /// The client's id.
    pub client_id: String,
    /// The partner's setting that is the client's secret, such as `cfg.secret`.
    pub client_secret: String,
    /// The scopes to ask for, with a space between two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Whom the token is for, where the server asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// How the client proves itself: `basic` (default), or `body` with `client_id` and `client_secret` in the body.
    #[serde(default, skip_serializing_if = "is_default")]
    pub style: TokenStyle,
}

/// How an OAuth2 client proves itself to the token's server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenStyle {
    /// By basic authentication.
    #[default]
    Basic,
    /// In the body.
    Body,
}

/// How one signature of a rule's request is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The request has it as `{signature.NAME}`; absent: `signature`, which is `{signature}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `hmac-sha256` (default), `hmac-sha1`, `hmac-sha512`, `hmac-md5`, `sha256`, `sha1`, `sha512` or `md5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// What is signed: a text with macros, whose values are put in as they are; `{body}` is the body as sent. Or, with
    /// `join`, a list of texts, of which those with an empty macro are left out.
    pub message: SignedMessage,
    /// What stands between the parts of a message that is a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<String>,
    /// For `hmac-…`: the partner's setting that is the key, such as `cfg.secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `hex` (default), `hex-upper`, `base64` or `base64url`, which has no padding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
}

/// What a signature covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SignedMessage {
    /// One text.
    Text(String),
    /// Parts that are joined.
    Parts(Vec<String>),
}
