//! `roundtrip tail`: follows deliveries live, and can pass webhooks on to a program on this machine.
//!
//! Forwarding sends what was sent: the same body and headers, signatures included, so that a receiver under
//! development verifies them. It goes to loopback only, because what it carries is personal data and signed.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use roundtrip_web::deliveries::{Tail, TailedSend};
use roundtrip_web::story;
use tokio::net::TcpStream;
use url::Url;

use super::explain::encoded;
use super::filter::Filter;
use crate::client::{self, Client};
use crate::terminal;

/// How long the local program may take.
const FORWARD_MAX: Duration = Duration::from_secs(30);
/// Bytes of its answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long to wait after the server could not be asked.
const AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Shows what was sent and answered, personal data included.
    #[arg(long)]
    full: bool,
    /// Sends webhooks on to a URL on this machine, such as http://127.0.0.1:3000/hook, with their own headers.
    #[arg(long, value_name = "URL")]
    forward: Option<String>,
    /// Ends after so many sends.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// The workspace's slug.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    workspace: String,
    /// Prints JSON lines.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) server: client::Flags,
}

/// Where webhooks are sent on to.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
    path: String,
}

impl Target {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let url = Url::parse(text).with_context(|| format!("read --forward `{text}`"))?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if url.scheme() != "http" || !is_loopback {
            bail!(
                "forward to `{text}`: it goes to http on this machine only, such as http://127.0.0.1:3000/hook"
            );
        }
        let path =
            url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        Ok(Self { host, port: url.port_or_known_default().unwrap_or(80), path })
    }
}

/// Runs the command; it goes on until it is interrupted.
///
/// # Errors
/// When the server refuses, or cannot be asked the first time.
pub(crate) async fn run(args: Args, client: &Client) -> anyhow::Result<ExitCode> {
    let target = args.forward.as_deref().map(Target::parse).transpose()?;
    let full = args.full || target.is_some();
    let query = format!("workspace={}&full={full}{}", encoded(&args.workspace), args.filter.query());
    let first =
        client::accepted(client.get(&format!("/api/v1/tail?{query}")).await?).context("follow deliveries")?;
    let mut place = read(first)?.next;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let path = format!("/api/v1/tail?{query}&after={}", encoded(&place));
        let asked = client.get(&path).await;
        let Ok(answer) = asked else {
            // The server may be starting again; what happens meanwhile is counted as missed.
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let seen = read(client::accepted(answer).context("follow deliveries")?)?;
        place = seen.next;
        if seen.restarted {
            note(args.json, None)?;
        } else if seen.missed > 0 {
            note(args.json, Some(seen.missed))?;
        }
        for sent in &seen.items {
            let forwarded = match &target {
                Some(target) if sent.delivery.webhook.is_some() => Some(forward(target, sent).await),
                _ => None,
            };
            terminal::line(&shown(sent, forwarded.as_ref(), &args)?)?;
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(answer: serde_json::Value) -> anyhow::Result<Tail> {
    serde_json::from_value(answer).context("read the answer: is the server another release?")
}

/// Says that something went by unseen.
fn note(json: bool, missed: Option<u64>) -> anyhow::Result<()> {
    let line = match (json, missed) {
        (true, missed) => serde_json::json!({ "missed": missed, "restarted": missed.is_none() }).to_string(),
        (false, Some(n)) => format!("… {n} sends went by unseen; `roundtrip deliveries` lists them."),
        (false, None) => {
            "… the server was started again; `roundtrip deliveries` lists what was missed.".to_owned()
        }
    };
    Ok(terminal::line(&line)?)
}

fn shown(sent: &TailedSend, forwarded: Option<&anyhow::Result<u16>>, args: &Args) -> anyhow::Result<String> {
    if args.json {
        let mut value = serde_json::to_value(sent).context("write a send")?;
        match forwarded {
            Some(Ok(status)) => value["forwarded"] = (*status).into(),
            Some(Err(error)) => value["forward_error"] = format!("{error:#}").into(),
            None => {}
        }
        return Ok(value.to_string());
    }
    let (row, attempt) = (&sent.delivery, &sent.attempt);
    let mut lines = vec![format!(
        "{} {} send {} {} to {}: {}",
        attempt.at,
        row.id,
        attempt.n,
        row.kind,
        row.receiver(),
        attempt.sentence
    )];
    if args.full {
        lines.extend(attempt.request.iter().map(|request| format!("  → {}", request.line)));
        let bodies = attempt.request.iter().filter_map(|request| request.body.as_ref());
        lines.extend(bodies.flat_map(|body| body.lines()).map(|line| format!("  → {line}")));
        let answers = attempt.answer.iter().filter_map(|answer| answer.body.as_ref());
        lines.extend(answers.flat_map(|body| body.lines()).map(|line| format!("  ← {line}")));
    }
    match forwarded {
        Some(Ok(status)) => lines.push(format!("  forwarded: {status}")),
        Some(Err(error)) => lines.push(format!("  not forwarded: {error:#}")),
        None => {}
    }
    let lines: Vec<String> = lines.iter().map(|line| story::text::clean(line)).collect();
    Ok(lines.join("\n"))
}

/// Headers that belong to a connection, not to what is said on it.
const OF_THE_CONNECTION: &[&str] =
    &["host", "content-length", "connection", "transfer-encoding", "accept-encoding"];

/// The request to the local program: method, body and headers of what was sent.
fn request_of(target: &Target, sent: &story::Request) -> anyhow::Result<Request<Full<Bytes>>> {
    let method = sent.line.split(' ').next().unwrap_or("POST");
    let method = Method::from_bytes(method.as_bytes()).context("read the method")?;
    let mut request = Request::builder().method(method).uri(&target.path);
    let authority = if target.host.contains(':') {
        format!("[{}]:{}", target.host, target.port)
    } else {
        format!("{}:{}", target.host, target.port)
    };
    request = request.header("host", authority);
    for header in &sent.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).context("read a header")?;
        if !OF_THE_CONNECTION.contains(&name.as_str()) {
            let value = HeaderValue::from_bytes(header.value.as_bytes()).context("read a header")?;
            request = request.header(name, value);
        }
    }
    let body = sent.body.clone().unwrap_or_default();
    request.body(Full::new(Bytes::from(body))).context("make the request")
}

/// Sends a webhook on and says what the local program answered.
async fn forward(target: &Target, sent: &TailedSend) -> anyhow::Result<u16> {
    let sent = sent.attempt.request.as_ref().context("find what was sent")?;
    let request = request_of(target, sent)?;
    let exchange = async {
        let stream = TcpStream::connect((target.host.as_str(), target.port))
            .await
            .with_context(|| format!("connect to {} port {}", target.host, target.port))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.context("begin HTTP")?;
        let asking = async move {
            let answer = sender.send_request(request).await.context("send it")?;
            let status = answer.status().as_u16();
            // What it says is not shown; reading it keeps the local program from a reset.
            let _ = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            anyhow::Ok(status)
        };
        let mut asking = std::pin::pin!(asking);
        tokio::select! {
            answered = &mut asking => answered,
            ended = connection => {
                ended.context("keep the connection")?;
                asking.await
            }
        }
    };
    tokio::time::timeout(FORWARD_MAX, exchange)
        .await
        .unwrap_or_else(|_| bail!("no answer within {} s", FORWARD_MAX.as_secs()))
}

#[cfg(test)]
mod tests {
    use roundtrip_web::story::Param;

    use super::*;

    #[test]
    fn webhooks_are_sent_on_to_this_machine_only() {
        let target = Target::parse("http://127.0.0.1:3000/hook?a=1").unwrap();
        assert_eq!(target, Target { host: "127.0.0.1".into(), port: 3000, path: "/hook?a=1".into() });
        assert_eq!(Target::parse("http://[::1]/").unwrap().port, 80);
        Target::parse("http://localhost:1").unwrap();
        for bad in [
            "http://10.0.0.1/",
            "https://127.0.0.1/",
            "http://example.com/",
            "http://127.0.0.1.example.com/",
            "x",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_sent_on_is_what_was_sent() {
        let header = |name: &str, value: &str| Param { name: name.into(), value: value.into() };
        let sent = story::Request {
            origin: None,
            line: "POST /theirs HTTP/1.1".into(),
            headers: vec![
                header("host", "hooks.example.com"),
                header("content-length", "7"),
                header("webhook-signature", "v1,abc="),
                header("content-type", "application/json"),
            ],
            body: Some("{\"a\":1}".into()),
        };
        let target = Target::parse("http://[::1]:9/hook").unwrap();
        let request = request_of(&target, &sent).unwrap();
        assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/hook"));
        let headers: Vec<(&str, &str)> =
            request.headers().iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        assert_eq!(
            headers,
            [("host", "[::1]:9"), ("webhook-signature", "v1,abc="), ("content-type", "application/json")]
        );
    }
}
