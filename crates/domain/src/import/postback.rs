//! From a postback URL to a rule: whose macros it is written in, what each stands for here, and what stands in it
//! that should not.

use crate::event::ConversionKind;
use crate::template::detect::detect;
use crate::template::{
    Availability, Body, Code, Dialect, Finding, Parts, Scope, Severity, Template, Use, UseKind, sample,
    vocabulary,
};

use super::pasted::{self, Pair, Pasted, varies};
use super::{
    Account, Candidate, Imported, Input, Kind, MASKED, PartnerDraft, RuleDraft, canonical, name, secret,
};

/// Parameters that hold an event's name, as its receiver knows it.
const EVENT_PARAMETERS: &[&str] = &[
    "event",
    "event_name",
    "eventname",
    "goal",
    "goal_name",
    "goal_id",
    "evt",
    "event_id",
    "type",
    "action",
    "conversion_type",
];
/// Parameters whose literal value says that money is told, for guessing the kind.
const MONEY_PARAMETERS: &[&str] = &["revenue", "payout", "sum", "amount", "price", "sale_amount"];

/// Makes a rule of a postback. `named` is the dialect that its owner says.
pub(super) fn import(input: &Input, url: &Pasted, named: Option<Dialect>) -> Imported {
    let mut account = Account::default();
    let mut cfg = Vec::new();
    let method = match &input.method {
        Some(method) => method.to_ascii_uppercase(),
        None if input.body != Body::None => "POST".to_owned(),
        None => "GET".to_owned(),
    };
    let mut parts = Parts {
        method,
        url: url.text.clone(),
        headers: input.headers.clone(),
        body: input.body.clone(),
        ..Parts::default()
    };
    let hint = input.from.as_deref();
    parts.dialect = named.unwrap_or_else(|| sample::dialect(&parts, Scope::Postback, hint));
    let systems = candidates(&parts, hint);
    let partner = partner(input, url, &mut account);
    let app = input.app.clone().unwrap_or_else(|| {
        let reason = "the URL does not name an app of yours; `app` is a placeholder";
        account.miss("app", reason, "name the app: --app SLUG");
        "app".to_owned()
    });
    let (on, events) = kind(input, url, &parts, &mut account);
    let slug = input.slug.clone().unwrap_or_else(|| format!("{partner}-{}", on.name()));
    let field = format!("rules.{slug}");
    request(url, &mut parts, &field, input.share_revenue, &mut cfg, &mut account);
    let canonical = canonical::rewritten(&parts);
    let rule = RuleDraft {
        slug,
        app,
        partner: partner.clone(),
        on,
        events,
        parts,
        canonical,
        share_revenue: input.share_revenue,
    };
    Imported {
        kind: Kind::Rule,
        systems,
        link: None,
        rules: vec![rule],
        campaign: None,
        partner: PartnerDraft { slug: partner, ref_id: None, cfg },
        url: None,
        same_url: None,
        carried: account.carried,
        lost: account.lost,
        missing: account.missing,
    }
}

/// Whose macros they may be, the one that was taken first.
fn candidates(parts: &Parts, hint: Option<&str>) -> Vec<Candidate> {
    let mut text = parts.url.clone();
    for more in parts.headers.iter().map(|(_, value)| value.as_str()).chain([parts.body.text()]) {
        text.push('\n');
        text.push_str(more);
    }
    let mut all: Vec<Candidate> = detect(&text, hint)
        .into_iter()
        .map(|guess| Candidate {
            system: guess.dialect.as_str().to_owned(),
            because: guess.because,
            certainty: guess.certainty,
        })
        .collect();
    let taken = parts.dialect.as_str();
    match all.iter().position(|one| one.system == taken) {
        Some(at) => all[..=at].rotate_right(1),
        None => {
            let because =
                if hint.is_some() { "it is named" } else { "the shared words have the most of its macros" };
            let (system, because) = (taken.to_owned(), because.to_owned());
            all.insert(0, Candidate { system, because, certainty: 50 });
        }
    }
    all
}

/// The partner's slug: given, or the last but one label of the host that is told.
fn partner(input: &Input, url: &Pasted, account: &mut Account) -> String {
    if let Some(given) = &input.partner {
        return given.clone();
    }
    let labels: Vec<&str> = url.host.split('.').filter(|label| !label.is_empty()).collect();
    let label = if labels.len() > 1 && !varies(&url.host) { labels[labels.len() - 2] } else { "" };
    let made = name::slug(label);
    let slug = if made.is_empty() { "partner".to_owned() } else { made };
    let reason = format!("the URL does not say which partner of yours is told; `{slug}` is made of its host");
    account.miss("partner", reason, "name the partner: --partner SLUG");
    slug
}

/// Which conversions it tells of, and the names of events that stand in it.
fn kind(input: &Input, url: &Pasted, parts: &Parts, account: &mut Account) -> (ConversionKind, Vec<String>) {
    let body = match &parts.body {
        Body::Form(text) => pasted::pairs(text),
        _ => Vec::new(),
    };
    let mut names: Vec<String> = Vec::new();
    for pair in url.pairs.iter().chain(&body) {
        let is_event = EVENT_PARAMETERS.iter().any(|known| pair.name.eq_ignore_ascii_case(known));
        if is_event && !pair.raw.is_empty() && !varies(&pair.raw) && !secret::is_placeholder(&pair.raw) {
            names.push(pair.text());
        }
    }
    // A macro where an event's name belongs: the partner is told which.
    let names_one = url.pairs.iter().chain(&body).any(|pair| {
        varies(&pair.raw)
            && ["event", "event_name", "goal", "goal_name"]
                .iter()
                .any(|known| pair.name.eq_ignore_ascii_case(known))
    });
    let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let says = |words: &[&str]| lower.iter().any(|name| words.iter().any(|word| name.contains(word)));
    let segments: Vec<String> = url.segments().map(str::to_lowercase).collect();
    let at = |word: &str| segments.iter().any(|segment| segment.contains(word));
    let (template, _) = Template::parse(parts.clone());
    let tells = |key: &str| template.macros().any(|used| used.key == key);
    let has_money = MONEY_PARAMETERS.iter().any(|name| url.has(name));
    let (guess, because) = if says(&["install", "first_open"]) {
        (ConversionKind::Install, "its event is an install")
    } else if says(&["purchase", "sale", "revenue", "order"]) {
        (ConversionKind::Purchase, "its event is a purchase")
    } else if says(&["regist", "signup", "sign_up", "lead"]) {
        (ConversionKind::Signup, "its event is a registration")
    } else if !names.is_empty() && !names.iter().all(|name| name.bytes().all(|b| b.is_ascii_digit())) {
        (ConversionKind::Event, "it names an event")
    } else if tells("event_name") || names_one {
        (ConversionKind::Event, "it tells the event's name")
    } else if at("install") {
        (ConversionKind::Install, "its path says install")
    } else if at("event") || at("goal") {
        (ConversionKind::Event, "its path says event")
    } else if tells("revenue") || has_money {
        (ConversionKind::Purchase, "it tells an amount")
    } else {
        (ConversionKind::Install, "nothing in it speaks of another kind")
    };
    let on = input.on.clone().unwrap_or(guess);
    if input.on.is_none() {
        let reason = format!("`{}`, because {because}; the URL does not say it for certain", on.name());
        account.miss("on", reason, "name the kind: --on install|signup|purchase|event");
    }
    let events: Vec<String> = match on {
        ConversionKind::Event => names.into_iter().filter(|name| name.chars().count() <= 128).collect(),
        _ => Vec::new(),
    };
    if !events.is_empty() {
        let reason = format!("`{}` is the partner's name; yours may be another", events.join("`, `"));
        account.miss("events", reason, "write the event's own name in its place");
    }
    (on, events)
}

/// Reads a whole request: moves credentials into settings, and says what became of every parameter and macro. What is
/// left in `parts` is what a rule holds.
pub(super) fn request(
    url: &Pasted,
    parts: &mut Parts,
    field: &str,
    share_revenue: bool,
    cfg: &mut Vec<(String, String)>,
    account: &mut Account,
) {
    // What the author wrote, before anything is moved: the account is of this.
    let (pasted_template, _) = Template::parse(parts.clone());
    let to_url = format!("{field}.url");
    let mut keeper = Keeper { dialect: parts.dialect, cfg, account };
    frame(url, parts, &to_url, &mut keeper);
    let written = keeper.pairs(&url.pairs, "parameter", &to_url, &pasted_template);
    if let Some(query) = written {
        let head = parts.url.split_once('?').map_or(parts.url.as_str(), |(head, _)| head);
        parts.url = format!("{head}?{query}");
    }
    for (name, value) in &mut parts.headers {
        let what = format!("header {name}");
        let to = format!("{field}.headers");
        match keeper.moved(name, value, value) {
            Some((kept, setting)) => {
                *value = kept;
                let note = format!("a credential: it moved into the partner's setting `{setting}`");
                keeper.account.carry(what, MASKED, to, note);
            }
            None => keeper.account.carry(what, value, to, ""),
        }
    }
    match &mut parts.body {
        Body::None => {}
        Body::Form(text) => {
            let to = format!("{field}.body.form");
            if let Some(form) = keeper.pairs(&pasted::pairs(text), "body parameter", &to, &pasted_template) {
                *text = form;
            }
        }
        Body::Json(text) => keeper.json(text, &format!("{field}.body.json")),
        Body::Text(text) => keeper.account.carry("body", text, format!("{field}.body.text"), ""),
    }
    if !parts.method.is_empty() && parts.method != "GET" {
        keeper.account.carry("method", &parts.method, format!("{field}.method"), "");
    }
    macros(&pasted_template, parts.dialect, share_revenue, field, account);
    findings(parts, field, account);
}

/// What stands around path and query, and the credentials in it.
fn frame(url: &Pasted, parts: &mut Parts, to: &str, keeper: &mut Keeper<'_>) {
    if let Some(fragment) = &url.fragment {
        let tail = format!("#{fragment}");
        if let Some(rest) = parts.url.strip_suffix(&tail) {
            parts.url = rest.to_owned();
        }
        let reason = "what follows `#` is never sent to a server";
        keeper.account.lose("fragment", fragment, reason, "write it as a parameter if the partner reads it");
    }
    let port = url.port.as_ref().map_or_else(String::new, |port| format!(":{port}"));
    keeper.account.carry("host", &format!("{}{port}", url.host), to, "");
    if url.path != "/" {
        keeper.account.carry("path", &url.path, to, "");
    }
    if url.scheme == "http" {
        let reason =
            "plain http is sent only where the operator allows it, and anyone on the way can read it";
        keeper.account.lose("scheme", "http", reason, "use https if the partner has it, or ask the operator");
    }
    if let Some(user) = &url.userinfo {
        if !varies(user)
            && let Some((name, password)) = user.split_once(':')
            && let (Some(first), Some(second)) =
                (keeper.setting("user", name), keeper.setting("password", password))
        {
            parts.url = parts.url.replacen(&format!("{user}@"), &format!("{}:{}@", first.0, second.0), 1);
            let note = "they moved into the partner's settings, and are sent as basic authentication";
            keeper.account.carry("user", MASKED, to, note);
        } else {
            keeper.account.carry("user", MASKED, to, "sent as basic authentication");
        }
    }
    // `/{key}/postback`: the key in the path is what lets it in.
    let segments: Vec<&str> = url.segments().collect();
    if let [key, "postback"] = segments.as_slice()
        && !varies(key)
        && key.len() >= 6
        && key.bytes().any(|b| b.is_ascii_digit())
        && let Some((written, setting)) = keeper.setting("postback_key", key)
    {
        parts.url = parts.url.replacen(&format!("/{key}/postback"), &format!("/{written}/postback"), 1);
        if let Some(path) = keeper.account.carried.iter_mut().find(|one| one.what == "path") {
            path.value = format!("/{MASKED}/postback");
            path.note =
                format!("its first part is a credential: it moved into the partner's setting `{setting}`");
        }
    }
}

/// Moves credentials into settings while the parts of a request are read.
struct Keeper<'a> {
    dialect: Dialect,
    cfg: &'a mut Vec<(String, String)>,
    account: &'a mut Account,
}

impl Keeper<'_> {
    /// A setting with that value: the macro that stands for it in this dialect, and its name.
    fn setting(&mut self, parameter: &str, value: &str) -> Option<(String, String)> {
        let mut after = self.cfg.clone();
        let name = secret::keep(&mut after, parameter, value);
        let written = setting_macro(self.dialect, &name)?;
        *self.cfg = after;
        Some((written, name))
    }

    /// A literal value in which a credential stands: its new text and the setting's name.
    fn moved(&mut self, name: &str, text: &str, raw: &str) -> Option<(String, String)> {
        if varies(raw) || !secret::is_secret(name, text) {
            return None;
        }
        // `Bearer abc`: the word in front is no secret.
        let (front, secret) = match text.split_once(' ') {
            Some((scheme, rest)) if !rest.trim().is_empty() => (format!("{scheme} "), rest.trim()),
            _ => (String::new(), text),
        };
        let (written, setting) = self.setting(name, secret)?;
        Some((format!("{front}{written}"), setting))
    }

    /// Says what becomes of pairs; the whole text anew if one was changed.
    fn pairs(&mut self, pairs: &[Pair], word: &str, to: &str, template: &Template) -> Option<String> {
        let mut written: Vec<String> = Vec::new();
        let mut is_changed = false;
        for pair in pairs {
            let what = format!("{word} {}", pair.name);
            let text = pair.text();
            if let Some((value, setting)) = self.moved(&pair.name, &text, &pair.raw) {
                is_changed = true;
                let name = pair.written.split('=').next().unwrap_or_default();
                written.push(format!("{name}={value}"));
                let note = format!("a credential: it moved into the partner's setting `{setting}`");
                self.account.carry(what, MASKED, to, note);
                continue;
            }
            written.push(pair.written.clone());
            let uses: Vec<&Use> =
                template.macros().filter(|used| pair.written.contains(&used.text)).collect();
            if uses.is_empty() && secret::is_placeholder(&text) {
                let reason = format!("`{text}` in `{}` is to be replaced by hand", pair.name);
                self.account.miss(to, reason, "write the partner's own value in its place");
            }
            // Brackets of another system than the one whose macros these are: text, as far as a rule goes.
            let rest = uses.iter().fold(pair.raw.clone(), |rest, used| rest.replace(&used.text, ""));
            if varies(&rest) {
                let reason = "it looks like a macro, and is none in this dialect; it is sent as it is";
                let fix =
                    "name the system whose macros these are: --from SYSTEM, or write them in one dialect";
                self.account.lose(what, &text, reason, fix);
                continue;
            }
            let note = if uses.is_empty() { "sent as it is" } else { "" };
            self.account.carry(what, &text, to, note);
        }
        is_changed.then(|| written.join("&"))
    }

    /// A JSON body with macros in it is no JSON, so its strings are looked at as text.
    fn json(&mut self, text: &mut String, to: &str) {
        let mut at = 0;
        while let Some(found) = member(text, at) {
            let Member { name, value, begin, end } = found;
            at = end;
            if let Some((written, setting)) = self.moved(&name, &value, &value) {
                text.replace_range(begin..end, &written);
                at = begin + written.len();
                let note = format!("a credential: it moved into the partner's setting `{setting}`");
                self.account.carry(format!("body field {name}"), MASKED, to, note);
            }
        }
        self.account.carry("body", text, to, "");
    }
}

/// A member of an object whose value is a string, in text.
struct Member {
    name: String,
    value: String,
    begin: usize,
    end: usize,
}

/// The next `"name": "value"` from an offset. Strings with escapes are passed over.
fn member(text: &str, from: usize) -> Option<Member> {
    let mut at = from;
    loop {
        let open = at + text.get(at..)?.find('"')?;
        let close = open + 1 + text[open + 1..].find('"')?;
        let behind = text[close + 1..].trim_start();
        let value = behind.strip_prefix(':').map(str::trim_start).and_then(|rest| rest.strip_prefix('"'));
        let Some(value) = value else {
            at = close + 1;
            continue;
        };
        let begin = text.len() - value.len();
        let end = begin + value.find('"')?;
        let (name, value) = (&text[open + 1..close], &text[begin..end]);
        if name.contains('\\') || value.contains('\\') {
            at = end + 1;
            continue;
        }
        return Some(Member { name: name.to_owned(), value: value.to_owned(), begin, end });
    }
}

/// How one of the partner's settings is written in a dialect; `None` where none of its brackets take one.
fn setting_macro(dialect: Dialect, name: &str) -> Option<String> {
    let key = format!("cfg.{name}");
    [("{", "}"), ("#", "#"), ("[", "]"), ("(", ")"), ("${", "}"), ("{{", "}}"), ("[[[", "]]]"), ("<", ">")]
        .into_iter()
        .map(|(open, close)| format!("{open}{key}{close}"))
        .find(|written| {
            let parts = Parts { dialect, ..Parts::get(format!("https://p.example/?x={written}")) };
            let (template, _) = Template::parse(parts);
            template
                .macros()
                .any(|used| used.kind == UseKind::Setting && used.key == key && used.text == *written)
        })
}

/// What became of each macro.
fn macros(template: &Template, dialect: Dialect, share_revenue: bool, field: &str, account: &mut Account) {
    let all: Vec<&Use> = template.macros().collect();
    let mut told: Vec<&str> = Vec::new();
    for first in &all {
        if told.contains(&first.text.as_str()) {
            continue;
        }
        told.push(&first.text);
        let mut same: Vec<&Use> = Vec::new();
        for one in all.iter().filter(|other| other.text == first.text) {
            if !same.iter().any(|known| known.key == one.key) {
                same.push(one);
            }
        }
        let what = format!("macro {}", first.text);
        let place = first.place.to_string();
        let known: Vec<_> = same.iter().filter_map(|used| vocabulary::find(&used.key)).collect();
        let is_later =
            known.len() == same.len() && known.iter().all(|m| m.availability == Availability::Later);
        let is_money = known.len() == same.len() && known.iter().all(|m| m.money);
        if same.iter().any(|used| used.kind == UseKind::Unknown) {
            let parts = Parts { dialect, ..Parts::get(format!("https://p.example/?x={}", first.text)) };
            let (_, found) = Template::parse(parts);
            let likely = found.into_iter().find_map(|finding| finding.likely);
            let reason = format!("nobody knows the word; it stands in the {place} and is sent as it is");
            let fix = match likely {
                Some(likely) => {
                    format!("likely `{{{likely}}}` is meant; else ask the partner what it stands for")
                }
                None => "ask the partner what it stands for, or name the system: --from SYSTEM".to_owned(),
            };
            account.lose(what, &first.text, reason, fix);
        } else if is_later {
            let reason =
                format!("`{}` is known and never filled in this version; it is empty", known[0].name);
            account.lose(
                what,
                &first.text,
                reason,
                "leave the parameter out unless the partner needs it empty",
            );
        } else if is_money && !share_revenue {
            let reason = "amounts are told only where the rule says so; it is empty";
            account.lose(what, &first.text, reason, "--share-revenue, or share_revenue = true on the rule");
        } else {
            let to = format!("{{{}}}", canonical::expression(&same, dialect));
            let meaning = known.first().map_or(String::new(), |m| m.meaning.to_owned());
            for used in same.iter().filter(|used| used.kind == UseKind::Setting) {
                account.miss(
                    used.key.clone(),
                    format!("`{}` is the partner's own setting `{}`", used.text, used.key),
                    format!(
                        "set it: [partners.…].cfg, {} = \"env:NAME\"",
                        used.key.trim_start_matches("cfg.")
                    ),
                );
            }
            account.carry(what, &first.text, to, meaning);
        }
    }
    let source = template.to_string();
    for mark in ["<#if", "[#if", "{{#if", "{% if"] {
        if source.contains(mark) {
            let reason = "a condition inside a template is not carried out; its text would be sent";
            let fix = format!("make a rule for each case, and take it out of {field}.url");
            account.lose("condition", mark, reason, fix);
        }
    }
}

/// What is said of the template that is left, and was not said yet.
fn findings(parts: &Parts, field: &str, account: &mut Account) {
    let (_, findings) = Template::parse(parts.clone());
    for Finding { code, severity, place, name, message, .. } in findings {
        match code {
            Code::MacroUnknown
            | Code::MacroNotFilled
            | Code::UrlPlainHttp
            | Code::UrlUserinfo
            | Code::UrlFragment
            | Code::MacroNested
            | Code::MacroBecameSetting => {}
            _ if severity == Severity::Error => {
                account.lose(
                    format!("{code}"),
                    &name.unwrap_or_default(),
                    message,
                    format!("correct the {place}"),
                );
            }
            _ if severity == Severity::Warning => {
                account.miss(format!("{field}: {code}"), message, format!("look at the {place}"));
            }
            _ => {}
        }
    }
}
