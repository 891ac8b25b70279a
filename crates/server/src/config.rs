//! The settings of `roundtrip serve`: read raw from flags, environment and file, then checked into [`Config`],
//! the only form the rest of the program sees.
//!
//! [`SETTINGS`] declares each setting once. The flags, the environment variables, the keys of the file's
//! `[server]` table and `docs/server.md` all come from it, so none of them can be forgotten. Everything that
//! is wrong is reported at once, each with the place it came from.
//!
//! Not here: apps, campaigns, partners, links and rules. Their tables stand in the same file, are read by
//! `roundtrip apply` alone, and are ignored by `serve`.

mod raw;
mod read;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use roundtrip_domain::problem::Problem;
use roundtrip_domain::time::Span;
use roundtrip_engine::sender::{Proxy, Subnet};
use url::Url;

use crate::telemetry;

pub(crate) use self::raw::{Flags, Raw};

/// What form a setting's value has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One text or number.
    One,
    /// True or false; as a flag it needs no value.
    Switch,
    /// Any number of texts: a repeated flag, a comma-separated variable, an array in the file.
    Many,
}

/// One setting of the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    /// The key in the `[server]` table; also the setting's name in messages.
    pub(crate) key: &'static str,
    /// The flag, without the dashes.
    pub(crate) flag: &'static str,
    /// The environment variable.
    pub(crate) env: &'static str,
    /// What the value is called in the help.
    pub(crate) value: &'static str,
    /// Its form.
    pub(crate) form: Form,
    /// The value when nobody says anything; empty where there is none.
    pub(crate) default: &'static str,
    /// What it does, in one sentence or two.
    pub(crate) meaning: &'static str,
}

const fn one(
    key: &'static str,
    flag: &'static str,
    env: &'static str,
    value: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { key, flag, env, value, form: Form::One, default, meaning }
}

const fn switch(key: &'static str, flag: &'static str, env: &'static str, meaning: &'static str) -> Setting {
    Setting { key, flag, env, value: "BOOL", form: Form::Switch, default: "false", meaning }
}

const fn many(
    key: &'static str,
    flag: &'static str,
    env: &'static str,
    value: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { key, flag, env, value, form: Form::Many, default: "", meaning }
}

/// The variable and the flag that name the file itself. The file cannot name itself, so it is no [`Setting`].
pub(crate) const CONFIG_ENV: &str = "ROUNDTRIP_CONFIG";

/// Every setting, in the order of the documentation.
pub(crate) const SETTINGS: &[Setting] = &[
    one(
        "data",
        "data",
        "ROUNDTRIP_DATA",
        "DIR",
        "./roundtrip-data",
        "The data directory. It is made with mode 0700, and one server at a time holds it.",
    ),
    one(
        "public",
        "public",
        "ROUNDTRIP_PUBLIC",
        "ADDR",
        "127.0.0.1:8080",
        "Where the public listener binds: clicks, events, postbacks. Port 0 is any free port.",
    ),
    one(
        "admin",
        "admin",
        "ROUNDTRIP_ADMIN",
        "ADDR",
        "127.0.0.1:8081",
        "Where the admin listener binds: API, dashboard, metrics. Port 0 is any free port. It speaks plain \
         HTTP: beyond loopback, put a proxy with TLS before it.",
    ),
    one(
        "public_url",
        "public-url",
        "ROUNDTRIP_PUBLIC_URL",
        "URL",
        "",
        "How the world reaches the public listener, such as https://go.example.com; links and examples are shown \
         with it. Without it, the listener's own address is used.",
    ),
    many(
        "trusted_proxies",
        "trusted-proxy",
        "ROUNDTRIP_TRUSTED_PROXIES",
        "CIDR",
        "Whose X-Forwarded-For and X-Forwarded-Proto count.",
    ),
    switch(
        "allow_plain_http",
        "allow-plain-http",
        "ROUNDTRIP_ALLOW_PLAIN_HTTP",
        "Takes events and inbound postbacks over plain HTTP from beyond loopback. They carry keys and personal \
         data that anyone on the way can then read.",
    ),
    many(
        "allow_private",
        "allow-private",
        "ROUNDTRIP_ALLOW_PRIVATE",
        "CIDR",
        "Private, loopback or other special address ranges that postbacks and webhooks may be sent to. All are \
         refused otherwise.",
    ),
    switch(
        "allow_plain_http_out",
        "allow-plain-http-out",
        "ROUNDTRIP_ALLOW_PLAIN_HTTP_OUT",
        "Sends postbacks and webhooks to http URLs too.",
    ),
    many(
        "outbound_ports",
        "outbound-port",
        "ROUNDTRIP_OUTBOUND_PORTS",
        "N",
        "Ports below 1024 that may be sent to besides 80 and 443. From 1024 up every port may.",
    ),
    one(
        "outbound_bind_v4",
        "outbound-bind-v4",
        "ROUNDTRIP_OUTBOUND_BIND_V4",
        "ADDR",
        "",
        "The IPv4 address of this machine to send from; without it the system chooses.",
    ),
    one(
        "outbound_bind_v6",
        "outbound-bind-v6",
        "ROUNDTRIP_OUTBOUND_BIND_V6",
        "ADDR",
        "",
        "The IPv6 address of this machine to send from; without it the system chooses.",
    ),
    one(
        "outbound_proxy",
        "outbound-proxy",
        "ROUNDTRIP_OUTBOUND_PROXY",
        "URL",
        "",
        "The HTTP proxy that all requests leave through, such as http://user:password@proxy.example:3128; it must allow \
         CONNECT to the ports that are sent to. With a password, name it in the environment or the file: arguments are \
         seen by everybody on the machine. Proxies that the environment names for all programs are not used.",
    ),
    many(
        "egress_addresses",
        "egress-address",
        "ROUNDTRIP_EGRESS_ADDRESSES",
        "CIDR",
        "The public addresses that requests come from, to be listed for receivers at GET /api/v1/egress. It only tells: \
         what is sent from is for outbound_bind_v4, outbound_bind_v6, the proxy and the network.",
    ),
    one(
        "extra_roots",
        "extra-roots",
        "ROUNDTRIP_EXTRA_ROOTS",
        "FILE",
        "",
        "A PEM file of root certificates to trust besides the web's own when sending.",
    ),
    one(
        "click_durability",
        "click-durability",
        "ROUNDTRIP_CLICK_DURABILITY",
        "strict|relaxed",
        "strict",
        "strict: a redirect leaves after its click is on the disk. relaxed: it may leave before, and a power \
         loss may lose the last clicks that were answered.",
    ),
    one(
        "click_retention",
        "click-retention",
        "ROUNDTRIP_CLICK_RETENTION",
        "SPAN",
        "120d",
        "How long clicks are kept. Below the longest window of any link, late conversions find no click.",
    ),
    one(
        "click_seal_after",
        "click-seal-after",
        "ROUNDTRIP_CLICK_SEAL_AFTER",
        "SPAN",
        "0s",
        "How long after its hour clicks become Parquet files, 0s to 30d; as many as fill a file do so at once.",
    ),
    one(
        "click_segment_rows",
        "click-segment-rows",
        "ROUNDTRIP_CLICK_SEGMENT_ROWS",
        "N",
        "262144",
        "Most clicks of a Parquet file, 1024 to 4000000. While one is written, some 150 bytes of memory are taken for each.",
    ),
    one(
        "click_segments_bucket",
        "click-segments-bucket",
        "ROUNDTRIP_CLICK_SEGMENTS_BUCKET",
        "URL",
        "",
        "The bucket that finished Parquet files of clicks go into, such as s3://NAME/FOLDER, with the credentials that the \
         vendor's own tools find in the environment. Without it they stay in the data directory; what is in a bucket \
         already stays there. See clicks.md.",
    ),
    one(
        "click_segments_local",
        "click-segments-local",
        "ROUNDTRIP_CLICK_SEGMENTS_LOCAL",
        "SPAN",
        "2d",
        "How long after its last click a finished Parquet file stays in the data directory before it goes into the \
         bucket, 0s to 3650d: look-ups of newer clicks never leave the machine.",
    ),
    one(
        "attempts_kept",
        "attempts-kept",
        "ROUNDTRIP_ATTEMPTS_KEPT",
        "SPAN",
        "30d",
        "How long every send of a finished delivery is kept, with what was sent and answered; 1d to 400d. How it ended \
         is kept for ever.",
    ),
    one(
        "payload_kept",
        "payload-kept",
        "ROUNDTRIP_PAYLOAD_KEPT",
        "SPAN",
        "30d",
        "How long the bodies of webhooks are kept, 1d to 400d. That of a conversion is made again when it is wanted \
         later.",
    ),
    one(
        "alert_success_rate",
        "alert-success-rate",
        "ROUNDTRIP_ALERT_SUCCESS_RATE",
        "PERCENT",
        "80",
        "Below how many percent of successful sends in an hour, of at least 20, webhooks that ask for success_rate_low are told; 0 is never.",
    ),
    one(
        "alert_silence",
        "alert-silence",
        "ROUNDTRIP_ALERT_SILENCE",
        "SPAN",
        "0s",
        "After how long without a conversion of an app that had some, webhooks that ask for silence are told, 30m to \
         30d; 0s is never.",
    ),
    one(
        "held_retention",
        "held-retention",
        "ROUNDTRIP_HELD_RETENTION",
        "SPAN",
        "30d",
        "How long deliveries are held for an endpoint that is paused or disabled; then they expire.",
    ),
    one(
        "workspace_sends_day",
        "workspace-sends-day",
        "ROUNDTRIP_WORKSPACE_SENDS_DAY",
        "N",
        "0",
        "Sends of one workspace a day (UTC), counted over restarts; what is over it waits for the next day. 0 is \
         no limit.",
    ),
    one(
        "workspace_sends_at_once",
        "workspace-sends-at-once",
        "ROUNDTRIP_WORKSPACE_SENDS_AT_ONCE",
        "N",
        "0",
        "Sends of one workspace under way at a time; 0 is no limit but that of the server.",
    ),
    one(
        "connections_max",
        "connections-max",
        "ROUNDTRIP_CONNECTIONS_MAX",
        "N",
        "4096",
        "How many connections the public listener serves at once, 1 to 1000000; more wait in the system's queue.",
    ),
    one(
        "client_rate",
        "client-rate",
        "ROUNDTRIP_CLIENT_RATE",
        "N",
        "1000",
        "Events per second that one client key may report; 0 is no limit. All copies of an app share its key.",
    ),
    one(
        "client_burst",
        "client-burst",
        "ROUNDTRIP_CLIENT_BURST",
        "N",
        "10000",
        "Events that one client key may report at once after a pause.",
    ),
    one(
        "postback_rate",
        "postback-rate",
        "ROUNDTRIP_POSTBACK_RATE",
        "N",
        "0",
        "Inbound postbacks per second of one workspace; 0 is no limit.",
    ),
    many(
        "geo_databases",
        "geo-database",
        "ROUNDTRIP_GEO_DATABASES",
        "FILE",
        "Databases of addresses in MaxMind's format (.mmdb), at most 8, the first that knows something counts. They \
         are read into memory, and read again when they change. See geography.md.",
    ),
    switch(
        "metrics_public",
        "metrics-public",
        "ROUNDTRIP_METRICS_PUBLIC",
        "Answers /metrics on the admin listener without the token.",
    ),
    one(
        "log_format",
        "log-format",
        "ROUNDTRIP_LOG_FORMAT",
        "human|json",
        "human",
        "How log lines on standard error look.",
    ),
    one(
        "log_level",
        "log-level",
        "ROUNDTRIP_LOG_LEVEL",
        "FILTER",
        "info",
        "error, warn, info, debug or trace, or a filter such as info,roundtrip_engine=debug.",
    ),
    switch(
        "log_requests",
        "log-requests",
        "ROUNDTRIP_LOG_REQUESTS",
        "Logs a line for each request on the public listener too. Without it they are only counted.",
    ),
    switch(
        "json",
        "json",
        "ROUNDTRIP_JSON",
        "Prints one JSON line on standard output when ready, instead of a text for people.",
    ),
];

/// When a redirect may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// After its click is on the disk.
    Strict,
    /// As soon as the click is handed over.
    Relaxed,
}

/// The settings that a server runs on, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The data directory.
    pub(crate) data: PathBuf,
    /// Where the public listener binds.
    pub(crate) public: SocketAddr,
    /// Where the admin listener binds.
    pub(crate) admin: SocketAddr,
    /// How the world reaches the public listener: scheme, host and port alone.
    pub(crate) public_url: Option<Url>,
    /// Whose forwarding headers count.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Whether events may come over plain HTTP from beyond loopback.
    pub(crate) allow_plain_http: bool,
    /// Special address ranges that may be sent to.
    pub(crate) allow_private: Vec<Subnet>,
    /// Whether plain http URLs may be sent to.
    pub(crate) allow_plain_http_out: bool,
    /// Ports below 1024 that may be sent to besides 80 and 443.
    pub(crate) outbound_ports: Vec<u16>,
    /// The IPv4 address to send from.
    pub(crate) outbound_bind_v4: Option<Ipv4Addr>,
    /// The IPv6 address to send from.
    pub(crate) outbound_bind_v6: Option<Ipv6Addr>,
    /// The proxy that requests leave through.
    pub(crate) outbound_proxy: Option<Proxy>,
    /// The addresses that receivers are told of, as they were written.
    pub(crate) egress_addresses: Vec<String>,
    /// Root certificates to trust besides the web's own.
    pub(crate) extra_roots: Option<PathBuf>,
    /// When a redirect may leave.
    pub(crate) click_durability: Durability,
    /// How long clicks are kept.
    pub(crate) click_retention: Span,
    /// How long after its hour a slice of clicks is sealed.
    pub(crate) click_seal_after: Span,
    /// Most clicks of a segment.
    pub(crate) click_segment_rows: u64,
    /// The bucket that finished segments go into.
    pub(crate) click_segments_bucket: Option<String>,
    /// How long after its last click a segment stays before it goes there.
    pub(crate) click_segments_local: Span,
    /// How long attempts of finished deliveries are kept.
    pub(crate) attempts_kept: Span,
    /// How long bodies of webhooks are kept.
    pub(crate) payload_kept: Span,
    /// Below how many percent of sends in an hour a notice is given; 0 is never.
    pub(crate) alert_success_rate: u32,
    /// After how long without a conversion of an app a notice is given.
    pub(crate) alert_silence: Option<Span>,
    /// How long deliveries are held.
    pub(crate) held_retention: Span,
    /// Sends of one workspace a day; 0 is no limit.
    pub(crate) workspace_sends_day: u32,
    /// Sends of one workspace at a time; 0 is no limit.
    pub(crate) workspace_sends_at_once: u32,
    /// Connections that the public listener serves at once.
    pub(crate) connections_max: u32,
    /// Events per second of one client key; 0 is no limit.
    pub(crate) client_rate: u32,
    /// Events of one client key at once.
    pub(crate) client_burst: u32,
    /// Inbound postbacks per second of one workspace; 0 is no limit.
    pub(crate) postback_rate: u32,
    /// Databases of addresses, in the order in which they are asked.
    pub(crate) geo_databases: Vec<PathBuf>,
    /// Whether `/metrics` needs no token.
    pub(crate) metrics_public: bool,
    /// How and what is logged.
    pub(crate) log: telemetry::Settings,
    /// Whether each public request is logged.
    pub(crate) log_requests: bool,
    /// Whether the ready line is JSON.
    pub(crate) json: bool,
    /// What is odd but no reason to refuse; logged at the start.
    pub(crate) notes: Vec<String>,
}

/// Everything that is wrong with the settings.
#[derive(Debug, thiserror::Error)]
#[error("{}", text(.0))]
pub(crate) struct Refused(pub(crate) Vec<Problem>);

fn text(problems: &[Problem]) -> String {
    let mut text = match problems.len() {
        1 => "use the settings: one problem".to_owned(),
        n => format!("use the settings: {n} problems"),
    };
    for problem in problems {
        text.push_str(&format!("\n  {}: {} ({})", problem.field, problem.message, problem.code));
    }
    text
}

impl Config {
    /// Reads and checks the settings of this process: `flags`, then `env`, then the file, then defaults.
    ///
    /// # Errors
    /// Every problem there is, at once.
    pub(crate) fn load(flags: &Flags, env: &[(String, std::ffi::OsString)]) -> Result<Self, Refused> {
        let mut problems = Vec::new();
        let raw = Raw::collect(flags, env, &mut problems);
        read::check(&raw, problems)
    }
}

/// The page of all settings, in Markdown; `docs/server.md`.
#[cfg(test)]
pub(crate) fn page() -> String {
    let mut page = String::from(
        "# Settings of the server\n\n\
         `roundtrip serve` takes each setting from, in this order: its flag, its environment variable, its key in \
         the `[server]` table of the file that `--config` (or `ROUNDTRIP_CONFIG`) names, its default. Lists are \
         repeated flags, comma-separated variables, arrays in the file; they replace each other and are not \
         joined. Unknown keys are refused, and all problems are reported at once, each with the place it came \
         from. The other tables of the file describe apps, campaigns, partners, links and rules; `roundtrip \
         apply` reads them, `serve` does not.\n\n\
         This page is generated from the code (`crates/server/src/config.rs`); a test compares.\n\n\
         | flag | environment | key in `[server]` | default | meaning |\n| --- | --- | --- | --- | --- |\n",
    );
    for s in SETTINGS {
        let value =
            if s.form == Form::Switch { String::new() } else { format!(" {}", s.value.replace('|', "\\|")) };
        let default = if s.default.is_empty() { "none".to_owned() } else { format!("`{}`", s.default) };
        page.push_str(&format!(
            "| `--{}{value}` | `{}` | `{}` | {default} | {} |\n",
            s.flag,
            s.env,
            s.key,
            s.meaning.replace('|', "\\|")
        ));
    }
    page.push_str(
        "\n## Bounds that are not settings\n\n\
         | what | bound |\n| --- | --- |\n\
         | request target | 16 KiB (`uri_too_long`); links are answered beyond that, and what is over-long is cut and flagged |\n\
         | headers | 64 lines, 16 KiB together (`header_too_large`); not on links |\n\
         | both together | 48 KiB and 100 lines, then 431 without a body |\n\
         | reading a request's headers, and an idle kept connection | 10 s |\n\
         | one request, from its headers to its answer | 60 s, then the connection is closed without an answer |\n\
         | connections on the admin listener | 256 |\n\
         | finishing requests at shutdown | 10 s; a second signal ends the wait |\n\
         | finishing what is being sent at shutdown | 34 s and 3 s for storing its end, which is more than any `timeout` of a rule or webhook; a second signal ends the wait |\n\n\
         ## The way out\n\n\
         Postbacks, webhooks and requests for tokens leave through one client. It looks names up itself, checks every \
         address that it finds, and connects to one that it checked: private, loopback, link-local, carrier-grade NAT, cloud \
         metadata, multicast and other special ranges are refused (`allow_private` opens some), and so are this server's own \
         listeners, however they are written and whatever IPv6 form carries them. It follows no redirect, asks for no \
         compression and decodes none, verifies certificates always, reads 64 KiB of an answer and keeps 4 KiB.\n\n\
         With `outbound_proxy` the proxy is asked to `CONNECT` to the address that was checked, never to the name; TLS is \
         spoken through it with the receiver's own name, and http URLs go through a tunnel too. A proxy that cannot be \
         reached or says no is our trouble: the delivery is sent again (`proxy`), and the receiver is not taken for ill. So is \
         an address to send from that this machine does not have (`local`).\n\n\
         `GET /api/v1/egress` lists `egress_addresses`, the addresses bound to, the proxy's host and the user agent, for \
         receivers who allow-list their callers. Bind both families or send to one alone: a receiver with both is reached \
         over either.\n\n\
         ## Signals and exit codes\n\n\
         SIGTERM and SIGINT end the server in order: it stops accepting, finishes what it has begun, stops its \
         loops, closes its stores, gives the directory free and ends with 0. That takes no longer than the slowest \
         request or receiver, and 60 s at most: give it that (systemd does with its `TimeoutStopSec=90s`, `docker stop` \
         needs `-t 60`, Kubernetes `terminationGracePeriodSeconds: 60`). What is killed before loses nothing: what was \
         being sent is sent again after the next start, with the same event id. Exit code 1 is a start or stop that \
         failed, 2 a setting or argument that cannot be used, 70 a store that could no longer promise durability \
         (start again: it goes on from what is on the disk).\n\n\
         ## The data directory\n\n\
         | name | what |\n| --- | --- |\n\
         | `lock` | held while a server runs, with its process id; not the lock itself, which the system forgets with the process |\n\
         | `admin.token` | the first admin key, mode 0600, made at the first start; `roundtrip key reset` replaces it, a running server notices |\n\
         | `ledger.sqlite` and its `-wal`, `-shm` | the ledger |\n\
         | `clicks/` | the click log |\n\
         | `backup.tmp/` | copies that a backup is made from, while it is made; see [backup.md](backup.md) |\n\n\
         ## Operating it\n\n\
         `/healthz` answers 200 on both listeners while the process runs. `/readyz`, on the admin listener, answers \
         503 with the reasons while a store cannot take anything or the server is stopping; its notes name what does not \
         keep it from its work, such as a database of addresses that cannot be read or a bucket that does not \
         take sealed clicks. `/metrics`, on the admin \
         listener, needs the token as `Authorization: Bearer`: the numbers tell whoever reaches it how much \
         passes through. Set `metrics_public` where the network already keeps others out. The metrics are listed in \
         [metrics.md](metrics.md), log lines in [logging.md](logging.md).\n",
    );
    page
}
