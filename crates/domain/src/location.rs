//! Where an address is: country, region, city, and the network that announces it.
//!
//! A location is found once, when a touch or an event arrives, and is kept with it: the database that said so may
//! say something else tomorrow, and a decision must not change with it. Everything is optional. Not relied on for
//! authorisation: an address can be a proxy's, and databases are wrong for a few of a hundred.

use std::fmt;

use crate::click::Click;
use crate::event::Event;

/// A country: two capital letters of ISO 3166-1, or another code of that form that a database uses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Reads two letters of any case. `ZZ`, by which registries mean "unknown", is no country.
    pub fn parse(text: &str) -> Option<Self> {
        let letters: [u8; 2] = text.trim().as_bytes().try_into().ok()?;
        let letters = letters.map(|letter| letter.to_ascii_uppercase());
        (letters.iter().all(u8::is_ascii_uppercase) && letters != *b"ZZ").then_some(Self(letters))
    }

    /// Its two letters, as they are stored.
    pub const fn bytes(self) -> [u8; 2] {
        self.0
    }

    /// Its two letters.
    pub fn as_str(&self) -> &str {
        // Only letters of ASCII get in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of the place and the network of an address. Nothing is the default, and allocates nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Location {
    /// The country.
    pub country: Option<Country>,
    /// The first subdivision: its ISO 3166-2 code without the country (`BE`), or its name where the database has
    /// no code. At most [`Location::TEXT_BYTES_MAX`] bytes, as every text here.
    pub region: Option<Box<str>>,
    /// The city, by its English name.
    pub city: Option<Box<str>>,
    /// The number of the autonomous system that announces the address.
    pub asn: Option<u32>,
    /// The name of who runs that system: the access provider, or a data centre.
    pub network: Option<Box<str>>,
}

/// What has no location.
static NOWHERE: Location = Location { country: None, region: None, city: None, asn: None, network: None };

impl Location {
    /// Longest text that is kept, in bytes. The longest names of cities and networks have about 90.
    pub const TEXT_BYTES_MAX: usize = 100;

    /// The macros that a location fills.
    pub const MACROS: [&'static str; 5] = ["country", "region", "city", "isp", "asn"];

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == NOWHERE
    }

    /// A text as it is kept: trimmed, without control characters, cut at a character's boundary; `None` if
    /// nothing is left.
    pub fn text(text: &str) -> Option<Box<str>> {
        let text = text.trim();
        let text = &text[..text.floor_char_boundary(Self::TEXT_BYTES_MAX)];
        let text: Box<str> = if text.chars().any(char::is_control) {
            text.chars().filter(|c| !c.is_control()).collect::<String>().into()
        } else {
            text.into()
        };
        (!text.is_empty()).then_some(text)
    }

    /// The value of one of [`Location::MACROS`].
    pub fn value(&self, name: &str) -> Option<String> {
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        match name {
            "country" => self.country.map(|country| country.to_string()),
            "region" => text(&self.region),
            "city" => text(&self.city),
            "isp" => text(&self.network),
            "asn" => self.asn.map(|asn| asn.to_string()),
            _ => None,
        }
    }

    /// The location of what an event counts as. An event with an address of its own has its own location, be it
    /// unknown; one without (a server that names none, an inbound postback) has that of the winning click. The
    /// two are never mixed: a country and a city always are of one address, the one that `{ip}` prints.
    ///
    /// Whoever asks on behalf of a partner passes the click only if that partner won: where another partner's
    /// visitor was is none of its business.
    pub fn of<'a>(event: &'a Event, winner: Option<&'a Click>) -> &'a Self {
        if event.ip.is_some() || !event.location.is_empty() {
            return &event.location;
        }
        winner.map_or(&NOWHERE, |click| &click.location)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_two_letters() {
        assert_eq!(Country::parse("de").map(|c| c.to_string()).as_deref(), Some("DE"));
        assert_eq!(Country::parse(" FR ").map(|c| c.bytes()), Some(*b"FR"));
        for text in ["", "D", "DEU", "D1", "ZZ", "zz", "É", "--"] {
            assert_eq!(Country::parse(text), None, "{text}");
        }
    }

    #[test]
    fn texts_are_bounded_and_hold_no_control_characters() {
        assert_eq!(Location::text("  São Paulo\r\n").as_deref(), Some("São Paulo"));
        assert_eq!(Location::text("a\u{0}b\u{7f}c\u{85}").as_deref(), Some("abc"));
        assert_eq!(Location::text(" \n\t "), None);
        assert_eq!(Location::text("\u{1}\u{2}"), None);
        let long = "é".repeat(Location::TEXT_BYTES_MAX);
        let kept = Location::text(&long).unwrap();
        assert_eq!((kept.len(), long.starts_with(&*kept)), (Location::TEXT_BYTES_MAX, true));
    }

    #[test]
    fn every_macro_has_its_value() {
        let location = Location {
            country: Country::parse("DE"),
            region: Location::text("BE"),
            city: Location::text("Berlin"),
            asn: Some(64_500),
            network: Location::text("Example Net"),
        };
        let values = Location::MACROS.map(|name| location.value(name).unwrap());
        assert_eq!(values, ["DE", "BE", "Berlin", "Example Net", "64500"]);
        assert_eq!(location.value("ip"), None);
        assert!(Location::MACROS.iter().all(|name| Location::default().value(name).is_none()));
        assert!(Location::default().is_empty() && !location.is_empty());
    }
}
