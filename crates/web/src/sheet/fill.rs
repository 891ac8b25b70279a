//! From the settings to a sheet.
//!
//! What the program runs on (templates, windows) comes from [`Settings`]; what people wrote comes from the masked
//! document. `rule` has the words for what a rule says, `sample` the values that stand for real ones.

use roundtrip_domain::link_dialect::CallbackKind;
use roundtrip_domain::params::VALUE_BYTES_MAX;
use roundtrip_domain::retry::{ABORT_HEADER, POSTBACK_WAITS_MS};
use roundtrip_domain::secret::{self, SECRET_BYTES_MIN};
use roundtrip_domain::settings::{App, Campaign, Link, Partner, Rule, Settings};
use roundtrip_domain::template::Dialect;
use roundtrip_domain::time::human;
use roundtrip_library::Entry;
use roundtrip_store::settings::MASK;
use serde_json::Value;

use super::rule;
use super::sample::Samples;
use super::shape::{Example, Field, LinkSheet, Macro, Owner, PostbackSheet, Sheet, System};

/// The sheet of the partner of that slug; `None` if there is none. `document` is the workspace's settings as people
/// may see them, `system` the library's entry of what the partner runs.
pub fn fill(
    settings: &Settings,
    document: &Value,
    slug: &str,
    public_url: &str,
    system: Option<&Entry>,
) -> Option<Sheet> {
    let partner = settings.partners.values().find(|partner| partner.slug == slug)?;
    let filler = Filler { settings, document, partner, public_url: public_url.trim_end_matches('/'), system };
    let mut links: Vec<&Link> =
        settings.links.values().map(|link| &**link).filter(|link| link.partner == partner.id).collect();
    links.sort_by(|a, b| a.public_id.cmp(&b.public_id));
    let mut apps: Vec<&App> = settings.apps.values().map(|app| &**app).collect();
    apps.sort_by(|a, b| a.slug.cmp(&b.slug));
    let rules = apps.iter().flat_map(|app| {
        let rules = settings.rules.get(&app.id).map_or(&[][..], Vec::as_slice);
        rules.iter().map(move |rule| (*app, &**rule))
    });
    Some(Sheet {
        version: settings.version,
        public_url: filler.public_url.to_owned(),
        workspace: settings.slug.clone(),
        partner: Owner {
            slug: partner.slug.clone(),
            name: partner.name.clone(),
            public_id: Some(partner.ref_id.clone()),
            platform: None,
        },
        settings: partner.cfg.keys().cloned().collect(),
        system: system.map(|entry| System {
            slug: entry.slug.clone(),
            name: entry.name.clone(),
            status: entry.status.clone(),
            about: entry.click.as_ref().and_then(|click| click.about.clone()),
        }),
        links: links.into_iter().filter_map(|link| filler.link(link)).collect(),
        postbacks: rules
            .filter(|(_, rule)| is_told(settings, rule, partner))
            // What its links may not carry is not told.
            .filter(|(_, rule)| rule.request.template().is_some() || partner.in_link_callbacks)
            .map(|(app, rule)| filler.postback(app, rule))
            .collect(),
        notes: notes(),
    })
}

/// Whether a rule can tell a partner something: it names that one, or a group that it is in, or nobody.
pub(crate) fn is_told(settings: &Settings, rule: &Rule, partner: &Partner) -> bool {
    match (rule.partner, rule.group) {
        (Some(told), _) => told == partner.id,
        (None, Some(group)) => {
            settings.groups.get(&group).is_some_and(|group| group.partners.contains(&partner.id))
        }
        (None, None) => true,
    }
}

/// What holds for every postback; the guide for partners says it at length.
fn notes() -> Vec<String> {
    vec![
        format!(
            "Your click id comes back as the very value that you sent: percent-encode it on the link, at most {VALUE_BYTES_MAX} bytes."
        ),
        "A status of 2xx means that you have it. 408, 425, 429, 5xx and no answer at all are sent again; anything else is given up. Redirects are not followed.".to_owned(),
        format!(
            "There are at most {} sends over {}, unless a postback above says otherwise (retry, accepts_within). Retry-After is honoured; {ABORT_HEADER}: true beside a status that is not 2xx stops them.",
            POSTBACK_WAITS_MS.len() + 1,
            human(POSTBACK_WAITS_MS.iter().sum())
        ),
        "The same fact may be sent more than once: {event_id} is the same each time, so count it once.".to_owned(),
        "Requests leave from the operator's machine: ask for its addresses if you allow-list senders.".to_owned(),
    ]
}

struct Filler<'a> {
    settings: &'a Settings,
    document: &'a Value,
    partner: &'a Partner,
    public_url: &'a str,
    system: Option<&'a Entry>,
}

impl Filler<'_> {
    fn link(&self, link: &Link) -> Option<LinkSheet> {
        let campaign = self.settings.campaigns.get(&link.campaign)?;
        let app = self.settings.apps.get(&link.app)?;
        let written = &self.document["links"][link.public_id.as_str()];
        let dialect = written["dialect"].as_str().unwrap_or("linkrunner").to_owned();
        let click = self.system.and_then(|entry| entry.click.as_ref());
        let named =
            |canonical: &'static str| link.dialect.aliases(canonical).first().copied().unwrap_or(canonical);
        let parameter = click.map_or_else(|| named("click_id"), |click| click.parameter.as_str());
        // Without a known system the reader puts its own macro in the place of ours.
        // A dialect's words can all stand in a query as they are.
        let own = format!("{parameter}={{click_id}}");
        let suffix = click.map_or(Some(own.as_str()), |click| click.suffix.as_deref());
        let by_server = link
            .dialect
            .server_words()
            .first()
            .map_or_else(|| "s2s=1".to_owned(), |(name, value)| format!("{name}={value}"));
        let base = self.address(link, campaign, &dialect);
        let with = |more: &[&str]| {
            let parts: Vec<&str> = suffix.into_iter().chain(more.iter().copied()).collect();
            match (parts.is_empty(), base.contains('?')) {
                (true, _) => base.clone(),
                (_, true) => format!("{base}&{}", parts.join("&")),
                (_, false) => format!("{base}?{}", parts.join("&")),
            }
        };
        Some(LinkSheet {
            id: link.public_id.clone(),
            campaign: named_campaign(campaign),
            app: named_app(app),
            click_parameter: parameter.to_owned(),
            click_url: with(&[]),
            server_url: with(&[
                &by_server,
                &format!("{}={{ip}}", named("ip")),
                &format!("{}={{user_agent}}", named("user_agent")),
            ]),
            impression_url: suffix.map_or_else(
                || format!("{}/i/{}", self.public_url, link.public_id),
                |suffix| format!("{}/i/{}?{suffix}", self.public_url, link.public_id),
            ),
            click_window: human(self.settings.click_window(app, link.id).ms()),
            allow_destinations: link.allow_destinations.clone(),
            also: self.elsewhere(&written["also"]),
            also_impressions: self.elsewhere(&written["also_impressions"]),
            dialect,
        })
    }

    /// Other addresses of a link, whole.
    fn elsewhere(&self, list: &Value) -> Vec<String> {
        let whole = |text: &str| match text.strip_prefix('/') {
            Some(_) => format!("{}{text}", self.public_url),
            None => text.to_owned(),
        };
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(whole).collect()
    }

    /// The link's address in the form of its dialect.
    fn address(&self, link: &Link, campaign: &Campaign, dialect: &str) -> String {
        if dialect != "tracknow" {
            return format!("{}/c/{}", self.public_url, link.public_id);
        }
        let namespace =
            if self.settings.slug == "default" { String::new() } else { format!("/{}", self.settings.slug) };
        let (campaign, partner) = (encoded(&campaign.public_id), encoded(&self.partner.ref_id));
        format!("{}{namespace}/click?campaign_id={campaign}&ref_id={partner}", self.public_url)
    }

    fn postback(&self, app: &App, rule: &Rule) -> PostbackSheet {
        let written = &self.document["rules"][rule.slug.as_str()];
        let text = |name: &str| written[name].as_str().map(|text| self.mask(text));
        let own = rule.request.template().map(|own| &**own);
        let samples = own.map(|template| Samples { partner: self.partner, app, rule, template });
        let body = ["json", "form", "text"].iter().find_map(|form| written["body"][form].as_str());
        PostbackSheet {
            rule: rule.slug.clone(),
            app: named_app(app),
            on: written["on"].as_str().unwrap_or_default().to_owned(),
            events: rule.events.clone(),
            rename: fields(rule.rename.iter()),
            fires: rule::fires(self.settings, rule, app),
            conditions: rule.conditions.iter().map(|one| self.mask(&rule::condition(one))).collect(),
            delay: rule::delay(rule),
            revenue: rule::sharing(rule.share),
            sandbox: rule.sandbox,
            pending: rule.pending,
            window: human(rule.window.ms()),
            also: rule::also(written).into_iter().map(|field| self.masked(field)).collect(),
            callbacks: callbacks(rule),
            dialect: match own {
                Some(_) => text("dialect").unwrap_or_else(|| "canonical".to_owned()),
                None => Dialect::Adjust.as_str().to_owned(),
            },
            method: text("method").unwrap_or_else(|| "GET".to_owned()).to_uppercase(),
            url: text("url").unwrap_or_default(),
            headers: written["headers"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| Field {
                    name: name.clone(),
                    value: self.mask(value.as_str().unwrap_or_default()),
                })
                .collect(),
            body: body.map(|text| self.mask(text)),
            macros: samples
                .iter()
                .flat_map(Samples::macros)
                .map(|one| Macro {
                    meaning: self.mask(&one.meaning),
                    example: self.mask(&one.example),
                    ..one
                })
                .collect(),
            signatures: own
                .map(rule::signatures)
                .unwrap_or_default()
                .into_iter()
                .map(|field| self.masked(field))
                .collect(),
            example: samples.as_ref().map(|samples| self.example(samples)),
        }
    }

    /// A text without the partner's own settings.
    fn mask(&self, text: &str) -> String {
        let secrets: Vec<&String> =
            self.partner.cfg.values().filter(|value| value.len() >= SECRET_BYTES_MIN).collect();
        secret::masked(text.as_bytes(), &secrets, MASK, false)
            .map_or_else(|| text.to_owned(), |masked| String::from_utf8_lossy(&masked).into_owned())
    }

    fn masked(&self, field: Field) -> Field {
        Field { value: self.mask(&field.value), ..field }
    }

    fn example(&self, samples: &Samples<'_>) -> Example {
        let rendered = samples.request();
        let lossy = |bytes: &[u8]| self.mask(&String::from_utf8_lossy(bytes));
        Example {
            line: format!("{} {}", rendered.method, self.mask(&rendered.url)),
            headers: rendered
                .headers
                .iter()
                .map(|(name, value)| Field { name: name.clone(), value: lossy(value) })
                .collect(),
            body: rendered.body.as_deref().map(lossy),
        }
    }
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn named_app(app: &App) -> Owner {
    Owner {
        slug: app.slug.clone(),
        name: app.name.clone(),
        public_id: app.bundle_id.clone(),
        platform: Some(app.platform.name().to_owned()),
    }
}

fn named_campaign(campaign: &Campaign) -> Owner {
    Owner {
        slug: campaign.slug.clone(),
        name: campaign.name.clone(),
        public_id: Some(campaign.public_id.clone()),
        platform: None,
    }
}

fn fields<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>) -> Vec<Field> {
    pairs.map(|(name, value)| Field { name: name.clone(), value: value.clone() }).collect()
}

/// The parameters that carry the click's own URL, where the rule has none; `TOKEN` stands for any event's name.
fn callbacks(rule: &Rule) -> Vec<String> {
    use roundtrip_domain::event::ConversionKind as On;
    if rule.request.template().is_some() {
        return Vec::new();
    }
    let known = |kinds: &[CallbackKind]| kinds.iter().map(CallbackKind::parameter).collect();
    let names: Vec<&str> = match &rule.on {
        On::Install => return known(&[CallbackKind::Install, CallbackKind::Conversion]),
        On::Rejected => return known(&[CallbackKind::RejectedInstall]),
        On::StatusChange => return Vec::new(),
        On::Signup | On::Purchase => vec![rule.on.name()],
        On::Event if !rule.events.is_empty() => rule.events.iter().map(String::as_str).collect(),
        On::Event if !rule.rename.is_empty() => rule.rename.keys().map(String::as_str).collect(),
        On::Event => vec!["TOKEN"],
    };
    let token = |name: &str| rule.rename.get(name).map_or_else(|| name.to_owned(), String::clone);
    names.into_iter().map(|name| CallbackKind::Event(token(name)).parameter()).collect()
}
