//! Reads `roundtrip.toml` into a JSON document and remembers on which line everything stands.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::print::Trouble;

/// Tables that another command reads.
const OTHERS: &[&str] = &["server"];

/// A file, read.
#[derive(Debug)]
pub(super) struct Source {
    /// The resource part as JSON.
    pub(super) document: Value,
    /// What is no TOML.
    pub(super) troubles: Vec<Trouble>,
    /// Whether all of it was read, so that what is not there was not written.
    pub(super) is_whole: bool,
    lines: BTreeMap<String, usize>,
}

impl Source {
    /// Reads a text. What is no TOML is reported, all of it.
    pub(super) fn parse(text: &str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let starts: Vec<usize> = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1))
            .collect();
        let mut reader = Reader { starts, lines: BTreeMap::new() };
        let troubles: Vec<Trouble> = errors
            .iter()
            .map(|error| Trouble {
                code: "toml_invalid".into(),
                field: String::new(),
                message: format!("this is not TOML: {}", error.message().trim()),
                fix: "put this line into TOML's form: NAME = \"text\", NAME = 3, [table.NAME]; docs/configuration.md shows every table".into(),
                line: error.span().map(|span| reader.line(span.start)),
            })
            .collect();
        let mut document = reader.table(table.get_ref(), "");
        for other in OTHERS {
            document.shift_remove(*other);
        }
        Self {
            is_whole: troubles.is_empty(),
            document: Value::Object(document),
            troubles,
            lines: reader.lines,
        }
    }

    /// The line of a dotted path, or of the nearest thing around it.
    pub(super) fn line(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return Some(*line);
            }
            // Names may hold dots themselves, so each shorter path is tried, not each table.
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

struct Reader {
    /// Where each line begins, in bytes.
    starts: Vec<usize>,
    lines: BTreeMap<String, usize>,
}

impl Reader {
    fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    fn table(&mut self, table: &DeTable<'_>, path: &str) -> Map<String, Value> {
        let mut map = Map::new();
        for (name, value) in table {
            let inner = if path.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{path}.{}", name.get_ref())
            };
            self.lines.insert(inner.clone(), self.line(name.span().start));
            let value = self.value(value, &inner);
            map.insert(name.get_ref().to_string(), value);
        }
        map
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, path: &str) -> Value {
        match value.get_ref() {
            DeValue::String(text) => text.to_string().into(),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, Value::from)
            }
            DeValue::Float(number) => {
                number.as_str().parse().ok().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
            }
            DeValue::Boolean(is) => (*is).into(),
            DeValue::Datetime(time) => time.to_string().into(),
            DeValue::Array(items) => {
                let mut list = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let inner = format!("{path}[{index}]");
                    self.lines.insert(inner.clone(), self.line(item.span().start));
                    list.push(self.value(item, &inner));
                }
                Value::Array(list)
            }
            DeValue::Table(table) => Value::Object(self.table(table, path)),
        }
    }
}
