//! Durable appends per second, side by side with the disk's own fdatasync.
//!
//! `cargo bench -p roundtrip-store --bench click_log`, with `-- --seconds 10` for a longer run. Closed loop: N
//! tasks, each waits for its click to be committed before it sends the next. Prints; asserts nothing about time.
#![expect(clippy::print_stdout, reason = "a measurement prints")]

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::click::{Click, Flags, LinkDialect, TouchKind};
use roundtrip_domain::click_id::CheckKey;
use roundtrip_domain::id::{Id, WorkspaceNo};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::click_log::{Append, ClickLog, Config, Durability, Found};

fn click(n: u64, now: Timestamp) -> Click {
    let random = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let gaid = if n.is_multiple_of(2) {
        format!("&gaid=6d92078a-8246-4ba4-ae5b-{:012x}", random >> 16)
    } else {
        String::new()
    };
    Click {
        workspace: WorkspaceNo::DEFAULT,
        app: Id::from_bits(1),
        campaign: Id::from_bits(2),
        partner: Id::from_bits(u128::from(n % 7)),
        link: Id::from_bits(u128::from(n % 50)),
        kind: TouchKind::Click,
        dialect: LinkDialect::Linkrunner,
        flags: Flags::default(),
        received_at: now,
        query: format!("click_id={random:016x}{n:016x}&sub1=a{}&sub2=b&sub3=c&sub4=d{gaid}", n % 100)
            .into_bytes(),
        ip: Some([203, 0, (n >> 8) as u8, n as u8].into()),
        user_agent: Some(format!(
            "Mozilla/5.0 (Linux; Android 14; SM-S{}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
            n % 3_000
        )),
        referer: None,
        language: Some("en-US,en;q=0.9".into()),
        location: Default::default(),
    }
}

fn fdatasync_p50(dir: &std::path::Path) -> Duration {
    let file = std::fs::File::create(dir.join("probe")).expect("a file can be made");
    let mut took: Vec<Duration> = (0..200_u64)
        .map(|i| {
            file.write_all_at(&[i as u8; 16 * 1024], i * 16 * 1024).expect("it can be written");
            let start = Instant::now();
            file.sync_data().expect("it can be synced");
            start.elapsed()
        })
        .collect();
    took.sort_unstable();
    took[took.len() / 2]
}

async fn run(tasks: u64, seconds: u64, durability: Durability) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory can be made");
    let sync = fdatasync_p50(dir.path());
    let mut config = Config::new(dir.path().join("clicks"), 1, vec![CheckKey([7; 16])]);
    config.durability = durability;
    let (log, _) = ClickLog::open(config, Clock::System, Entropy::System).expect("the log opens");
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let until = start + Duration::from_secs(seconds);
    let handles: Vec<_> = (0..tasks)
        .map(|_| {
            let (log, next) = (log.clone(), next.clone());
            tokio::spawn(async move {
                let (mut waits, mut last) = (Vec::new(), None);
                while Instant::now() < until {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let began = Instant::now();
                    if let Append::Stored(id) = log.append(click(n, Clock::System.now())).await {
                        last = Some(id);
                    }
                    waits.push(began.elapsed());
                }
                (waits, last)
            })
        })
        .collect();
    let (mut waits, mut ids) = (Vec::new(), Vec::new());
    for handle in handles {
        let (took, last) = handle.await.expect("a task ends");
        waits.extend(took);
        ids.extend(last);
    }
    let elapsed = start.elapsed();
    waits.sort_unstable();
    let stats = log.stats();
    let per_second = stats.appended as f64 / elapsed.as_secs_f64();
    println!(
        "{} tasks, {}: {per_second:.0} appends/s, {:.1} rows per commit (max {}), wait p50 {:?} p99 {:?}, unstored {}, \
         slices closed {}, fdatasync of 16 KiB p50 {sync:?}",
        tasks,
        durability.name(),
        stats.appended as f64 / stats.commits.max(1) as f64,
        stats.rows_per_commit_max,
        waits[waits.len() / 2],
        waits[waits.len() * 99 / 100],
        stats.unstored_total(),
        stats.slices_closed,
    );
    let start = Instant::now();
    for id in &ids {
        assert!(matches!(log.find(*id).await, Ok(Found::Touch(_))), "a stored click is found");
    }
    println!("    look-up by id: {:?} each", start.elapsed() / ids.len().max(1) as u32);
    log.close_now();
    let start = Instant::now();
    for id in &ids {
        assert!(matches!(log.find(*id).await, Ok(Found::Touch(_))), "a closed click is found");
    }
    let stats = log.stats();
    println!(
        "    closed: look-up by id {:?} each, {:.0} B per click in slices",
        start.elapsed() / ids.len().max(1) as u32,
        stats.bytes_closed as f64 / stats.appended.max(1) as f64
    );
    log.shutdown();
}

fn main() {
    let mut args = std::env::args().skip_while(|a| a != "--seconds").skip(1);
    let seconds = args.next().and_then(|s| s.parse().ok()).unwrap_or(4);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    for durability in [Durability::Strict, Durability::Relaxed] {
        for tasks in [1, 64, 256] {
            runtime.block_on(run(tasks, seconds, durability));
        }
    }
}
