//! The shape of a sheet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one partner needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PartnerSheet")]
pub struct Sheet {
    /// The settings version that it was made from.
    pub version: u64,
    /// How the world reaches the public listener.
    pub public_url: String,
    /// The workspace's slug.
    pub workspace: String,
    /// The partner.
    pub partner: Owner,
    /// The names of the partner's settings; never their values.
    pub settings: Vec<String>,
    /// The system that the partner runs, where the caller named one of the library.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
    /// Its links, in the order of their ids.
    pub links: Vec<LinkSheet>,
    /// What it is told, in the order of apps and rules.
    pub postbacks: Vec<PostbackSheet>,
    /// What holds for every postback, in sentences.
    pub notes: Vec<String>,
}

/// Something with a slug and a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SheetNamed")]
pub struct Owner {
    /// Its key in file and API.
    pub slug: String,
    /// For people.
    pub name: String,
    /// Its public id, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_id: Option<String>,
    /// `android`, `ios` or `web`, of an app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
}

/// The system that a partner runs, as far as the library knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SheetSystem")]
pub struct System {
    /// Its slug in the library.
    pub slug: String,
    /// For people.
    pub name: String,
    /// How sure it is.
    pub status: String,
    /// What there is to know about its click id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

/// A tracking link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SheetLink")]
pub struct LinkSheet {
    /// Its public id.
    pub id: String,
    /// The campaign.
    pub campaign: Owner,
    /// The app or site that it promotes.
    pub app: Owner,
    /// How its parameters are named.
    pub dialect: String,
    /// The parameter that carries the partner's click id.
    pub click_parameter: String,
    /// The link, ready to be pasted; what stands in the partner's macros is to be filled in by its system.
    pub click_url: String,
    /// The same click told by a server.
    pub server_url: String,
    /// The impression pixel.
    pub impression_url: String,
    /// How long a click may earn something, such as `7 d`.
    pub click_window: String,
    /// Prefixes of destinations that a click may ask for.
    pub allow_destinations: Vec<String>,
    /// Other addresses of the link, such as the one that it has in another system.
    #[serde(default)]
    pub also: Vec<String>,
    /// The same for impressions.
    #[serde(default)]
    pub also_impressions: Vec<String>,
}

/// A postback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SheetPostback")]
pub struct PostbackSheet {
    /// The rule's slug.
    pub rule: String,
    /// Whose conversions.
    pub app: Owner,
    /// `install`, `signup`, `purchase`, `event`, `status_change`, `rejected`.
    pub on: String,
    /// For `event`: the names; empty: any.
    pub events: Vec<String>,
    /// Events by the name that the partner knows them by. When not empty, others are not told.
    pub rename: Vec<Field>,
    /// When it fires, in a sentence.
    pub fires: String,
    /// What else must be true, a sentence each; all of them.
    #[serde(default)]
    pub conditions: Vec<String>,
    /// How long it waits before it is sent, in a sentence; absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// What is told of amounts, in a sentence.
    pub revenue: String,
    /// Whether test events are told too.
    pub sandbox: bool,
    /// Whether conversions that wait for approval are told too.
    pub pending: bool,
    /// How long after the install or click it is told, such as `30 d`.
    pub window: String,
    /// What this version has no words for, as it is written.
    pub also: Vec<Field>,
    /// How macros are written.
    pub dialect: String,
    /// The method.
    pub method: String,
    /// The URL template, settings masked; empty when each click brings its own.
    pub url: String,
    /// The parameters of a click's link that carry the URL of its own, when each click brings one; the first that is
    /// there is taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callbacks: Vec<String>,
    /// Header templates, settings masked.
    pub headers: Vec<Field>,
    /// The body template, settings masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The macros that it uses, in order, each once.
    pub macros: Vec<Macro>,
    /// The signatures that it carries, and how each is computed, in sentences.
    #[serde(default)]
    pub signatures: Vec<Field>,
    /// The request with sample values. Settings stand as `your-NAME`. Absent when each click brings its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<Example>,
}

/// A name and a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SheetField")]
pub struct Field {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// A macro of a postback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SheetMacro")]
pub struct Macro {
    /// As the template writes it.
    pub name: String,
    /// What it stands for.
    pub meaning: String,
    /// A value it could have.
    pub example: String,
    /// Why it is empty here, if it always is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty: Option<String>,
}

/// A request with sample values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SheetExample")]
pub struct Example {
    /// Method and URL.
    pub line: String,
    /// Headers, in order.
    pub headers: Vec<Field>,
    /// The body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}
