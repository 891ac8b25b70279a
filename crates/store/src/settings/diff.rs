//! What a change changes, field by field, with secrets masked.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::document::Any;
use super::stored::{Stored, masked};
use super::{MASK, ResourceKind};

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is new.
    Create,
    /// Some of its fields change.
    Update,
    /// It goes.
    Delete,
}

/// One field of a change. `null` on a side means that the field is absent there, and so has its default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ChangedField")]
pub struct Field {
    /// The field's path inside the resource, dotted: `destinations.web`.
    pub name: String,
    /// Its value before.
    pub from: Value,
    /// Its value after.
    pub to: Value,
}

/// What happens to one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The kind: `app`, `campaign`, `partner`, `link`, `partner_group`, `rule`, `webhook` or `key`.
    pub kind: String,
    /// Its key in file and API.
    pub slug: String,
    /// What happens to it.
    pub action: Action,
    /// The fields that differ, in the order of their names.
    pub fields: Vec<Field>,
}

/// The change from one stored form to another; `None` when there is none. Secrets that differ show as two
/// masks.
pub fn between(
    kind: ResourceKind,
    slug: &str,
    before: Option<&Stored>,
    after: Option<&Stored>,
) -> Option<Change> {
    let action = match (before, after) {
        (None, Some(_)) => Action::Create,
        (Some(_), Some(_)) => Action::Update,
        (Some(_), None) => Action::Delete,
        (None, None) => return None,
    };
    let (old, new) = (before.map(Leaves::of).unwrap_or_default(), after.map(Leaves::of).unwrap_or_default());
    let mut names: Vec<&String> = old.plain.keys().chain(new.plain.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let fields: Vec<Field> = names
        .into_iter()
        .filter(|name| old.plain.get(*name) != new.plain.get(*name))
        .map(|name| Field {
            name: name.clone(),
            from: old.shown.get(name).cloned().unwrap_or_default(),
            to: new.shown.get(name).cloned().unwrap_or_default(),
        })
        .collect();
    if action == Action::Update && fields.is_empty() {
        return None;
    }
    Some(Change { kind: kind.name().to_owned(), slug: slug.to_owned(), action, fields })
}

/// The leaves of a document by path: as they are for comparing, masked for showing.
#[derive(Default)]
struct Leaves {
    plain: BTreeMap<String, Value>,
    shown: BTreeMap<String, Value>,
}

impl Leaves {
    fn of(stored: &Stored) -> Self {
        let mut document = stored.document.clone();
        match &mut document {
            Any::Key(key) => key.secret = None,
            Any::Webhook(webhook) => (webhook.secret, webhook.ed25519_key) = (None, None),
            _ => {}
        }
        let mut this = Self::default();
        flatten("", &document.to_value(), &mut this.plain);
        flatten("", &masked(&document), &mut this.shown);
        if let Some(hash) = stored.hash {
            this.plain.insert("secret".into(), hex::encode(hash).into());
            this.shown.insert("secret".into(), MASK.into());
        }
        if let Some(signing) = &stored.signing {
            this.plain.insert("secret".into(), super::webhook::signing_write(signing));
            this.shown.insert("secret".into(), MASK.into());
        }
        this
    }
}

fn flatten(path: &str, value: &Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                flatten(&super::shape::join(path, name), value, leaves);
            }
        }
        leaf => {
            leaves.insert(path.to_owned(), leaf.clone());
        }
    }
}
