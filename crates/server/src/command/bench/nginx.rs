//! The yardstick: nginx answering every request with `return 302`, on loopback, from a directory of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::http::Connection;
use super::process::Process;

/// How long it may take to listen.
const START_MAX: Duration = Duration::from_secs(20);
/// Another port is tried when somebody took the one that was free.
const STARTS_MAX: u32 = 3;
/// About as long as our own redirect to the store.
const LOCATION: &str = "https://play.google.com/store/apps/details?id=com.example.bench&referrer=rt_click_id%3D019a8c3e-7b1d-7c44-9f02-5a1b6c7d8e9f";

/// A running nginx.
#[derive(Debug)]
pub(super) struct Nginx {
    /// Its processes.
    pub(super) process: Process,
    /// Where it listens.
    pub(super) address: SocketAddr,
}

impl Nginx {
    /// Starts it on a free port and waits until it answers.
    pub(super) async fn start(program: &Path, dir: &Path) -> anyhow::Result<Self> {
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::start_once(program, dir).await {
                Ok(nginx) => return Ok(nginx),
                Err(error) if tries >= STARTS_MAX => return Err(error),
                Err(_) => {}
            }
        }
    }

    async fn start_once(program: &Path, dir: &Path) -> anyhow::Result<Self> {
        let address = free_address()?;
        let file = dir.join("nginx.conf");
        std::fs::write(&file, config(address, dir)).with_context(|| format!("write {}", file.display()))?;
        let mut command = Command::new(program);
        command.arg("-p").arg(dir).arg("-e").arg(dir.join("nginx.log")).arg("-c").arg(&file);
        let mut process = Process::start("nginx", &mut command, dir)?;
        let began = Instant::now();
        loop {
            process.check_runs()?;
            match Connection::open(address).await {
                Ok(_) => return Ok(Self { process, address }),
                Err(error) if began.elapsed() >= START_MAX => return Err(error.context("start nginx")),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

/// nginx cannot be told to take any port, so one is taken and given back.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    listener.local_addr().context("find a free port")
}

/// A worker for each core, no access log, connections kept as long as the load lasts; nothing else differs
/// from what nginx does by default.
fn config(address: SocketAddr, dir: &Path) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("  {name}_temp_path \"{}/{name}\";\n", dir.display()))
        .collect();
    format!(
        "daemon off;\n\
         pid \"{dir}/nginx.pid\";\n\
         worker_processes auto;\n\
         events {{\n  worker_connections 4096;\n}}\n\
         http {{\n\
         {temporary}  access_log off;\n  \
         keepalive_timeout 60s;\n  keepalive_requests 1000000000;\n  \
         server {{\n    listen {address} backlog=4096;\n    \
         location / {{\n      add_header Cache-Control no-store;\n      return 302 \"{LOCATION}\";\n    }}\n  }}\n}}\n",
        dir = dir.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_as_reviewed() {
        insta::assert_snapshot!(config("127.0.0.1:18080".parse().unwrap(), Path::new("/run/bench")));
    }
}
