//! One entry: what its file may say, and the template that it makes.

use std::collections::BTreeMap;

use roundtrip_domain::template::{self, Dialect, Parts, Template};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The status of every entry: nobody has tried it with a live account of the vendor.
pub const STATUS: &str = "community, unverified";

/// The files are read strictly, so that a misspelt key is found; who reads the API may meet new fields.
fn open(schema: &mut schemars::Schema) {
    schema.remove("additionalProperties");
}

/// What kind of system it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "LibraryKind")]
pub enum Kind {
    /// A tracker or affiliate platform that a partner runs.
    Tracker,
    /// An ad network, ad platform or affiliate network.
    Network,
    /// A measurement system that the partner was set up for before.
    Measurement,
}

impl Kind {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tracker => "tracker",
            Self::Network => "network",
            Self::Measurement => "measurement",
        }
    }
}

/// A kind of conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "LibraryOn")]
pub enum On {
    /// The first install or open of an installation.
    Install,
    /// Signup, onboarding.
    Signup,
    /// Purchase, revenue.
    Purchase,
    /// Any other event.
    Event,
}

impl On {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Install, Self::Signup, Self::Purchase, Self::Event];

    /// Its word in rules.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Signup => "signup",
            Self::Purchase => "purchase",
            Self::Event => "event",
        }
    }
}

/// What an app runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "LibraryPlatform")]
pub enum Platform {
    /// Android.
    Android,
    /// iOS and iPadOS.
    Ios,
    /// A web site.
    Web,
}

impl Platform {
    /// Its word in apps.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Android => "android",
            Self::Ios => "ios",
            Self::Web => "web",
        }
    }
}

/// A body; one of the three.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "LibraryBody")]
pub enum Body {
    /// `application/x-www-form-urlencoded`.
    Form(String),
    /// `application/json`.
    Json(String),
    /// `text/plain`.
    Text(String),
}

impl Body {
    /// Its field in a rule's `body`, and the template.
    pub fn field(&self) -> (&'static str, &str) {
        match self {
            Self::Form(text) => ("form", text),
            Self::Json(text) => ("json", text),
            Self::Text(text) => ("text", text),
        }
    }
}

/// How the vendor's click id reaches our link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LibraryClick", transform = open)]
pub struct Click {
    /// The parameter of our link that carries it; `click_id` unless the vendor adds one of its own name.
    #[serde(default = "click_id")]
    pub parameter: String,
    /// What is appended to our link in the vendor's panel, in the vendor's macros. Absent: the vendor adds its
    /// parameter by itself, or its macro is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    /// What else there is to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

fn click_id() -> String {
    "click_id".to_owned()
}

/// One of the partner's settings that a template uses as `{cfg.NAME}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LibrarySetting", transform = open)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// What it is and where to find it.
    pub about: String,
    /// A value it could have.
    pub example: String,
    /// Whether the template works without it.
    #[serde(default)]
    pub optional: bool,
}

/// How the vendor says that it took the request. A status of 2xx is always needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LibrarySuccess", transform = open)]
pub struct Success {
    /// Texts of which one must stand in the answer; empty: the status alone counts.
    #[serde(default)]
    pub body_any: Vec<String>,
    /// What else there is to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

impl Success {
    /// Whether an answer is a success: its status, and the beginning of its body as far as it was kept.
    pub fn holds(&self, status: u16, body: &[u8]) -> bool {
        let stands = |text: &String| {
            let text = text.as_bytes();
            text.is_empty() || body.windows(text.len()).any(|part| part == text)
        };
        (200..300).contains(&status) && (self.body_any.is_empty() || self.body_any.iter().any(stands))
    }
}

/// The vendor's own way to try a request without counting it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LibraryCheck", transform = open)]
pub struct Check {
    /// The URL template.
    pub url: String,
    /// The JSON body, where it differs from the entry's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_json: Option<String>,
    /// What it does.
    pub about: String,
}

/// One entry of the library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LibraryEntry", transform = open)]
pub struct Entry {
    /// Its key.
    pub slug: String,
    /// For people.
    pub name: String,
    /// What kind of system it is.
    pub kind: Kind,
    /// What it is for, in a sentence.
    pub about: String,
    /// How the template's macros are written: `canonical`.
    #[serde(default = "canonical")]
    pub dialect: String,
    /// The dialect in which the vendor writes its own templates, for what is pasted from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner_dialect: Option<String>,
    /// The kinds of conversions that it can be told of, the usual one first. Empty: only its links are known.
    #[serde(default)]
    pub on: Vec<On>,
    /// The platforms that it is for; empty: all.
    #[serde(default)]
    pub platforms: Vec<Platform>,
    /// GET, POST or PUT.
    #[serde(default = "get")]
    pub method: String,
    /// The URL template. Absent: the vendor's page does not give one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Headers: names and value templates.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// Macros without which the vendor cannot use the request.
    #[serde(default)]
    pub needs: Vec<String>,
    /// The partner's settings that the template uses.
    #[serde(default)]
    pub settings: Vec<Setting>,
    /// How the vendor's click id reaches our link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub click: Option<Click>,
    /// How the vendor says that it took the request.
    #[serde(default)]
    pub success: Success,
    /// The vendor's own way to try a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// The pages that it was taken from.
    pub source: Vec<String>,
    /// The month in which they were read.
    pub known: String,
    /// What those pages do not say, or what has to be looked at.
    #[serde(default)]
    pub unconfirmed: Vec<String>,
    /// How sure it is.
    #[serde(default = "status")]
    pub status: String,
}

fn canonical() -> String {
    Dialect::Canonical.as_str().to_owned()
}

fn get() -> String {
    "GET".to_owned()
}

fn status() -> String {
    STATUS.to_owned()
}

impl Entry {
    /// The template's texts; `None` where the vendor's page gives no template.
    pub fn parts(&self) -> Option<Parts> {
        Some(self.parts_with(self.url.clone()?, self.body.as_ref()))
    }

    /// The same for the vendor's own way to try a request; `None` where there is none.
    pub fn check_parts(&self) -> Option<Parts> {
        let check = self.check.as_ref()?;
        let own = check.body_json.clone().map(Body::Json);
        Some(self.parts_with(check.url.clone(), own.as_ref().or(self.body.as_ref())))
    }

    fn parts_with(&self, url: String, body: Option<&Body>) -> Parts {
        let mut parts = Parts::get(url);
        parts.dialect = Dialect::from_name(&self.dialect).unwrap_or_default();
        parts.method.clone_from(&self.method);
        parts.headers = self.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        parts.body = match body {
            None => template::Body::None,
            Some(Body::Form(text)) => template::Body::Form(text.clone()),
            Some(Body::Json(text)) => template::Body::Json(text.clone()),
            Some(Body::Text(text)) => template::Body::Text(text.clone()),
        };
        parts
    }

    /// Whether its template tells an amount, which is empty unless the rule shares revenue.
    pub fn tells_money(&self) -> bool {
        let Some(parts) = self.parts() else { return false };
        let (template, _) = Template::parse(parts);
        template.macros().any(|used| template::vocabulary::find(&used.key).is_some_and(|known| known.money))
    }

    /// The settings that must be there and are not, by a test of what is.
    pub fn missing(&self, has: impl Fn(&str) -> bool) -> Vec<&Setting> {
        self.settings.iter().filter(|setting| !setting.optional && !has(&setting.name)).collect()
    }

    /// Whether a text is found in its slug, name or sentence, case aside.
    pub fn matches(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        [&self.slug, &self.name, &self.about].into_iter().any(|field| field.to_lowercase().contains(&text))
            || self.kind.name() == text
    }
}
