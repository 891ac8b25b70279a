//! The client of the admin API that the commands use: one request, one connection, bounds on time and bytes.
//!
//! Plain HTTP goes to loopback only, because the token travels with each request; anything else needs https.
//! It reads no proxy from the environment and follows no redirect. Not the sender of postbacks: that one lives
//! in the engine, is guarded against hostile targets, and would refuse to call our own admin listener.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use url::Url;

use crate::admin_token;

/// The variables that only clients read; `serve` knows that they are no misspelt settings.
pub(crate) const VARIABLES: &[&str] = &["ROUNDTRIP_SERVER", "ROUNDTRIP_TOKEN"];
/// Where the admin API is unless somebody says otherwise.
const SERVER_DEFAULT: &str = "http://127.0.0.1:8081";
/// How long connecting may take, TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a whole call may take. The server cuts its own side after 60 s.
const CALL_MAX: Duration = Duration::from_secs(65);
/// How long a download may stand still.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Which server a command speaks to, and as whom.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Flags {
    /// The server's admin address.
    #[arg(long, value_name = "URL", env = "ROUNDTRIP_SERVER", hide_env_values = true, default_value = SERVER_DEFAULT)]
    pub(crate) server: String,
    /// An admin key; without it the one in the data directory is used.
    #[arg(long, value_name = "KEY", env = "ROUNDTRIP_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// The data directory of a server on this machine, for its admin.token.
    #[arg(
        long,
        value_name = "DIR",
        env = "ROUNDTRIP_DATA",
        hide_env_values = true,
        default_value = "./roundtrip-data"
    )]
    pub(crate) data: PathBuf,
}

/// A client of one server's admin API.
pub(crate) struct Client {
    origin: Origin,
    authorization: HeaderValue,
}

/// Where the server is.
#[derive(Debug)]
struct Origin {
    /// As it was given, for messages.
    url: String,
    host: String,
    port: u16,
    tls: bool,
    /// The value of the Host header.
    authority: HeaderValue,
    /// What stands before every path; empty, or a path without a slash at its end.
    prefix: String,
}

impl Origin {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let url = Url::parse(text).with_context(|| format!("read the server's URL `{text}`"))?;
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            other => bail!("use the server's URL `{text}`: the scheme is {other}, not https or http"),
        };
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            bail!("use the server's URL `{text}`: it holds more than scheme, host, port and path");
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            bail!("use the server's URL `{text}`: it has no host");
        };
        let (host, loopback) = match host {
            url::Host::Domain(name) => (name.to_owned(), name == "localhost"),
            url::Host::Ipv4(address) => (address.to_string(), address.is_loopback()),
            url::Host::Ipv6(address) => (address.to_string(), address.is_loopback()),
        };
        if !tls && !loopback {
            bail!(
                "use the server's URL `{text}`: the admin key would travel over plain HTTP to another machine; \
                 use https, or a tunnel to loopback such as ssh -L 8081:127.0.0.1:8081"
            );
        }
        let shown_host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let authority = match url.port() {
            Some(port) => format!("{shown_host}:{port}"),
            None => shown_host,
        };
        let authority = HeaderValue::from_str(&authority).context("read the server's host")?;
        let prefix = url.path().trim_end_matches('/').to_owned();
        Ok(Self { url: text.trim_end_matches('/').to_owned(), host, port, tls, authority, prefix })
    }
}

impl Client {
    /// A client of `server` (default `http://127.0.0.1:8081`) with `token`, or with the admin token in `data`.
    ///
    /// # Errors
    /// When the URL is unusable or would send the token over plain HTTP to another machine, or no token is found.
    pub(crate) fn new(server: Option<String>, token: Option<String>, data: &Path) -> anyhow::Result<Self> {
        let origin = Origin::parse(server.as_deref().unwrap_or(SERVER_DEFAULT))?;
        let token = match token {
            Some(token) => token,
            None => admin_token::read_from(data).context(
                "find the admin key: give --token, ROUNDTRIP_TOKEN, or the server's data directory as --data",
            )?,
        };
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .context("use the admin key: it is not printable ASCII")?;
        authorization.set_sensitive(true);
        Ok(Self { origin, authorization })
    }

    /// A client as the flags say.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn from_flags(flags: &Flags) -> anyhow::Result<Self> {
        Self::new(Some(flags.server.clone()), flags.token.clone(), &flags.data)
    }

    /// Reads. `path` begins with a slash and is percent-encoded by the caller, query included.
    ///
    /// # Errors
    /// When there is no answer, or one that is not JSON. An error that the server answers is no error here:
    /// its status and document come back.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<(u16, Value)> {
        self.call(Method::GET, path, None).await
    }

    /// Sends a document to make something or have something done.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Sends a document to put something in its place.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) async fn put(&self, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// Deletes.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<(u16, Value)> {
        self.call(Method::DELETE, path, None).await
    }

    /// Has something made and takes it while it comes, however long that takes in all. Bytes of a success go to `take`,
    /// in their order; of anything else the status and document come back.
    ///
    /// # Errors
    /// When there is no answer, nothing comes for [`SILENCE_MAX`], the answer breaks off, or what `take` said.
    pub(crate) async fn download(
        &self,
        path: &str,
        take: impl FnMut(Bytes) -> anyhow::Result<()>,
    ) -> anyhow::Result<(u16, Value)> {
        self.stream(Method::POST, path, take).await
    }

    /// Reads what is made while it is sent, as [`Self::download`] has something made.
    ///
    /// # Errors
    /// As [`Self::download`].
    pub(crate) async fn read(
        &self,
        path: &str,
        take: impl FnMut(Bytes) -> anyhow::Result<()>,
    ) -> anyhow::Result<(u16, Value)> {
        self.stream(Method::GET, path, take).await
    }

    async fn stream(
        &self,
        method: Method,
        path: &str,
        mut take: impl FnMut(Bytes) -> anyhow::Result<()>,
    ) -> anyhow::Result<(u16, Value)> {
        let about = format!("{method} {}", path.split('?').next().unwrap_or(path));
        let request = self.request(method, path, Bytes::new())?;
        let downloading = async {
            let mut answer = self.begin(request).await?;
            let status = answer.status().as_u16();
            if status != 200 {
                let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
                let bytes = body.map_err(|error| anyhow::anyhow!("{error}")).context("read the answer")?;
                return anyhow::Ok((
                    status,
                    serde_json::from_slice(&bytes.to_bytes()).unwrap_or(Value::Null),
                ));
            }
            loop {
                let frame = tokio::time::timeout(SILENCE_MAX, answer.body_mut().frame())
                    .await
                    .with_context(|| format!("nothing came for {} s", SILENCE_MAX.as_secs()))?;
                match frame {
                    Some(frame) => {
                        let frame =
                            frame.context("read the answer, which broke off: the server's log says why")?;
                        if let Ok(bytes) = frame.into_data() {
                            take(bytes)?;
                        }
                    }
                    None => return Ok((status, Value::Null)),
                }
            }
        };
        downloading.await.with_context(|| format!("call {about} of {}", self.origin.url))
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Request<Full<Bytes>>> {
        let about = format!("{method} {}", path.split('?').next().unwrap_or(path));
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.origin.prefix))
            .header(HOST, &self.origin.authority)
            .header(AUTHORIZATION, &self.authorization)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("roundtrip/", env!("CARGO_PKG_VERSION")));
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request.body(Full::new(body)).with_context(|| format!("make the request {about}"))
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<(u16, Value)> {
        let about = format!("{method} {}", path.split('?').next().unwrap_or(path));
        let bytes = match body {
            Some(body) => serde_json::to_vec(body).context("write the request")?.into(),
            None => Bytes::new(),
        };
        let request = self.request(method, path, bytes)?;
        let answered = tokio::time::timeout(CALL_MAX, self.exchange(request)).await;
        let (status, bytes) = answered
            .unwrap_or_else(|_| bail!("no answer within {} s", CALL_MAX.as_secs()))
            .with_context(|| format!("call {about} of {}", self.origin.url))?;
        if bytes.is_empty() {
            return Ok((status, Value::Null));
        }
        let value = serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "read the answer to {about}: {} answers {status} and no JSON; is it Roundtrip?",
                self.origin.url
            )
        })?;
        Ok((status, value))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<(u16, Bytes)> {
        let answer = self.begin(request).await?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("{error}")).context("read the answer")?;
        Ok((status, body.to_bytes()))
    }

    /// Asks, and waits for the head of the answer.
    async fn begin(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        let Origin { host, port, tls, .. } = &self.origin;
        let connecting = tokio::time::timeout(CONNECT_MAX, async {
            let stream =
                connect(host, *port).await.context("reach it (is `roundtrip serve` running there?)")?;
            let tls = match tls {
                false => None,
                true => Some((
                    tls_connector()?,
                    ServerName::try_from(host.clone()).context("use the host's name")?,
                )),
            };
            anyhow::Ok((stream, tls))
        });
        let (stream, tls) = connecting
            .await
            .unwrap_or_else(|_| bail!("cannot connect within {} s", CONNECT_MAX.as_secs()))?;
        let asking = async {
            match tls {
                None => ask(TokioIo::new(stream), request).await,
                Some((connector, name)) => {
                    let stream = tokio::time::timeout(CONNECT_MAX, connector.connect(name, stream))
                        .await
                        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
                        .context("agree on TLS")?;
                    ask(TokioIo::new(stream), request).await
                }
            }
        };
        let asked = tokio::time::timeout(CALL_MAX, asking).await;
        asked.unwrap_or_else(|_| bail!("no answer within {} s", CALL_MAX.as_secs()))
    }
}

pub(crate) async fn connect(host: &str, port: u16) -> anyhow::Result<TcpStream> {
    let connected = match host.parse::<IpAddr>() {
        Ok(address) => TcpStream::connect(SocketAddr::new(address, port)).await,
        Err(_) => TcpStream::connect((host, port)).await,
    };
    connected.with_context(|| format!("connect to {host} port {port}"))
}

pub(crate) fn tls_connector() -> anyhow::Result<TlsConnector> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("set up TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn ask<S>(stream: S, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>>
where
    S: Read + Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(stream).await.context("begin HTTP")?;
    // It ends with the answer, and what ends it early is seen by whoever reads the answer.
    tokio::spawn(async move { drop(connection.await) });
    sender.send_request(request).await.context("send the request")
}

/// What the server answered, when it was no success, in words for a person; every problem that it names.
pub(crate) fn refusal(status: u16, answer: &Value) -> String {
    let error = &answer["error"];
    let one = |error: &Value| -> Option<String> {
        let text = |name: &str| error[name].as_str().filter(|text| !text.is_empty());
        let mut line = match text("field") {
            Some(field) => format!("{field}: {}", text("message")?),
            None => text("message")?.to_owned(),
        };
        if let Some(code) = text("code") {
            line.push_str(&format!(" ({code})"));
        }
        if let Some(fix) = text("fix") {
            line.push_str(&format!("\n  to fix it: {fix}"));
        }
        Some(line)
    };
    let several = answer["problems"].as_array();
    let lines: Vec<String> = match several {
        Some(problems) if !problems.is_empty() => problems.iter().filter_map(one).collect(),
        _ => one(error).into_iter().collect(),
    };
    if lines.is_empty() { format!("the server answered {status}") } else { lines.join("\n") }
}

/// What the server answered, when it was no success.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(crate) struct Refusal {
    /// Its stable code, if it was Roundtrip that answered.
    pub(crate) code: Option<String>,
    words: String,
}

/// The document of a success; anything else becomes a [`Refusal`] that says what the server said.
///
/// # Errors
/// When `status` is not 2xx.
pub(crate) fn accepted((status, answer): (u16, Value)) -> anyhow::Result<Value> {
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    let code = answer["error"]["code"].as_str().map(str::to_owned);
    Err(Refusal { code, words: refusal(status, &answer) }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_never_leaves_in_the_clear() {
        for good in [
            "http://127.0.0.1:8081",
            "http://localhost:1/",
            "http://[::1]:9",
            "https://rt.example.com/admin/",
        ] {
            Origin::parse(good).unwrap();
        }
        for bad in [
            "http://rt.example.com",
            "http://10.0.0.1:8081",
            "ftp://localhost",
            "localhost:8081",
            "https://u@h",
            "https://h/?a",
        ] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
        let error = Origin::parse("http://10.0.0.1:8081").unwrap_err().to_string();
        assert!(error.contains("plain HTTP") && error.contains("ssh -L"), "{error}");
        let origin = Origin::parse("https://rt.example.com/admin/").unwrap();
        assert_eq!(
            (origin.prefix.as_str(), origin.port, origin.authority.to_str().unwrap()),
            ("/admin", 443, "rt.example.com")
        );
    }

    #[test]
    fn refusals_are_readable() {
        let answer = serde_json::json!({"error": {"code": "slug_invalid", "message": "`A B` has a space", "field": "apps.x.slug", "rule": "r", "fix": "rename it"}});
        assert_eq!(
            refusal(422, &answer),
            "apps.x.slug: `A B` has a space (slug_invalid)\n  to fix it: rename it"
        );
        let several =
            serde_json::json!({"error": answer["error"], "problems": [answer["error"], {"message": "b"}]});
        assert_eq!(refusal(422, &several).lines().count(), 3);
        assert_eq!(refusal(502, &Value::Null), "the server answered 502");
        assert!(accepted((204, Value::Null)).is_ok());
        assert_eq!(accepted((422, answer)).unwrap_err().to_string().lines().count(), 2);
    }
}
