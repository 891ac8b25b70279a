//! Judges a rule and reads its template.

use std::collections::BTreeSet;

use roundtrip_domain::id::Id;
use roundtrip_domain::problem::Code;
use roundtrip_domain::rate::{RATE_MAX, RATE_MIN, Rate};
use roundtrip_domain::retry::Receiver;
use roundtrip_domain::settings as domain;
use roundtrip_domain::settings::{DELAY_MAX, POSTBACK_WINDOW};
use roundtrip_domain::template::{self, Body, Dialect, Finding, Parts, Place, Template, VOCABULARY};
use roundtrip_domain::time::Span;

use super::ResourceKind as Kind;
use super::advice;
use super::auth;
use super::document::{self, On};
use super::form;
use super::judge::{Entry, Judge};
use super::likely::hint;
use super::retry::HowSent;
use super::shape::join;
use super::signature;
use super::stored;

/// The longest postback window: ten years, which is "for life" with an end.
pub(super) const WINDOW_MAX: Span = Span::from_days(3_650);

/// The template of a stored rule, for deliveries that were planned with an earlier version of it. `None` when
/// the stored form cannot be read, or has no request of its own because it tells the clicks' callbacks; what was
/// judged when it was saved is not judged again.
pub fn rule_template(body: &str) -> Option<Template> {
    let stored = stored::decode(Kind::Rule, body).ok()?;
    let document::Any::Rule(doc) = &stored.document else { return None };
    doc.url.as_ref()?;
    let dialect = doc.dialect.as_deref().map_or(Some(Dialect::default()), Dialect::from_name)?;
    let body = doc.body.as_ref().and_then(|body| one_body(body).map(|(body, _)| body));
    Some(Template::parse(parts(doc, dialect, body.unwrap_or_default())).0)
}

/// The keys of the macros that a rule's template asks for; empty when it asks for none, or has no template.
pub(super) fn macros_of(doc: &document::Rule) -> BTreeSet<String> {
    if doc.url.is_none() {
        return BTreeSet::new();
    }
    let dialect = doc.dialect.as_deref().and_then(Dialect::from_name).unwrap_or_default();
    let body = doc.body.as_ref().and_then(|body| one_body(body).map(|(body, _)| body));
    let (template, _) = Template::parse(parts(doc, dialect, body.unwrap_or_default()));
    template.macros().map(|used| used.key.clone()).collect()
}

fn parts(doc: &document::Rule, dialect: Dialect, body: Body) -> Parts {
    Parts {
        dialect,
        method: doc.method.clone().unwrap_or_else(|| "GET".to_owned()),
        url: doc.url.clone().unwrap_or_default(),
        headers: doc.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        body,
        macros: doc.macros.clone(),
        signatures: doc.signatures.iter().filter_map(|doc| signature::scheme(doc).ok()).collect(),
        auth: doc.auth.as_ref().and_then(auth::auth),
    }
}

/// The one body that a document names, and its field.
fn one_body(doc: &document::Body) -> Option<(Body, &'static str)> {
    match (&doc.form, &doc.json, &doc.text) {
        (Some(text), None, None) => Some((Body::Form(text.clone()), "body.form")),
        (None, Some(text), None) => Some((Body::Json(text.clone()), "body.json")),
        (None, None, Some(text)) => Some((Body::Text(text.clone()), "body.text")),
        _ => None,
    }
}

impl Judge<'_> {
    pub(super) fn rule(&mut self, entry: &Entry, doc: &document::Rule) -> Option<domain::Rule> {
        let app = self.refer(entry, "app", Kind::App, &doc.app);
        let partner = doc.partner.as_ref().map(|slug| self.refer(entry, "partner", Kind::Partner, slug));
        let group = doc.group.as_ref().map(|slug| self.refer(entry, "group", Kind::PartnerGroup, slug));
        if partner.is_some() && group.is_some() {
            let message = "a rule names a partner or a group of them, not both";
            self.wrong(entry, Code::ConfigInvalid, "group", message);
        }
        let is_guess = self.problems.is_broken(&join(&entry.path(), "on"));
        if doc.on != On::Event && !doc.events.is_empty() && !is_guess {
            let message = "a list of events belongs to on = \"event\"";
            self.wrong(entry, Code::ConfigInvalid, "events", message);
        }
        for (index, name) in doc.events.iter().enumerate() {
            self.event_name(entry, &format!("events[{index}]"), name);
        }
        for (name, renamed) in &doc.rename {
            self.event_name(entry, &join("rename", name), name);
            self.event_name(entry, &join("rename", name), renamed);
        }
        let request = self.request(entry, doc, partner.flatten());
        let share = self.share(entry, &doc.share_revenue);
        let conditions = self.conditions(entry, &doc.when);
        let delay = self.span(entry, "delay", doc.delay.as_ref(), DELAY_MAX);
        let rate = self.rate(entry, doc.rate);
        self.needs_known(entry, &doc.needs);
        let how = HowSent { retry: &doc.retry, timeout: doc.timeout.as_ref(), success: &doc.success };
        let retry = self.retry(entry, how, Receiver::Postback);
        let accepts = self.accepts(entry, doc);
        let window = self.span(entry, "window", doc.window.as_ref(), WINDOW_MAX).unwrap_or(POSTBACK_WINDOW);
        let partner = match partner {
            None => None,
            Some(target) => Some(Id::from_bits(target?.id)),
        };
        let group = match group {
            None => None,
            Some(target) => Some(Id::from_bits(target?.id)),
        };
        Some(domain::Rule {
            id: Id::from_bits(entry.id),
            slug: entry.slug.clone(),
            version: entry.version,
            app: Id::from_bits(app?.id),
            partner,
            group,
            on: doc.on.into(),
            events: doc.events.clone(),
            request: request?,
            scope: doc.scope.into(),
            first_only: doc.first_only,
            share,
            conditions,
            delay: delay.unwrap_or(Span::from_ms(0)),
            rename: doc.rename.clone(),
            sandbox: doc.sandbox,
            pending: doc.pending,
            window,
            rate,
            retry,
            accepts,
            accepts_from: doc.accepts_from.into(),
            late: doc.late.into(),
        })
    }

    /// Most sends a second.
    pub(super) fn rate(&mut self, entry: &Entry, per_s: Option<f64>) -> Option<Rate> {
        let rate = Rate::per_s(per_s?);
        if rate.is_none() {
            let message = format!("a rate is {RATE_MIN} to {RATE_MAX} sends a second");
            self.wrong(entry, Code::ConfigInvalid, "rate", message);
        }
        rate
    }

    fn event_name(&mut self, entry: &Entry, field: &str, name: &str) {
        if !form::is_event_name(name) {
            let message = "an event's name is 1 to 128 characters without control characters";
            self.wrong(entry, Code::ConfigInvalid, field, message);
        }
    }

    /// Needs name macros, or nothing could ever meet them.
    pub(super) fn needs_known(&mut self, entry: &Entry, needs: &[String]) {
        for (index, need) in needs.iter().enumerate() {
            if !advice::is_macro(need) {
                let words = VOCABULARY.iter().map(|m| m.name).chain(["click_id"]);
                let likely = hint(need, words);
                let message = format!("`{need}` is no macro{likely}");
                self.wrong(entry, Code::ConfigInvalid, &format!("needs[{index}]"), message);
            }
        }
    }

    /// The rule's own request, or that each click brings one. `None` when that was wrong.
    fn request(
        &mut self,
        entry: &Entry,
        doc: &document::Rule,
        partner: Option<&Entry>,
    ) -> Option<domain::Request> {
        match (&doc.url, doc.callback) {
            (Some(_), false) => Some(self.template(entry, doc).into()),
            (None, true) => {
                self.callback(entry, doc, partner);
                Some(domain::Request::Callback)
            }
            (Some(_), true) => {
                let message = "a rule has a `url`, or `callback = true` for what the click brings, not both";
                self.wrong(entry, Code::ConfigInvalid, "callback", message);
                None
            }
            (None, false) => {
                let message = "`url` is missing; or say `callback = true` to tell the click's own callback";
                // A value of the wrong form was reported, and is not there.
                if !["url", "callback"].iter().any(|f| self.problems.is_broken(&join(&entry.path(), f))) {
                    self.wrong(entry, Code::ConfigMissing, "url", message);
                }
                None
            }
        }
    }

    /// Whether a rule that tells the click's own callback says nothing that only another can.
    fn callback(&mut self, entry: &Entry, doc: &document::Rule, partner: Option<&Entry>) {
        for (field, is_there) in [
            ("dialect", doc.dialect.is_some()),
            ("macros", !doc.macros.is_empty()),
            ("signatures", !doc.signatures.is_empty()),
            ("method", doc.method.is_some()),
            ("headers", !doc.headers.is_empty()),
            ("auth", doc.auth.is_some()),
            ("body", doc.body.is_some()),
            ("needs", !doc.needs.is_empty()),
        ] {
            if is_there {
                let message = format!(
                    "a click's callback is a GET request in Adjust's macros; `{field}` belongs to a rule with a `url`"
                );
                self.wrong(entry, Code::ConfigInvalid, field, message);
            }
        }
        if let Some(partner) = partner
            && let document::Any::Partner(told) = &partner.stored.document
            && !told.in_link_callbacks
        {
            let message = format!(
                "the links of `{}` may not carry callbacks; set `in_link_callbacks = true` on that partner, or give \
                 the rule a `url`",
                partner.slug
            );
            self.wrong(entry, Code::ConfigInvalid, "callback", message);
        }
        if doc.scope == document::Scope::All {
            let message =
                "a click's callback is told to whoever won; leave `scope` out with `callback = true`";
            self.wrong(entry, Code::ConfigInvalid, "scope", message);
        }
        if doc.on == On::StatusChange {
            let message = "no callback tells a change of status; with `callback = true` it is `rejected`";
            self.wrong(entry, Code::ConfigInvalid, "on", message);
        }
    }

    fn template(&mut self, entry: &Entry, doc: &document::Rule) -> Template {
        let dialect = match &doc.dialect {
            None => Dialect::default(),
            Some(name) => Dialect::from_name(name).unwrap_or_else(|| {
                let likely = hint(name, Dialect::ALL.iter().map(|dialect| dialect.as_str()));
                let message = format!("there is no dialect `{name}`{likely}");
                self.wrong(entry, Code::ConfigInvalid, "dialect", message);
                Dialect::default()
            }),
        };
        let mut read = Vec::new();
        for (index, signed) in doc.signatures.iter().enumerate() {
            match signature::scheme(signed) {
                Ok(_) => read.push(index),
                Err((field, message)) => {
                    self.wrong(entry, Code::ConfigInvalid, &format!("signatures[{index}].{field}"), message);
                }
            }
        }
        let (body, body_field) = self.body(entry, doc.body.as_ref());
        self.auth(entry, doc.auth.as_ref());
        let (template, findings) = Template::parse(parts(doc, dialect, body));
        self.findings(entry, findings, |finding: &Finding| match finding.place {
            Place::Method => "method".to_owned(),
            Place::Header(index) => {
                let name = doc.headers.keys().nth(index).map_or("", String::as_str);
                if name.is_empty() { "headers".to_owned() } else { join("headers", name) }
            }
            Place::Body => body_field.to_owned(),
            Place::Auth => {
                finding.name.as_deref().map_or_else(|| "auth".to_owned(), |name| join("auth", name))
            }
            Place::Signature(index) => {
                format!("signatures[{}]", read.get(index).copied().unwrap_or(index))
            }
            _ if finding.code == template::Code::MacroMeaning => {
                join("macros", finding.name.as_deref().unwrap_or_default())
            }
            _ => "url".to_owned(),
        });
        template
    }

    /// Whether exactly one way is named.
    fn auth(&mut self, entry: &Entry, doc: Option<&document::Auth>) {
        let Some(doc) = doc.filter(|doc| auth::auth(doc).is_none()) else { return };
        let (code, message) = if *doc == document::Auth::default() {
            (Code::ConfigMissing, "auth is one of basic, bearer and oauth2")
        } else {
            (Code::ConfigInvalid, "auth is only one of basic, bearer and oauth2")
        };
        self.wrong(entry, code, "auth", message);
    }

    fn body(&mut self, entry: &Entry, doc: Option<&document::Body>) -> (Body, &'static str) {
        let Some(doc) = doc else { return (Body::None, "body") };
        if let Some(body) = one_body(doc) {
            return body;
        }
        let (code, message) = if *doc == document::Body::default() {
            (Code::ConfigMissing, "a body has one of form, json and text")
        } else {
            (Code::ConfigInvalid, "a body has only one of form, json and text")
        };
        self.wrong(entry, code, "body", message);
        (Body::None, "body")
    }
}
