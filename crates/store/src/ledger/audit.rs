//! Lines of the audit log that no setting belongs to, and how they name what must not stand there.
//!
//! The cast: whoever erases somebody's data writes what was asked for and what is gone (`audit_note`), and names whose it
//! was by a keyed hash (`fingerprint`), so that the proof of an erasure does not keep what was erased. Whoever holds the
//! identifier and the installation can find its lines again; nobody else can try all addresses, since the key is needed.
//!
//! Not relied on: that the key is kept apart. It is that of shared links, and the purpose in front keeps the two apart.

use hmac::{Hmac, KeyInit as _, Mac as _};
use roundtrip_domain::id::WorkspaceNo;
use roundtrip_domain::time::Timestamp;
use sha2::Sha256;

use super::Ledger;
use super::settings::load_catalog;
use super::statements::sql;
use crate::Error;

/// What the hash is of, so that it is never that of a shared link.
const PURPOSE: &[u8] = b"roundtrip audit v1\0";
/// Bytes of the hash that are shown.
const SHOWN: usize = 16;

impl Ledger {
    /// Writes a line into the audit log that no setting belongs to: what somebody had done to the workspace's data. It
    /// takes a version, so that all lines have one order; the settings of it are those of the version before. Returns
    /// the version.
    ///
    /// # Errors
    /// When the ledger cannot take it; nothing is written then.
    pub async fn audit_note(
        &self,
        ws: WorkspaceNo,
        actor: String,
        summary: String,
        at: Timestamp,
    ) -> Result<u64, Error> {
        let (version, catalog) = self
            .write(move |conn| {
                let current: u64 =
                    conn.prepare_cached(sql("settings_version_current"))?.query_row([ws.0], |r| r.get(0))?;
                let version = current + 1;
                conn.prepare_cached(sql("settings_version_insert"))?.execute((
                    ws.0,
                    version,
                    at.ms(),
                    &actor,
                    &summary,
                ))?;
                Ok((version, load_catalog(conn)?))
            })
            .await?;
        self.publish(catalog);
        Ok(version)
    }

    /// The keyed hash (HMAC-SHA-256, 32 hexadecimal digits of it) by which an identifier of a kind is named in the
    /// audit log. The same identifier of the same kind and workspace always has the same.
    pub fn fingerprint(&self, ws: WorkspaceNo, kind: &str, value: &str) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.inner.share_key) else { return String::new() };
        for part in [PURPOSE, &ws.0.to_be_bytes(), kind.as_bytes(), &[0], value.as_bytes()] {
            mac.update(part);
        }
        mac.finalize().into_bytes()[..SHOWN].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
