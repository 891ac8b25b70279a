//! What had better be known about settings that are sound one by one: advice that looks across documents.
//!
//! Every finding names what is odd, why that matters and where to change it. It is heard where a document that it
//! is about is saved. Not relied on: nothing here refuses anything.

use std::collections::{BTreeMap, BTreeSet};

use roundtrip_domain::template::{Severity, VOCABULARY};
use roundtrip_domain::time::Span;

use super::document::{self, Any, On, Scope};
use super::judge::{Entry, Judge, Set};
use super::retry::AcceptsFrom;

/// How many events networks optimise a campaign on: fewer teach too little, more blur it.
const EVENTS: std::ops::RangeInclusive<usize> = 3..=5;

/// The code of a click window that is longer than what it earns is accepted.
const BEYOND: &str = "window_beyond_acceptance";

/// All codes of advice, for the documentation.
pub const ADVICE: &[(&str, &str)] = &[
    (
        "events_few",
        "A partner is told of fewer than three optimisation events of a mobile app. Networks learn from events \
         behind the install; three to five are what most of them ask for.",
    ),
    (
        "events_many",
        "A partner is told of more than five optimisation events of a mobile app, among which its optimisation can \
         hardly choose.",
    ),
    (
        "need_missing",
        "A partner or rule says that it needs a parameter, and the template of the rule does not send it.",
    ),
    (
        "setting_missing",
        "A template has a setting (`cfg.…`) that a partner whom the rule can tell has not: it is empty, and where it \
         stands in the host nothing is sent.",
    ),
    (
        "window_beyond_acceptance",
        "A link's click window is longer than the time in which the partner, or the receiver of a rule that tells it, \
         accepts conversions after the click: some that it earns expire, or would be refused when they are told.",
    ),
];

/// Whether a need names a macro: one of the vocabulary, or one of a family of names.
pub(super) fn is_macro(name: &str) -> bool {
    let behind = |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
    name == "click_id" || VOCABULARY.iter().any(|m| m.name == name) || behind("cfg.") || behind("param.")
}

impl Judge<'_> {
    /// Looks at everything together, after each document was judged by itself.
    pub(super) fn advise(&mut self, set: &Set<'_>) {
        let world = Look::of(set);
        self.beyond_acceptance(&world);
        self.needs(&world);
        self.settings(&world);
        self.events(&world);
    }

    fn beyond_acceptance(&mut self, world: &Look<'_>) {
        for (entry, link) in &world.links {
            let Some((partner_entry, partner)) = world.partners.get(link.partner.as_str()) else { continue };
            let Some(accepts) = partner.accepts_within.as_deref().and_then(Span::parse) else { continue };
            let Some((window, of_app)) = world.click_window(link).filter(|(window, _)| *window > accepts)
            else {
                continue;
            };
            let message = format!(
                "a click on `{}` may earn for {window}, and `{}` accepts conversions for {accepts} after the click; \
                 installs that are earned later expire",
                entry.slug, partner_entry.slug
            );
            // Said where it can be changed: at what is being saved.
            if entry.is_edited {
                self.warn(entry, BEYOND, Severity::Warning, "click_window", message);
            } else if partner_entry.is_edited {
                self.warn(partner_entry, BEYOND, Severity::Warning, "accepts_within", message);
            } else if let Some(app) = of_app {
                self.warn(app, BEYOND, Severity::Warning, "click_window", message);
            }
        }
        for (entry, rule) in &world.rules {
            let from_click = rule.accepts_from == AcceptsFrom::Click;
            let own =
                rule.accepts_within.as_deref().filter(|_| from_click && rule.scope == Scope::Attributed);
            let Some(accepts) = own.and_then(Span::parse) else { continue };
            let told = world.told_by(rule);
            let longer = world.links.iter().filter_map(|(link_entry, link)| {
                let is_its = told.contains(link.partner.as_str())
                    && world.app_of(link).is_some_and(|(app, _)| app.slug == rule.app);
                let (window, of_app) =
                    world.click_window(link).filter(|(window, _)| is_its && *window > accepts)?;
                Some((window, *link_entry, of_app))
            });
            // One finding for the rule: the longest of its links, or of those that are saved now.
            let worst = longer
                .filter(|(_, link, app)| {
                    entry.is_edited || link.is_edited || app.is_some_and(|app| app.is_edited)
                })
                .max_by_key(|(window, link, _)| (*window, std::cmp::Reverse(link.slug.clone())));
            let Some((window, link, app)) = worst else { continue };
            let message = format!(
                "a click on `{}` may earn for {window}, and what `{}` tells is accepted for {accepts} after the click; \
                 what is earned later expires",
                link.slug, entry.slug
            );
            if entry.is_edited {
                self.warn(entry, BEYOND, Severity::Warning, "accepts_within", message);
            } else if link.is_edited {
                self.warn(link, BEYOND, Severity::Warning, "click_window", message);
            } else if let Some(app) = app {
                self.warn(app, BEYOND, Severity::Warning, "click_window", message);
            }
        }
    }

    fn needs(&mut self, world: &Look<'_>) {
        for (entry, rule) in &world.rules {
            let told = world.told_by(rule);
            let own = rule.needs.iter().map(|need| (need, None));
            let theirs = told.iter().flat_map(|slug| {
                let partner = world.partners.get(slug);
                partner.into_iter().flat_map(move |(e, p)| p.needs.iter().map(move |n| (n, Some(*e))))
            });
            let mut missing: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
            for (need, of) in own.chain(theirs) {
                if is_macro(need) && !world.sends(&entry.slug, need) {
                    missing.entry(need).or_default().extend(of);
                }
            }
            for (need, of) in missing {
                let who = match of.as_slice() {
                    [] => "the rule says that it is needed".to_owned(),
                    of => format!("{} needs it", listed(of.iter().map(|e| e.slug.as_str()))),
                };
                let message = format!("the template of `{}` sends no {{{need}}}, and {who}", entry.slug);
                let code = "need_missing";
                match of.iter().find(|e| e.is_edited) {
                    Some(partner) if !entry.is_edited => {
                        self.warn(partner, code, Severity::Warning, "needs", message);
                    }
                    _ => self.warn(entry, code, Severity::Warning, "url", message),
                }
            }
        }
    }

    fn settings(&mut self, world: &Look<'_>) {
        for (entry, rule) in &world.rules {
            let names = world.sent.get(entry.slug.as_str()).into_iter().flatten();
            for name in names.filter_map(|key| key.strip_prefix("cfg.")) {
                let without = world.told_by(rule).into_iter().filter_map(|slug| {
                    let (partner, doc) = world.partners.get(slug)?;
                    (!doc.cfg.contains_key(name)).then_some(*partner)
                });
                let without: Vec<&Entry> = without.collect();
                if without.is_empty() || !(entry.is_edited || without.iter().any(|e| e.is_edited)) {
                    continue;
                }
                let message = format!(
                    "the template of `{}` has {{cfg.{name}}}, and {} has no such setting: set partners.SLUG.cfg.{name}",
                    entry.slug,
                    listed(without.iter().map(|e| e.slug.as_str()))
                );
                self.warn(entry, "setting_missing", Severity::Warning, "url", message);
            }
        }
    }

    fn events(&mut self, world: &Look<'_>) {
        // Partners that hear of the same events of an app are one finding, not one each.
        let mut same: BTreeMap<(&str, BTreeSet<&str>), Hearers<'_>> = BTreeMap::new();
        for (slug, (_, app)) in &world.apps {
            if app.platform == document::Platform::Web {
                continue;
            }
            let rules: Vec<_> = world.rules.iter().filter(|(_, rule)| rule.app == **slug).collect();
            let told: BTreeSet<&str> = rules.iter().flat_map(|(_, rule)| world.told_by(rule)).collect();
            for partner in told {
                let mut events = BTreeSet::new();
                let mut entries = Vec::new();
                let mut is_open = false;
                for (entry, rule) in rules.iter().filter(|(_, rule)| world.told_by(rule).contains(partner)) {
                    entries.push(*entry);
                    is_open |= !names(rule, &mut events);
                }
                // A rule for any event tells as many as the app has.
                if !is_open && !EVENTS.contains(&events.len()) {
                    let known = same.entry((slug, events)).or_default();
                    known.partners.insert(partner);
                    known.rules.extend(entries);
                }
            }
        }
        for ((app, events), Hearers { partners, rules }) in same {
            let Some(entry) = rules.into_iter().find(|entry| entry.is_edited) else { continue };
            let who = listed(partners.into_iter());
            let count = events.len();
            let list =
                if events.is_empty() { String::new() } else { format!(" ({})", listed(events.into_iter())) };
            let (code, why) = if count < *EVENTS.start() {
                ("events_few", "most networks optimise on 3 to 5, and learn too little from fewer")
            } else {
                ("events_many", "most networks optimise on 3 to 5, and more blur what they learn")
            };
            let noun = if count == 1 { "event" } else { "events" };
            let message =
                format!("of `{app}`, {who} hears of {count} {noun} behind the install{list}; {why}");
            self.warn(entry, code, Severity::Info, "on", message);
        }
    }
}

/// Partners that hear of the same events of an app, and the rules that tell them.
#[derive(Default)]
struct Hearers<'a> {
    partners: BTreeSet<&'a str>,
    rules: Vec<&'a Entry>,
}

/// Adds the events behind the install that a rule tells of. `false` for a rule of any event.
fn names<'a>(rule: &'a document::Rule, events: &mut BTreeSet<&'a str>) -> bool {
    match rule.on {
        On::Install | On::StatusChange | On::Rejected => {}
        On::Signup => drop(events.insert("signup")),
        On::Purchase => drop(events.insert("purchase")),
        On::Event if !rule.events.is_empty() => events.extend(rule.events.iter().map(String::as_str)),
        On::Event if !rule.rename.is_empty() => events.extend(rule.rename.keys().map(String::as_str)),
        On::Event => return false,
    }
    true
}

/// At most five names, and how many more there are.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = names.collect();
    let shown: Vec<String> = all.iter().take(5).map(|name| format!("`{name}`")).collect();
    match all.len().saturating_sub(5) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The documents of a set, by what they are.
struct Look<'a> {
    apps: BTreeMap<&'a str, (&'a Entry, &'a document::App)>,
    campaigns: BTreeMap<&'a str, &'a document::Campaign>,
    partners: BTreeMap<&'a str, (&'a Entry, &'a document::Partner)>,
    groups: BTreeMap<&'a str, &'a document::PartnerGroup>,
    links: Vec<(&'a Entry, &'a document::Link)>,
    rules: Vec<(&'a Entry, &'a document::Rule)>,
    /// The keys of the macros that a rule's template asks for.
    sent: BTreeMap<&'a str, BTreeSet<String>>,
}

impl<'a> Look<'a> {
    fn of(set: &Set<'a>) -> Self {
        let mut look = Self {
            apps: BTreeMap::new(),
            campaigns: BTreeMap::new(),
            partners: BTreeMap::new(),
            groups: BTreeMap::new(),
            links: Vec::new(),
            rules: Vec::new(),
            sent: BTreeMap::new(),
        };
        for entry in set.entries {
            let slug = entry.slug.as_str();
            match &entry.stored.document {
                Any::App(doc) => drop(look.apps.insert(slug, (entry, doc))),
                Any::Campaign(doc) => drop(look.campaigns.insert(slug, doc)),
                Any::Partner(doc) => drop(look.partners.insert(slug, (entry, doc))),
                Any::PartnerGroup(doc) => drop(look.groups.insert(slug, doc)),
                Any::Link(doc) => look.links.push((entry, doc)),
                Any::Rule(doc) => look.rules.push((entry, doc)),
                Any::Webhook(_) | Any::Key(_) => {}
            }
        }
        let needs_any = look.rules.iter().any(|(_, r)| !r.needs.is_empty())
            || look.partners.values().any(|(_, p)| !p.needs.is_empty());
        if needs_any {
            for (entry, doc) in &look.rules {
                look.sent.insert(&entry.slug, super::rule::macros_of(doc));
            }
        }
        look
    }

    fn app_of(&self, link: &document::Link) -> Option<&(&'a Entry, &'a document::App)> {
        self.apps.get(self.campaigns.get(link.campaign.as_str())?.app.as_str())
    }

    /// How long a link's clicks may earn something, and the app whose setting that is, if it is not the link's own.
    fn click_window(&self, link: &document::Link) -> Option<(Span, Option<&'a Entry>)> {
        if let Some(own) = link.click_window.as_deref().and_then(Span::parse) {
            return Some((own, None));
        }
        let (entry, app) = self.app_of(link)?;
        let platform: roundtrip_domain::settings::Platform = app.platform.into();
        let window = app.click_window.as_deref().and_then(Span::parse).unwrap_or(platform.click_window());
        Some((window, Some(entry)))
    }

    /// The partners that a rule can tell: its own, its group's, else those with a link to the app.
    fn told_by(&self, rule: &'a document::Rule) -> BTreeSet<&'a str> {
        if let Some(partner) = &rule.partner {
            return [partner.as_str()].into();
        }
        if let Some(group) = &rule.group {
            let members = self.groups.get(group.as_str()).map_or(&[][..], |g| g.partners.as_slice());
            return members.iter().map(String::as_str).collect();
        }
        let on_app = |link: &document::Link| {
            self.campaigns.get(link.campaign.as_str()).is_some_and(|campaign| campaign.app == rule.app)
        };
        self.links.iter().filter(|(_, link)| on_app(link)).map(|(_, link)| link.partner.as_str()).collect()
    }

    fn sends(&self, rule: &str, need: &str) -> bool {
        let key = if need == "click_id" { "partner_click_id" } else { need };
        // A rule whose template cannot be read is reported for that.
        self.sent.get(rule).is_none_or(|keys| keys.is_empty() || keys.contains(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_named_as_macros_are() {
        assert!(is_macro("click_id") && is_macro("currency") && is_macro("cfg.token") && is_macro("param.x"));
        assert!(!is_macro("clickid") && !is_macro("cfg.") && !is_macro(""));
        assert!(ADVICE.is_sorted(), "in the order of their codes");
    }

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(listed(["a", "b"].into_iter()), "`a`, `b`");
        assert_eq!(
            listed(["a", "b", "c", "d", "e", "f", "g"].into_iter()),
            "`a`, `b`, `c`, `d`, `e` and 2 more"
        );
    }

    #[test]
    fn kinds_of_documents_are_all_looked_at() {
        assert_eq!(super::super::ResourceKind::ALL.len(), 8, "a new kind is a new question to ask");
    }
}
