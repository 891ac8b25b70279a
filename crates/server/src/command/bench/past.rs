//! Clicks of hours that are over, made through the click log itself: without HTTP, and on a clock moved by hand. The ledger
//! beside them has their counts, or else a server that starts on both would count them all anew.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::click::{Click, Flags, LinkDialect, TouchKind};
use roundtrip_domain::click_id::{CheckKey, ClickId};
use roundtrip_domain::id::{Id, WorkspaceNo};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::click_log::{Append, ClickLog, Config, Durability};
use roundtrip_store::ledger::{self, Ledger};
use tokio::task::JoinSet;

use crate::data_dir::DataDir;

use super::world::{self, Random};

/// Links and partners of the clicks.
const PARTNERS: u64 = 20;
/// Clicks that are on their way at the same time.
const IN_FLIGHT: u64 = 2_048;

/// A click that can be looked for.
pub(super) struct Sample {
    pub(super) id: ClickId,
    pub(super) partner_click_id: String,
    pub(super) partner: u64,
    pub(super) gaid: Option<String>,
}

/// A click log that is filled.
pub(super) struct Past {
    pub(super) log: ClickLog,
    /// How many clicks it has got.
    pub(super) stored: u64,
    ledger: Ledger,
    _data: DataDir,
    clock: Clock,
    random: Random,
    agents: Vec<String>,
}

impl Past {
    /// A new ledger and a new log in a data directory; the first click will be of the clock's time.
    pub(super) fn new(data: &Path, clock: &Clock) -> anyhow::Result<Self> {
        let data = DataDir::open(data)?;
        let config_of = ledger::Config { path: data.ledger(), readers: 2 };
        let (ledger, _) =
            Ledger::open(&config_of, Entropy::System, clock.now()).context("open the ledger")?;
        Ok(Self {
            log: open(config(&data.clicks()), clock)?,
            stored: 0,
            ledger,
            _data: data,
            clock: clock.clone(),
            random: Random::new(11),
            agents: world::user_agents(),
        })
    }

    /// Closes what there is, and puts the counts of all slices into the ledger.
    pub(super) async fn close(&self) -> anyhow::Result<()> {
        let log = self.log.clone();
        ensure!(tokio::task::spawn_blocking(move || log.close_now()).await?, "a slice is not closed in time");
        for slice in self.log.to_publish() {
            let seq = slice.seq;
            self.ledger.slice_publish(slice).await.context("put the counts of a slice into the ledger")?;
            self.log.published(seq).context("note the counts")?;
        }
        Ok(())
    }

    /// Ends both.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        let log = self.log;
        ensure!(tokio::task::spawn_blocking(move || log.shutdown()).await?, "the click log does not stop");
        self.ledger.close().await;
        Ok(())
    }

    /// Stores `n` clicks, over which `span_ms` pass; one of `every` becomes a sample.
    pub(super) async fn store(&mut self, n: u64, span_ms: i64, every: u64) -> anyhow::Result<Vec<Sample>> {
        let (first, begin) = (self.stored, self.clock.now());
        let mut samples = Vec::new();
        while self.stored < first + n {
            let group = IN_FLIGHT.min(first + n - self.stored);
            let passed = i128::from(span_ms) * i128::from(self.stored - first) / i128::from(n);
            self.clock.advance(begin.ms() + i64::try_from(passed)? - self.clock.now().ms());
            let mut flight = JoinSet::new();
            for i in self.stored..self.stored + group {
                let (click, sample) = click(&mut self.random, &self.agents, i, self.clock.now());
                let log = self.log.clone();
                let sample = i.is_multiple_of(every).then_some(sample);
                flight.spawn(async move { (log.append(click).await, sample) });
            }
            while let Some(ended) = flight.join_next().await {
                let (append, sample) = ended?;
                let Append::Stored(id) = append else { anyhow::bail!("a click was not stored: {append:?}") };
                samples.extend(sample.map(|sample| Sample { id, ..sample }));
            }
            self.stored += group;
        }
        self.clock.advance(begin.ms() + span_ms - self.clock.now().ms());
        Ok(samples)
    }
}

/// What such a log is opened with.
pub(super) fn config(dir: &Path) -> Config {
    let mut config = Config::new(dir, 1, vec![CheckKey([7; 16])]);
    // Clicks are made faster than any server gets them, and nobody waits for one.
    config.durability = Durability::Relaxed;
    config.append_wait = Duration::from_secs(60);
    config.verify_at_start = 0;
    config
}

pub(super) fn open(config: Config, clock: &Clock) -> anyhow::Result<ClickLog> {
    Ok(ClickLog::open(config, clock.clone(), Entropy::seeded(1)).context("open the click log")?.0)
}

fn click(random: &mut Random, agents: &[String], n: u64, now: Timestamp) -> (Click, Sample) {
    let partner_click_id = random.partner_click_id();
    let rest = world::query_rest(random);
    let gaid = rest.split_once("&gaid=").map(|(_, gaid)| gaid.to_owned());
    let bits = random.bits();
    let partner = n % PARTNERS;
    let agent = usize::try_from(bits >> 32).unwrap_or_default() % agents.len();
    let mut click = Click {
        workspace: WorkspaceNo::DEFAULT,
        app: Id::from_bits(1),
        campaign: Id::from_bits(2),
        partner: Id::from_bits(u128::from(partner) + 1),
        link: Id::from_bits(u128::from(partner) + 100),
        kind: TouchKind::Click,
        dialect: LinkDialect::default(),
        flags: Flags::default(),
        received_at: now,
        query: format!("click_id={partner_click_id}{rest}").into_bytes(),
        ip: Some([bits as u8 % 223 + 1, (bits >> 8) as u8, (bits >> 16) as u8, (bits >> 24) as u8].into()),
        user_agent: Some(agents[agent].clone()),
        referer: None,
        language: Some("en-US,en;q=0.9".to_owned()),
        location: Default::default(),
    };
    click.flag();
    let id = ClickId::from_bits(0);
    (click, Sample { id, partner_click_id, partner, gaid })
}
