//! Reading JSON strictly: numbers as the text that was sent, and no name twice.
//!
//! Money must not pass through a float, so values stay raw text until someone knows what they are. `serde_json`
//! judges the syntax; what it would let pass (a repeated name, of which the last would count in silence) is
//! found here.

use std::borrow::Cow;
use std::fmt;

use roundtrip_domain::problem::{Code, Problem};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// How deep the caller's own objects may nest.
const DEPTH_MAX: u32 = 32;

/// The names and raw values of one object, in the order in which they came.
pub(super) struct Object<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// Reads an object. `path` is where it stands; empty for the whole.
    pub(super) fn read(raw: &'a RawValue, path: &str) -> Result<Self, Problem> {
        if kind_of(raw) != Kind::Object {
            return Err(Problem::new(Code::FieldType, path, format!("{} is no object", a(kind_of(raw)))));
        }
        let object: Self = serde_json::from_str(raw.get()).map_err(|error| syntax(path, &error))?;
        let mut names: Vec<&str> = object.0.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                let name = pair[0].to_owned();
                Err(Problem::new(Code::FieldDuplicate, name, "the name stands twice in its object")
                    .inside(path))
            }
            None => Ok(object),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The raw elements of an array, at most `max` and one.
struct Elements<'a> {
    list: Vec<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Elements<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Elements<'de>, A::Error> {
                let mut list = Vec::new();
                while let Some(element) = seq.next_element()? {
                    list.push(element);
                }
                Ok(Elements { list })
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// The raw elements of an array.
pub(super) fn elements<'a>(raw: &'a RawValue, path: &str) -> Result<Vec<&'a RawValue>, Problem> {
    if kind_of(raw) != Kind::Array {
        return Err(Problem::new(Code::FieldType, path, format!("{} is no array", a(kind_of(raw)))));
    }
    let elements: Elements<'a> = serde_json::from_str(raw.get()).map_err(|error| syntax(path, &error))?;
    Ok(elements.list)
}

/// Reads a whole body: UTF-8, and one JSON document.
pub(super) fn document(body: &[u8]) -> Result<&RawValue, Problem> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let message = format!("the body is no UTF-8 from byte {}", error.valid_up_to());
        Problem::new(Code::Utf8Invalid, "", message)
    })?;
    serde_json::from_str(text).map_err(|error| syntax("", &error))
}

fn syntax(path: &str, error: &serde_json::Error) -> Problem {
    let message = format!("the JSON cannot be read at line {}, column {}", error.line(), error.column());
    Problem::new(Code::JsonInvalid, path, message)
}

/// What a raw value is, told by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    Text,
    Array,
    Object,
}

pub(super) fn kind_of(raw: &RawValue) -> Kind {
    match raw.get().as_bytes().first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::Text,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'n') | None => Kind::Null,
        Some(_) => Kind::Number,
    }
}

/// The kind with its article, for messages.
pub(super) fn a(kind: Kind) -> &'static str {
    match kind {
        Kind::Null => "null",
        Kind::Bool => "a boolean",
        Kind::Number => "a number",
        Kind::Text => "a text",
        Kind::Array => "an array",
        Kind::Object => "an object",
    }
}

/// The text of a text, escapes read. Half a surrogate pair is no text.
pub(super) fn text<'a>(raw: &'a RawValue, path: &str) -> Result<Cow<'a, str>, Problem> {
    serde_json::from_str::<Name<'a>>(raw.get())
        .map(|name| name.0)
        .map_err(|_| Problem::new(Code::Utf8Invalid, path, "the text holds an escape that is no character"))
}

/// The text of a text, or the digits of a number as they were sent. `None` for null.
pub(super) fn scalar<'a>(raw: &'a RawValue, path: &str) -> Result<Option<Cow<'a, str>>, Problem> {
    match kind_of(raw) {
        Kind::Null => Ok(None),
        Kind::Text => text(raw, path).map(Some),
        Kind::Number => Ok(Some(Cow::Borrowed(raw.get()))),
        kind => Err(Problem::new(Code::FieldType, path, format!("{} is neither text nor number", a(kind)))),
    }
}

/// Feeds a value into a hash in a form that does not depend on white space or on the order of names, and finds repeated
/// names on the way. Numbers count as they were written.
pub(super) fn hash(raw: &RawValue, path: &str, into: &mut Sha256) -> Result<(), Problem> {
    hash_within(raw, path, into, DEPTH_MAX)
}

fn hash_within(raw: &RawValue, path: &str, into: &mut Sha256, depth: u32) -> Result<(), Problem> {
    let kind = kind_of(raw);
    if depth == 0 {
        let message = format!("objects and arrays nest deeper than {DEPTH_MAX}");
        return Err(Problem::new(Code::ValueTooLong, path, message));
    }
    into.update([kind as u8]);
    match kind {
        Kind::Null | Kind::Bool | Kind::Number => frame(into, raw.get().as_bytes()),
        Kind::Text => frame(into, text(raw, path)?.as_bytes()),
        Kind::Array => {
            let elements = elements(raw, path)?;
            into.update((elements.len() as u64).to_be_bytes());
            for element in elements {
                hash_within(element, path, into, depth - 1)?;
            }
        }
        Kind::Object => {
            let Object(mut fields) = Object::read(raw, path)?;
            fields.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            into.update((fields.len() as u64).to_be_bytes());
            for (name, value) in fields {
                frame(into, name.as_bytes());
                hash_within(value, path, into, depth - 1)?;
            }
        }
    }
    Ok(())
}

/// Feeds bytes with their length before them, so that no two lists of texts look the same.
pub(super) fn frame(into: &mut Sha256, bytes: &[u8]) {
    into.update((bytes.len() as u64).to_be_bytes());
    into.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashed(body: &str) -> Result<[u8; 32], Code> {
        let mut hasher = Sha256::new();
        hash(document(body.as_bytes()).map_err(|p| p.code)?, "properties", &mut hasher)
            .map_err(|p| p.code)?;
        Ok(hasher.finalize().into())
    }

    #[test]
    fn a_hash_does_not_see_order_or_white_space_and_sees_all_else() {
        let one = hashed(r#"{"a":[1,{"b":null}],"c":"x\u0041"}"#).unwrap();
        assert_eq!(hashed(" { \"c\" : \"xA\", \"a\" : [ 1 , { \"b\" : null } ] } ").unwrap(), one);
        for other in [
            r#"{"a":[1.0,{"b":null}],"c":"xA"}"#,
            r#"{"a":[{"b":null},1],"c":"xA"}"#,
            r#"{"a":["1",{"b":null}],"c":"xA"}"#,
            r#"{"a":[1,{"b":null}],"c":"xA","d":null}"#,
            r#"{"a":[1,{"b":false}],"c":"xA"}"#,
        ] {
            assert_ne!(hashed(other).unwrap(), one, "{other}");
        }
    }

    #[test]
    fn what_is_not_strict_json_is_refused_by_name() {
        for (body, code) in [
            (r#"{"a":1,"a":2}"#, Code::FieldDuplicate),
            (r#"{"x":[{"a":1,"\u0061":2}]}"#, Code::FieldDuplicate),
            (r#"{"a":1"#, Code::JsonInvalid),
            (r#"{"a":1} x"#, Code::JsonInvalid),
            (r#"{"a":01}"#, Code::JsonInvalid),
            (r#"{'a':1}"#, Code::JsonInvalid),
            (r#"{"a":NaN}"#, Code::JsonInvalid),
            (r#"{"a":"\ud800"}"#, Code::Utf8Invalid),
            ("", Code::JsonInvalid),
        ] {
            assert_eq!(hashed(body), Err(code), "{body}");
        }
        assert_eq!(document(b"{\"a\":\"\xff\"}").unwrap_err().code, Code::Utf8Invalid);
        let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
        assert_eq!(hashed(&deep), Err(Code::ValueTooLong));
        let absurd = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
        assert!(hashed(&absurd).is_err(), "and the stack stays whole");
        let problem = Object::read(document(br#"{"b":1,"b":2}"#).unwrap(), "device").err().unwrap();
        assert_eq!(problem.field, "device.b");
    }

    #[test]
    fn numbers_stay_text() {
        let body = document(br#"{"revenue":12.10}"#).unwrap();
        let Object(fields) = Object::read(body, "").unwrap();
        assert_eq!(scalar(fields[0].1, "revenue").unwrap().as_deref(), Some("12.10"));
    }
}
