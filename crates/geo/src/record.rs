//! What of a database's record is looked at, whatever its makers call it.
//!
//! | field | MaxMind, DB-IP | flat databases |
//! | --- | --- | --- |
//! | country | `country.iso_code` | `country_code`, `country` |
//! | region | `subdivisions[0].iso_code`, else its English name | `state1`, `region_code`, `region` |
//! | city | `city.names.en` | `city` |
//! | network | `autonomous_system_number`, `isp`, `autonomous_system_organization`, also inside `traits` | `as_number`, `asn`; `as_name`, `as_organization` |
//!
//! Everything else is passed over. A field of another type than expected is as good as absent: it must not cost the
//! others.

use std::fmt;
use std::marker::PhantomData;

use roundtrip_domain::location::{Country, Location};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What one database knows of one address. Texts are borrowed from the database.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) country: Option<Country>,
    pub(crate) region: Option<&'a str>,
    pub(crate) city: Option<&'a str>,
    pub(crate) asn: Option<u32>,
    pub(crate) network: Option<&'a str>,
}

impl Record<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what is not known yet. Of another country than the known one the place is not taken.
    pub(crate) fn add_to(&self, found: &mut Location) {
        if self.country.is_none() || found.country.is_none() || self.country == found.country {
            // A place that was found without its country stays as it is: nobody says that it lies in this one.
            let is_placeless = found.region.is_none() && found.city.is_none();
            if found.country.is_none() && is_placeless {
                found.country = self.country;
            }
            if is_placeless {
                found.region = self.region.and_then(Location::text);
                found.city = self.city.and_then(Location::text);
            }
        }
        if found.asn.is_none() && found.network.is_none() {
            found.asn = self.asn;
            found.network = self.network.and_then(Location::text);
        }
    }
}

/// A visitor that takes what it is written for, and finds nothing in everything else.
macro_rules! lenient {
    ($name:ty, $what:literal; $($method:item)*) => {
        impl<'de> Visitor<'de> for $name {
            type Value = <$name as Finds<'de>>::Found;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($what)
            }

            $($method)*

            fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Self::Value::default())
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Self::Value::default())
            }

            fn visit_u128<E: Error>(self, _: u128) -> Result<Self::Value, E> {
                Ok(Self::Value::default())
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Self::Value::default())
            }

            fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Self::Value, E> {
                Ok(Self::Value::default())
            }
        }
    };
}

/// What a visitor finds.
trait Finds<'de> {
    type Found: Default;
}

/// Reads past the rest of a map, so that what follows it is found.
fn drain_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

fn drain_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

/// A key of a map, compared as bytes: most are passed over, and need not be checked to be UTF-8 for that.
struct Key<'a>(&'a [u8]);

struct KeyVisitor<'a>(PhantomData<&'a [u8]>);

impl<'de> Visitor<'de> for KeyVisitor<'de> {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Key(bytes))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Key(text.as_bytes()))
    }
}

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(KeyVisitor(PhantomData))
    }
}

/// A text.
#[derive(Debug, Default)]
struct Text<'a>(Option<&'a str>);

struct TextVisitor<'a>(PhantomData<&'a str>);

impl<'de> Finds<'de> for TextVisitor<'de> {
    type Found = Text<'de>;
}

lenient! { TextVisitor<'de>, "a text";
    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Some(text).filter(|text| !text.is_empty())))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Text(None))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Text(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        drain_map(map).map(|()| Text(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        drain_seq(seq).map(|()| Text(None))
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor(PhantomData))
    }
}

/// The number of a network, also as text: `64500`, `AS64500`.
#[derive(Debug, Default)]
struct Number(Option<u32>);

struct NumberVisitor;

impl Finds<'_> for NumberVisitor {
    type Found = Number;
}

lenient! { NumberVisitor, "the number of a network";
    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        // Number 0 is reserved, and stands for "none".
        Ok(Number(u32::try_from(number).ok().filter(|number| *number != 0)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let digits = text.trim_start_matches(['A', 'S', 'a', 's']);
        Ok(Number(digits.parse().ok().filter(|number| *number != 0)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        drain_map(map).map(|()| Number(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        drain_seq(seq).map(|()| Number(None))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

/// A place by code and name: `{iso_code, names: {en}}`, the first of a list of those, or a bare text, which is both.
/// A name is looked for only where there is no code before it: names come in many languages.
#[derive(Debug, Default)]
struct Place<'a> {
    code: Option<&'a str>,
    name: Option<&'a str>,
}

struct PlaceVisitor<'a>(PhantomData<&'a str>);

impl<'de> Finds<'de> for PlaceVisitor<'de> {
    type Found = Place<'de>;
}

lenient! { PlaceVisitor<'de>, "a place";
    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        let text = Some(text).filter(|text| !text.is_empty());
        Ok(Place { code: text, name: text })
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Place::default())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Place::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut place = Place::default();
        while let Some(Key(key)) = map.next_key()? {
            match key {
                b"iso_code" => place.code = map.next_value::<Text<'_>>()?.0,
                b"names" if place.code.is_none() => place.name = map.next_value::<Names<'_>>()?.0,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(place)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let first = seq.next_element::<Place<'de>>()?;
        drain_seq(seq)?;
        Ok(first.unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Place<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlaceVisitor(PhantomData))
    }
}

/// Names by language, of which the English one counts.
#[derive(Debug, Default)]
struct Names<'a>(Option<&'a str>);

struct NamesVisitor<'a>(PhantomData<&'a str>);

impl<'de> Finds<'de> for NamesVisitor<'de> {
    type Found = Names<'de>;
}

lenient! { NamesVisitor<'de>, "names by language";
    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Names(None))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Names(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut english = None;
        while let Some(Key(language)) = map.next_key()? {
            match language {
                b"en" => english = map.next_value::<Text<'_>>()?.0,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Names(english))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        drain_seq(seq).map(|()| Names(None))
    }
}

impl<'de> Deserialize<'de> for Names<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NamesVisitor(PhantomData))
    }
}

struct RecordVisitor<'a>(PhantomData<&'a str>);

impl<'de> Finds<'de> for RecordVisitor<'de> {
    type Found = Record<'de>;
}

lenient! { RecordVisitor<'de>, "a record about an address";
    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Record::default())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Record::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut record = Record::default();
        // The access provider's own name says more than that of the system it is a part of.
        let (mut isp, mut organization) = (None, None);
        while let Some(Key(key)) = map.next_key()? {
            match key {
                b"country" | b"country_code" => {
                    let place = map.next_value::<Place<'_>>()?;
                    record.country = record.country.or_else(|| Country::parse(place.code?));
                }
                b"subdivisions" | b"state1" | b"region" | b"region_code" => {
                    let place = map.next_value::<Place<'_>>()?;
                    record.region = record.region.or(place.code).or(place.name);
                }
                b"city" => record.city = map.next_value::<Place<'_>>()?.name,
                b"autonomous_system_number" | b"as_number" | b"asn" => {
                    let number = map.next_value::<Number>()?.0;
                    record.asn = record.asn.or(number);
                }
                b"isp" => isp = map.next_value::<Text<'_>>()?.0,
                b"autonomous_system_organization" | b"as_organization" | b"as_name" => {
                    let text = map.next_value::<Text<'_>>()?.0;
                    organization = organization.or(text);
                }
                b"traits" => {
                    let traits = map.next_value::<Record<'_>>()?;
                    record.asn = record.asn.or(traits.asn);
                    organization = organization.or(traits.network);
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        record.network = isp.or(organization);
        Ok(record)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        drain_seq(seq).map(|()| Record::default())
    }
}

impl<'de> Deserialize<'de> for Record<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RecordVisitor(PhantomData))
    }
}
