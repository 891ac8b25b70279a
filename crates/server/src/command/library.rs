//! `roundtrip template list`, `show`, `add`: the template library in the terminal, and from an entry to a rule.
//!
//! `add` makes a piece of `roundtrip.toml` and has the server apply it, first dry, so it refuses what `apply` refuses
//! and in the same words. It writes the rule and the partner's settings and nothing else; a second run changes nothing.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use roundtrip_library::{Entry, On, entries, find, likely};
use serde_json::{Map, Value, json};

use super::explain::encoded;
use super::{apply, with_client};
use crate::client::{self, Client};
use crate::terminal;

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only entries with this text in their name or description, or of this kind (tracker, network, measurement).
    text: Option<String>,
    /// Prints one JSON line per entry.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The entry's name, as `list` shows it.
    name: String,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// The entry's name, as `list` shows it.
    name: String,
    /// The partner that is told, by slug.
    #[arg(long, value_name = "SLUG")]
    partner: String,
    /// The app whose conversions it is told of, by slug.
    #[arg(long, value_name = "SLUG")]
    app: String,
    /// One of the partner's settings; the value may be env:NAME or file:PATH. Repeatable.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// The kind of conversion; repeatable, a rule each. Absent: the entry's first.
    #[arg(long, value_enum)]
    on: Vec<Kind>,
    /// With --on event: only events of this name; repeatable.
    #[arg(long, value_name = "NAME")]
    event: Vec<String>,
    /// An event's name as the partner knows it; repeatable. With one, other names are not told.
    #[arg(long, value_name = "OURS=THEIRS")]
    rename: Vec<String>,
    /// The rule's slug; absent: PARTNER-KIND.
    #[arg(long, value_name = "SLUG")]
    slug: Option<String>,
    /// Tells amounts too. Without it every money macro is empty.
    #[arg(long)]
    share_revenue: bool,
    /// Prints the TOML to paste into roundtrip.toml and asks no server.
    #[arg(long, conflicts_with_all = ["dry_run", "yes"])]
    print: bool,
    /// Shows what would change and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Asks nothing.
    #[arg(long)]
    yes: bool,
    /// The workspace's slug.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    workspace: String,
    /// Prints one JSON line per change and warning, and one at the end.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: client::Flags,
}

/// A kind of conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The first install or open of an installation.
    Install,
    /// Signup, onboarding.
    Signup,
    /// Purchase, revenue.
    Purchase,
    /// Any other event.
    Event,
}

impl From<Kind> for On {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Install => Self::Install,
            Kind::Signup => Self::Signup,
            Kind::Purchase => Self::Purchase,
            Kind::Event => Self::Event,
        }
    }
}

/// The entry of that name.
///
/// # Errors
/// When there is none; says which one was likely meant.
pub(super) fn entry(name: &str) -> anyhow::Result<&'static Entry> {
    find(name).with_context(|| {
        let hint = likely(name).map_or_else(String::new, |known| format!("; did you mean `{known}`?"));
        format!(
            "find `{name}` in the library: there is no such entry{hint} (`roundtrip template list` shows all)"
        )
    })
}

/// Why an entry makes no rule, for messages.
pub(super) fn no_template(entry: &Entry) -> String {
    format!(
        "use `{}`: the vendor's page gives no postback template, only how its links are filled in. {}",
        entry.slug,
        entry.unconfirmed.join(" ")
    )
}

pub(super) fn list(args: &List) -> anyhow::Result<ExitCode> {
    let wanted = args.text.as_deref().unwrap_or_default();
    let found: Vec<&Entry> = entries().iter().filter(|entry| entry.matches(wanted)).collect();
    if args.json {
        for entry in &found {
            terminal::line(&serde_json::to_string(entry)?)?;
        }
    } else if found.is_empty() {
        terminal::line(&format!("The library has nothing about `{wanted}`."))?;
    } else {
        terminal::line(&table(&found))?;
    }
    Ok(if found.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn table(found: &[&Entry]) -> String {
    let width = |text: fn(&Entry) -> usize| found.iter().map(|entry| text(entry)).max().unwrap_or(0);
    let (slugs, names) = (width(|e| e.slug.len()), width(|e| e.name.chars().count()));
    let mut lines: Vec<String> = found
        .iter()
        .map(|entry| {
            let (slug, name, kind) = (&entry.slug, &entry.name, entry.kind.name());
            format!("{slug:slugs$}  {name:names$}  {kind:11}  {}", told(entry))
        })
        .collect();
    lines.push(format!(
        "\n{} of {}. Community, unverified: taken from the vendors' own pages, tried with no live account.",
        found.len(),
        entries().len()
    ));
    lines.join("\n")
}

fn told(entry: &Entry) -> String {
    let names: Vec<&str> = entry.on.iter().map(|on| on.name()).collect();
    if names.is_empty() { "links only".to_owned() } else { names.join(", ") }
}

pub(super) fn show(args: &Show) -> anyhow::Result<ExitCode> {
    let entry = entry(&args.name)?;
    terminal::line(&if args.json { serde_json::to_string(entry)? } else { text(entry) })?;
    Ok(ExitCode::SUCCESS)
}

fn text(entry: &Entry) -> String {
    let mut lines = vec![
        format!("{} ({}, {})", entry.name, entry.slug, entry.kind.name()),
        entry.about.clone(),
        format!("{}; known as of {}", entry.status, entry.known),
    ];
    let mut head = |text: &str| lines.extend([String::new(), text.to_owned()]);
    if let Some(url) = &entry.url {
        head(&format!("Told of {}:", told(entry)));
        lines.push(format!("  {} {url}", entry.method));
        lines.extend(entry.headers.iter().map(|(name, value)| format!("  {name}: {value}")));
        if let Some(body) = &entry.body {
            let (field, text) = body.field();
            lines.push(format!("  ({field}) {text}"));
        }
    }
    let mut part = |title: &str, items: Vec<String>| {
        if !items.is_empty() {
            lines.extend([String::new(), title.to_owned()]);
            lines.extend(items.into_iter().map(|item| format!("  {item}")));
        }
    };
    let platforms = entry.platforms.iter().map(|platform| platform.name().to_owned()).collect();
    part("Only for apps on:", platforms);
    let settings = entry.settings.iter().map(|one| {
        let absent = if one.optional { " May be absent." } else { "" };
        format!("{}: {} Such as {}.{absent}", one.name, one.about, one.example)
    });
    part("Settings (--set NAME=VALUE):", settings.collect());
    part("Cannot be used without:", entry.needs.iter().map(|name| format!("{{{name}}}")).collect());
    if let Some(click) = &entry.click {
        let mut items = Vec::new();
        match &click.suffix {
            Some(suffix) => items.push(format!("https://…/c/YOUR-LINK?{suffix}")),
            None => items.push(format!("arrives as {}, which is {{param.{0}}} here", click.parameter)),
        }
        items.extend(click.about.clone());
        part("Its click id on our link:", items);
    }
    let mut success = Vec::new();
    if !entry.success.body_any.is_empty() {
        success.push(format!("2xx with {} in the body", entry.success.body_any.join(" or ")));
    }
    success.extend(entry.success.about.clone());
    part("A success is:", success);
    if let Some(check) = &entry.check {
        part("To try one (template test --library … --send):", vec![check.about.clone(), check.url.clone()]);
    }
    part("Unconfirmed:", entry.unconfirmed.clone());
    part("From:", entry.source.clone());
    lines.join("\n")
}

pub(super) fn add(args: Add) -> anyhow::Result<ExitCode> {
    let wish = Wish::read(&args)?;
    if args.print {
        terminal::line(&wish.toml(&args)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    with_client(&args.server.clone(), async |client| wish.apply(&args, client).await)
}

/// What is to be added, checked as far as the library knows.
struct Wish {
    entry: &'static Entry,
    on: Vec<On>,
    settings: Vec<(String, String)>,
    rename: Vec<(String, String)>,
}

fn pairs(list: &[String], flag: &str, form: &str) -> anyhow::Result<Vec<(String, String)>> {
    let pair = |text: &String| {
        let read = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
        // The value is not repeated: it may be a secret.
        let (name, value) = read.with_context(|| {
            format!("read {flag}: `{}` is no {form}", text.split('=').next().unwrap_or(""))
        })?;
        anyhow::Ok((name.to_owned(), value.to_owned()))
    };
    list.iter().map(pair).collect()
}

impl Wish {
    fn read(args: &Add) -> anyhow::Result<Self> {
        let entry = entry(&args.name)?;
        ensure!(entry.url.is_some(), no_template(entry));
        let mut on: Vec<On> = args.on.iter().map(|kind| On::from(*kind)).collect();
        if on.is_empty() {
            on.extend(entry.on.first());
        }
        on.dedup();
        for kind in &on {
            ensure!(
                entry.on.contains(kind),
                "add `{}`: it is not told of {}, only of {} (kind_unfit)",
                entry.slug,
                kind.name(),
                told(entry)
            );
        }
        ensure!(
            args.slug.is_none() || on.len() == 1,
            "add `{}`: --slug names one rule, and {} kinds make {0} rules",
            entry.slug,
            on.len()
        );
        ensure!(
            args.event.is_empty() || on == [On::Event],
            "add `{}`: --event belongs to --on event alone",
            entry.slug
        );
        let settings = pairs(&args.set, "--set", "NAME=VALUE")?;
        for (name, _) in &settings {
            let known: Vec<&str> = entry.settings.iter().map(|one| one.name.as_str()).collect();
            ensure!(
                known.contains(&name.as_str()),
                "add `{}`: `{name}` is none of its settings; it has {} (setting_unknown)",
                entry.slug,
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            );
        }
        Ok(Self { entry, on, settings, rename: pairs(&args.rename, "--rename", "OURS=THEIRS")? })
    }

    fn rule_slug(&self, args: &Add, on: On) -> String {
        args.slug.clone().unwrap_or_else(|| format!("{}-{}", args.partner, on.name()))
    }

    fn rule(&self, args: &Add, on: On) -> Value {
        let entry = self.entry;
        let mut rule = Map::new();
        let mut put = |name: &str, value: Value| rule.insert(name.to_owned(), value);
        put("app", args.app.as_str().into());
        put("partner", args.partner.as_str().into());
        put("on", on.name().into());
        if !args.event.is_empty() {
            put("events", args.event.clone().into());
        }
        // Defaults are not written, so that a second run finds the same document.
        if entry.dialect != "canonical" {
            put("dialect", entry.dialect.as_str().into());
        }
        if entry.method != "GET" {
            put("method", entry.method.as_str().into());
        }
        put("url", entry.url.clone().unwrap_or_default().into());
        if !entry.headers.is_empty() {
            put("headers", json!(entry.headers));
        }
        if let Some(body) = &entry.body {
            let (field, text) = body.field();
            put("body", json!({ field: text }));
        }
        if args.share_revenue {
            put("share_revenue", true.into());
        }
        // The entry's own template has what is needed; whoever changes it later is told what it lost.
        let needs: Vec<&str> = entry
            .needs
            .iter()
            .map(String::as_str)
            .filter(|name| roundtrip_domain::template::vocabulary::find(name).is_some())
            .collect();
        if !needs.is_empty() {
            put("needs", needs.into());
        }
        if !self.rename.is_empty() {
            let names: Map<String, Value> =
                self.rename.iter().map(|(ours, theirs)| (ours.clone(), theirs.as_str().into())).collect();
            put("rename", names.into());
        }
        Value::Object(rule)
    }

    /// The piece of the settings: the partner as it is with the settings added, and the rules.
    fn document(&self, args: &Add, mut partner: Value) -> Value {
        if !self.settings.is_empty() {
            if !partner["cfg"].is_object() {
                partner["cfg"] = json!({});
            }
            for (name, value) in &self.settings {
                partner["cfg"][name.as_str()] = value.as_str().into();
            }
        }
        let rules: Map<String, Value> =
            self.on.iter().map(|on| (self.rule_slug(args, *on), self.rule(args, *on))).collect();
        let mut document = json!({ "workspace": args.workspace, "rules": rules });
        if !self.settings.is_empty() {
            document["partners"] = json!({ args.partner.as_str(): partner });
        }
        document
    }

    /// The same as TOML. Settings that were not given name a variable to put them in.
    fn toml(&self, args: &Add) -> anyhow::Result<String> {
        let given = |name: &str| self.settings.iter().any(|(known, _)| known == name);
        let mut notes =
            vec![format!("# {}: {}; known as of {}.", self.entry.name, self.entry.status, self.entry.known)];
        notes.extend(self.entry.unconfirmed.iter().map(|text| format!("# Unconfirmed: {text}")));
        let mut all = self.settings.clone();
        for one in self.entry.missing(given) {
            let variable = format!("{}_{}", args.partner, one.name)
                .to_uppercase()
                .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
            notes.push(format!("# {}: {} Such as {}.", one.name, one.about, one.example));
            all.push((one.name.clone(), format!("env:{variable}")));
        }
        let filled =
            Self { entry: self.entry, on: self.on.clone(), settings: all, rename: self.rename.clone() };
        let mut document = filled.document(args, json!({}));
        if let Some(fields) = document.as_object_mut() {
            fields.shift_remove("workspace");
        }
        let text = toml::to_string(&document).context("write the TOML")?;
        Ok(format!("{}\n\n{}", notes.join("\n"), text.trim_end()))
    }

    async fn apply(&self, args: &Add, client: &Client) -> anyhow::Result<ExitCode> {
        let path = format!("/api/v1/settings?workspace={}", encoded(&args.workspace));
        let settings = client::accepted(client.get(&path).await?).context("read the settings")?;
        let mut document = self.document(args, self.partner(args, &settings["document"])?);
        let troubles = apply::resolve(&mut document);
        ensure!(troubles.is_empty(), "read the settings of `{}`: {}", self.entry.slug, troubles.join("; "));

        let request = |dry_run: bool, base: &Value| json!({ "document": document, "dry_run": dry_run, "prune": false, "base_version": base });
        let base = &settings["version"];
        let planned = client.post("/api/v1/apply", &request(true, base)).await?;
        let planned = client::accepted(planned).with_context(|| format!("add `{}`", self.entry.slug))?;
        let changes = planned["changes"].as_array().map_or(&[][..], Vec::as_slice);
        for warning in planned["warnings"].as_array().into_iter().flatten() {
            let field = warning["field"].as_str().unwrap_or_default();
            // The dry run judges everything; what was odd before is not this command's to tell.
            let is_ours =
                self.on.iter().any(|on| field.starts_with(&format!("rules.{}.", self.rule_slug(args, *on))));
            if is_ours {
                let message = warning["message"].as_str().unwrap_or_default();
                say(args, "warning", warning, || format!("warning: {field}: {message}"))?;
            }
        }
        for change in changes {
            say(args, "change", change, || apply::change_in_words(change))?;
        }
        if !args.json && !changes.is_empty() {
            for text in self.advice(args) {
                terminal::line(&text)?;
            }
        }
        if changes.is_empty() || args.dry_run {
            let end = json!({ "version": planned["version"], "changes": changes.len(), "applied": false });
            say(args, "end", &end, || apply::outcome_in_words(changes, &planned["version"], args.dry_run))?;
            return Ok(ExitCode::SUCCESS);
        }
        if !args.yes && !agreed()? {
            terminal::line("Nothing was changed. With --yes nothing is asked.")?;
            return Ok(ExitCode::FAILURE);
        }
        let applied = client.post("/api/v1/apply", &request(false, base)).await?;
        let applied = client::accepted(applied).with_context(|| format!("add `{}`", self.entry.slug))?;
        let end = json!({ "version": applied["version"], "changes": changes.len(), "applied": true });
        say(args, "end", &end, || apply::outcome_in_words(changes, &applied["version"], false))?;
        Ok(ExitCode::SUCCESS)
    }

    /// The partner as it is set up, once app, platform and settings fit.
    fn partner(&self, args: &Add, document: &Value) -> anyhow::Result<Value> {
        let slug = &self.entry.slug;
        let known = |table: &str, name: &str| document[table].get(name).cloned();
        let app = known("apps", &args.app).with_context(|| {
            format!(
                "add `{slug}`: there is no app `{}` in the workspace {} (reference_unknown)",
                args.app, args.workspace
            )
        })?;
        let partner = known("partners", &args.partner).with_context(|| {
            format!(
                "add `{slug}`: there is no partner `{}` in the workspace {}; add [partners.{0}] to roundtrip.toml and apply it (reference_unknown)",
                args.partner, args.workspace
            )
        })?;
        let platform = app["platform"].as_str().unwrap_or_default();
        let fits =
            self.entry.platforms.is_empty() || self.entry.platforms.iter().any(|one| one.name() == platform);
        if !fits {
            let names: Vec<&str> = self.entry.platforms.iter().map(|one| one.name()).collect();
            bail!(
                "add `{slug}`: it is for apps on {}, and {} is on {platform} (platform_unfit)",
                names.join(" and "),
                args.app
            );
        }
        let has = |name: &str| {
            self.settings.iter().any(|(known, _)| known == name) || partner["cfg"].get(name).is_some()
        };
        let missing = self.entry.missing(has);
        if !missing.is_empty() {
            let lines: Vec<String> = missing
                .iter()
                .map(|one| format!("--set {}=…  {} Such as {}.", one.name, one.about, one.example))
                .collect();
            bail!(
                "add `{slug}`: the partner {} lacks settings that it needs (setting_missing)\n  {}",
                args.partner,
                lines.join("\n  ")
            );
        }
        Ok(partner)
    }

    /// What is worth knowing before a person says yes.
    fn advice(&self, args: &Add) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(suffix) = self.entry.click.as_ref().and_then(|click| click.suffix.as_ref()) {
            lines.push(format!("note: in {}'s panel the link ends in ?{suffix}", self.entry.name));
        }
        if self.entry.tells_money() && !args.share_revenue {
            lines.push("note: amounts stay empty without --share-revenue".to_owned());
        }
        lines.extend(self.entry.unconfirmed.iter().map(|text| format!("unconfirmed: {text}")));
        lines
    }
}

/// Prints an item: a JSON line with its type, or words.
fn say(args: &Add, kind: &str, item: &Value, words: impl FnOnce() -> String) -> io::Result<()> {
    if !args.json {
        return terminal::line(&words());
    }
    let mut line = Map::new();
    line.insert("type".into(), kind.into());
    if let Value::Object(fields) = item {
        line.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    terminal::line(&Value::Object(line).to_string())
}

/// Asks a person. Where nobody can answer, nobody agreed.
pub(super) fn agreed() -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Ok(false);
    }
    terminal::line("Make it so? [y/N]")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
