//! The world of a run: one app, a few partners with a link and a rule each, and what visitors and devices send.
//!
//! Requests look like those of real traffic, because their length is what is parsed, stored and synced: a
//! random 16-byte partner click id, four sub parameters, an advertising id on half of them, 3,000 user agents as
//! phones have them. Everything comes from a seed, so two runs send the same.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::{Map, Value, json};

/// The key that events are sent with.
pub(super) const KEY: &str = "bench-server";
/// How many user agents there are.
const USER_AGENTS: usize = 3_000;
/// Where a request of [`requests`] takes its partner click id.
const CLICK_MARK: &str = "@@CLICK@@";
/// What ends a request of [`requests`].
const NEXT_MARK: &str = "@@NEXT@@";

/// A repeatable sequence: SplitMix64 (Steele, Lea, Flood 2014). For load, never for ids that anyone trusts.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }

    /// 16 bytes in hexadecimal: a partner's click id.
    pub(super) fn partner_click_id(&mut self) -> String {
        format!("{:016x}{:016x}", self.bits(), self.bits())
    }

    /// An advertising id: a random UUID.
    pub(super) fn gaid(&mut self) -> String {
        let (a, b) = (self.bits(), self.bits());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | (b >> 48 & 0x3fff),
            b & 0xffff_ffff_ffff
        )
    }
}

/// The link of a partner.
pub(super) fn link(partner: usize) -> String {
    format!("bench-{partner}")
}

/// The document that sets the world up. Each address is a partner that is told of its installs there.
pub(super) fn document(partners: usize, sinks: &[SocketAddr]) -> Value {
    let map = |entry: &dyn Fn(usize) -> (String, Value)| -> Map<String, Value> {
        (0..partners).map(entry).collect()
    };
    let rules: Map<String, Value> = sinks
        .iter()
        .enumerate()
        .map(|(i, sink)| {
            let url = format!(
                "http://{sink}/postback?clickid={{click_id}}&event_id={{event_id}}&gaid={{gaid}}&ts={{event_time}}&sub1={{sub1}}"
            );
            let rule = json!({ "app": "bench", "partner": format!("partner-{i}"), "on": "install", "url": url });
            (format!("install-{i}"), rule)
        })
        .collect();
    json!({
        "apps": { "bench": { "platform": "android", "bundle_id": "com.example.bench", "currency": "EUR" } },
        "campaigns": { "bench": { "app": "bench" } },
        "partners": map(&|i| (format!("partner-{i}"), json!({}))),
        "links": map(&|i| (link(i), json!({
            "campaign": "bench", "partner": format!("partner-{i}"),
            "destinations": { "fallback": "https://shop.example/lumen?click_id={click_id}" },
        }))),
        "rules": rules,
        "keys": { KEY: { "kind": "server", "app": "bench" } },
    })
}

/// User agents as phones send them: four in five Android, the others iOS.
pub(super) fn user_agents() -> Vec<String> {
    const MODELS: [&str; 30] = [
        "SM-S911B",
        "SM-S928B",
        "SM-A546B",
        "SM-A155F",
        "SM-G991B",
        "SM-A236B",
        "Pixel 6a",
        "Pixel 7",
        "Pixel 8 Pro",
        "Pixel 9",
        "M2101K6G",
        "2201117TG",
        "23021RAAEG",
        "22111317I",
        "21091116AG",
        "CPH2127",
        "CPH2451",
        "RMX3085",
        "RMX3710",
        "V2109",
        "V2250",
        "moto g54 5G",
        "moto g(60)",
        "Infinix X6833B",
        "TECNO KI7",
        "itel A665L",
        "XQ-DQ72",
        "ASUS_AI2302",
        "LE2113",
        "NE2213",
    ];
    let mut random = Random::new(0x5eed);
    (0..USER_AGENTS)
        .map(|i| {
            let chrome = 118 + random.below(25);
            let build = 5_000 + random.below(2_000);
            let patch = random.below(220);
            if i % 5 == 4 {
                let (major, minor) = (15 + random.below(4), random.below(7));
                format!(
                    "Mozilla/5.0 (iPhone; CPU iPhone OS {major}_{minor}_{} like Mac OS X) AppleWebKit/605.1.15 \
                     (KHTML, like Gecko) Version/{major}.{minor} Mobile/15E{} Safari/604.1",
                    random.below(4),
                    100 + random.below(300)
                )
            } else {
                let model = MODELS[i % MODELS.len()];
                let android = 10 + random.below(6);
                format!(
                    "Mozilla/5.0 (Linux; Android {android}; {model}) AppleWebKit/537.36 (KHTML, like Gecko) \
                     Chrome/{chrome}.0.{build}.{patch} Mobile Safari/537.36"
                )
            }
        })
        .collect()
}

/// What follows the partner's click id in a link's query.
pub(super) fn query_rest(random: &mut Random) -> String {
    let mut rest = format!(
        "&sub1=site-{}&sub2=placement_{}&sub3=creative-{:04x}&sub4={:08x}",
        random.below(5_000),
        random.below(40),
        random.below(0xffff),
        random.below(0xffff_ffff)
    );
    if random.below(2) == 0 {
        let gaid = random.gaid();
        let _ = write!(rest, "&gaid={gaid}");
    }
    rest
}

/// Whole requests for wrk's script: [`CLICK_MARK`] where a new id goes, [`NEXT_MARK`] at the end of each.
pub(super) fn requests(partners: usize) -> String {
    let mut random = Random::new(1);
    let mut text = String::new();
    for (i, user_agent) in user_agents().iter().enumerate() {
        let _ = write!(
            text,
            "GET /c/{}?click_id={CLICK_MARK}{} HTTP/1.1\r\nHost: go.example.com\r\nUser-Agent: {user_agent}\r\n\
             Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
             Accept-Language: en-US,en;q=0.9\r\nAccept-Encoding: gzip, deflate, br\r\n\r\n{NEXT_MARK}",
            link(i % partners),
            query_rest(&mut random)
        );
    }
    text
}

/// URLs of clicks for oha, one a line. oha cannot make new ids, so there are many.
pub(super) fn urls(target: SocketAddr, partners: usize, n: usize, seed: u64) -> String {
    let mut random = Random::new(seed);
    let mut text = String::new();
    for i in 0..n {
        let id = random.partner_click_id();
        let _ = writeln!(
            text,
            "http://{target}/c/{}?click_id={id}{}",
            link(i % partners),
            query_rest(&mut random)
        );
    }
    text
}

/// The target of a click that a server tells of, so that its id comes back in the answer.
pub(super) fn told_click(random: &mut Random, partner: usize) -> String {
    let id = random.partner_click_id();
    format!("/c/{}?s2s=1&format=json&click_id={id}{}", link(partner), query_rest(random))
}

/// An install as an app's server reports it, with the click that led to it or without.
pub(super) fn install(random: &mut Random, n: u64, click_id: Option<&str>) -> String {
    let gaid = random.gaid();
    let mut text = format!(
        "{{\"event_id\":\"bench-{n}\",\"event_name\":\"install\",\"install_id\":\"i-{n:x}-{:08x}\",",
        random.below(0xffff_ffff)
    );
    if let Some(click_id) = click_id {
        let _ = write!(text, "\"click_id\":\"{click_id}\",");
    }
    let _ = write!(
        text,
        "\"device\":{{\"platform\":\"android\",\"os_version\":\"14\",\"model\":\"SM-S911B\",\
         \"app_version\":\"4.2.0\",\"gaid\":\"{gaid}\"}},\"ip\":\"203.0.113.{}\"}}",
        random.below(250)
    );
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn user_agents_are_many_and_different() {
        let all = user_agents();
        let different: HashSet<&String> = all.iter().collect();
        assert_eq!(all.len(), USER_AGENTS);
        assert!(different.len() > USER_AGENTS * 9 / 10, "{}", different.len());
        assert!(all.iter().filter(|text| text.contains("iPhone")).count() == USER_AGENTS / 5);
    }

    #[test]
    fn requests_have_one_place_for_an_id_and_the_gaid_on_about_half() {
        let text = requests(4);
        let each: Vec<&str> = text.split_terminator(NEXT_MARK).collect();
        assert_eq!(each.len(), USER_AGENTS);
        for request in &each {
            assert_eq!(request.matches(CLICK_MARK).count(), 1);
            assert!(request.starts_with("GET /c/bench-") && request.ends_with("\r\n\r\n"));
        }
        let with_gaid = each.iter().filter(|request| request.contains("&gaid=")).count();
        assert!((USER_AGENTS * 2 / 5..USER_AGENTS * 3 / 5).contains(&with_gaid), "{with_gaid}");
    }

    #[test]
    fn ids_do_not_repeat() {
        let text = urls("127.0.0.1:1".parse().unwrap(), 3, 500, 9);
        let different: HashSet<&str> = text.lines().collect();
        assert_eq!(different.len(), 500);
        let mut random = Random::new(3);
        let gaid = random.gaid();
        assert_eq!((gaid.len(), &gaid[14..15]), (36, "4"), "{gaid}");
    }

    #[test]
    fn events_are_json_with_a_click_or_without() {
        let mut random = Random::new(4);
        let with: Value = serde_json::from_str(&install(&mut random, 7, Some("c"))).unwrap();
        let without: Value = serde_json::from_str(&install(&mut random, 8, None)).unwrap();
        assert_eq!((&with["click_id"], &with["event_id"]), (&json!("c"), &json!("bench-7")));
        assert_eq!(without.get("click_id"), None);
        assert_ne!(with["device"]["gaid"], without["device"]["gaid"]);
    }

    #[test]
    fn each_sink_has_a_rule_of_its_own_partner() {
        let document = document(2, &["127.0.0.1:9".parse().unwrap(), "127.0.0.1:10".parse().unwrap()]);
        assert_eq!(document["rules"]["install-1"]["partner"], "partner-1");
        assert!(document["rules"]["install-1"]["url"].as_str().unwrap().contains("//127.0.0.1:10/"));
        assert_eq!(document["links"].as_object().unwrap().len(), 2);
    }
}
