//! Segments in buckets: what the click log asks for, over `object_store`.
//!
//! The click log blocks while it asks, so requests are made on a runtime of their own: what a bucket costs, TLS and
//! signatures too, delays no redirect. Each call ends within the bound that comes with it, tries again in
//! it what may pass (503, 429, lost connections), and ends at once when the server stops.
//!
//! Not relied on: that an answer is as long as it says or as was asked for; that "not found" is said of an object, for a
//! bucket that is not there says the same.

use std::io;
use std::ops::Range;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{
    BackoffConfig, Error, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, RetryConfig, coalesce_ranges,
};
use roundtrip_store::click_log::bucket::{Bucket, Buckets, Put};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use url::Url;

use super::{Patience, Said};

/// Parts of an object with no more than this between them are one request, in bytes.
const GAP: u64 = 32 << 10;
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// No request takes longer, whatever the bound of its call.
const REQUEST_MAX: Duration = Duration::from_secs(600);
/// How long a call may take beyond its bound until nobody waits for it any more.
const GRACE: Duration = Duration::from_secs(5);

fn patience() -> Patience {
    Patience {
        request_max: REQUEST_MAX,
        answer_max: ANSWER_BYTES_MAX,
        retry: retries(),
        ..Patience::default()
    }
}

/// How often a request is made again within its call.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: 4,
        retry_timeout: Duration::from_secs(30),
    }
}

/// Reaches buckets for the click log.
#[derive(Debug, Default)]
pub(crate) struct SegmentBuckets {
    /// Made with the first bucket: most servers have none.
    runtime: Mutex<Option<Runtime>>,
    stop: watch::Sender<bool>,
}

impl SegmentBuckets {
    fn reach(&self, name: &str, store: Arc<dyn ObjectStore>, prefix: Path) -> io::Result<Reached> {
        let mut made = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = match &*made {
            Some(runtime) => runtime.handle().clone(),
            None => {
                let mut builder = Builder::new_multi_thread();
                let new = builder.worker_threads(1).thread_name("buckets").enable_all().build()?;
                made.insert(new).handle().clone()
            }
        };
        let bucket = Objects { store, prefix, name: name.to_owned() };
        Ok(Reached { bucket: Arc::new(bucket), runtime, stop: self.stop.subscribe() })
    }
}

impl Drop for SegmentBuckets {
    fn drop(&mut self) {
        // It may be let go where nothing may block.
        if let Some(runtime) = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
    }
}

fn ended() -> io::Error {
    io::Error::from(io::ErrorKind::Interrupted)
}

impl Buckets for SegmentBuckets {
    fn open(&self, name: &str) -> io::Result<Arc<dyn Bucket>> {
        let opened = || -> anyhow::Result<Reached> {
            let url = Url::parse(name)?;
            let prefix = Path::from_url_path(url.path())?;
            Ok(self.reach(name, super::open(&url, patience())?, prefix)?)
        };
        match opened() {
            Ok(reached) => Ok(Arc::new(reached)),
            Err(error) => Err(io::Error::new(io::ErrorKind::Unsupported, format!("{error:#}"))),
        }
    }

    fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// A bucket, and where its requests are made.
#[derive(Debug)]
struct Reached {
    bucket: Arc<Objects>,
    runtime: Handle,
    stop: watch::Receiver<bool>,
}

impl Reached {
    /// Has something done over there and waits for it.
    fn ask<T, F>(&self, within: Duration, run: impl FnOnce(Arc<Objects>) -> F) -> io::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = io::Result<T>> + Send + 'static,
    {
        let (tell, told) = sync_channel(1);
        let (running, mut stop) = (run(self.bucket.clone()), self.stop.clone());
        self.runtime.spawn(async move {
            let late = || {
                let why = format!("no answer within {:.1} s", within.as_secs_f64());
                io::Error::new(io::ErrorKind::TimedOut, why)
            };
            let done = tokio::select! {
                // An order that was given before counts first.
                biased;
                _ = stop.wait_for(|stop| *stop) => Err(ended()),
                done = tokio::time::timeout(within, running) => done.unwrap_or_else(|_| Err(late())),
            };
            // Nobody may be waiting any more.
            let _ = tell.send(done);
        });
        told.recv_timeout(within.saturating_add(GRACE)).unwrap_or_else(|_| Err(ended()))
    }
}

impl Bucket for Reached {
    fn put_new(&self, key: &str, bytes: Bytes, within: Duration) -> io::Result<Put> {
        let key = key.to_owned();
        self.ask(within, |bucket| async move { bucket.put_new(&key, bytes).await })
    }

    fn length(&self, key: &str, within: Duration) -> io::Result<Option<u64>> {
        let key = key.to_owned();
        self.ask(within, |bucket| async move { bucket.length(&key).await })
    }

    fn read(&self, key: &str, ranges: &[Range<u64>], within: Duration) -> io::Result<Vec<Bytes>> {
        let (key, ranges) = (key.to_owned(), ranges.to_vec());
        self.ask(within, |bucket| async move { bucket.read(&key, &ranges).await })
    }

    fn delete(&self, key: &str, within: Duration) -> io::Result<()> {
        let key = key.to_owned();
        self.ask(within, |bucket| async move { bucket.delete(&key).await })
    }
}

/// The objects below a prefix.
#[derive(Debug)]
struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    name: String,
}

impl Objects {
    fn path(&self, key: &str) -> Path {
        key.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    async fn put_new(&self, key: &str, bytes: Bytes) -> io::Result<Put> {
        let put = self.store.put_opts(&self.path(key), PutPayload::from(bytes), PutMode::Create.into()).await;
        match put {
            Ok(_) => Ok(Put::Done),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(Put::IsThere),
            Err(error) => Err(self.said(error)),
        }
    }

    async fn length(&self, key: &str) -> io::Result<Option<u64>> {
        match self.store.head(&self.path(key)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Error::NotFound { .. }) => self.absent(key).await.map(|()| None),
            Err(error @ (Error::PermissionDenied { .. } | Error::Unauthenticated { .. })) => {
                // Its answer has no words; that to a question for a list has.
                self.absent(key).await?;
                Err(self.said(error))
            }
            Err(error) => Err(self.said(error)),
        }
    }

    async fn read(&self, key: &str, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        let path = self.path(key);
        let part = |range: Range<u64>| {
            let (store, path) = (self.store.clone(), path.clone());
            async move {
                let bytes = store.get_range(&path, range.clone()).await?;
                match bytes.len() as u64 == range.end - range.start {
                    true => Ok(bytes),
                    false => Err(Error::Generic { store: "bucket", source: "the answer is cut off".into() }),
                }
            }
        };
        match coalesce_ranges(ranges, part, GAP).await {
            Ok(read) => Ok(read),
            Err(Error::NotFound { .. }) => {
                self.absent(key).await?;
                Err(io::Error::new(io::ErrorKind::NotFound, "the bucket holds no such object"))
            }
            Err(error) => Err(self.said(error)),
        }
    }

    async fn delete(&self, key: &str) -> io::Result<()> {
        match self.store.delete(&self.path(key)).await {
            Ok(()) => Ok(()),
            Err(Error::NotFound { .. }) => self.absent(key).await,
            Err(error) => Err(self.said(error)),
        }
    }

    /// Makes sure that an object is not there and its bucket is: both are said by the same number.
    async fn absent(&self, key: &str) -> io::Result<()> {
        let path = self.path(key);
        let folder = key.rsplit_once('/').map(|(folder, _)| self.path(folder));
        match self.store.list_with_delimiter(folder.as_ref()).await {
            Ok(list) if list.objects.iter().any(|object| object.location == path) => {
                Err(io::Error::other("the bucket lists an object and does not give it"))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(self.said(error)),
        }
    }

    /// What went wrong. Nothing that is said of a whole bucket says that an object is not there.
    fn said(&self, error: Error) -> io::Error {
        tracing::debug!(bucket = self.name, %error, "a bucket did not do what it was asked");
        io::Error::other(Said::of(&error))
    }
}

#[cfg(all(test, feature = "s3"))]
mod tests;
