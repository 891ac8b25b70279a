//! Judges a whole set of documents and makes [`Settings`] of it.
//!
//! Every document is turned into its checked form; what cannot be is reported at its dotted path
//! (`rules.acme-install.url`). Documents that an edit does not touch were judged when they were written: they
//! are only heard as referrers of something that the edit deletes. Templates are read here and nowhere later.

use std::collections::HashMap;
use std::sync::Arc;

use roundtrip_domain::id::{Id, WorkspaceNo};
use roundtrip_domain::money::Currency;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings as domain;
use roundtrip_domain::settings::{CLICK_WINDOW_MAX, Settings};
use roundtrip_domain::template::{self, Severity, UrlTemplate};
use roundtrip_domain::time::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ResourceKind as Kind;
use super::document::{self, Any, PostbackAuthMode};
use super::form;
use super::likely::hint;
use super::problems::Problems;
use super::secret::{MASK, Secret, is_indirect};
use super::shape::join;
use super::stored::Stored;

/// Longest value of a partner's own setting, in bytes: the longest header that is sent.
const CFG_BYTES_MAX: usize = 8 * 1024;

/// Something to know about settings that can be saved nevertheless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// A stable code: a template finding's, one of the advice's, or `destination_missing`, `dialect_unset` or
    /// `store_unknown`.
    pub code: String,
    /// `warning` or `info`.
    pub severity: String,
    /// The dotted path of the setting.
    pub field: String,
    /// The sentence for a person.
    pub message: String,
}

/// One resource of the set.
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) id: u128,
    pub(super) slug: String,
    pub(super) version: u64,
    pub(super) stored: Stored,
    /// Whether it is being judged, or was before and only has to be there.
    pub(super) is_edited: bool,
}

impl Entry {
    pub(super) fn path(&self) -> String {
        join(self.kind.table(), &self.slug)
    }
}

/// All resources of a workspace as they would be.
pub(super) struct Set<'a> {
    pub(super) workspace: WorkspaceNo,
    pub(super) slug: &'a str,
    pub(super) version: u64,
    pub(super) entries: &'a [Entry],
    /// What an edit takes away.
    pub(super) deleted: &'a [(Kind, String)],
}

impl Set<'_> {
    /// Makes the settings. What is reported in `problems` is left out of them.
    pub(super) fn judge(
        &self,
        taken_links: &dyn Fn(&str) -> bool,
        problems: &mut Problems,
    ) -> (Settings, Vec<Warning>) {
        let mut judge = Judge {
            set: self,
            by_slug: self.entries.iter().map(|e| ((e.kind, e.slug.as_str()), e)).collect(),
            taken_links,
            addresses: HashMap::new(),
            problems,
            warnings: Vec::new(),
        };
        let mut settings = Settings::empty(self.workspace, self.slug);
        settings.version = self.version;
        let mut names = Names::default();
        for entry in self.entries {
            judge.slug(entry);
            judge.unique(entry, &mut names);
            judge.entry(entry, &mut settings);
        }
        for rules in settings.rules.values_mut() {
            rules.sort_by(|a, b| a.slug.cmp(&b.slug));
        }
        settings.webhooks.sort_by(|a, b| a.slug.cmp(&b.slug));
        judge.advise(self);
        (settings, judge.warnings)
    }
}

/// Names that may stand once, with the slug that has them.
#[derive(Default)]
struct Names<'a> {
    taken: HashMap<(Kind, &'a str), &'a Entry>,
    hashes: HashMap<[u8; 32], &'a Entry>,
}

pub(super) struct Judge<'a> {
    set: &'a Set<'a>,
    pub(super) by_slug: HashMap<(Kind, &'a str), &'a Entry>,
    pub(super) taken_links: &'a dyn Fn(&str) -> bool,
    /// Other addresses of links, printed; who has them, and where it says so.
    pub(super) addresses: HashMap<String, (&'a Entry, String)>,
    pub(super) problems: &'a mut Problems,
    warnings: Vec<Warning>,
}

impl<'a> Judge<'a> {
    pub(super) fn wrong(&mut self, entry: &Entry, code: Code, field: &str, message: impl Into<String>) {
        if entry.is_edited {
            let path = if field.is_empty() { entry.path() } else { join(&entry.path(), field) };
            self.problems.add(Problem::new(code, path, message));
        }
    }

    pub(super) fn warn(
        &mut self,
        entry: &Entry,
        code: &str,
        severity: Severity,
        field: &str,
        message: String,
    ) {
        if entry.is_edited {
            self.warnings.push(Warning {
                code: code.to_owned(),
                severity: severity.as_str().to_owned(),
                field: join(&entry.path(), field),
                message,
            });
        }
    }

    fn slug(&mut self, entry: &Entry) {
        if entry.kind != Kind::Link {
            if !form::is_slug(&entry.slug) {
                self.wrong(entry, Code::SlugInvalid, "", "the slug has another form");
            }
        } else if !form::is_link_id(&entry.slug) {
            self.wrong(entry, Code::LinkIdInvalid, "", "the link's id has another form");
        } else if form::is_reserved(&entry.slug) {
            self.wrong(
                entry,
                Code::NameReserved,
                "",
                format!("`{}` is the first segment of a route", entry.slug),
            );
        } else if (self.taken_links)(&entry.slug) {
            self.wrong(entry, Code::NameTaken, "", "another workspace has a link of that id");
        } else if ["", "/c", "/i", "/impression"]
            .iter()
            .any(|form| (self.taken_links)(&format!("{form}/{}", entry.slug)))
        {
            self.wrong(entry, Code::NameTaken, "", "a link of another workspace has that address");
        }
    }

    fn unique(&mut self, entry: &'a Entry, names: &mut Names<'a>) {
        let (name, field) = match &entry.stored.document {
            Any::Campaign(doc) => (doc.public_id.as_deref().unwrap_or(&entry.slug), "public_id"),
            Any::Partner(doc) => (doc.ref_id.as_deref().unwrap_or(&entry.slug), "ref_id"),
            _ => {
                let Some(hash) = entry.stored.hash else { return };
                if let Some(other) = names.hashes.insert(hash, entry) {
                    let blamed = if entry.is_edited { entry } else { other };
                    self.wrong(blamed, Code::SecretInvalid, "secret", "another key has the same secret");
                }
                return;
            }
        };
        if !form::is_public_id(name) {
            let message = "a public id is 1 to 128 characters without space or control characters";
            self.wrong(entry, Code::ConfigInvalid, field, message);
        }
        if let Some(other) = names.taken.insert((entry.kind, name), entry) {
            let (blamed, other) = if entry.is_edited { (entry, other) } else { (other, entry) };
            let message = format!("`{name}` is also the public id of {}", other.path());
            self.wrong(blamed, Code::NameTaken, field, message);
        }
    }

    /// The entry that a field refers to.
    pub(super) fn refer(&mut self, entry: &Entry, field: &str, kind: Kind, slug: &str) -> Option<&'a Entry> {
        if let Some(target) = self.by_slug.get(&(kind, slug)) {
            return Some(target);
        }
        if self.problems.is_broken(&join(kind.table(), slug)) {
            // It is there, only nothing could be read of it, which was said.
            return None;
        }
        let is_deleted = self.set.deleted.iter().any(|(k, s)| *k == kind && s == slug);
        if is_deleted && !entry.is_edited {
            self.problems.add(Problem::new(
                Code::ReferenceInUse,
                join(kind.table(), slug),
                format!("{} refers to it", join(&entry.path(), field)),
            ));
        } else {
            let slugs = self.by_slug.keys().filter(|(k, _)| *k == kind).map(|(_, s)| *s);
            let likely = hint(slug, slugs.collect::<Vec<_>>().into_iter());
            let message = format!("there is no {} `{slug}`{likely}", kind.name());
            self.wrong(entry, Code::ReferenceUnknown, field, message);
        }
        None
    }

    pub(super) fn span(
        &mut self,
        entry: &Entry,
        field: &str,
        text: Option<&String>,
        max: Span,
    ) -> Option<Span> {
        let text = text?;
        match Span::parse(text) {
            Some(span) if span.ms() > 0 && span <= max => Some(span),
            Some(span) if span > max => {
                self.wrong(entry, Code::ConfigInvalid, field, format!("it is at most {max}"));
                None
            }
            Some(_) => {
                self.wrong(entry, Code::ConfigInvalid, field, "it is longer than nothing");
                None
            }
            None => {
                let message = "a duration is a number and one of ms, s, m, h, d: `2s`, `7d`";
                self.wrong(entry, Code::ConfigInvalid, field, message);
                None
            }
        }
    }

    pub(super) fn name(&mut self, entry: &Entry, name: Option<&String>) -> String {
        match name {
            None => entry.slug.clone(),
            Some(name) => {
                if !form::is_name(name) {
                    let message = "a name is 1 to 200 characters without control characters";
                    self.wrong(entry, Code::ConfigInvalid, "name", message);
                }
                name.clone()
            }
        }
    }

    /// What a template's findings mean for saving it.
    pub(super) fn findings(
        &mut self,
        entry: &Entry,
        findings: Vec<template::Finding>,
        field: impl Fn(&template::Finding) -> String,
    ) {
        for finding in findings {
            let at = field(&finding);
            if finding.severity == Severity::Error {
                let message = format!("{} (at byte {}, {})", finding.message, finding.offset, finding.code);
                self.wrong(entry, Code::TemplateInvalid, &at, message);
            } else {
                self.warn(entry, finding.code.as_str(), finding.severity, &at, finding.message);
            }
        }
    }

    fn destination(&mut self, entry: &Entry, field: &str, text: Option<&String>) -> Option<Arc<UrlTemplate>> {
        let dialect = template::Dialect::Canonical;
        let (url, findings) = UrlTemplate::parse(text?, template::Scope::Destination, dialect);
        self.findings(entry, findings, |_| field.to_owned());
        Some(Arc::new(url))
    }

    fn entry(&mut self, entry: &'a Entry, settings: &mut Settings) {
        match &entry.stored.document {
            Any::App(doc) => {
                let app = self.app(entry, doc);
                settings.apps.insert(app.id, Arc::new(app));
            }
            Any::Campaign(doc) => {
                if let Some(campaign) = self.campaign(entry, doc) {
                    settings.campaigns.insert(campaign.id, Arc::new(campaign));
                }
            }
            Any::Partner(doc) => {
                let partner = self.partner(entry, doc);
                settings.partners.insert(partner.id, Arc::new(partner));
            }
            Any::Link(doc) => {
                if let Some(link) = self.link(entry, doc) {
                    settings.links.insert(link.id, Arc::new(link));
                }
            }
            Any::PartnerGroup(doc) => {
                let group = self.group(entry, doc);
                settings.groups.insert(group.id, Arc::new(group));
            }
            Any::Rule(doc) => {
                if let Some(rule) = self.rule(entry, doc) {
                    settings.rules.entry(rule.app).or_default().push(Arc::new(rule));
                }
            }
            Any::Webhook(doc) => {
                if let Some(webhook) = self.webhook(entry, doc) {
                    settings.webhooks.push(Arc::new(webhook));
                }
            }
            Any::Key(doc) => {
                if let Some(key) = self.key(entry, doc) {
                    settings.keys.insert(key.hash, Arc::new(key));
                }
            }
        }
    }

    fn app(&mut self, entry: &Entry, doc: &document::App) -> domain::App {
        let platform: domain::Platform = doc.platform.into();
        let is_guess = self.problems.is_broken(&join(&entry.path(), "platform"));
        let currency = doc.currency.as_ref().and_then(|text| {
            let currency = Currency::parse(text);
            if currency.is_none() {
                let message = "a currency is an active ISO 4217 code of three letters, such as EUR";
                self.wrong(entry, Code::ConfigInvalid, "currency", message);
            }
            currency
        });
        for name in doc.events.keys() {
            if !form::is_event_name(name) {
                let message = "an event's name is 1 to 128 characters without control characters";
                self.wrong(entry, Code::ConfigInvalid, &join("events", name), message);
            }
        }
        let mut addresses = Vec::new();
        for (index, text) in doc.postback.addresses.iter().enumerate() {
            match text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from)) {
                Ok(network) => addresses.push(network),
                Err(_) => {
                    let message = "it is an address or a network, such as 203.0.113.7 or 198.51.100.0/24";
                    self.wrong(entry, Code::ConfigInvalid, &format!("postback.addresses[{index}]"), message);
                }
            }
        }
        for (field, text) in [("bundle_id", &doc.bundle_id), ("store_url", &doc.store_url)] {
            let is_bad = |t: &String| {
                t.is_empty() || t.len() > 2_048 || t.chars().any(|c| c.is_control() || c.is_whitespace())
            };
            if text.as_ref().is_some_and(is_bad) {
                self.wrong(entry, Code::ConfigInvalid, field, "it is 1 to 2,048 bytes without space");
            }
        }
        if let Some(url) = &doc.store_url
            && !["https://", "http://", "market://", "itms-apps://"].iter().any(|s| url.starts_with(s))
        {
            let message = "a store's page begins with https://, market:// or itms-apps://";
            self.wrong(entry, Code::ConfigInvalid, "store_url", message);
        }
        let has_store =
            doc.store_url.is_some() || (platform == domain::Platform::Android && doc.bundle_id.is_some());
        if platform.is_mobile() && !is_guess && !has_store {
            let message = "without a store page, links of this app lead only where their destinations say";
            self.warn(entry, "store_unknown", Severity::Warning, "store_url", message.to_owned());
        }
        domain::App {
            id: Id::from_bits(entry.id),
            slug: entry.slug.clone(),
            name: self.name(entry, doc.name.as_ref()),
            platform,
            bundle_id: doc.bundle_id.clone(),
            store_url: doc.store_url.clone(),
            currency,
            events: doc.events.iter().map(|(name, kind)| (name.clone(), (*kind).into())).collect(),
            click_window: self
                .span(entry, "click_window", doc.click_window.as_ref(), CLICK_WINDOW_MAX)
                .unwrap_or(platform.click_window()),
            postback: domain::PostbackAuth { addresses, none: doc.postback.auth == PostbackAuthMode::None },
        }
    }

    fn campaign(&mut self, entry: &Entry, doc: &document::Campaign) -> Option<domain::Campaign> {
        let app = self.refer(entry, "app", Kind::App, &doc.app);
        let name = self.name(entry, doc.name.as_ref());
        let landing_page = self.destination(entry, "landing_page", doc.landing_page.as_ref());
        for (index, parameter) in doc.mandatory.iter().enumerate() {
            if !form::is_public_id(parameter) {
                let message = "a parameter's name is 1 to 128 characters without space";
                self.wrong(entry, Code::ConfigInvalid, &format!("mandatory[{index}]"), message);
            }
        }
        Some(domain::Campaign {
            id: Id::from_bits(entry.id),
            slug: entry.slug.clone(),
            name,
            app: Id::from_bits(app?.id),
            public_id: doc.public_id.clone().unwrap_or_else(|| entry.slug.clone()),
            landing_page,
            mandatory: doc.mandatory.clone(),
        })
    }

    fn partner(&mut self, entry: &Entry, doc: &document::Partner) -> domain::Partner {
        for (name, Secret(value)) in &doc.cfg {
            let field = join("cfg", name);
            // The characters that a macro's name may have behind `cfg.`.
            let is_named = (1..=64).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
            if !is_named {
                let message = "a setting's name is 1 to 64 letters, digits, - and _";
                self.wrong(entry, Code::ConfigInvalid, &field, message);
            }
            if value == MASK {
                let message = "the mask stands for a stored value, and there is none";
                self.wrong(entry, Code::ConfigInvalid, &field, message);
            } else if is_indirect(value) {
                let message = "env: and file: are read by `roundtrip apply`, never by the server";
                self.wrong(entry, Code::SecretInvalid, &field, message);
            } else if value.len() > CFG_BYTES_MAX || value.chars().any(char::is_control) {
                let message = format!("it is at most {CFG_BYTES_MAX} bytes without control characters");
                self.wrong(entry, Code::ConfigInvalid, &field, message);
            }
        }
        let accepts_within = self.acceptance(entry, doc.accepts_within.as_ref());
        self.needs_known(entry, &doc.needs);
        if let Some(report) = &doc.report {
            self.report(entry, report);
        }
        domain::Partner {
            id: Id::from_bits(entry.id),
            slug: entry.slug.clone(),
            name: self.name(entry, doc.name.as_ref()),
            ref_id: doc.ref_id.clone().unwrap_or_else(|| entry.slug.clone()),
            cfg: doc.cfg.iter().map(|(name, Secret(value))| (name.clone(), value.clone())).collect(),
            in_link_callbacks: doc.in_link_callbacks,
            rate: self.rate(entry, doc.rate),
            accepts_within,
        }
    }

    /// How a partner's list is read: only `roundtrip reconcile` asks for it.
    fn report(&mut self, entry: &Entry, doc: &document::PartnerReport) {
        for (what, column) in &doc.columns {
            let field = join("report.columns", what);
            if !document::PartnerReport::COLUMNS.contains(&what.as_str()) {
                let message =
                    format!("a column holds one of {}", document::PartnerReport::COLUMNS.join(", "));
                self.wrong(entry, Code::ConfigInvalid, &field, message);
            } else if column.trim().is_empty() || column.len() > 200 || column.chars().any(char::is_control) {
                let message =
                    "it is the column's name in the list, 1 to 200 bytes without control characters";
                self.wrong(entry, Code::ConfigInvalid, &field, message);
            }
        }
        if let Some(zone) = &doc.time_zone
            && jiff::tz::TimeZone::get(zone).is_err()
        {
            let message = format!("`{zone}` is no IANA time zone such as Europe/Berlin");
            self.wrong(entry, Code::ConfigInvalid, "report.time_zone", message);
        }
        if let Some(currency) = &doc.currency
            && Currency::parse(currency).is_none()
        {
            let message = format!("`{currency}` is no active ISO 4217 code");
            self.wrong(entry, Code::ConfigInvalid, "report.currency", message);
        }
        // What cannot be printed cannot be read either.
        let example = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
        if let Some(format) = &doc.date_format
            && (format.len() > 100
                || !format.contains('%')
                || jiff::fmt::strtime::format(format.as_bytes(), &example).is_err())
        {
            let message = "it is written with %Y, %m, %d, %H, %M, %S: `%d.%m.%Y %H:%M`";
            self.wrong(entry, Code::ConfigInvalid, "report.date_format", message);
        }
    }

    fn link(&mut self, entry: &'a Entry, doc: &document::Link) -> Option<domain::Link> {
        let campaign = self.refer(entry, "campaign", Kind::Campaign, &doc.campaign);
        let partner = self.refer(entry, "partner", Kind::Partner, &doc.partner);
        let at = |judge: &mut Self, name: &str, text: &Option<String>| {
            judge.destination(entry, &join("destinations", name), text.as_ref())
        };
        let destinations = domain::Destinations {
            android: at(self, "android", &doc.destinations.android),
            ios: at(self, "ios", &doc.destinations.ios),
            web: at(self, "web", &doc.destinations.web),
            deep_link: at(self, "deep_link", &doc.destinations.deep_link),
            fallback: at(self, "fallback", &doc.destinations.fallback),
        };
        for (index, prefix) in doc.allow_destinations.iter().enumerate() {
            if !form::is_destination_prefix(prefix) {
                let message = "a prefix has a scheme that only goes somewhere, and over http(s) ends behind the \
                               host: `https://shop.example/`, `myapp://`";
                self.wrong(entry, Code::ConfigInvalid, &format!("allow_destinations[{index}]"), message);
            }
        }
        let click_window = self.span(entry, "click_window", doc.click_window.as_ref(), CLICK_WINDOW_MAX);
        let addresses = self.addresses(entry, doc);
        if !addresses.is_empty() && doc.dialect == document::Dialect::default() {
            let message = "the link has addresses of another system, but reads its parameters by our names";
            self.warn(entry, "dialect_unset", Severity::Warning, "dialect", message.to_owned());
        }
        let campaign = campaign?;
        let Any::Campaign(of) = &campaign.stored.document else { return None };
        // That the campaign's app is missing is said at the campaign.
        let app = *self.by_slug.get(&(Kind::App, of.app.as_str()))?;
        if let Any::App(on) = &app.stored.document {
            let leads_web =
                destinations.web.is_some() || destinations.fallback.is_some() || of.landing_page.is_some();
            if on.platform == document::Platform::Web && !leads_web {
                let message = "the link leads nowhere: neither it nor its campaign has a page";
                self.warn(
                    entry,
                    Code::DestinationMissing.text(),
                    Severity::Warning,
                    "destinations.web",
                    message.into(),
                );
            }
        }
        Some(domain::Link {
            id: Id::from_bits(entry.id),
            public_id: entry.slug.clone(),
            campaign: Id::from_bits(campaign.id),
            app: Id::from_bits(app.id),
            partner: Id::from_bits(partner?.id),
            dialect: doc.dialect.into(),
            destinations,
            allow_destinations: doc.allow_destinations.clone(),
            click_window,
            addresses,
        })
    }

    fn key(&mut self, entry: &Entry, doc: &document::Key) -> Option<domain::Key> {
        let is_guess = self.problems.is_broken(&join(&entry.path(), "kind"));
        let kind: domain::KeyKind = doc.kind.into();
        let app = doc.app.as_ref().map(|slug| self.refer(entry, "app", Kind::App, slug));
        if !is_guess {
            use domain::KeyKind as K;
            match (kind, app.is_some()) {
                (K::Client | K::Server, false) => {
                    let message = format!("a {} key speaks for an app", kind.name());
                    self.wrong(entry, Code::ConfigMissing, "app", message);
                }
                (K::Admin, true) => {
                    let message = "an admin key speaks for its workspace, not for an app";
                    self.wrong(entry, Code::ConfigInvalid, "app", message);
                }
                _ => {}
            }
            match (kind == K::Admin, doc.scopes.is_empty()) {
                (true, true) => {
                    let message = "an admin key without scopes may do nothing";
                    self.wrong(entry, Code::ConfigMissing, "scopes", message);
                }
                (false, false) => {
                    let message = "only admin keys have scopes";
                    self.wrong(entry, Code::ConfigInvalid, "scopes", message);
                }
                _ => {}
            }
        }
        let app = match app {
            None => None,
            Some(target) => Some(Id::from_bits(target?.id)),
        };
        Some(domain::Key {
            id: Id::from_bits(entry.id),
            slug: entry.slug.clone(),
            kind,
            app,
            hash: entry.stored.hash?,
            scopes: doc.scopes.iter().map(|scope| (*scope).into()).collect(),
        })
    }
}
