//! Hides what identifies a person, in fields and in the evidence of sends.
//!
//! Device, installation and customer ids keep their ends, so that two of them can be told apart; addresses keep
//! their network. In evidence, the values that the story knows to be personal are found in plain and
//! percent-encoded form, in any case: long ones wherever they stand, ones shorter than [`NEEDLE_BYTES_MIN`] where they are
//! a whole value (`user=42&`, `"42"`), since parts of words and numbers would be found everywhere. That hides an equal
//! value of something else as well, which is the lesser harm. Of a webhook's body, whose form is ours, the parts that are
//! about people are hidden by their names, known values or not.
//!
//! NOT relied on for values that were hashed or otherwise transformed, nor for what an answer says in words of its own.

use std::net::IpAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use roundtrip_domain::click::Click;
use roundtrip_domain::event::Event;
use roundtrip_store::ledger;
use serde_json::Value;

/// The shortest value that is looked for inside of others, in bytes.
const NEEDLE_BYTES_MIN: usize = 6;
/// What can stand before a whole value in evidence, plain or percent-encoded.
const OPENS: [&str; 14] = ["=", "/", "\"", "'", ":", ": ", ",", "[", "(", "%3d", "%2f", "%22", "%3a", "%2c"];
/// What can stand behind one.
const CLOSES: [&str; 19] = [
    "&", "\"", "'", "/", "?", "#", ",", ";", "]", "}", ")", "<", " ", "\r", "\n", "%26", "%22", "%2f", "%2c",
];
/// The parts of a webhook's body that are about people: an id keeps its ends, and of properties the names are left.
const PEOPLE: &str = "user";
const PROPERTIES: &str = "properties";
/// Words that stand beside somebody's values in such a body, however it is quoted: as text, escaped, in HTML, in a form.
const BESIDE_PEOPLE: [&str; 4] = [PEOPLE, PROPERTIES, "customer_id", "install_id"];
/// All but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Parameters whose values say nothing about a person: the partner's and the campaign's own.
const PLAIN: &[&str] = &[
    "c",
    "click_id",
    "aff_id",
    "pub_id",
    "offer_id",
    "creative_id",
    "campaign",
    "campaign_id",
    "ref_id",
    "ad",
    "ad_id",
    "ad_group",
    "ad_group_id",
    "keyword",
    "site_id",
    "sub_site_id",
    "cost_model",
    "cost_value",
    "cost_currency",
    "sub1",
    "sub2",
    "sub3",
    "sub4",
    "sub5",
    "sub6",
    "sub7",
    "sub8",
    "sub9",
    "sub10",
    "s2s",
    "format",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_content",
    "utm_term",
];

/// What is hidden in one story.
#[derive(Debug, Default)]
pub(super) struct Mask {
    full: bool,
    /// Lower-case bytes to find and what stands for them, the longest first.
    needles: Vec<(Vec<u8>, String)>,
}

impl Mask {
    /// Hides nothing, or what is passed to it; knows no values.
    pub(super) fn new(full: bool) -> Self {
        Self { full, needles: Vec::new() }
    }

    /// Knows the personal values of a story: the event's and those of every touch in it.
    pub(super) fn of(story: &ledger::Story, full: bool) -> Self {
        let mut mask = Self::new(full);
        if full {
            return mask;
        }
        for event in [Some(&story.event), story.original.as_ref()].into_iter().flatten() {
            mask.learn_event(event);
        }
        for revision in &story.revisions {
            let winner = revision.credit.winner().map(|w| &w.touch.click);
            for click in revision.because.candidates.iter().map(|c| &c.touch.click).chain(winner) {
                mask.learn_click(click);
            }
        }
        mask.needles.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        mask.needles.dedup();
        mask
    }

    fn learn(&mut self, value: &str, shown: &str) {
        if value.is_empty() {
            return;
        }
        let encoded = utf8_percent_encode(value, RESERVED).to_string();
        let plussed = encoded.replace("%20", "+");
        for form in [value.to_owned(), encoded, plussed] {
            self.needles.push((form.to_ascii_lowercase().into_bytes(), shown.to_owned()));
        }
    }

    fn learn_event(&mut self, event: &Event) {
        for id in &event.device.ids {
            self.learn(&id.text, &middle(&id.text));
        }
        for id in [&event.customer_id, &event.install_id].into_iter().flatten() {
            self.learn(id, &middle(id));
        }
        if let Some(properties) = &event.properties {
            self.learn_properties(properties);
        }
        self.learn_sender(event.ip, event.user_agent.as_deref());
    }

    /// `{event_value}` tells all of them at once, in a query or, escaped once more, in a body of JSON.
    fn learn_properties(&mut self, properties: &str) {
        if properties.len() >= NEEDLE_BYTES_MIN {
            self.learn(properties, "…");
            self.learn(Value::from(properties).to_string().trim_matches('"'), "…");
        }
    }

    fn learn_click(&mut self, click: &Click) {
        for id in Click::device_ids(&click.params()) {
            self.learn(&id.text, &middle(&id.text));
        }
        self.learn_sender(click.ip, click.user_agent.as_deref());
    }

    fn learn_sender(&mut self, ip: Option<IpAddr>, user_agent: Option<&str>) {
        if let Some(ip) = ip {
            self.learn(&ip.to_string(), &network(ip));
        }
        if let Some(user_agent) = user_agent {
            self.learn(user_agent, "…");
        }
    }

    /// Whether everything is shown.
    pub(super) const fn shows_all(&self) -> bool {
        self.full
    }

    /// An id of a person, device or installation.
    pub(super) fn id(&self, text: &str) -> String {
        if self.full { text.to_owned() } else { middle(text) }
    }

    /// An address.
    pub(super) fn ip(&self, ip: IpAddr) -> String {
        if self.full { ip.to_string() } else { network(ip) }
    }

    /// A link's parameter.
    pub(super) fn param(&self, name: &str, value: &str) -> String {
        if self.full || value.is_empty() {
            return value.to_owned();
        }
        if name == "ip" {
            return value.parse().map_or_else(|_| middle(value), network);
        }
        if PLAIN.contains(&name) { self.text(value) } else { middle(value) }
    }

    /// The body of a webhook: its parts that are about people by their names, then known values wherever they stand.
    pub(super) fn fact(&self, text: &str) -> String {
        if self.full {
            return text.to_owned();
        }
        match serde_json::from_str::<Value>(text) {
            // Our own bodies hold no other body; a sentence of theirs may name a rule for users.
            Ok(fact) => self.without_people(fact, false),
            // Our own bodies are JSON; of one that is none any more nobody knows what in it is personal.
            Err(_) => "…".to_owned(),
        }
    }

    fn without_people(&self, mut value: Value, is_echo: bool) -> String {
        hide_people(&mut value, is_echo);
        self.text(&value.to_string())
    }

    /// What a webhook's receiver answered: some repeat what they were sent.
    pub(super) fn echo(&self, text: &str) -> String {
        if self.full {
            return text.to_owned();
        }
        match serde_json::from_str::<Value>(text) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => self.without_people(value, true),
            _ if names_people(text) => "…".to_owned(),
            _ => self.text(text),
        }
    }

    /// Evidence: known values are hidden wherever they stand.
    pub(super) fn text(&self, text: &str) -> String {
        if self.needles.is_empty() {
            return text.to_owned();
        }
        let lower = text.to_ascii_lowercase();
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        'text: while at < text.len() {
            for (needle, shown) in &self.needles {
                let is_here = lower.as_bytes()[at..].starts_with(needle);
                if is_here && (needle.len() >= NEEDLE_BYTES_MIN || is_whole(&lower, at, needle.len())) {
                    out.push_str(shown);
                    at += needle.len();
                    continue 'text;
                }
            }
            let Some(next) = text[at..].chars().next() else { break };
            out.push(next);
            at += next.len_utf8();
        }
        out
    }
}

/// Whether a piece of a text is a whole value.
fn is_whole(text: &str, at: usize, len: usize) -> bool {
    let (before, after) = (&text.as_bytes()[..at], &text.as_bytes()[at + len..]);
    let opens = before.is_empty() || OPENS.iter().any(|open| before.ends_with(open.as_bytes()));
    opens && (after.is_empty() || CLOSES.iter().any(|close| after.starts_with(close.as_bytes())))
}

/// Hides the parts of a fact that are about people, at any depth: an answer may hold the fact inside of something else.
fn hide_people(value: &mut Value, is_echo: bool) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                match (name.as_str(), inner) {
                    (PROPERTIES, inner) => bare(inner),
                    (PEOPLE, Value::Object(user)) => {
                        for id in user.values_mut() {
                            if let Value::String(id) = id {
                                *id = middle(id);
                            }
                        }
                    }
                    // Some echo a body as text.
                    (_, inner) => hide_people(inner, is_echo),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| hide_people(inner, is_echo)),
        // Some echo a body as text. A name alone, as of an event, is none.
        Value::String(text) if is_echo && !is_name(text) && names_people(text) => *text = "…".to_owned(),
        _ => {}
    }
}

/// Whether a text of unknown form holds a word beside which a webhook's body has somebody's values.
fn names_people(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    BESIDE_PEOPLE.iter().any(|word| lower.contains(word))
}

/// Whether a text is one name, such as `user_registered`.
fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':'))
}

/// Hides every value of a tree and leaves the names.
fn bare(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(bare),
        Value::Array(list) => list.iter_mut().for_each(bare),
        Value::Null => {}
        other => *other = Value::from("…"),
    }
}

/// Keeps the ends of a text: four characters each of a long one, one each of a short one.
fn middle(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let keep = match chars.len() {
        0..=3 => return "…".to_owned(),
        4..=7 => 1,
        8..=11 => 2,
        _ => 4,
    };
    let ends = |part: &[char]| part.iter().collect::<String>();
    format!("{}…{}", ends(&chars[..keep]), ends(&chars[chars.len() - keep..]))
}

/// The network of an address: /24 or /48.
fn network(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            format!("{}/48", std::net::Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_networks_are_left() {
        assert_eq!(middle("38400000-8cf0-11bd-b23e-10b96e40000d"), "3840…000d");
        assert_eq!(middle("u_8842"), "u…2");
        assert_eq!(middle("abc"), "…");
        assert_eq!(middle("éèàùéèàù"), "éè…àù");
        assert_eq!(network("203.0.113.77".parse().unwrap()), "203.0.113.0/24");
        assert_eq!(network("::ffff:203.0.113.77".parse().unwrap()), "203.0.113.0/24");
        assert_eq!(network("2001:db8:1:2::7".parse().unwrap()), "2001:db8:1::/48");
    }

    #[test]
    fn known_values_are_found_in_every_form() {
        let mut mask = Mask::new(false);
        mask.learn("2001:db8::7", "2001:db8::/48");
        mask.learn("a b@c.example", "a…e");
        mask.learn("abc", "…");
        let text =
            "GET /p?ip=2001%3aDB8%3a%3a7&u=A%20b%40c.example&v=a+b%40c.example&x=abc HTTP/1.1 é 2001:db8::7";
        assert_eq!(mask.text(text), "GET /p?ip=2001:db8::/48&u=a…e&v=a…e&x=… HTTP/1.1 é 2001:db8::/48");
        assert_eq!(Mask::new(true).param("gaid", "38400000-8cf0"), "38400000-8cf0");
        assert_eq!(mask.param("gaid", "38400000-8cf0-11bd"), "3840…11bd");
        assert_eq!(mask.param("sub1", "placement-7"), "placement-7");
        assert_eq!(mask.param("email", "someone@example.com"), "some….com");
        assert_eq!(mask.param("ip", "198.51.100.9"), "198.51.100.0/24");
    }

    #[test]
    fn short_ids_are_hidden_where_they_are_a_whole_value() {
        let mut mask = Mask::new(false);
        mask.learn("42", "…");
        mask.learn("u_8", "…");
        for (text, shown) in [
            ("GET /p/42?u=42&n=1420&c=42a HTTP/1.1", "GET /p/…?u=…&n=1420&c=42a HTTP/1.1"),
            ("u%3D42%26v%3D4242", "u%3D…%26v%3D4242"),
            (r#"{"id":42,"n":420,"t":"U_8","list":[42]}"#, r#"{"id":…,"n":420,"t":"…","list":[…]}"#),
            (r#"{"id": 42}"#, r#"{"id": …}"#),
            ("menu_8, answered in 42 ms", "menu_8, answered in 42 ms"),
            ("42", "…"),
        ] {
            assert_eq!(mask.text(text), shown, "{text}");
        }
    }

    #[test]
    fn properties_that_a_postback_tells_are_found_in_a_query_and_in_a_body() {
        let mut mask = Mask::new(false);
        mask.learn_properties(r#"{"mail":"a@b.example"}"#);
        for (text, shown) in [
            ("GET /p?v=%7B%22mail%22%3A%22a%40b.example%22%7D&x=1", "GET /p?v=…&x=1"),
            (r#"{"value":"{\"mail\":\"a@b.example\"}"}"#, r#"{"value":"…"}"#),
            (r#"{"value":{"mail":"a@b.example"}}"#, r#"{"value":…}"#),
        ] {
            assert_eq!(mask.text(text), shown, "{text}");
        }
    }

    #[test]
    fn of_a_webhooks_body_the_parts_about_people_are_hidden_by_name() {
        let mask = Mask::new(false);
        let body = r#"{"event_id":"evt_1","user":{"customer_id":"c7","install_id":"inst-0123456789","is_organic":false},"revenue":"12.50","properties":{"mail":"a@b.example","nested":{"age":41},"none":null}}"#;
        let hidden = r#"{"event_id":"evt_1","user":{"customer_id":"…","install_id":"inst…6789","is_organic":false},"revenue":"12.50","properties":{"mail":"…","nested":{"age":"…"},"none":null}}"#;
        assert_eq!(mask.fact(body), hidden);
        assert_eq!(Mask::new(true).fact(body), body);
        let sentence = r#"{"sentence":"rule:users@acme takes again what is sent."}"#;
        assert_eq!(mask.fact(sentence), sentence);
        assert_eq!(mask.fact("{\"user\":"), "…", "what cannot be read is not shown");
        // Receivers that repeat what they were sent: inside of JSON, as text, cut short.
        assert_eq!(mask.echo(&format!(r#"{{"got":{body}}}"#)), format!(r#"{{"got":{hidden}}}"#));
        let quoted = serde_json::json!({ "data": body, "ok": true }).to_string();
        assert_eq!(mask.echo(&quoted), r#"{"data":"…","ok":true}"#);
        assert_eq!(mask.echo(&body[..120]), "…");
        assert_eq!(mask.echo("thanks, all 7 are here"), "thanks, all 7 are here");
        assert_eq!(mask.echo(r#"{"event":"user_registered"}"#), r#"{"event":"user_registered"}"#);
    }

    #[test]
    fn an_answer_that_repeats_a_webhooks_body_in_another_form_is_not_shown() {
        let mask = Mask::new(false);
        for text in [
            "<pre>{&quot;properties&quot;:{&quot;mail&quot;:&quot;a@b.example&quot;}}</pre>",
            r#"got: {\"properties\":{\"mail\":\"a@b.example\"}}"#,
            "body=%7B%22properties%22%3A%7B%22mail%22%3A%22a%40b.example%22%7D%7D",
            "user%5Bcustomer%5Fid%5D=c7",
            "Customer_ID: c7",
            "install_id = inst-0123456789",
            r#""{\"properties\":{\"mail\":\"a@b.example\"}}""#,
        ] {
            assert_eq!(mask.echo(text), "…", "{text}");
            let inside = serde_json::json!({ "error": { "log": [text] } }).to_string();
            assert_eq!(mask.echo(&inside), r#"{"error":{"log":["…"]}}"#, "{text}");
            assert_eq!(Mask::new(true).echo(text), text);
        }
    }
}
