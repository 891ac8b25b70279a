//! `roundtrip demo`: the whole path, on an empty directory and free ports.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, ensure};
use roundtrip_ambient::{Clock, Entropy};
use serde_json::Value;
use tokio::process::Command;

use crate::client::Client;
use crate::config::{Config, Flags};
use crate::demo::scenes::{Ending, Stage};
use crate::demo::sink::Sink;
use crate::demo::{SINK_VARIABLE, WORLD};
use crate::node::Node;
use crate::terminal::line;
use crate::{admin_token, telemetry};

/// Shows the whole path with a real server: clicks go out, conversions come back, partners are told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Ends by itself, with status 0 only if every expected postback arrived and no other.
    #[arg(long)]
    exit: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let ended = runtime.block_on(demo(args));
    runtime.shutdown_background();
    ended.map(|()| ExitCode::SUCCESS)
}

async fn demo(args: &Args) -> anyhow::Result<()> {
    let dir =
        tempfile::Builder::new().prefix("roundtrip-demo-").tempdir().context("make a temporary directory")?;
    let data = dir.path().join("data");
    let sink = Sink::start().await?;
    let config = config(&data)?;
    telemetry::start(&config.log);
    line("Roundtrip demo: a real server on an empty directory, two partners, real HTTP.")?;
    let node = Node::start(&config, Clock::System, Entropy::System).await?;
    line(&format!(
        "\n   public    {}   clicks, events, postbacks\n   admin     {}   pages and API\n   partners  http://{}   where their postbacks go",
        node.public(),
        node.admin(),
        sink.address()
    ))?;

    let world = dir.path().join("roundtrip.toml");
    std::fs::write(&world, WORLD).context("write the sample world")?;
    line("\nroundtrip apply examples/demo/roundtrip.toml")?;
    let keys = apply(&node, &data, &world, &sink).await?;

    let client = Client::new(Some(node.admin()), None, &data)?;
    let mut stage = Stage { public: node.public(), client: &client, sink: &sink, keys, seen: 0 };
    let played = stage.play().await;
    let shown = match &played {
        Ok(ending) => tell(&node, &data, ending).await,
        Err(_) => Ok(()),
    };
    if let Ok(ending) = &played
        && shown.is_ok()
        && !args.exit
    {
        invite(&node, &data, ending)?;
        // Without a signal there is nothing left to do but serve.
        let _ = tokio::signal::ctrl_c().await;
    }
    let stopped = node.stop(std::future::pending()).await;
    let ending = played.context("show the whole path")?;
    shown?;
    stopped?;
    if args.exit {
        line(&format!("\nEvery expected postback arrived ({}), and no other.", ending.postbacks))?;
    }
    Ok(())
}

/// Loopback, free ports, and the way out open to loopback: the partners of the demo live there.
fn config(data: &Path) -> anyhow::Result<Config> {
    let env: Vec<(String, std::ffi::OsString)> = [
        ("ROUNDTRIP_DATA", data.as_os_str().to_owned()),
        ("ROUNDTRIP_PUBLIC", "127.0.0.1:0".into()),
        ("ROUNDTRIP_ADMIN", "127.0.0.1:0".into()),
        ("ROUNDTRIP_ALLOW_PRIVATE", "127.0.0.0/8".into()),
        ("ROUNDTRIP_ALLOW_PLAIN_HTTP_OUT", "true".into()),
        ("ROUNDTRIP_LOG_LEVEL", "warn".into()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    Ok(Config::load(&Flags { config: None, given: BTreeMap::new() }, &env)?)
}

/// Runs this very program as a user would. Its output is shown; returns its standard output.
async fn roundtrip(
    arguments: &[&str],
    node: &Node,
    data: &Path,
    sink: Option<&Sink>,
) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("find this program")?;
    let mut command = Command::new(program);
    command.args(arguments).arg("--server").arg(node.admin()).arg("--data").arg(data);
    command.stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    if let Some(sink) = sink {
        command.env(SINK_VARIABLE, sink.address().to_string());
    }
    let output = command.output().await.context("run this program")?;
    ensure!(output.status.success(), "roundtrip {} ended with {}", arguments.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Applies the sample world and returns the keys that were made.
async fn apply(
    node: &Node,
    data: &Path,
    world: &Path,
    sink: &Sink,
) -> anyhow::Result<HashMap<String, String>> {
    let world = world.to_string_lossy();
    let output = roundtrip(&["apply", "--json", &world], node, data, Some(sink)).await?;
    let mut keys = HashMap::new();
    let mut created: BTreeMap<String, u32> = BTreeMap::new();
    for line in output.lines() {
        let value: Value = serde_json::from_str(line).with_context(|| format!("read apply's line {line}"))?;
        read_apply(&value, &mut keys, &mut created);
    }
    let created: Vec<String> = created.iter().map(|(kind, n)| format!("{n} {kind}s")).collect();
    line(&format!("   created   {}", created.join(", ")))?;
    Ok(keys)
}

/// Takes keys and counts from what apply prints as JSON, whether in one object or in lines.
fn read_apply(value: &Value, keys: &mut HashMap<String, String>, created: &mut BTreeMap<String, u32>) {
    if let (Some(slug), Some(token)) = (value["slug"].as_str(), value["token"].as_str()) {
        keys.insert(slug.to_owned(), token.to_owned());
    }
    if value["action"] == "create"
        && let Some(kind) = value["kind"].as_str()
    {
        *created.entry(kind.to_owned()).or_default() += 1;
    }
    for list in ["changes", "keys"] {
        for item in value[list].as_array().into_iter().flatten() {
            read_apply(item, keys, created);
        }
    }
}

/// One story in full, and the day's report.
async fn tell(node: &Node, data: &Path, ending: &Ending) -> anyhow::Result<()> {
    line(&format!("\nroundtrip explain {}\n", ending.purchase))?;
    line(roundtrip(&["explain", &ending.purchase], node, data, None).await?.trim_end())?;
    line("\nroundtrip report\n")?;
    line(roundtrip(&["report"], node, data, None).await?.trim_end())?;
    Ok(())
}

fn invite(node: &Node, data: &Path, ending: &Ending) -> anyhow::Result<()> {
    let data = data.display();
    let flags = format!("--server {} --data {data}", node.admin());
    line(&format!(
        "\nIt keeps serving. Look at and try:\n\n   \
         page      {}   (token: {data}/{})\n   \
         why       roundtrip explain {} {flags}\n   \
         why not   roundtrip explain {} {flags}\n   \
         books     roundtrip status {flags}\n   \
         click     curl -i '{}/c/acme-lumen?click_id=mine-1' -A 'Mozilla/5.0 (Linux; Android 16)'\n\n\
         In a checkout, `roundtrip` is `cargo run --release --`. Ctrl-C ends it and removes its directory.",
        node.admin(),
        admin_token::FILE,
        ending.purchase,
        ending.organic,
        node.public(),
    ))?;
    Ok(())
}
