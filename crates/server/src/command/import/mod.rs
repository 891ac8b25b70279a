//! `roundtrip import`: from a URL of another system to a link or a rule, and a list of what could not be carried.
//!
//! The cast: this file reads the arguments and says what came of it all; `text` writes one import as TOML with its
//! list as comments, so that the whole output is a piece of `roundtrip.toml`; `batch` joins the documents of many
//! URLs; `save` has the server apply them, first dry. Reading the URL is the domain's, and needs no server.
//!
//! Exit codes: 0 when everything came along, 3 when something did not, 1 when a URL could not be read or the server
//! refused.

mod batch;
mod save;
mod text;

#[cfg(test)]
mod systems;
#[cfg(test)]
mod tests;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::ValueEnum;
use roundtrip_domain::event::ConversionKind;
use roundtrip_domain::import::{Input, Kind};
use roundtrip_domain::template::Body;
use roundtrip_web::import::Answer;
use serde_json::{Value, json};

use self::batch::Batch;
use super::with_client;
use crate::client;
use crate::terminal;

/// Exit code of an import of which something did not come along.
const EXIT_PARTIAL: u8 = 3;
/// Largest list of URLs, in bytes.
const LIST_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The tracking URL or postback URL, as its owner uses it.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    url: Option<String>,
    /// What it is; absent: it is looked at.
    #[arg(long = "as", value_enum, value_name = "KIND")]
    kind: Option<As>,
    /// The system it comes from, such as appsflyer or tune; absent: it is looked at.
    #[arg(long, value_name = "SYSTEM")]
    from: Option<String>,
    /// The app, by slug.
    #[arg(long, value_name = "SLUG")]
    app: Option<String>,
    /// The campaign, by slug; absent: made of the URL.
    #[arg(long, value_name = "SLUG")]
    campaign: Option<String>,
    /// The partner, by slug; absent: made of the URL.
    #[arg(long, value_name = "SLUG")]
    partner: Option<String>,
    /// What the link or rule is to be called.
    #[arg(long, value_name = "SLUG", conflicts_with = "file")]
    slug: Option<String>,
    /// For a postback: the kind of conversion.
    #[arg(long, value_enum)]
    on: Option<On>,
    /// For a postback: tells amounts too. Without it every money macro is empty.
    #[arg(long)]
    share_revenue: bool,
    /// For a postback: its method.
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// For a postback: a header; repeatable.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// For a postback: its body; JSON where it begins with { or [, else a form.
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
    /// Where your links begin, such as `https://go.shop.example`, for the URL to hand out.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Reads many URLs from a file, one a line; empty lines and lines with # in front are passed over. `-` is standard
    /// input.
    #[arg(long, value_name = "LIST")]
    file: Option<PathBuf>,
    /// Prints TOML to paste into roundtrip.toml and asks no server. The default.
    #[arg(long, conflicts_with = "apply")]
    print: bool,
    /// Has the server apply it, after showing what would change.
    #[arg(long)]
    apply: bool,
    /// With --apply: shows what would change and changes nothing.
    #[arg(long, requires = "apply")]
    dry_run: bool,
    /// With --apply: asks nothing.
    #[arg(long, requires = "apply")]
    yes: bool,
    /// The workspace's slug.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    workspace: String,
    /// Prints one JSON line per URL, and one per change and one at the end where something is applied.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) server: client::Flags,
}

/// What a URL is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum As {
    /// A tracking URL.
    Link,
    /// A postback.
    Postback,
}

/// A kind of conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum On {
    /// The first install or open of an installation.
    Install,
    /// Signup, onboarding.
    Signup,
    /// Purchase, revenue.
    Purchase,
    /// Any other event.
    Event,
}

impl Args {
    /// What the arguments say of each URL.
    fn input(&self) -> anyhow::Result<Input> {
        let header = |text: &String| {
            let pair = text.split_once(':').filter(|(name, _)| !name.trim().is_empty());
            // The value is not repeated: it may be a secret.
            let (name, value) = pair.with_context(|| {
                format!("read --header: `{}` is no NAME: VALUE", text.split(':').next().unwrap_or_default())
            })?;
            anyhow::Ok((name.trim().to_owned(), value.trim().to_owned()))
        };
        Ok(Input {
            url: String::new(),
            kind: self.kind.map(|kind| match kind {
                As::Link => Kind::Link,
                As::Postback => Kind::Rule,
            }),
            from: self.from.clone(),
            app: self.app.clone(),
            campaign: self.campaign.clone(),
            partner: self.partner.clone(),
            slug: self.slug.clone(),
            on: self.on.map(|on| match on {
                On::Install => ConversionKind::Install,
                On::Signup => ConversionKind::Signup,
                On::Purchase => ConversionKind::Purchase,
                On::Event => ConversionKind::Event,
            }),
            share_revenue: self.share_revenue,
            public_url: self.public_url.clone(),
            method: self.method.clone(),
            headers: self.header.iter().map(header).collect::<anyhow::Result<_>>()?,
            body: match &self.body {
                None => Body::None,
                Some(text) if text.trim_start().starts_with(['{', '[']) => Body::Json(text.clone()),
                Some(text) => Body::Form(text.clone()),
            },
        })
    }

    /// What nobody named is printed as a placeholder, and is not applied.
    fn refuse_placeholders(&self, batch: &Batch) -> anyhow::Result<()> {
        let document = &batch.document;
        let of_rules = || document.rules.values().map(|rule| rule.app.as_str());
        let mut apps = document.campaigns.values().map(|campaign| campaign.app.as_str()).chain(of_rules());
        let lacking: Vec<&str> = [
            (self.app.is_none() && apps.any(|app| app == "app"), "--app SLUG"),
            (self.partner.is_none() && document.partners.contains_key("partner"), "--partner SLUG"),
            (self.campaign.is_none() && document.campaigns.contains_key("campaign"), "--campaign SLUG"),
        ]
        .into_iter()
        .filter_map(|(is_lacking, flag)| is_lacking.then_some(flag))
        .collect();
        ensure!(
            lacking.is_empty(),
            "apply the import: a URL does not say everything, and nothing was changed; give {}",
            lacking.join(", ")
        );
        Ok(())
    }

    /// The URLs, with their lines in the list.
    fn urls(&self) -> anyhow::Result<Vec<(Option<usize>, String)>> {
        let Some(path) = &self.file else {
            return Ok(self.url.iter().map(|url| (None, url.clone())).collect());
        };
        let text = read_list(path)?;
        // A byte order mark, as spreadsheets write one.
        let text = text.trim_start_matches('\u{feff}');
        let lines = text.lines().enumerate().map(|(at, line)| (Some(at + 1), line.trim().to_owned()));
        let urls: Vec<_> = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect();
        ensure!(!urls.is_empty(), "read {}: there is no URL in it", path.display());
        Ok(urls)
    }
}

fn read_list(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(LIST_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
        file.take(LIST_BYTES_MAX + 1).read_to_end(&mut bytes)
    };
    read.with_context(|| format!("read {}", path.display()))?;
    ensure!(
        bytes.len() as u64 <= LIST_BYTES_MAX,
        "read {}: it is larger than {LIST_BYTES_MAX} bytes",
        path.display()
    );
    String::from_utf8(bytes).with_context(|| format!("read {}", path.display()))
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let input = args.input()?;
    let urls = args.urls()?;
    let is_list = args.file.is_some();
    let mut batch = Batch::default();
    for (line, url) in urls {
        batch.add(&input, line, url);
    }
    if !is_list && let Some(refused) = batch.refused.first() {
        // One URL that cannot be read is the command's own failure.
        if args.json {
            terminal::line(&refused.json().to_string())?;
            return Ok(ExitCode::FAILURE);
        }
        bail!(anyhow!("import the URL: {}", refused.text()));
    }
    if args.json {
        for (line, url, answer) in &batch.answers {
            terminal::line(&as_json(*line, url, answer)?.to_string())?;
        }
        for refused in &batch.refused {
            terminal::line(&refused.json().to_string())?;
        }
    } else if args.apply {
        for (line, url, answer) in &batch.answers {
            let told = text::told(*line, url, answer);
            terminal::line(
                &told.trim_end().replace("\n# ", "\n").replacen("# ", "", 1).replace("\n#\n", "\n\n"),
            )?;
        }
    } else {
        for (line, url, answer) in &batch.answers {
            terminal::line(&text::told(*line, url, answer))?;
        }
        terminal::line(&text::toml(&batch.document)?)?;
    }
    if is_list {
        say_summary(&args, &batch)?;
    }
    let end = if !batch.refused.is_empty() {
        ExitCode::FAILURE
    } else if batch.answers.iter().any(|(.., answer)| !answer.whole) {
        ExitCode::from(EXIT_PARTIAL)
    } else {
        ExitCode::SUCCESS
    };
    if !args.apply || batch.answers.is_empty() {
        return Ok(end);
    }
    args.refuse_placeholders(&batch)?;
    let mut is_done = true;
    let code = with_client(&args.server.clone(), async |client| {
        is_done = save::apply(&args, &batch.document, client).await?;
        Ok(ExitCode::SUCCESS)
    })?;
    Ok(match is_done {
        true if code == ExitCode::SUCCESS => end,
        _ => ExitCode::FAILURE,
    })
}

/// An import as one JSON line.
fn as_json(line: Option<usize>, url: &str, answer: &Answer) -> anyhow::Result<Value> {
    let mut value = json!({ "type": "import", "from_url": url });
    if let Some(line) = line {
        value["line"] = line.into();
    }
    if let (Some(into), Value::Object(fields)) = (value.as_object_mut(), serde_json::to_value(answer)?) {
        into.extend(fields);
    }
    Ok(value)
}

/// How many came along. In words it is no part of what is pasted, so it goes where messages go.
fn say_summary(args: &Args, batch: &Batch) -> anyhow::Result<()> {
    let whole = batch.answers.iter().filter(|(.., answer)| answer.whole).count();
    let partly = batch.answers.len() - whole;
    let (all, refused) = (batch.answers.len() + batch.refused.len(), batch.refused.len());
    if args.json {
        let end =
            json!({ "type": "summary", "urls": all, "whole": whole, "partly": partly, "refused": refused });
        terminal::line(&end.to_string())?;
        return Ok(());
    }
    let mut out = std::io::stderr().lock();
    for one in &batch.refused {
        writeln!(out, "{}", one.text())?;
    }
    writeln!(out, "{all} URLs: {whole} whole, {partly} with something not carried, {refused} refused.")?;
    Ok(())
}
