//! The flags by which commands say which deliveries are meant: those of the API's list.

use super::explain::encoded;

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Filter {
    /// In one of these states: scheduled, held, delivered, dead, expired, cancelled; waiting is the first two.
    #[arg(long, value_name = "STATES")]
    pub(crate) state: Option<String>,
    /// To this endpoint: webhook:SLUG, rule:SLUG when it tells one partner, or rule:SLUG@PARTNER.
    #[arg(long, value_name = "ENDPOINT", conflicts_with_all = ["rule", "webhook", "partner"])]
    pub(crate) endpoint: Option<String>,
    /// Told by this rule, by slug or id.
    #[arg(long, value_name = "RULE")]
    pub(crate) rule: Option<String>,
    /// Told to this webhook, by slug or id.
    #[arg(long, value_name = "WEBHOOK")]
    pub(crate) webhook: Option<String>,
    /// Told to this partner, by slug or id.
    #[arg(long, value_name = "PARTNER")]
    pub(crate) partner: Option<String>,
    /// Of this app, by slug or id.
    #[arg(long, value_name = "APP")]
    pub(crate) app: Option<String>,
    /// Of one of these kinds of conversions or facts.
    #[arg(long, value_name = "KINDS")]
    pub(crate) kind: Option<String>,
    /// About this event or conversion.
    #[arg(long, value_name = "EVENT")]
    pub(crate) event: Option<String>,
    /// Telling this fact: what receivers see as the event id.
    #[arg(long, value_name = "EVENT")]
    pub(crate) fact: Option<String>,
    /// Whose last send came to that: http_404, timeout, …; 404 is http_404.
    #[arg(long, value_name = "CODE")]
    pub(crate) outcome: Option<String>,
    /// Planned then or later: a moment of RFC 3339, or a span such as 24h, that long ago. For `replay` and `cancel` also
    /// `failing`: what was not over when the endpoint's trouble began.
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Planned before then: a moment, or a span, that long ago.
    #[arg(long, value_name = "WHEN")]
    pub(crate) until: Option<String>,
}

impl Filter {
    /// What was given, by the API's names.
    pub(crate) fn given(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("state", &self.state),
            ("endpoint", &self.endpoint),
            ("rule", &self.rule),
            ("webhook", &self.webhook),
            ("partner", &self.partner),
            ("app", &self.app),
            ("kind", &self.kind),
            ("event", &self.event),
            ("fact", &self.fact),
            ("outcome", &self.outcome),
            ("since", &self.since),
            ("until", &self.until),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }

    /// As a query, with `&` before each parameter.
    pub(crate) fn query(&self) -> String {
        self.given().into_iter().map(|(name, value)| format!("&{name}={}", encoded(value))).collect()
    }

    /// As the `filter` of a job.
    pub(crate) fn object(&self) -> serde_json::Value {
        self.given()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}
