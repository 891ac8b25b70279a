//! Reads a JSON body strictly: UTF-8, one document, no name twice in an object. A parser that lets the last of
//! two equal names win would drop a partner from a document without a word.

use std::cell::RefCell;
use std::fmt;

use roundtrip_domain::problem::{Code, Problem};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads a whole body. The depth is bounded by the parser (128).
pub(super) fn read(bytes: &[u8]) -> Result<Value, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Problem::new(Code::Utf8Invalid, "", format!("the body is no UTF-8 at byte {}", error.valid_up_to()))
    })?;
    let twice = RefCell::new(None);
    let mut parser = serde_json::Deserializer::from_str(text);
    let read = Strict(&twice).deserialize(&mut parser).and_then(|value| parser.end().map(|()| value));
    match (read, twice.into_inner()) {
        (Ok(value), _) => Ok(value),
        (Err(_), Some(name)) => {
            let message = format!("`{name}` stands twice in its object");
            Err(Problem::new(Code::FieldDuplicate, name, message))
        }
        (Err(error), None) => {
            let message = format!("the body is not JSON at line {}, column {}", error.line(), error.column());
            Err(Problem::new(Code::JsonInvalid, "", message))
        }
    }
}

/// Reads a value and remembers the name that came twice.
#[derive(Clone, Copy)]
struct Strict<'a>(&'a RefCell<Option<String>>);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if map.contains_key(&name) {
                *self.0.borrow_mut() = Some(name);
                return Err(A::Error::custom("a name stands twice"));
            }
            let value = fields.next_value_seed(self)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_json_and_nothing_else() {
        let text = r#"{"a":[1,-2,1.5,true,null,"ä\u00e4"],"b":{"a":{}}}"#;
        assert_eq!(read(text.as_bytes()), Ok(serde_json::from_str(text).expect("JSON")));
        let code = |bytes: &[u8]| read(bytes).map_err(|p| (p.code, p.field));
        assert_eq!(code(br#"{"a":{"x":1,"x":2}}"#), Err((Code::FieldDuplicate, "x".into())));
        assert_eq!(code(b"{\"a\":\"\xff\"}"), Err((Code::Utf8Invalid, String::new())));
        for bad in ["", "{", "{}{}", "nope", "{\"a\":1,}", &"[".repeat(1_000)] {
            assert_eq!(code(bad.as_bytes()), Err((Code::JsonInvalid, String::new())), "{bad:.20}");
        }
    }
}
