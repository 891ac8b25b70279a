//! Compares what came with a document's JSON Schema, and goes on after each problem.
//!
//! The schema is the one that the API document shows, made from the document's struct: there is no second
//! list of fields. What is wrong is reported and replaced by a stand-in of the right shape, so that the
//! document can be read and its content judged in the same round; `Problems::broken` keeps stand-ins from
//! being complained about.
//!
//! Not a JSON Schema validator: it reads what schemars writes for this module's structs (objects, maps,
//! arrays, texts, booleans, enumerations, optional ones) and a test holds every document against it.

use std::sync::OnceLock;

use roundtrip_domain::problem::{Code, Problem};
use serde_json::{Map, Value};

use super::ResourceKind;
use super::document::{Any, schema_of};
use super::likely::hint;
use super::problems::Problems;

/// The schemas, as one value with all definitions.
struct Schemas {
    definitions: Value,
    roots: Vec<(ResourceKind, Value)>,
}

fn schemas() -> &'static Schemas {
    static SCHEMAS: OnceLock<Schemas> = OnceLock::new();
    SCHEMAS.get_or_init(|| {
        let mut generator = schemars::SchemaGenerator::default();
        let roots = ResourceKind::ALL
            .into_iter()
            .map(|kind| (kind, schema_of(kind, &mut generator).to_value()))
            .collect();
        Schemas { definitions: Value::Object(generator.take_definitions(true)), roots }
    })
}

/// Reads a document of that kind, whatever is wrong with it. `None` only if it is no object at all, or (which
/// a test excludes) if a stand-in does not fit.
pub(super) fn read(kind: ResourceKind, value: &Value, path: &str, problems: &mut Problems) -> Option<Any> {
    let schemas = schemas();
    if !value.is_object() {
        problems.broken(Problem::new(
            Code::ConfigInvalid,
            path,
            format!("a {} is a table, not {}", kind.name(), word(value)),
        ));
        return None;
    }
    let root = &schemas.roots.iter().find(|(k, _)| *k == kind)?.1;
    let repaired = Reader { definitions: &schemas.definitions, problems }.value(root, value, path);
    match Any::from_value(kind, repaired) {
        Ok(document) => Some(document),
        Err(error) => {
            problems.broken(Problem::new(Code::ConfigInvalid, path, error.to_string()));
            None
        }
    }
}

struct Reader<'a> {
    definitions: &'a Value,
    problems: &'a mut Problems,
}

/// What a schema asks for.
enum Wanted<'a> {
    Table { properties: &'a Map<String, Value>, required: Vec<&'a str> },
    Map(&'a Value),
    List(&'a Value),
    OneOf(Vec<&'a str>),
    Text,
    Truth,
    Any,
}

impl Reader<'_> {
    fn value(&mut self, schema: &Value, value: &Value, path: &str) -> Value {
        let definitions = self.definitions;
        let wanted = wanted(definitions, schema);
        match (&wanted, value) {
            (Wanted::Table { properties, required }, Value::Object(given)) => {
                Value::Object(self.table(properties, required, given, path))
            }
            (Wanted::Map(inner), Value::Object(given)) => Value::Object(
                given
                    .iter()
                    .map(|(name, item)| (name.clone(), self.value(inner, item, &join(path, name))))
                    .collect(),
            ),
            (Wanted::List(inner), Value::Array(given)) => Value::Array(
                given
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.value(inner, item, &format!("{path}[{index}]")))
                    .collect(),
            ),
            (Wanted::OneOf(words), Value::String(text)) if words.contains(&text.as_str()) => value.clone(),
            (Wanted::Text, Value::String(_)) | (Wanted::Truth, Value::Bool(_)) | (Wanted::Any, _) => {
                value.clone()
            }
            _ => {
                self.problems.broken(Problem::new(Code::ConfigInvalid, path, wrong(&wanted, value)));
                stand_in(definitions, schema)
            }
        }
    }

    fn table(
        &mut self,
        properties: &Map<String, Value>,
        required: &[&str],
        given: &Map<String, Value>,
        path: &str,
    ) -> Map<String, Value> {
        let mut table = Map::new();
        for (name, item) in given {
            match properties.get(name) {
                // An explicit null says the same as leaving it away.
                Some(_) if item.is_null() => {}
                Some(schema) => {
                    let item = self.value(schema, item, &join(path, name));
                    table.insert(name.clone(), item);
                }
                None if self.problems.is_full() => break,
                None => {
                    let likely = hint(name, properties.keys().map(String::as_str));
                    self.problems.add(Problem::new(
                        Code::ConfigUnknownKey,
                        join(path, name),
                        format!("`{name}` is no setting here{likely}"),
                    ));
                }
            }
        }
        for name in required {
            if !table.contains_key(*name) {
                let field = join(path, name);
                self.problems.broken(Problem::new(
                    Code::ConfigMissing,
                    field,
                    format!("`{name}` is missing"),
                ));
                if let Some(schema) = properties.get(*name) {
                    table.insert((*name).to_owned(), stand_in(self.definitions, schema));
                }
            }
        }
        table
    }
}

/// Joins two parts of a dotted path.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn wanted<'a>(definitions: &'a Value, schema: &'a Value) -> Wanted<'a> {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.rsplit('/').next()) {
        return definitions.get(name).map_or(Wanted::Any, |target| wanted(definitions, target));
    }
    if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
        let not_null = |s: &&Value| s.get("type").and_then(Value::as_str) != Some("null");
        let mut shapes = choices.iter().filter(not_null);
        return match (shapes.next(), shapes.next()) {
            (Some(only), None) => wanted(definitions, only),
            // Several shapes are told apart where the value is judged.
            _ => Wanted::Any,
        };
    }
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let words = choices.iter().filter_map(|c| c.get("const").and_then(Value::as_str)).collect();
        return Wanted::OneOf(words);
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return Wanted::OneOf(words.iter().filter_map(Value::as_str).collect());
    }
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|k| *k != "null").unwrap_or_default()
        }
        _ => "",
    };
    match kind {
        "string" => Wanted::Text,
        "boolean" => Wanted::Truth,
        "array" => schema.get("items").map_or(Wanted::Any, Wanted::List),
        "object" => match (schema.get("properties"), schema.get("additionalProperties")) {
            (Some(Value::Object(properties)), _) => {
                let required = schema.get("required").and_then(Value::as_array);
                Wanted::Table {
                    properties,
                    required: required.into_iter().flatten().filter_map(Value::as_str).collect(),
                }
            }
            (_, Some(inner)) => Wanted::Map(inner),
            _ => Wanted::Any,
        },
        _ => Wanted::Any,
    }
}

/// The simplest value of the wanted shape.
fn stand_in(definitions: &Value, schema: &Value) -> Value {
    match wanted(definitions, schema) {
        Wanted::Table { properties, required } => Value::Object(
            required
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), stand_in(definitions, properties.get(*name)?))))
                .collect(),
        ),
        Wanted::Map(_) => Value::Object(Map::new()),
        Wanted::List(_) => Value::Array(Vec::new()),
        Wanted::OneOf(words) => words.first().map_or(Value::Null, |word| (*word).into()),
        Wanted::Text => "".into(),
        Wanted::Truth => false.into(),
        Wanted::Any => Value::Null,
    }
}

fn wrong(wanted: &Wanted<'_>, value: &Value) -> String {
    let it_is = word(value);
    match wanted {
        Wanted::Table { .. } | Wanted::Map(_) => format!("it is a table, not {it_is}"),
        Wanted::List(_) => format!("it is a list, not {it_is}"),
        Wanted::Text => format!("it is a text, not {it_is}"),
        Wanted::Truth => format!("it is true or false, not {it_is}"),
        Wanted::Any => format!("it cannot be {it_is}"),
        Wanted::OneOf(words) => {
            let list = words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
            let likely = match value {
                Value::String(text) => hint(text, words.iter().copied()),
                _ => String::new(),
            };
            format!("it is one of {list}{likely}")
        }
    }
}

fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}
