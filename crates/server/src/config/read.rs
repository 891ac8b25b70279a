//! From texts to types. Each reader reports what it cannot use and goes on with a stand-in, so that all
//! problems come out of one run; a [`Config`] exists only when there were none.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::time::Span;
use roundtrip_engine::sender::{Proxy, ProxyError, Subnet};
use roundtrip_geo::DATABASES_MAX;
use url::Url;

use super::raw::Raw;
use super::{Config, Durability, Refused, SETTINGS};
use crate::{bucket_url, telemetry};

/// The longest that clicks may be kept; the ledger keeps idempotency keys for 400 days, and nothing needs a
/// click for ten years.
const CLICK_RETENTION_MAX: Span = Span::from_days(3_650);
/// The longest that deliveries may be held: what is told a year late is told to nobody.
const HELD_RETENTION_MAX: Span = Span::from_days(365);

/// Silence is noticed to a quarter of an hour.
const ALERT_SILENCE_MIN: Span = Span::from_seconds(1_800);
/// Events are looked for no longer ago.
const ALERT_SILENCE_MAX: Span = Span::from_days(30);

pub(super) fn check(raw: &Raw, problems: Vec<Problem>) -> Result<Config, Refused> {
    let mut r = Reader { raw, problems };
    let config = Config {
        data: PathBuf::from(r.one("data").unwrap_or_default()),
        public: r.address("public"),
        admin: r.address("admin"),
        public_url: r.public_url(),
        trusted_proxies: r.networks("trusted_proxies"),
        allow_plain_http: r.switch("allow_plain_http"),
        allow_private: r.subnets("allow_private"),
        allow_plain_http_out: r.switch("allow_plain_http_out"),
        outbound_ports: r.ports("outbound_ports"),
        outbound_bind_v4: r.optional("outbound_bind_v4", "an IPv4 address such as 203.0.113.7"),
        outbound_bind_v6: r.optional("outbound_bind_v6", "an IPv6 address such as 2001:db8::7"),
        outbound_proxy: r.proxy(),
        egress_addresses: r.published("egress_addresses"),
        extra_roots: r.one("extra_roots").map(PathBuf::from),
        click_durability: r
            .choice("click_durability", &[("strict", Durability::Strict), ("relaxed", Durability::Relaxed)]),
        alert_success_rate: r.number("alert_success_rate", 0..=100),
        alert_silence: r.alert_silence(),
        click_retention: r.retention("click_retention", CLICK_RETENTION_MAX),
        click_seal_after: r.seal_after(),
        click_segment_rows: u64::from(r.number("click_segment_rows", 1_024..=4_000_000)),
        click_segments_bucket: r.bucket("click_segments_bucket"),
        click_segments_local: r.segments_local(),
        held_retention: r.retention("held_retention", HELD_RETENTION_MAX),
        workspace_sends_day: r.number("workspace_sends_day", 0..=1_000_000_000),
        workspace_sends_at_once: r.number("workspace_sends_at_once", 0..=1_024),
        attempts_kept: r.kept("attempts_kept"),
        payload_kept: r.kept("payload_kept"),
        connections_max: r.number("connections_max", 1..=1_000_000),
        client_rate: r.number("client_rate", 0..=1_000_000_000),
        client_burst: r.number("client_burst", 1..=1_000_000_000),
        postback_rate: r.number("postback_rate", 0..=1_000_000_000),
        geo_databases: r.databases("geo_databases"),
        metrics_public: r.switch("metrics_public"),
        log: telemetry::Settings {
            format: r.choice(
                "log_format",
                &[("human", telemetry::Format::Human), ("json", telemetry::Format::Json)],
            ),
            level: r.log_level(),
        },
        log_requests: r.switch("log_requests"),
        json: r.switch("json"),
        notes: raw.notes.clone(),
    };
    if config.public == config.admin && config.public.port() != 0 && r.problems.is_empty() {
        let place = r.place("admin");
        r.refuse(&place, "is the address of the public listener too; the admin listener needs its own");
    }
    if r.problems.is_empty() { Ok(config) } else { Err(Refused(r.problems)) }
}

struct Reader<'a> {
    raw: &'a Raw,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn refuse(&mut self, place: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(Code::ConfigInvalid, place, message));
    }

    fn place(&self, key: &str) -> String {
        self.raw.get(key).map_or_else(|| format!("server.{key}"), |said| said.place.clone())
    }

    /// The one text of a setting, its default included; `None` when there is neither.
    fn one(&self, key: &str) -> Option<String> {
        if let Some(said) = self.raw.get(key) {
            return said.values.last().cloned();
        }
        let setting = SETTINGS.iter().find(|setting| setting.key == key)?;
        (!setting.default.is_empty()).then(|| setting.default.to_owned())
    }

    fn parsed<T>(&mut self, key: &str, fallback: T, read: impl FnOnce(&str) -> Result<T, String>) -> T {
        let text = self.one(key).unwrap_or_default();
        read(&text).unwrap_or_else(|message| {
            let place = self.place(key);
            self.refuse(&place, message);
            fallback
        })
    }

    fn address(&mut self, key: &str) -> SocketAddr {
        self.parsed(key, SocketAddr::from(([127, 0, 0, 1], 0)), |text| {
            text.parse().map_err(|_| {
                format!("`{text}` is not an address and port, such as 127.0.0.1:8080 or [::1]:8080")
            })
        })
    }

    /// A value that need not be there.
    fn optional<T: FromStr>(&mut self, key: &str, what: &str) -> Option<T> {
        self.one(key)?;
        self.parsed(key, None, |text| text.parse().map(Some).map_err(|_| format!("`{text}` is not {what}")))
    }

    /// The proxy. What is wrong with it is told without its text, which may hold a password.
    fn proxy(&mut self) -> Option<Proxy> {
        self.one("outbound_proxy")?;
        self.parsed("outbound_proxy", None, |text| {
            text.parse().map(Some).map_err(|error: ProxyError| error.to_string())
        })
    }

    fn ports(&mut self, key: &str) -> Vec<u16> {
        let Some(said) = self.raw.get(key) else { return Vec::new() };
        let mut ports = Vec::new();
        for (index, text) in said.values.iter().enumerate() {
            match text.parse() {
                Ok(port @ 1..1024) => ports.push(port),
                _ => {
                    let message = format!("`{text}` is not a port below 1024; the others need not be listed");
                    self.refuse(&format!("{}[{index}]", said.place), message);
                }
            }
        }
        ports
    }

    /// Addresses and blocks that are only told of, as they were written.
    fn published(&mut self, key: &str) -> Vec<String> {
        let before = self.problems.len();
        let _ = self.subnets(key);
        let is_sound = self.problems.len() == before;
        self.raw.get(key).filter(|_| is_sound).map(|said| said.values.clone()).unwrap_or_default()
    }

    fn switch(&mut self, key: &str) -> bool {
        self.parsed(key, false, |text| match text {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(format!("`{text}` is neither true nor false")),
        })
    }

    fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> T {
        self.parsed(key, choices[0].1, |text| {
            let found = choices.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value).ok_or_else(|| {
                let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                format!("`{text}` is not one of {}", words.join(", "))
            })
        })
    }

    fn subnets(&mut self, key: &str) -> Vec<Subnet> {
        let Some(said) = self.raw.get(key) else { return Vec::new() };
        let mut subnets = Vec::new();
        for (index, text) in said.values.iter().enumerate() {
            match text.parse() {
                Ok(subnet) => subnets.push(subnet),
                Err(error) => {
                    let error: roundtrip_engine::sender::SubnetError = error;
                    self.refuse(&format!("{}[{index}]", said.place), error.to_string());
                }
            }
        }
        subnets
    }

    /// Files that are not opened here: one that is missing is no reason not to start.
    fn databases(&mut self, key: &str) -> Vec<PathBuf> {
        let Some(said) = self.raw.get(key) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = Vec::new();
        for (index, text) in said.values.iter().enumerate() {
            let place = format!("{}[{index}]", said.place);
            let path = PathBuf::from(text);
            if text.trim().is_empty() {
                self.refuse(&place, "names no file");
            } else if paths.contains(&path) {
                self.refuse(&place, format!("`{text}` is named twice"));
            } else {
                paths.push(path);
            }
        }
        if paths.len() > DATABASES_MAX {
            let message = format!("names {} files; at most {DATABASES_MAX} are asked", paths.len());
            self.refuse(&said.place, message);
        }
        paths
    }

    /// The same blocks for those who read headers. A [`Subnet`] prints what `ipnet` reads.
    fn networks(&mut self, key: &str) -> Vec<IpNet> {
        self.subnets(key).iter().filter_map(|subnet| subnet.to_string().parse().ok()).collect()
    }

    fn public_url(&mut self) -> Option<Url> {
        self.one("public_url")?;
        self.parsed("public_url", None, |text| {
            let url = Url::parse(text).map_err(|error| format!("`{text}` is not a URL: {error}"))?;
            if !matches!(url.scheme(), "http" | "https") {
                return Err(format!("`{text}` does not begin with https:// or http://"));
            }
            let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
            if !bare || !url.username().is_empty() || url.password().is_some() {
                return Err("is more than scheme, host and port".to_owned());
            }
            Ok(Some(url))
        })
    }

    /// How long nothing may be reported; 0s is for ever.
    fn alert_silence(&mut self) -> Option<Span> {
        let span = self.parsed("alert_silence", Span::from_ms(0), |text| {
            let span =
                Span::parse(text).ok_or_else(|| format!("`{text}` is not a span such as 6h, or 0s"))?;
            if span == Span::from_ms(0) || (ALERT_SILENCE_MIN..=ALERT_SILENCE_MAX).contains(&span) {
                Ok(span)
            } else {
                Err(format!("`{text}` is not 0s, nor between {ALERT_SILENCE_MIN} and {ALERT_SILENCE_MAX}"))
            }
        });
        Some(span).filter(|span| span.ms() > 0)
    }

    /// How long after its hour clicks are sealed: up to 30 days.
    fn seal_after(&mut self) -> Span {
        let most = Span::from_days(30);
        self.parsed("click_seal_after", Span::from_ms(0), |text| {
            let span =
                Span::parse(text).ok_or_else(|| format!("`{text}` is not a span such as 0s or 36h"))?;
            if span <= most { Ok(span) } else { Err(format!("`{text}` is more than {most}")) }
        })
    }

    /// A folder in a bucket of a kind that this program was built for, without a slash at its end.
    fn bucket(&mut self, key: &str) -> Option<String> {
        self.one(key)?;
        self.parsed(key, None, |text| {
            let url = bucket_url::parse(text)?;
            Ok(Some(url.as_str().trim_end_matches('/').to_owned()))
        })
    }

    /// How long a segment stays here: as long as clicks are kept at most.
    fn segments_local(&mut self) -> Span {
        self.parsed("click_segments_local", Span::from_days(2), |text| {
            let span =
                Span::parse(text).ok_or_else(|| format!("`{text}` is not a span such as 2d or 36h"))?;
            if span <= CLICK_RETENTION_MAX {
                Ok(span)
            } else {
                Err(format!("`{text}` is more than {CLICK_RETENTION_MAX}"))
            }
        })
    }

    fn retention(&mut self, key: &str, most: Span) -> Span {
        self.parsed(key, Span::from_days(1), |text| {
            let span =
                Span::parse(text).ok_or_else(|| format!("`{text}` is not a span such as 120d or 36h"))?;
            if (Span::from_seconds(1)..=most).contains(&span) {
                Ok(span)
            } else {
                Err(format!("`{text}` is not between 1s and {most}"))
            }
        })
    }

    /// How long something is kept: 1 to 400 days.
    fn kept(&mut self, key: &str) -> Span {
        let (least, most) = (Span::from_days(1), Span::from_days(400));
        self.parsed(key, least, |text| {
            let span =
                Span::parse(text).ok_or_else(|| format!("`{text}` is not a span such as 30d or 36h"))?;
            if (least..=most).contains(&span) {
                Ok(span)
            } else {
                Err(format!("`{text}` is not between {least} and {most}"))
            }
        })
    }

    fn number(&mut self, key: &str, range: RangeInclusive<u32>) -> u32 {
        self.parsed(key, *range.start(), |text| match text.parse() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(format!("`{text}` is not a number from {} to {}", range.start(), range.end())),
        })
    }

    fn log_level(&mut self) -> String {
        self.parsed("log_level", String::new(), |text| {
            telemetry::filter(text)
                .map(|_| text.to_owned())
                .map_err(|error| format!("is no level or filter: {error}"))
        })
    }
}
