//! From a tracking URL to a link, in the dialect of the system that it comes from.
//!
//! What names the link (its path, and the pairs that tell it from others) becomes an address of the link, so that
//! the URL works once its host leads here. What it says of destinations and windows goes into the link's document;
//! all else stays in the URL and is read from each click.

use crate::link_address::Address;
use crate::link_dialect::{CallbackKind, LOOKBACK_MAX, LOOKBACK_MIN, LinkDialect};
use crate::template::{Dialect, Scope, Severity, UrlTemplate};
use crate::time::Span;

use super::pasted::{Pair, Pasted, varies};
use super::{
    Account, CampaignDraft, Imported, Input, Kind, LinkDraft, PartnerDraft, behaviour, callback, name, system,
};

use LinkDialect as D;

/// Where our own links begin when nobody says it.
const PLACEHOLDER: &str = "https://YOUR-HOST";

/// What a system calls the things that name a link: the pairs of an address, the partner, the campaign.
struct Identity {
    /// Pairs that tell a link from others of the same path.
    pins: &'static [&'static str],
    /// Parameters that name the partner, the first one that is there.
    partner: &'static [&'static str],
    /// Parameters that name the campaign, the first one that is there.
    campaign: &'static [&'static str],
}

const fn identity(dialect: LinkDialect) -> Identity {
    let (pins, partner, campaign): (&[&str], &[&str], &[&str]) = match dialect {
        D::Linkrunner => (&["c"], &["aff_id", "pub_id"], &["campaign", "c"]),
        D::Tracknow => (&["campaign_id", "ref_id"], &["ref_id"], &["campaign_id"]),
        D::AppsFlyer => (
            &["pid", "c", "af_media_source", "af_campaign_id"],
            &["pid", "af_media_source"],
            &["c", "af_campaign", "af_c_id", "af_campaign_id"],
        ),
        D::Adjust => (&[], &[], &["campaign", "adj_campaign"]),
        D::Branch => (&["$3p"], &["$3p"], &["~campaign", "~campaign_id"]),
        D::Singular => (&[], &[], &["pcn", "pcid"]),
        D::Kochava => (
            &["campaign_id", "network_id"],
            &["network_id", "source"],
            &["partner_campaign_name", "campaign_id"],
        ),
        D::Airbridge => (&[], &["source"], &["campaign", "campaign_id"]),
        D::AppMetrica => (&[], &[], &["campaign", "campaign_id"]),
        D::Trackier => {
            (&["pid", "campaign_id", "pub_id"], &["pid", "pub_id"], &["camp", "camp_id", "campaign_id"])
        }
        D::Tenjin => (&[], &[], &["campaign_name", "campaign_id"]),
        D::MyTracker => (&[], &["mt_network", "utm_source"], &["mt_campaign", "utm_campaign"]),
        D::Tune => (&["offer_id", "aff_id"], &["aff_id"], &["offer_id"]),
        D::Everflow => (&["oid", "affid"], &["affid"], &["oid"]),
        D::Affise => (&["offer_id", "pid"], &["pid"], &["offer_id"]),
        D::Scaleo => (&["o", "a"], &["a"], &["o"]),
        D::Cake => (&["a", "c"], &["a"], &["c"]),
        D::Keitaro => (&[], &["source"], &["ad_campaign_id"]),
        D::Voluum | D::Binom | D::BeMob => (&["key"], &[], &[]),
        D::Generic => (
            &["offer_id", "oid", "aff_id", "affid", "pid", "campaign_id"],
            &["pid", "aff_id", "affid"],
            &["campaign", "campaign_id", "offer_id"],
        ),
    };
    Identity { pins, partner, campaign }
}

/// Last segments of paths that systems use for all their links.
const SHARED_PATHS: &[&str] =
    &["click", "click.php", "clk", "impression", "imp", "view", "track", "redirect", "go", "aff_c", "aff_i"];

/// What the work on one URL has come to.
struct Work<'a> {
    input: &'a Input,
    url: &'a Pasted,
    dialect: LinkDialect,
    account: Account,
    link: LinkDraft,
    app: String,
    cfg: Vec<(String, String)>,
    rules: Vec<super::RuleDraft>,
    /// Pairs that the new URL needs no more.
    gone: Vec<usize>,
    /// Pairs that stand in the link's address.
    pinned: Vec<usize>,
}

/// Makes a link of a tracking URL. `named` is the dialect that its owner says.
pub(super) fn import(input: &Input, url: &Pasted, named: Option<LinkDialect>) -> Imported {
    let systems = system::candidates(url, named);
    let dialect = named
        .or_else(|| systems.first().and_then(|best| LinkDialect::from_name(&best.system)))
        .unwrap_or(D::Generic);
    let mut work = Work {
        input,
        url,
        dialect,
        account: Account::default(),
        link: LinkDraft { dialect, ..LinkDraft::default() },
        app: String::new(),
        cfg: Vec::new(),
        rules: Vec::new(),
        gone: Vec::new(),
        pinned: Vec::new(),
    };
    let (partner, ref_id) = work.partner();
    let campaign = work.campaign();
    work.link.partner.clone_from(&partner);
    work.link.campaign.clone_from(&campaign.slug);
    work.frame();
    work.address(&campaign.slug);
    work.parameters();
    work.macros();
    work.notes();
    let (ours, same) = (work.our_url(), work.same_url());
    let Work { account, link, cfg, rules, .. } = work;
    Imported {
        kind: Kind::Link,
        systems,
        link: Some(link),
        rules,
        campaign: Some(campaign),
        partner: PartnerDraft { slug: partner, ref_id, cfg },
        url: Some(ours),
        same_url: Some(same),
        carried: account.carried,
        lost: account.lost,
        missing: account.missing,
    }
}

impl Work<'_> {
    fn first_literal(&self, names: &[&str]) -> Option<(String, String)> {
        names.iter().find_map(|name| Some(((*name).to_owned(), self.url.literal(name)?)))
    }

    /// A number says nothing by itself.
    fn told_apart(&self, slug: String, word: &str) -> String {
        if slug.bytes().all(|b| b.is_ascii_digit()) { format!("{word}-{slug}") } else { slug }
    }

    /// The partner's slug and public id.
    fn partner(&mut self) -> (String, Option<String>) {
        let told = self.first_literal(identity(self.dialect).partner);
        // Airbridge's channel and MyTracker's like stand in the path.
        let told = told.or_else(|| {
            let channel = self.url.segments().nth(1).filter(|_| self.dialect == D::Airbridge)?;
            (!varies(channel)).then(|| ("path".to_owned(), channel.to_owned()))
        });
        let given = self.input.partner.clone();
        let made = told.as_ref().map(|(_, value)| self.told_apart(name::slug(value), "partner"));
        let slug = given.clone().or(made.filter(|slug| !slug.is_empty()));
        let Some(slug) = slug else {
            self.account.miss(
                "partner",
                "the URL does not say whose it is; `partner` is a placeholder",
                "name the partner: --partner SLUG",
            );
            return ("partner".to_owned(), None);
        };
        // Tracknow's form finds the partner by it.
        let ref_id =
            told.map(|(_, value)| value).filter(|value| self.dialect == D::Tracknow && *value != slug);
        (slug, ref_id)
    }

    fn campaign(&mut self) -> CampaignDraft {
        let told = self.first_literal(identity(self.dialect).campaign);
        let word = if told.as_ref().is_some_and(|(name, _)| matches!(name.as_str(), "offer_id" | "oid" | "o"))
        {
            "offer"
        } else {
            "campaign"
        };
        let made = told.as_ref().map(|(_, value)| self.told_apart(name::slug(value), word));
        let slug = self.input.campaign.clone().or(made.filter(|slug| !slug.is_empty()));
        let slug = slug.unwrap_or_else(|| {
            self.account.miss(
                "campaign",
                "the URL does not name a campaign; `campaign` is a placeholder",
                "name the campaign: --campaign SLUG",
            );
            "campaign".to_owned()
        });
        let app = self.input.app.clone().unwrap_or_else(|| {
            self.account.miss(
                format!("campaigns.{slug}.app"),
                "the URL does not name an app of yours; `app` is a placeholder",
                "name the app: --app SLUG",
            );
            "app".to_owned()
        });
        self.app.clone_from(&app);
        let value = told.map(|(_, value)| value);
        let public_id = value.clone().filter(|value| self.dialect == D::Tracknow && *value != slug);
        // A number is an id and no name.
        let is_name =
            |value: &String| value.bytes().any(|b| !b.is_ascii_digit()) && value.chars().count() <= 200;
        let name = value.filter(|value| *value != slug && public_id.is_none() && is_name(value));
        CampaignDraft { slug, app, name: name.filter(|name| !name.chars().any(char::is_control)), public_id }
    }

    /// What stands around path and query.
    fn frame(&mut self) {
        let url = self.url;
        self.account.carry("host", &url.host, "the URL to hand out", "yours stands in its place");
        if url.scheme == "http" {
            self.account.carry("scheme", "http", "the URL to hand out", "https from now on");
        }
        if let Some(port) = &url.port {
            self.account.lose("port", port, "links have no port", "leave it out");
        }
        if url.userinfo.is_some() {
            let reason = "a user and password in a link are sent to nobody";
            self.account.lose("user", super::MASKED, reason, "leave them out, and change the password");
        }
        if let Some(fragment) = &url.fragment {
            let reason = "what follows `#` never reaches a server";
            self.account.lose("fragment", fragment, reason, "put it into the destination");
        }
    }

    /// The link's id and its other address.
    fn address(&mut self, campaign: &str) {
        let url = self.url;
        let pins = identity(self.dialect).pins;
        let mut address = url.path.clone();
        let mut glue = '?';
        let mut loose = Vec::new();
        for (at, pair) in url.pairs.iter().enumerate() {
            let is_first = url.pairs[..at].iter().all(|other| other.name != pair.name);
            if !pins.contains(&pair.name.as_str()) || !is_first {
                continue;
            }
            if varies(&pair.raw) || pair.raw.is_empty() {
                loose.push(pair.name.clone());
                continue;
            }
            address.push(glue);
            address.push_str(&pair.written);
            glue = '&';
            self.pinned.push(at);
        }
        let last = url.segments().last().unwrap_or_default().to_owned();
        let own_id = self.own_id(&last);
        let made = {
            let parts = [self.link.partner.as_str(), campaign];
            let made: String = parts.join("-");
            if name::is_link_id(&made) { made } else { made.chars().take(64).collect() }
        };
        self.link.slug = self.input.slug.clone().or_else(|| own_id.clone()).unwrap_or(made);
        let field = format!("links.{}", self.link.slug);
        let is_view = self.is_view();
        for name in loose {
            let reason =
                "it would tell this link from others, and it varies; the address is found without it";
            self.account.carry(format!("parameter {name}"), "", "the click", reason);
        }
        if self.dialect == D::Tracknow && self.url.has("campaign_id") && self.url.has("ref_id") {
            let note = "found by the campaign's public_id and the partner's ref_id; it needs no address";
            self.account.carry("path", &url.path, format!("{field}.dialect"), note);
            for at in self.pinned.clone() {
                let (name, to) = match url.pairs[at].name.as_str() {
                    "ref_id" => ("ref_id", format!("partners.{}", self.link.partner)),
                    other => (other, format!("campaigns.{campaign}")),
                };
                self.account.carry(
                    format!("parameter {name}"),
                    &url.pairs[at].text(),
                    to,
                    "it names the link",
                );
            }
            return;
        }
        if own_id.as_deref() == Some(self.link.slug.as_str()) {
            self.account.carry(
                "path",
                &url.path,
                field,
                "the link's id is the other system's, so its path finds it",
            );
            self.pinned_go("the link's id");
            return;
        }
        let list = if is_view { "also_impressions" } else { "also" };
        match Address::parse(&address, is_view) {
            Ok(_) => {
                let to = format!("{field}.{list}");
                self.account.carry("path", &url.path, &to, "the old URL is found by it, whatever its host");
                self.pinned_go(&to);
                let is_shared = !address.contains('?')
                    && SHARED_PATHS.iter().any(|word| word.eq_ignore_ascii_case(&last));
                if is_shared {
                    let reason = "such a path is usually shared by all links of a system, and nothing in the query tells this one from others";
                    self.account.miss(&to, reason, "add the pairs that name this link: `/click?offer=12`");
                }
                if is_view {
                    self.link.also_impressions.push(address);
                } else {
                    self.link.also.push(address);
                }
            }
            Err(error) => {
                self.pinned.clear();
                self.account.lose(
                    "path",
                    &address,
                    format!("it cannot be an address of a link: {error}"),
                    "hand out the new URL; the old one will not be found here",
                );
            }
        }
    }

    fn pinned_go(&mut self, to: &str) {
        for at in self.pinned.clone() {
            let pair = &self.url.pairs[at];
            let note = match (self.dialect, pair.name.as_str()) {
                (D::AppsFlyer, "c") => {
                    "take it out of the address to find the link under every campaign name"
                }
                _ => "it tells this link from others",
            };
            self.account.carry(format!("parameter {}", pair.name), &pair.text(), to, note);
        }
    }

    /// The other system's id of the link where our own forms find a link by such a path.
    fn own_id(&self, last: &str) -> Option<String> {
        let segments: Vec<&str> = self.url.segments().collect();
        if self.dialect == D::Linkrunner && self.url.has("c") && segments.is_empty() {
            return self.url.literal("c").filter(|id| name::is_link_id(id));
        }
        let is_short = matches!(segments.as_slice(), [_] | ["c" | "impression", _]);
        // Where a pair tells links apart that share their path, the path alone is none's.
        let is_shared = !self.pinned.is_empty() || last == "click" || last == "click.php";
        (is_short && !is_shared && name::is_link_id(last)).then(|| last.to_owned())
    }

    /// Whether a parameter is the partner's click id in this dialect.
    fn is_click_id(&self, name: &str) -> bool {
        let is_word = name == "click_id" || self.dialect.aliases("click_id").contains(&name);
        // Adjust leaves the name to the network.
        is_word || self.dialect == D::Adjust && name.ends_with("_click_id")
    }

    fn is_view(&self) -> bool {
        let segments: Vec<String> = self.url.segments().map(str::to_ascii_lowercase).collect();
        let label = self.url.host.split('.').next().unwrap_or_default();
        let says =
            self.dialect.view_words().iter().any(|(name, value)| {
                self.url.literal(name).is_some_and(|text| text.eq_ignore_ascii_case(value))
            });
        says || matches!(label, "impression" | "view" | "imp" | "impressions")
            || segments
                .iter()
                .any(|segment| matches!(segment.as_str(), "impression" | "imp" | "aff_i" | "i" | "view"))
    }

    fn parameters(&mut self) {
        let url = self.url;
        for (at, pair) in url.pairs.iter().enumerate() {
            let what = format!("parameter {}", pair.name);
            if let Some(before) = url.pairs[..at].iter().find(|other| other.name == pair.name) {
                let reason = format!(
                    "the name came before, and the first one counts (`{}`)",
                    super::shown(&before.raw)
                );
                self.account.lose(&what, &pair.raw, reason, "remove one of the two");
                self.gone.push(at);
            } else if self.pinned.contains(&at) {
                // Said with the address.
            } else {
                self.parameter(at, pair, &what);
            }
        }
    }

    fn parameter(&mut self, at: usize, pair: &Pair, what: &str) {
        if pair.name.is_empty() {
            self.account.lose(what, &pair.raw, "it has no name", "leave it out, or give it a name");
            self.gone.push(at);
            return;
        }
        if self.dialect.has_callbacks()
            && let Some(kind) = CallbackKind::parse(&pair.name)
        {
            let (partner, app) = (self.link.partner.clone(), self.app.clone());
            let word = self.url.pairs.iter().find(|pair| self.is_click_id(&pair.name));
            let word = word.map(|pair| pair.name.as_str());
            let (cfg, account) = (&mut self.cfg, &mut self.account);
            let rule = callback::rule(self.input, &partner, &app, pair, &kind, word, cfg, account);
            self.rules.extend(rule);
            self.gone.push(at);
            return;
        }
        let says = |words: &[(&str, &str)]| words.iter().any(|(name, _)| *name == pair.name);
        if pair.name == "s2s" || says(self.dialect.server_words()) {
            let note = "it says that a server tells of the click; put `s2s=1` into our own form";
            self.account.carry(what, &pair.raw, "the URL to hand out", note);
            return;
        }
        if says(self.dialect.view_words()) {
            self.account.carry(
                what,
                &pair.raw,
                "the URL to hand out",
                "it says whether the touch is an impression",
            );
            return;
        }
        if let Some((reason, fix)) = behaviour::of(self.dialect, &pair.name) {
            self.account.lose(what, &pair.text(), reason, fix);
            return;
        }
        let canonical = self.dialect.canonical(&pair.name).map(str::to_owned);
        let canonical = if self.is_click_id(&pair.name) { Some("click_id".to_owned()) } else { canonical };
        let Some(canonical) = canonical else {
            let to = format!("{{param.{}}}", pair.name);
            self.account.carry(what, &pair.text(), to, "kept with each click under its own name");
            return;
        };
        match canonical.as_str() {
            "redirect" | "redirect_web" | "redirect_android" | "redirect_ios" | "deep_link" | "fallback" => {
                self.destination(at, pair, &canonical, what);
            }
            "click_lookback" => self.window(at, pair, what),
            "view_lookback" => {
                let note = "read from each impression; between 1h and 30d";
                self.account.carry(what, &pair.text(), "the URL to hand out", note);
            }
            "deferred_deep_link" => {
                let reason = "a deep link of a first open is not handed to the app";
                self.account.lose(what, &pair.text(), reason, "put the address into destinations.deep_link");
            }
            "reengagement_window" | "inactivity_window" => {
                let reason = "re-engagement has no window of its own here";
                self.account.lose(what, &pair.text(), reason, "count re-engagements within click_window");
            }
            "click_id" => {
                let note = if pair.raw.is_empty() {
                    "it is empty: the network appends its own click id here; nothing can be told without one"
                } else if varies(&pair.raw) {
                    "the network's click id; it comes back as {partner_click_id}"
                } else {
                    "the partner's click id; here it is the same for every click, and should be the network's macro"
                };
                self.account.carry(what, &pair.text(), "{partner_click_id}", note);
            }
            "is_retargeting" | "campaign_type" => {
                let note = "read from each click, which is flagged `retargeting`";
                self.account.carry(what, &pair.text(), "the URL to hand out", note);
            }
            "cost_value" | "cost_model" | "cost_currency" => {
                let to = format!("{{{canonical}}}");
                self.account.carry(what, &pair.text(), to, "the cost is kept with each click");
            }
            _ => {
                let is_known = crate::template::vocabulary::find(&canonical).is_some();
                let is_translated = canonical != pair.name;
                let to = if is_known || is_translated {
                    format!("{{{canonical}}}")
                } else {
                    format!("{{param.{}}}", pair.name)
                };
                self.account.carry(what, &pair.text(), to, "stays in the URL and is read from each click");
            }
        }
    }

    /// A window that the link asks for itself.
    fn window(&mut self, at: usize, pair: &Pair, what: &str) {
        let text = pair.text();
        let text = text.trim();
        if self.link.click_window.is_some() {
            let note = "another parameter sets the window already; this one is read from each click";
            self.account.carry(what, text, "the URL to hand out", note);
            return;
        }
        if varies(&pair.raw) {
            let note = "it varies, and is read from each click; between 1h and 30d";
            self.account.carry(what, text, "the URL to hand out", note);
            return;
        }
        let asked = Span::parse(text).filter(|_| text.ends_with(['h', 'd'])).filter(|span| span.ms() > 0);
        let Some(asked) = asked else {
            let reason = "it is no number of hours or days, such as 6h or 14d";
            self.account.lose(what, text, reason, "set click_window on the link");
            return;
        };
        let kept = asked.clamp(LOOKBACK_MIN, LOOKBACK_MAX);
        let to = format!("links.{}.click_window", self.link.slug);
        if kept == asked {
            self.account.carry(what, text, &to, "the link's own window");
        } else {
            let reason =
                format!("such a window is between {LOOKBACK_MIN} and {LOOKBACK_MAX}; it was set to {kept}");
            self.account.lose(what, text, reason, "set click_window on the link; it takes up to 90d");
        }
        self.link.click_window = Some(kept.to_string());
        self.gone.push(at);
    }

    fn destination(&mut self, at: usize, pair: &Pair, canonical: &str, what: &str) {
        let text = pair.text();
        if pair.raw.is_empty() {
            self.account.carry(what, "", "the URL to hand out", "it is empty and leads nowhere");
            return;
        }
        let Some(prefix) = prefix(&text) else {
            let reason = if text.contains("://") {
                "its host is not in the URL, and a visitor is sent only to hosts that the link allows"
            } else {
                "it is no address that a visitor can be sent to"
            };
            let fix = "set the link's destinations, and add the beginnings of others to allow_destinations";
            self.account.lose(what, &text, reason, fix);
            self.gone.push(at);
            return;
        };
        let (_, findings) = UrlTemplate::parse(&text, Scope::Destination, Dialect::Canonical);
        if let Some(bad) = findings.iter().find(|finding| finding.severity == Severity::Error) {
            self.account.lose(what, &text, bad.message.clone(), "set the link's destinations");
            self.gone.push(at);
            return;
        }
        let field = format!("links.{}", self.link.slug);
        if !self.link.allow_destinations.contains(&prefix) {
            self.link.allow_destinations.push(prefix.clone());
        }
        if varies(&pair.raw) {
            // The macro is the network's; in the link's own destinations it would be ours.
            let note = "the network fills it in; the click may ask for it, since its host is allowed";
            self.account.carry(what, &text, format!("{field}.allow_destinations"), note);
            return;
        }
        let link = &mut self.link;
        let (slots, name): (Vec<&mut Option<String>>, &str) = match canonical {
            "redirect_android" => (vec![&mut link.android], "android"),
            "redirect_ios" => (vec![&mut link.ios], "ios"),
            "redirect_web" => (vec![&mut link.web], "web"),
            "deep_link" => (vec![&mut link.deep_link], "deep_link"),
            "fallback" => (vec![&mut link.fallback], "fallback"),
            _ => (vec![&mut link.android, &mut link.ios, &mut link.web], "android, .ios and .web"),
        };
        let mut is_set = false;
        for slot in slots {
            // A parameter of one platform says more than that of all, in whatever order they stand.
            if slot.is_none() || canonical != "redirect" && slot.as_deref() != Some(text.as_str()) {
                *slot = Some(text.clone());
                is_set = true;
            }
        }
        if is_set {
            let note = format!("the click may still ask for it, since `{prefix}` is in allow_destinations");
            self.account.carry(what, &text, format!("{field}.destinations.{name}"), note);
        } else {
            let note = "each platform has a page of its own already; the click may ask for this one";
            self.account.carry(what, &text, format!("{field}.allow_destinations"), note);
        }
        self.gone.push(at);
    }

    /// The network's macros, which it fills in before we see them.
    fn macros(&mut self) {
        let (template, _) = UrlTemplate::parse(&self.url.text, Scope::Link, Dialect::Generic);
        let mut told: Vec<String> = Vec::new();
        for used in template.macros() {
            if told.contains(&used.text) {
                continue;
            }
            told.push(used.text.clone());
            let what = format!("macro {}", used.text);
            self.account.carry(what, &used.text, "the URL to hand out", "the network fills it in, as before");
        }
    }

    fn notes(&mut self) {
        let has_click_id = self.url.pairs.iter().any(|pair| self.is_click_id(&pair.name));
        if !has_click_id {
            let word = self.dialect.aliases("click_id").first().copied().unwrap_or("click_id");
            self.account.miss(
                "url",
                "the URL carries no click id of the partner, and nothing can be told without one",
                format!("append {word}= and the network's own macro"),
            );
        }
    }

    fn base(&self) -> &str {
        self.input.public_url.as_deref().unwrap_or(PLACEHOLDER).trim_end_matches('/')
    }

    /// The new URL in our own form; what went into the link's document is left out.
    fn our_url(&self) -> String {
        let form = if self.is_view() { "i" } else { "c" };
        let mut url = format!("{}/{form}/{}", self.base(), self.link.slug);
        let mut glue = '?';
        for (at, pair) in self.url.pairs.iter().enumerate() {
            // What only names the link in the other system says nothing of the click.
            let is_only_a_name = match self.dialect {
                D::Linkrunner => pair.name == "c",
                D::Tracknow => pair.name == "ref_id",
                _ => pair.name == "key",
            };
            if self.gone.contains(&at) || self.pinned.contains(&at) && is_only_a_name {
                continue;
            }
            url.push(glue);
            url.push_str(&pair.written);
            glue = '&';
        }
        url
    }

    /// The old URL on our host.
    fn same_url(&self) -> String {
        let written: Vec<&str> = self.url.pairs.iter().map(|pair| pair.written.as_str()).collect();
        let query = if written.is_empty() { String::new() } else { format!("?{}", written.join("&")) };
        format!("{}{}{query}", self.base(), self.url.path)
    }
}

/// What has to be allowed so that a click can ask for a destination: scheme, host and port, or the scheme alone
/// where it is an app's own. `None` where that is not written out.
fn prefix(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if !is_scheme {
        return None;
    }
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        return Some(format!("{scheme}://"));
    }
    let host = rest.split(['/', '?', '#']).next()?;
    let is_plain =
        host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'));
    (!host.is_empty() && is_plain).then(|| format!("{scheme}://{}/", host.to_ascii_lowercase()))
}
