//! A story on a terminal: indented, with arrows from click to answer, wrapped at a width, coloured on request.
//!
//! It adds no facts: every line is a field of the story.

use std::fmt::Write as _;

use super::shape::{Attempt, Click, ClickStory, Delivery, DeliveryStory, Explained, Rule, Story};

/// How it is printed.
#[derive(Debug, Clone, Copy)]
pub struct Paper {
    /// Columns to wrap at; at least 40.
    pub width: usize,
    /// Whether ANSI colours are written. Only for terminals.
    pub colour: bool,
}

#[derive(Debug, Clone, Copy)]
enum Ink {
    Plain,
    Bold,
    Good,
    Bad,
    Wait,
    Faint,
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "\x1b[1m",
            Self::Good => "\x1b[32m",
            Self::Bad => "\x1b[31m",
            Self::Wait => "\x1b[33m",
            Self::Faint => "\x1b[2m",
        }
    }

    fn of_state(state: &str) -> Self {
        match state {
            "delivered" => Self::Good,
            "dead" | "expired" | "cancelled" | "lost" => Self::Bad,
            _ => Self::Wait,
        }
    }
}

/// A story of any kind, each line ended.
pub fn explained(explained: &Explained, paper: Paper) -> String {
    match explained {
        Explained::Event(it) => story(it, paper),
        Explained::Click(it) => click_story(it, paper),
        Explained::Delivery(it) => delivery_story(it, paper),
    }
}

/// An event's story, each line ended.
pub fn story(story: &Story, paper: Paper) -> String {
    let mut out = Writer { out: String::new(), paper };
    out.line(0, "", Ink::Bold, &story.sentence);
    match story.event.status.as_str() {
        "approved" => {}
        "rejected" => out.line(0, "[REJECTED] ", Ink::Bad, "It does not count."),
        "pending" => out.line(0, "[PENDING] ", Ink::Wait, "It does not count until it is approved."),
        other => out.line(0, "", Ink::Wait, &format!("[{}]", other.to_uppercase())),
    }
    out.gap();
    let winner = story.decision.as_ref().and_then(|d| d.winner.as_ref());
    if let Some(click) = winner {
        out.click(click);
    }
    if let Some(handover) = story.decision.as_ref().and_then(|d| d.handover.as_ref()) {
        out.step("↓", &handover.by, "", "");
        out.line(4, "", Ink::Plain, &handover.sentence);
    }
    out.event(story);
    out.decision(story);
    out.rules(story);
    for delivery in &story.deliveries {
        out.delivery(delivery);
    }
    for change in &story.changes {
        out.step("↓", &format!("status: {}", change.to), &change.event, &change.at);
        out.line(4, "", Ink::Plain, &change.sentence);
        for rule in &change.rules {
            out.rule(rule);
        }
        for delivery in &change.deliveries {
            out.delivery(delivery);
        }
    }
    out.step("→", "next", "", "");
    for step in &story.next {
        out.line(4, "", Ink::Plain, &step.sentence);
    }
    out.out
}

/// A click's story, each line ended.
pub fn click_story(story: &ClickStory, paper: Paper) -> String {
    let mut out = Writer { out: String::new(), paper };
    out.line(0, "", Ink::Bold, &story.sentence);
    out.gap();
    out.click(&story.click);
    if !story.kept {
        out.line(4, "", Ink::Faint, "The click log no longer has it; this is what a decision kept of it.");
    }
    for event in &story.events {
        let mark = if event.holds { "↓" } else { "✗" };
        out.step(mark, event.kind.as_deref().unwrap_or("event"), &event.event, &event.received_at);
        out.line(4, "", Ink::Plain, &event.sentence);
    }
    out.out
}

/// The story of a delivery that tells of no event, each line ended.
pub fn delivery_story(story: &DeliveryStory, paper: Paper) -> String {
    let mut out = Writer { out: String::new(), paper };
    out.line(0, "", Ink::Bold, &story.sentence);
    out.gap();
    out.delivery(&story.delivery);
    out.step("→", "next", "", "");
    for step in &story.next {
        out.line(4, "", Ink::Plain, &step.sentence);
    }
    out.out
}

struct Writer {
    out: String,
    paper: Paper,
}

impl Writer {
    fn gap(&mut self) {
        self.out.push('\n');
    }

    /// A wrapped paragraph; later lines are indented to the first one's text.
    fn line(&mut self, indent: usize, mark: &str, ink: Ink, text: &str) {
        let lead = indent + mark.chars().count();
        let room = self.paper.width.max(40).saturating_sub(lead).max(20);
        for (n, line) in wrap(text, room).into_iter().enumerate() {
            let head = if n == 0 { mark } else { "" };
            let pad = if n == 0 { indent } else { lead };
            let _ = write!(self.out, "{:pad$}{head}", "");
            self.ink(ink, &line);
            self.gap();
        }
    }

    fn ink(&mut self, ink: Ink, text: &str) {
        if self.paper.colour && !ink.code().is_empty() {
            let _ = write!(self.out, "{}{text}\x1b[0m", ink.code());
        } else {
            self.out.push_str(text);
        }
    }

    /// The head of a station: mark, noun, id, time.
    fn step(&mut self, mark: &str, noun: &str, id: &str, at: &str) {
        let _ = write!(self.out, "{mark} ");
        self.ink(Ink::Bold, &noun.to_uppercase());
        for text in [id, at].map(clean) {
            if !text.is_empty() {
                self.out.push_str("  ");
                self.ink(Ink::Faint, &text);
            }
        }
        self.gap();
    }

    /// `name: value` in a faint voice, if there is a value.
    fn fact(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.line(4, &format!("{name}: "), Ink::Faint, value);
        }
    }

    fn click(&mut self, click: &Click) {
        self.step("●", &click.kind.replace('_', " "), &click.id, &click.received_at);
        self.line(4, "", Ink::Plain, &click.sentence);
        self.fact("campaign", Some(click.campaign.label()));
        self.fact("partner's click id", click.partner_click_id.as_deref());
        let params: Vec<String> = click.params.iter().map(|p| format!("{}={}", p.name, p.value)).collect();
        self.fact("parameters", Some(&params.join(" ")));
        let visitor: Vec<&str> = [&click.platform, &click.ip, &click.referer_host]
            .into_iter()
            .filter_map(|v| v.as_deref())
            .collect();
        self.fact("visitor", Some(&visitor.join(", ")));
        self.fact("location", click.location.as_ref().map(|location| location.sentence.as_str()));
        self.fact("query", click.query.as_deref());
        self.fact("browser", click.user_agent.as_deref());
        self.fact("odd", Some(&click.flags.join(", ")));
    }

    fn event(&mut self, story: &Story) {
        let event = &story.event;
        self.step("↓", "event", event.conversion.as_deref().unwrap_or(&event.id), &event.received_at);
        self.line(4, "", Ink::Plain, &event.sentence);
        self.fact("name", Some(&event.name));
        self.fact("app", Some(event.app.label()));
        let money = event.revenue.as_ref().map(|m| {
            let verified = if m.verified { "" } else { " (unverified)" };
            format!("{} {}{verified}", m.amount, m.currency.as_deref().unwrap_or("without a currency"))
        });
        self.fact("revenue", money.as_deref());
        self.fact("sender's id", event.source_event_id.as_deref());
        self.fact("installation", event.install_id.as_deref());
        self.fact("customer", event.customer_id.as_deref());
        if let Some(device) = &event.device {
            let ids: Vec<String> = device.ids.iter().map(|id| format!("{} {}", id.name, id.value)).collect();
            let parts: Vec<&str> = [&device.platform, &device.os_version, &device.model, &device.app_version]
                .into_iter()
                .filter_map(|v| v.as_deref())
                .chain(ids.iter().map(String::as_str))
                .collect();
            self.fact("device", Some(&parts.join(", ")));
        }
        self.fact("address", event.ip.as_deref());
        self.fact("location", event.location.as_ref().map(|location| location.sentence.as_str()));
        if let Some(postback) = &event.postback {
            let fields: Vec<String> =
                postback.fields.iter().map(|p| format!("{}={}", p.name, p.value)).collect();
            self.fact("postback", Some(&fields.join(" ")));
        }
        self.fact("changes", event.relates_to.as_deref());
        if event.environment == "sandbox" || event.status != "approved" {
            self.fact("counts", Some(&format!("{}, {}", event.environment, event.status)));
        }
        for finding in &event.findings {
            self.line(4, "! ", Ink::Wait, &format!("{} ({})", finding.sentence, finding.code));
        }
    }

    fn decision(&mut self, story: &Story) {
        let Some(decision) = &story.decision else {
            self.step("↓", "decision", "", "");
            self.line(4, "", Ink::Wait, "There is none yet.");
            return;
        };
        let id = format!("revision {}, settings {}", decision.revision, decision.settings_version);
        self.step("↓", &format!("decision: {}", decision.credit.replace('_', " ")), &id, &decision.at);
        self.line(4, "", Ink::Plain, &decision.sentence);
        for candidate in &decision.candidates {
            let (mark, ink) = if candidate.won { ("✓ ", Ink::Good) } else { ("✗ ", Ink::Plain) };
            let click = &candidate.click;
            let text = format!(
                "{} {} of {}: {} ({})",
                click.kind.replace('_', " "),
                click.id,
                click.partner.label(),
                candidate.sentence,
                candidate.verdict
            );
            self.line(4, mark, ink, &text);
        }
        if decision.candidates_more > 0 {
            self.line(4, "", Ink::Faint, &format!("… and {} more", decision.candidates_more));
        }
        for dead in &decision.dead_ends {
            self.line(4, "✗ ", Ink::Plain, &format!("{}: {} ({})", dead.text, dead.sentence, dead.code));
        }
        for note in &decision.notes {
            self.line(4, "· ", Ink::Faint, &note.sentence);
        }
        for earlier in &story.earlier {
            let text = format!(
                "Revision {} of {} said otherwise: {}",
                earlier.revision, earlier.at, earlier.sentence
            );
            self.line(4, "· ", Ink::Faint, &text);
        }
    }

    fn rules(&mut self, story: &Story) {
        self.step("↓", "rules", "", "");
        if story.rules.is_empty() {
            self.line(4, "", Ink::Plain, "No rule is about conversions of this kind and app.");
        }
        for rule in &story.rules {
            self.rule(rule);
        }
    }

    fn rule(&mut self, rule: &Rule) {
        let (mark, ink) = if rule.fired { ("✓ ", Ink::Good) } else { ("✗ ", Ink::Plain) };
        let code = rule.suppressed.as_deref().map(|code| format!(" ({code})")).unwrap_or_default();
        self.line(4, mark, ink, &format!("{}: {}{code}", rule.rule.label(), rule.sentence));
    }

    fn delivery(&mut self, delivery: &Delivery) {
        self.step(
            "↓",
            &format!("{} to {}", delivery.medium(), delivery.receiver()),
            &format!("{}  {}", delivery.id, delivery.teller()),
            &delivery.created_at,
        );
        self.line(4, "", Ink::of_state(&delivery.state), &delivery.sentence);
        self.fact("replay of", delivery.replay_of.as_deref());
        for attempt in &delivery.attempts {
            self.attempt(attempt);
        }
    }

    fn attempt(&mut self, attempt: &Attempt) {
        self.line(
            4,
            &format!("{}. ", attempt.n),
            Ink::Plain,
            &format!("{} {}", attempt.at, attempt.sentence),
        );
        let connection: Vec<&str> =
            [&attempt.address, &attempt.tls].into_iter().flatten().map(String::as_str).collect();
        if !connection.is_empty() {
            let phases = attempt.phases.map(|phases| phases.text()).unwrap_or_default();
            self.line(7, "  ", Ink::Faint, &format!("{} ({phases})", connection.join(", ")));
        }
        if let Some(request) = &attempt.request {
            let origin = request.origin.as_deref().unwrap_or_default();
            self.line(7, "→ ", Ink::Plain, &format!("{} [{origin}]", request.line));
            if let Some(body) = &request.body {
                self.line(9, "", Ink::Faint, body);
            }
        }
        if let Some(answer) = &attempt.answer {
            let body = answer.body.as_deref().unwrap_or("(empty body)");
            let more = if answer.is_cut { " …" } else { "" };
            self.line(7, "← ", Ink::Plain, &format!("{} {body}{more}", answer.status));
        }
        if let Some(error) = &attempt.error {
            self.line(7, "! ", Ink::Bad, error);
        }
        if !attempt.empty_macros.is_empty() {
            self.line(7, "! ", Ink::Wait, &format!("sent empty: {}", attempt.empty_macros.join(", ")));
        }
    }
}

/// What could move a terminal's cursor is shown as U+FFFD: answers and parameters come from outside.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Breaks a text into lines of at most `width` characters, at spaces where there are some.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let word: Vec<char> = clean(word).chars().collect();
        if length > 0 && length + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
            length = 0;
        }
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        for c in word {
            if length == width {
                lines.push(std::mem::take(&mut line));
                length = 0;
            }
            line.push(c);
            length += 1;
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_at_spaces_and_inside_long_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("a\u{1b}[31mb\nc", 40), ["a\u{fffd}[31mb c"], "nothing moves the cursor");
    }
}
