//! Buckets: where exports can go besides folders, and sealed clicks besides the data directory (`segments`).
//!
//! The cast: `object_store` knows S3, Google's and Azure's dialects, signs requests and tries again what failed; it reads
//! credentials from the environment as each vendor's own tools do (`AWS_…`, `GOOGLE_…`, `AZURE_…`). [`Wire`] is how its
//! requests leave: our own connections, so that no second HTTP client, TLS stack or reader of proxies comes in.
//!
//! Commands write exports with the rights of whoever runs them, the server segments with its own. Plain HTTP goes to loopback, and elsewhere only
//! where the environment allows it (`AWS_ALLOW_HTTP=true`) or `object_store` asks a machine's own metadata service.

mod said;
mod segments;

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use object_store::client::{
    ClientConfigKey, ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest,
    HttpResponse, HttpResponseBody, HttpService,
};
use object_store::path::Path;
use object_store::{
    Error, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, RetryConfig,
};
use tokio_rustls::rustls::pki_types::ServerName;
use url::Url;

pub(crate) use self::said::Said;
pub(crate) use self::segments::SegmentBuckets;
use crate::client::{connect, tls_connector};

/// The buckets that this program was built for.
pub(crate) const SCHEMES: &[&str] = &[
    #[cfg(feature = "s3")]
    "s3",
    #[cfg(feature = "gcs")]
    "gs",
    #[cfg(feature = "azure")]
    "az",
];
/// Files up to here are put in one request, and larger ones in pieces of it, in bytes.
const PIECE: usize = 8 << 20;
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// How long a bucket is waited for, and how often it is asked again.
#[derive(Debug, Clone)]
struct Patience {
    /// How long connecting may take, TLS included.
    connect_max: Duration,
    /// How long one request may take, which carries [`PIECE`] bytes at most.
    request_max: Duration,
    /// The longest answer that is read, in bytes.
    answer_max: usize,
    /// What failed is tried again so.
    retry: RetryConfig,
}

impl Default for Patience {
    /// Of a request that fails, `object_store` tries ten more in three minutes at most.
    fn default() -> Self {
        Self {
            connect_max: Duration::from_secs(10),
            request_max: Duration::from_secs(120),
            answer_max: ANSWER_BYTES_MAX,
            retry: RetryConfig::default(),
        }
    }
}

/// A folder in a bucket.
pub(crate) struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    shown: String,
}

impl Bucket {
    /// Of a URL such as `s3://NAME/FOLDER`.
    ///
    /// # Errors
    /// When the URL cannot be used, or the environment lacks what the vendor needs.
    pub(crate) fn of(text: &str) -> anyhow::Result<Self> {
        let url = Url::parse(text).with_context(|| format!("read the bucket {text}"))?;
        let prefix = Path::from_url_path(url.path()).with_context(|| format!("read the bucket {text}"))?;
        let store = open(&url, Patience::default()).with_context(|| format!("open the bucket {text}"))?;
        Ok(Self { store, prefix, shown: text.to_owned() })
    }

    /// As it was given.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// What is there under that name, if anything is; small files only.
    pub(crate) async fn get(&self, name: &str) -> anyhow::Result<Option<Bytes>> {
        let reading = async { self.store.get(&self.path(name)).await?.bytes().await };
        match reading.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Said::of(&error)).with_context(|| format!("read {name} in {}", self.shown)),
        }
    }

    /// Whether there is something under that name.
    pub(crate) async fn has(&self, name: &str) -> anyhow::Result<bool> {
        match self.store.head(&self.path(name)).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(Said::of(&error)).with_context(|| format!("look for {name} in {}", self.shown)),
        }
    }

    /// Puts a small file there.
    async fn put(&self, name: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        let put = self.store.put(&self.path(name), PutPayload::from(bytes)).await;
        put.map(drop).map_err(|error| self.not_put(name, &error))
    }

    /// Puts a small file there unless there is one of that name. `false`: there is, perhaps this very one, put by a request
    /// whose answer got lost.
    pub(crate) async fn create(&self, name: &str, bytes: Vec<u8>) -> anyhow::Result<bool> {
        let payload = PutPayload::from(bytes.clone());
        match self.store.put_opts(&self.path(name), payload, PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            // Where conditions are switched off (`AWS_CONDITIONAL_PUT=disabled`) it is put without one.
            Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => {
                self.put(name, bytes).await.map(|()| true)
            }
            Err(error) => Err(self.not_put(name, &error)),
        }
    }

    fn not_put(&self, name: &str, error: &Error) -> anyhow::Error {
        anyhow::Error::new(Said::of(error)).context(format!("put {name} into {}", self.shown))
    }

    /// Puts a file there, in pieces if it is large. Nobody sees it before it is whole; of one that fails no piece is left.
    pub(crate) async fn put_file(&self, name: &str, mut file: File) -> anyhow::Result<()> {
        file.seek(SeekFrom::Start(0)).context("read what came")?;
        let piece = read_piece(&mut file)?;
        if piece.len() < PIECE {
            return self.put(name, piece).await;
        }
        let putting = || format!("put {name} into {}", self.shown);
        let begun = self.store.put_multipart(&self.path(name)).await;
        let mut upload = begun.map_err(|error| self.not_put(name, &error))?;
        let put = put_pieces(upload.as_mut(), piece, &mut file).await;
        if put.is_err()
            && let Err(error) = upload.abort().await
        {
            // Of a bucket that does not answer nothing can be taken back. Its owner can have it forget what was not completed.
            let why = format!(
                "take back the pieces of {name}, which take room in {} until then: {}",
                self.shown,
                Said::of(&error)
            );
            return put.context(why);
        }
        put.with_context(putting)
    }
}

/// Puts a file in pieces, one at a time, and makes it whole.
async fn put_pieces(upload: &mut dyn MultipartUpload, first: Vec<u8>, file: &mut File) -> anyhow::Result<()> {
    let mut piece = first;
    while !piece.is_empty() {
        let is_last = piece.len() < PIECE;
        upload.put_part(PutPayload::from(piece)).await.map_err(|error| Said::of(&error))?;
        if is_last {
            break;
        }
        piece = read_piece(file)?;
    }
    upload.complete().await.map_err(|error| Said::of(&error))?;
    Ok(())
}

fn read_piece(file: &mut File) -> anyhow::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(PIECE);
    file.take(PIECE as u64).read_to_end(&mut piece).context("read what came")?;
    Ok(piece)
}

fn open(url: &Url, patience: Patience) -> anyhow::Result<Arc<dyn ObjectStore>> {
    let (retry, wire) = (patience.retry.clone(), Wire { patience, ..Wire::default() });
    match url.scheme() {
        #[cfg(feature = "s3")]
        "s3" => {
            let builder = object_store::aws::AmazonS3Builder::from_env().with_http_connector(wire);
            check_environment(|key| builder.get_config_value(&key))?;
            Ok(Arc::new(builder.with_retry(retry).with_url(url.as_str()).build()?))
        }
        #[cfg(feature = "gcs")]
        "gs" => {
            let builder = object_store::gcp::GoogleCloudStorageBuilder::from_env();
            let builder = builder.with_http_connector(wire).with_retry(retry);
            Ok(Arc::new(builder.with_url(url.as_str()).build()?))
        }
        #[cfg(feature = "azure")]
        "az" => {
            let builder = object_store::azure::MicrosoftAzureBuilder::from_env();
            let builder = builder.with_http_connector(wire).with_retry(retry);
            Ok(Arc::new(builder.with_url(url.as_str()).build()?))
        }
        other => bail!("this program is not built for {other}://"),
    }
}

/// Refuses what cannot be an address, a region or a credential: the library builds requests of them without looking, and
/// panics where that is not possible.
#[cfg(feature = "s3")]
fn check_environment(
    value: impl Fn(object_store::aws::AmazonS3ConfigKey) -> Option<String>,
) -> anyhow::Result<()> {
    use object_store::aws::AmazonS3ConfigKey as Key;
    for (key, name) in [(Key::Endpoint, "AWS_ENDPOINT_URL"), (Key::S3Endpoint, "AWS_ENDPOINT_URL_S3")] {
        let Some(text) = value(key) else { continue };
        let url =
            Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        // What stands before an @ is a secret, and an address of a bucket has none.
        let is_good = url.is_some_and(|url| url.username().is_empty() && url.query().is_none())
            && text.parse::<Uri>().is_ok();
        ensure!(is_good, "read {name}: it is no URL such as https://s3.example.com or http://127.0.0.1:9000");
    }
    if let Some(region) = value(Key::Region) {
        let is_good = region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        ensure!(is_good, "read AWS_REGION: `{}` is no region such as eu-central-1", region.escape_debug());
    }
    for (key, name) in [
        (Key::AccessKeyId, "AWS_ACCESS_KEY_ID"),
        (Key::SecretAccessKey, "AWS_SECRET_ACCESS_KEY"),
        (Key::Token, "AWS_SESSION_TOKEN"),
    ] {
        let is_good = value(key).is_none_or(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
        ensure!(
            is_good,
            "read {name}: it holds a blank, a line break or something else that no credential has"
        );
    }
    Ok(())
}

/// One connection for each request. There are a few requests for each file, and none is kept open in between.
#[derive(Debug, Clone, Default)]
struct Wire {
    may_http: bool,
    patience: Patience,
}

impl HttpConnector for Wire {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allowed = options.get_config_value(&ClientConfigKey::AllowHttp);
        let (may_http, patience) = (allowed.as_deref() == Some("true"), self.patience.clone());
        Ok(HttpClient::new(Self { may_http, patience }))
    }
}

/// A failure below HTTP, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct Failed(anyhow::Error);

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let failed = |kind| move |error: anyhow::Error| HttpError::new(kind, Failed(error));
        let (mut parts, body) = request.into_parts();
        let target = Target::of(&parts.uri, self.may_http).map_err(failed(HttpErrorKind::Unknown))?;
        parts.headers.insert(header::HOST, target.authority);
        parts.uri = target.path;
        let body = body.collect().await?.to_bytes();
        let request = http::Request::from_parts(parts, Full::new(body));
        let Patience { connect_max, request_max, answer_max, .. } = self.patience;
        let connecting = tokio::time::timeout(connect_max, async {
            let stream = connect(&target.host, target.port).await?;
            anyhow::Ok(match target.tls {
                false => Either::Plain(stream),
                true => {
                    let name = ServerName::try_from(target.host.clone()).context("use the host's name")?;
                    Either::Tls(Box::new(
                        tls_connector()?.connect(name, stream).await.context("agree on TLS")?,
                    ))
                }
            })
        });
        let stream = connecting
            .await
            .unwrap_or_else(|_| bail!("cannot connect within {} s", connect_max.as_secs()))
            .map_err(failed(HttpErrorKind::Connect))?;
        let exchange = async {
            match stream {
                Either::Plain(stream) => exchange(stream, request, answer_max).await,
                Either::Tls(stream) => exchange(*stream, request, answer_max).await,
            }
        };
        match tokio::time::timeout(request_max, exchange).await {
            Ok(answered) => answered.map_err(failed(HttpErrorKind::Interrupted)),
            Err(_) => {
                let error = anyhow::anyhow!("no answer within {} s", request_max.as_secs());
                Err(failed(HttpErrorKind::Timeout)(error))
            }
        }
    }
}

enum Either {
    Plain(tokio::net::TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>),
}

/// Where a request goes.
struct Target {
    host: String,
    port: u16,
    tls: bool,
    authority: HeaderValue,
    path: Uri,
}

impl Target {
    fn of(uri: &Uri, may_http: bool) -> anyhow::Result<Self> {
        let host = uri.host().context("use the bucket's address: it has no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = uri.scheme_str() == Some("https");
        let address: Option<std::net::IpAddr> = host.parse().ok();
        let is_loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        if !tls && !may_http && !is_loopback {
            bail!("use the bucket's address {host}: it is plain HTTP to another machine; use https");
        }
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or(&host);
        // What stands before an @ is not for the header.
        let authority = authority.rsplit('@').next().unwrap_or(authority);
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        Ok(Self {
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls,
            authority: HeaderValue::from_str(authority).context("read the bucket's host")?,
            path: path.parse().context("read the bucket's address")?,
            host,
        })
    }
}

async fn exchange<S>(
    stream: S,
    request: http::Request<Full<Bytes>>,
    answer_max: usize,
) -> anyhow::Result<HttpResponse>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.context("begin HTTP")?;
    // It ends with the answer, and what ends it early is seen by whoever reads the answer.
    tokio::spawn(async move { drop(connection.await) });
    let answer = sender.send_request(request).await.context("send the request")?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, answer_max).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("{error}")).context("read the answer")?.to_bytes();
    let body = Full::new(body).map_err(|never| match never {});
    Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
}

#[cfg(test)]
mod tests;
