//! A `roundtrip` process under test, on a directory of its own and free ports. Every wait has a bound.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The bound of every wait; reached only when something is broken.
pub(crate) const WAIT: Duration = Duration::from_secs(60);

/// A command without this process's own settings.
pub(crate) fn roundtrip() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roundtrip"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ROUNDTRIP_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command that is to end by itself.
pub(crate) fn run(arguments: &[&str]) -> Output {
    roundtrip().args(arguments).stdin(Stdio::null()).output().expect("the binary runs")
}

/// `serve`'s arguments for a directory and free ports.
pub(crate) fn serve_arguments(data: &Path) -> Vec<String> {
    let data = data.display();
    ["serve", "--public=127.0.0.1:0", "--admin=127.0.0.1:0", "--json", "--log-format=json"]
        .into_iter()
        .map(str::to_owned)
        .chain([format!("--data={data}")])
        .collect()
}

/// A running server. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    /// The line it printed when ready.
    pub(crate) ready: Value,
    errors: Option<JoinHandle<String>>,
}

impl Server {
    /// Starts one and waits until it is ready.
    pub(crate) fn start(data: &Path, more: &[&str]) -> Self {
        Self::start_in(data, more, &[])
    }

    /// The same in an environment with these variables.
    pub(crate) fn start_in(data: &Path, more: &[&str], env: &[(String, String)]) -> Self {
        let mut child = roundtrip()
            .args(serve_arguments(data))
            .args(more)
            .envs(env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stderr = child.stderr.take().expect("it is piped");
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let stdout = child.stdout.take().expect("it is piped");
        let (line, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for read in BufReader::new(stdout).lines().map_while(Result::ok) {
                if line.send(read).is_err() {
                    break;
                }
            }
        });
        let mut server = Self { child, ready: Value::Null, errors: Some(errors) };
        match lines.recv_timeout(WAIT) {
            Ok(text) => server.ready = serde_json::from_str(&text).expect("the ready line is JSON"),
            Err(_) => {
                let _ = server.child.kill();
                panic!("it did not become ready:\n{}", server.errors());
            }
        }
        server
    }

    /// The address (host and port) of `public` or `admin`.
    pub(crate) fn address(&self, listener: &str) -> &str {
        self.ready[listener].as_str().and_then(|url| url.strip_prefix("http://")).expect("it is a URL")
    }

    /// Asks one of the listeners.
    pub(crate) fn get(&self, listener: &str, path: &str, token: Option<&str>) -> (u16, String) {
        let address = self.address(listener);
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(WAIT)).expect("a bound is set");
        let authorization =
            token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\n{authorization}connection: close\r\n\r\n")
            .expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers");
        let status = text.get(9..12).and_then(|status| status.parse().ok()).expect("the answer is HTTP");
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, body.to_owned())
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("it has an id");
        kill_process(pid, signal).expect("it is still there");
    }

    /// Waits for the end; its status and what it logged.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let (ended, end) = mpsc::channel();
        // `Child` waits without a bound only, so the bound is on the log, which ends with the process.
        let errors = self.errors.take().expect("it ends once");
        std::thread::spawn(move || ended.send(errors.join()));
        let text = end.recv_timeout(WAIT).expect("it ends within the bound").expect("its log was read");
        (self.child.wait().expect("it has ended"), text)
    }

    fn errors(&mut self) -> String {
        self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
