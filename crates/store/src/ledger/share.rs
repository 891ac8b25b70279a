//! Links that show one delivery to somebody outside, for some days.
//!
//! A token names the delivery, when it was made and how long it opens, and carries a keyed hash of that (HMAC-SHA-256
//! under a key of this use alone, which lives in the ledger and so in its backups). Nothing of a link is stored: it
//! ends by itself, and is taken back by a floor, up to which links of a delivery or of a workspace open nothing.
//!
//! Not here: what is shown, which is what a story shows to whoever may not see personal data.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use roundtrip_ambient::Entropy;
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::time::{Span, Timestamp};
use rusqlite::{Connection, OptionalExtension};
use sha2::Sha256;

use super::Ledger;
use super::statements::sql;
use crate::Error;

/// Bytes that a token says: workspace, delivery, moment, life.
const SAID: usize = 4 + 16 + 6 + 4;
/// Bytes of the hash that a token carries.
const PROOF: usize = 16;
/// What the hash is of, so that the key can never be made to sign something else.
const PURPOSE: &[u8] = b"roundtrip share v1\0";
/// The floor of a whole workspace.
const ALL: [u8; 16] = [0; 16];

/// The key of links.
pub(super) type ShareKey = [u8; 32];

/// Reads the key, and makes it at the first start.
pub(super) fn key(conn: &Connection, entropy: &Entropy) -> Result<ShareKey, Error> {
    let known: Option<Vec<u8>> =
        conn.prepare(sql("meta_get"))?.query_row(["share_key"], |row| row.get(0)).optional()?;
    if let Some(known) = known {
        return known.try_into().map_err(|_| Error::Corrupt {
            table: "meta",
            column: "value",
            row: "share_key".into(),
            what: "a key that has not 32 bytes".into(),
        });
    }
    let mut key = [0; 32];
    entropy.fill(&mut key);
    conn.prepare(sql("meta_put"))?.execute(("share_key", key.as_slice()))?;
    Ok(key)
}

/// What a link opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// This delivery, until then.
    Delivery {
        /// Owner.
        workspace: WorkspaceNo,
        /// The delivery.
        delivery: Id<kind::Delivery>,
        /// When it ends.
        until: Timestamp,
    },
    /// Nothing any more: its time is over.
    Ended,
    /// Nothing any more: it was taken back.
    Revoked,
    /// Nothing: this installation did not make it, or it was changed on the way.
    Unknown,
}

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Said {
    workspace: WorkspaceNo,
    delivery: Id<kind::Delivery>,
    made_at: Timestamp,
    life_s: u32,
}

impl Said {
    fn bytes(&self) -> [u8; SAID] {
        let mut bytes = [0; SAID];
        bytes[..4].copy_from_slice(&self.workspace.0.to_be_bytes());
        bytes[4..20].copy_from_slice(&self.delivery.bytes());
        bytes[20..26].copy_from_slice(&self.made_at.ms().max(0).to_be_bytes()[2..]);
        bytes[26..].copy_from_slice(&self.life_s.to_be_bytes());
        bytes
    }

    fn read(bytes: &[u8; SAID]) -> Self {
        let number = |range: std::ops::Range<usize>| {
            bytes[range].iter().fold(0_u128, |number, byte| (number << 8) | u128::from(*byte))
        };
        Self {
            workspace: WorkspaceNo(number(0..4) as u32),
            delivery: Id::from_bits(number(4..20)),
            made_at: Timestamp::from_ms(number(20..26) as i64),
            life_s: number(26..30) as u32,
        }
    }

    fn until(&self) -> Timestamp {
        self.made_at.plus_ms(i64::from(self.life_s) * 1_000)
    }
}

fn mac(key: &ShareKey, said: &[u8]) -> Option<Hmac<Sha256>> {
    // HMAC takes keys of any length, so there is always one.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(PURPOSE);
    mac.update(said);
    Some(mac)
}

fn write(key: &ShareKey, said: &Said) -> Option<String> {
    let mut bytes = said.bytes().to_vec();
    let proof = mac(key, &bytes)?.finalize().into_bytes();
    bytes.extend_from_slice(&proof[..PROOF]);
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// Reads a token that this key made. In constant time as far as the hash goes.
fn read(key: &ShareKey, token: &str) -> Option<Said> {
    let bytes: [u8; SAID + PROOF] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
    let (said, proof) = bytes.split_at(SAID);
    mac(key, said)?.verify_truncated_left(proof).ok()?;
    Some(Said::read(said.try_into().ok()?))
}

fn floor(conn: &Connection, ws: WorkspaceNo, delivery: [u8; 16]) -> Result<Option<Timestamp>, Error> {
    let floor: Option<i64> = conn
        .prepare_cached(sql("share_floor_get"))?
        .query_row((ws.0, delivery.as_slice(), ALL.as_slice()), |row| row.get(0))?;
    Ok(floor.map(Timestamp::from_ms))
}

impl Ledger {
    /// A link's token and when it ends. What was taken back up to now stays closed.
    pub async fn share_make(
        &self,
        ws: WorkspaceNo,
        delivery: Id<kind::Delivery>,
        life: Span,
        at: Timestamp,
    ) -> Result<(String, Timestamp), Error> {
        let floor = self.read(move |conn| floor(conn, ws, delivery.bytes())).await?;
        let made_at = floor.map_or(at, |floor| at.max(floor.plus_ms(1)));
        let life_s = u32::try_from(life.ms() / 1_000).unwrap_or(u32::MAX);
        let said = Said { workspace: ws, delivery, made_at, life_s };
        let token = write(&self.inner.share_key, &said);
        let token = token.ok_or_else(|| Error::Refused("a key that makes no hash".to_owned()))?;
        Ok((token, said.until()))
    }

    /// What a token opens.
    pub async fn share_open(&self, token: &str, at: Timestamp) -> Result<Shared, Error> {
        let Some(said) = read(&self.inner.share_key, token) else { return Ok(Shared::Unknown) };
        if said.until() <= at {
            return Ok(Shared::Ended);
        }
        let floor = self.read(move |conn| floor(conn, said.workspace, said.delivery.bytes())).await?;
        if floor.is_some_and(|floor| said.made_at <= floor) {
            return Ok(Shared::Revoked);
        }
        Ok(Shared::Delivery { workspace: said.workspace, delivery: said.delivery, until: said.until() })
    }

    /// Takes back every link made so far of a delivery, or of all.
    pub async fn share_revoke(
        &self,
        ws: WorkspaceNo,
        delivery: Option<Id<kind::Delivery>>,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.write(move |conn| {
            let of = delivery.map_or(ALL, Id::bytes);
            // A link can be dated just after a floor that was in its way; it is taken back too.
            let last: Option<i64> =
                conn.prepare_cached(sql("share_floor_any"))?.query_row([ws.0], |row| row.get(0))?;
            let floor = last.map_or(at, |last| at.max(Timestamp::from_ms(last).plus_ms(1)));
            conn.prepare_cached(sql("share_floor_put"))?.execute((ws.0, of.as_slice(), floor.ms()))?;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_only_as_it_was_made() {
        let (key, other) = ([7; 32], [8; 32]);
        let said = Said {
            workspace: WorkspaceNo(3),
            delivery: Id::from_bits(u128::MAX - 5),
            made_at: Timestamp::from_ms(1_780_574_400_123),
            life_s: 604_800,
        };
        let token = write(&key, &said).unwrap();
        assert!(
            token.len() == 62 && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        );
        assert_eq!(read(&key, &token), Some(said));
        assert_eq!(read(&other, &token), None);
        let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(read(&key, &URL_SAFE_NO_PAD.encode(changed)), None, "byte {at}");
        }
        for bad in ["", "x", &token[1..], &format!("{token}A"), &token.replace(&token[..2], "..")] {
            assert_eq!(read(&key, bad), None, "{bad}");
        }
    }
}
