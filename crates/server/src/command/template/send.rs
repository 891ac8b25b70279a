//! `roundtrip template test --send`: one real request, through the guarded client that postbacks go through, and
//! what came back.
//!
//! It sends no delivery: nothing is stored, nothing is retried, no rule is asked. The operator's switches of `serve`
//! (`allow_private` and its kin) are flags here, because this process has no server's settings.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bytes::Bytes;
use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::template::{Parts, Value, secrets};
use roundtrip_engine::sender::{self, Evidence, Exchange, Guard, Limits, Outcome, Request, Sender, Subnet};
use roundtrip_library::{Entry, Success};
use serde_json::json;

use super::test::{Test, Tried, try_out};
use crate::command::library;
use crate::terminal;

#[derive(Debug, Default, clap::Args)]
pub(super) struct Flags {
    /// Tries an entry of the template library instead of a URL; its settings are --value cfg.NAME=….
    #[arg(long, value_name = "NAME", conflicts_with_all = ["url", "method", "header", "body", "scope"])]
    pub(super) library: Option<String>,
    /// Really sends the request, once, and shows what was sent and answered. It counts at the receiver like any
    /// other, unless the library knows the vendor's own way to try one.
    #[arg(long)]
    pub(super) send: bool,
    /// Sends to the entry's live URL although it has a way to try one.
    #[arg(long, requires = "send", conflicts_with = "url")]
    pub(super) live: bool,
    /// With --send: private, loopback or other special address ranges that may be sent to; repeatable.
    #[arg(long, value_name = "CIDR", requires = "send")]
    pub(super) allow_private: Vec<Subnet>,
    /// With --send: sends to http URLs too.
    #[arg(long, requires = "send")]
    pub(super) allow_plain_http_out: bool,
    /// With --send: a PEM file of root certificates to trust besides the web's own.
    #[arg(long, value_name = "FILE", requires = "send")]
    pub(super) extra_roots: Option<PathBuf>,
}

impl Flags {
    fn entry(&self) -> anyhow::Result<Option<&'static Entry>> {
        self.library.as_deref().map(library::entry).transpose()
    }

    /// Whether the vendor's own way to try a request is taken.
    fn takes_check(&self, entry: &Entry) -> bool {
        self.send && !self.live && entry.check.is_some()
    }
}

/// The texts of the library's entry that is tried; `None` when a URL is.
pub(super) fn library_parts(test: &Test) -> anyhow::Result<Option<Parts>> {
    let flags = &test.sending;
    let Some(entry) = flags.entry()? else { return Ok(None) };
    let parts = if flags.takes_check(entry) { entry.check_parts() } else { entry.parts() };
    Ok(Some(parts.with_context(|| library::no_template(entry))?))
}

/// Sample values of the entry's settings. What is really sent has the caller's own and no samples.
pub(super) fn library_samples(test: &Test) -> anyhow::Result<BTreeMap<String, Value<'static>>> {
    let flags = &test.sending;
    let Some(entry) = flags.entry()?.filter(|_| !flags.send) else { return Ok(BTreeMap::new()) };
    let settings = entry.settings.iter().map(|one| (format!("cfg.{}", one.name), one.example.as_str()));
    let others =
        entry.needs.iter().filter(|name| name.starts_with("param.")).map(|name| (name.clone(), "a1b2c3"));
    Ok(settings.chain(others).map(|(name, example)| (name, Value::text(example))).collect())
}

/// Sends. Exit code 1 when the template cannot be saved, or the answer is no success.
///
/// # Errors
/// When a value is missing or unreadable, or the client cannot be set up.
pub(super) fn run(test: &Test) -> anyhow::Result<ExitCode> {
    let given = given(test)?;
    let entry = test.sending.entry()?;
    if let Some(entry) = entry {
        refuse_missing(entry, &given)?;
    }
    let tried = try_out(test, &Clock::System, &Entropy::System)?;
    anyhow::ensure!(tried.request, "send a destination: only a visitor's browser goes there");
    if tried.is_refused() {
        terminal::line(&if test.json { tried.json().to_string() } else { tried.text() })?;
        anyhow::bail!("send it: the template has errors, and nothing was sent");
    }
    let check = entry.filter(|entry| test.sending.takes_check(entry)).and_then(|entry| entry.check.as_ref());
    if !test.json {
        let what = match check {
            Some(check) => format!("This is the vendor's own way to try a request: {}", check.about),
            None => "It counts at the receiver like any other request.".to_owned(),
        };
        terminal::line(&format!("Sending one real request to {}. {what}\n", origin(&tried)))?;
    }
    let mut exchange = exchange(&test.sending, &tried)?;
    exchange.evidence.mask(&hidden(&tried, &given));
    let success = entry.map_or_else(Success::default, |entry| entry.success.clone());
    let sent = Sent { exchange, success, check: check.is_some() };
    terminal::line(&if test.json { sent.json().to_string() } else { sent.text() })?;
    Ok(if sent.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What `--value` gave, by name.
fn given(test: &Test) -> anyhow::Result<BTreeMap<String, String>> {
    let pairs = test.value.iter().map(|given| {
        let (name, value) = given
            .split_once('=')
            .with_context(|| format!("read the value `{given}`: it is no name=value"))?;
        anyhow::Ok((name.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

fn refuse_missing(entry: &Entry, given: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let has = |name: &str| given.get(name).is_some_and(|value| !value.is_empty());
    let mut lines: Vec<String> = entry
        .missing(|name| has(&format!("cfg.{name}")))
        .into_iter()
        .map(|one| format!("--value cfg.{}=…  {} Such as {}.", one.name, one.about, one.example))
        .collect();
    for name in entry.needs.iter().filter_map(|name| name.strip_prefix("param.")) {
        if !has(name) && !has(&format!("param.{name}")) {
            lines.push(format!("--value {name}=…  The vendor's click id, as it came with a click."));
        }
    }
    anyhow::ensure!(
        lines.is_empty(),
        "send `{}`: it needs values that were not given, and nothing was sent (setting_missing)\n  {}",
        entry.slug,
        lines.join("\n  ")
    );
    Ok(())
}

/// Scheme, host and port of a request.
fn origin(tried: &Tried) -> String {
    url::Url::parse(&tried.rendered.url)
        .map_or_else(|_| "nowhere".to_owned(), |url| url.origin().ascii_serialization())
}

fn exchange(flags: &Flags, tried: &Tried) -> anyhow::Result<Exchange> {
    let guard = Guard {
        allow_private: flags.allow_private.clone(),
        allow_plain_http: flags.allow_plain_http_out,
        ..Guard::default()
    };
    let config = sender::Config { extra_roots_file: flags.extra_roots.clone(), ..sender::Config::default() };
    let sender = Sender::new(&config, guard).context("set up sending")?;
    let rendered = &tried.rendered;
    let request = Request {
        method: http::Method::from_bytes(rendered.method.as_str().as_bytes()).unwrap_or_default(),
        url: rendered.url.clone(),
        headers: rendered
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()))
            .collect(),
        body: rendered.body.clone().map(Bytes::from).unwrap_or_default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(sender.send(request, Limits::POSTBACK)))
}

/// What is masked: the settings that were given, but for what only says where to send.
fn hidden(tried: &Tried, given: &BTreeMap<String, String>) -> Vec<Vec<u8>> {
    let settings = given.iter().filter_map(|(name, value)| Some((name.strip_prefix("cfg.")?, value)));
    secrets(&tried.uses, settings, &tried.rendered.secrets)
}

/// What was sent and what came back.
struct Sent {
    exchange: Exchange,
    success: Success,
    /// Whether it went the vendor's own way to try one.
    check: bool,
}

impl Sent {
    fn is_success(&self) -> bool {
        let Some(answer) = &self.exchange.evidence.answer else { return false };
        matches!(self.exchange.outcome, Outcome::Answered { .. })
            && self.success.holds(answer.status, &answer.body)
    }

    /// What it came to, in a sentence.
    fn sentence(&self) -> String {
        let error = self.exchange.evidence.error.as_deref();
        match self.exchange.outcome {
            Outcome::Failed(failure) => {
                let sent =
                    if self.exchange.evidence.request_written { "It was sent" } else { "Nothing was sent" };
                let more = error.map_or_else(String::new, |error| format!(": {error}"));
                format!("{sent}, and there is no answer ({}){more}.", failure.code())
            }
            Outcome::Answered { status } if self.is_success() => {
                format!("It counts as a success: status {status}{}.", self.wanted(" and "))
            }
            Outcome::Answered { status } if (200..300).contains(&status) => {
                format!(
                    "It counts as a failure: status {status}, but a success also answers {}.",
                    self.wanted("")
                )
            }
            Outcome::Answered { status } => format!("It counts as a failure: status {status}."),
        }
    }

    fn wanted(&self, before: &str) -> String {
        match self.success.body_any.as_slice() {
            [] => String::new(),
            texts => format!("{before}a body with {}", texts.join(" or ")),
        }
    }

    fn text(&self) -> String {
        let Evidence { request, address, answer, timings, tls, .. } = &self.exchange.evidence;
        let mut text = format!("{}\n", request.line);
        for (name, value) in &request.headers {
            text.push_str(&format!("{name}: {value}\n"));
        }
        if !request.body.is_empty() {
            text.push_str(&format!("\n{}\n", String::from_utf8_lossy(&request.body)));
        }
        let ms = |us: u64| format!("{}.{} ms", us / 1000, us / 100 % 10);
        let phases = [
            ("look-up", timings.dns_us),
            ("connect", timings.connect_us),
            ("TLS", timings.tls_us),
            ("first byte", timings.first_byte_us),
        ];
        let phases: Vec<String> =
            phases.iter().filter_map(|(name, us)| us.map(|us| format!("{name} {}", ms(us)))).collect();
        let mut way = vec![format!("in all {}", ms(timings.total_us))];
        if !phases.is_empty() {
            way.push(phases.join(", "));
        }
        way.extend(address.map(|address| format!("to {address}")));
        way.extend(tls.as_ref().map(|tls| format!("{} {}", tls.version, tls.cipher)));
        text.push_str(&format!("\n({})\n", way.join("; ")));
        if let Some(answer) = answer {
            text.push_str(&format!("\n{} {}\n", answer.http_version, answer.status));
            for (name, value) in &answer.headers {
                text.push_str(&format!("{name}: {}\n", harmless(value)));
            }
            if !answer.body.is_empty() {
                text.push_str(&format!("\n{}\n", harmless(&String::from_utf8_lossy(&answer.body))));
            }
            if answer.body_truncated {
                text.push_str(&format!("(the first {} bytes)\n", answer.body.len()));
            }
        }
        text.push_str(&format!("\n{}", self.sentence()));
        text
    }

    fn json(&self) -> serde_json::Value {
        let Evidence { request, address, answer, timings, error, request_written, origin, .. } =
            &self.exchange.evidence;
        let pairs = |list: &[(String, String)]| -> Vec<serde_json::Value> {
            list.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
        };
        let outcome = match self.exchange.outcome {
            Outcome::Answered { status } => format!("http_{status}"),
            Outcome::Failed(failure) => failure.code().to_owned(),
        };
        json!({
            "sent": request_written, "check": self.check, "success": self.is_success(), "outcome": outcome,
            "sentence": self.sentence(), "origin": origin,
            "address": address.map(|address| address.to_string()),
            "request": {
                "line": request.line, "headers": pairs(&request.headers),
                "body": String::from_utf8_lossy(&request.body),
            },
            "answer": answer.as_ref().map(|answer| json!({
                "status": answer.status, "headers": pairs(&answer.headers),
                "body": String::from_utf8_lossy(&answer.body), "body_truncated": answer.body_truncated,
            })),
            "timings_us": {
                "dns": timings.dns_us, "connect": timings.connect_us, "tls": timings.tls_us,
                "first_byte": timings.first_byte_us, "total": timings.total_us,
            },
            "error": error,
        })
    }
}

/// What came from elsewhere, without what could speak to the terminal.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Alone {
        #[command(flatten)]
        test: Test,
    }

    fn parsed(arguments: &[&str]) -> Result<Test, clap::Error> {
        Alone::try_parse_from(std::iter::once(&"test").chain(arguments)).map(|alone| alone.test)
    }

    fn url(arguments: &[&str]) -> String {
        library_parts(&parsed(arguments).unwrap()).unwrap().unwrap().url
    }

    #[test]
    fn sending_goes_the_vendors_own_way_unless_told_otherwise() {
        assert!(!url(&["--library=snap-app"]).contains("/validate"));
        assert!(url(&["--library=snap-app", "--send"]).contains("/events/validate?"));
        assert!(!url(&["--library=snap-app", "--send", "--live"]).contains("/validate"));
        assert!(url(&["--library=taboola", "--send"]).starts_with("https://trc.taboola.com/"));
        for wrong in [
            &["https://p.example/", "--library=taboola"][..],
            &["https://p.example/", "--allow-plain-http-out"],
            &["https://p.example/", "--send", "--live"],
            &["https://p.example/", "--send", "--allow-private=10.0.0.1/8"],
        ] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn places_are_shown_and_secrets_are_not() {
        let test = parsed(&["--library=everflow", "--send"]).unwrap();
        let tried = try_out(&test, &Clock::System, &Entropy::seeded(1)).unwrap();
        let given = [("cfg.host", "t.example"), ("cfg.nid", "10"), ("cfg.verification_token", "abcdef")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(hidden(&tried, &BTreeMap::from(given)), [b"abcdef"]);
    }

    #[test]
    fn what_filters_make_of_a_secret_is_masked_and_so_is_what_stands_behind_a_host() {
        let given = ["--value=cfg.at=https://t.example/path-t0ken", "--value=cfg.token=Ab/cdef", "--send"];
        let test = parsed(&[&["{cfg.at}/p?c={click_id}&t={cfg.token|b64}"][..], &given].concat()).unwrap();
        let tried = try_out(&test, &Clock::System, &Entropy::seeded(1)).unwrap();
        let hidden = hidden(&tried, &super::given(&test).unwrap());
        let mut evidence = Evidence { origin: "https://t.example".to_owned(), ..Evidence::default() };
        evidence.request.line = tried.rendered.url.clone();
        evidence.mask(&hidden);
        assert_eq!(evidence.origin, "https://t.example");
        assert!(evidence.request.line.starts_with("https://t.example/***/p?c="), "{}", evidence.request.line);
        assert!(evidence.request.line.ends_with("&t=***"), "{}", evidence.request.line);
    }

    #[test]
    fn the_vendors_own_words_decide() {
        let answered = |status, body: &'static [u8]| {
            let answer = Some(sender::Answer {
                status,
                http_version: "HTTP/1.1",
                headers: Vec::new(),
                headers_truncated: false,
                location: None,
                retry_after: None,
                body: Bytes::from_static(body),
                body_bytes_read: body.len() as u64,
                body_truncated: false,
                body_end: sender::BodyEnd::Complete,
            });
            let evidence = Evidence { answer, ..Evidence::default() };
            let exchange = Exchange { outcome: Outcome::Answered { status }, evidence };
            Sent { exchange, success: Success { body_any: vec!["OK".into()], about: None }, check: false }
        };
        let good = answered(200, b"OK\n");
        assert!(good.is_success());
        assert_eq!(good.sentence(), "It counts as a success: status 200 and a body with OK.");
        let refused = answered(200, b"ERROR: Tag is invalid!\x1b[2J");
        assert!(!refused.is_success());
        assert!(refused.sentence().contains("also answers a body with OK"), "{}", refused.sentence());
        assert!(!refused.text().contains('\x1b'), "an answer cannot speak to the terminal");
        assert_eq!(answered(404, b"OK").sentence(), "It counts as a failure: status 404.");
    }
}
