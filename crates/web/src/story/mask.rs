//! Hides what identifies a person, in fields and in the evidence of sends.
//!
//! Device, installation and customer ids keep their ends, so that two of them can be told apart; addresses keep
//! their network. In evidence, the values that the story knows to be personal are found in plain and
//! percent-encoded form, in any case. NOT relied on for values that were hashed or otherwise transformed, or for
//! ones shorter than [`NEEDLE_BYTES_MIN`], which would be found everywhere.

use std::net::IpAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use roundtrip_domain::click::Click;
use roundtrip_domain::event::Event;
use roundtrip_store::ledger;

/// The shortest value that is looked for in evidence, in bytes.
const NEEDLE_BYTES_MIN: usize = 6;
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
        if value.len() < NEEDLE_BYTES_MIN {
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
        self.learn_sender(event.ip, event.user_agent.as_deref());
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
                if lower.as_bytes()[at..].starts_with(needle) {
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
        mask.learn("abc", "never");
        let text =
            "GET /p?ip=2001%3aDB8%3a%3a7&u=A%20b%40c.example&v=a+b%40c.example&x=abc HTTP/1.1 é 2001:db8::7";
        assert_eq!(mask.text(text), "GET /p?ip=2001:db8::/48&u=a…e&v=a…e&x=abc HTTP/1.1 é 2001:db8::/48");
        assert_eq!(Mask::new(true).param("gaid", "38400000-8cf0"), "38400000-8cf0");
        assert_eq!(mask.param("gaid", "38400000-8cf0-11bd"), "3840…11bd");
        assert_eq!(mask.param("sub1", "placement-7"), "placement-7");
        assert_eq!(mask.param("email", "someone@example.com"), "some….com");
        assert_eq!(mask.param("ip", "198.51.100.9"), "198.51.100.0/24");
    }
}
