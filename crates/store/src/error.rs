//! What went wrong in a store, split by what the caller does next.

/// A failure of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was written; the same call may succeed later (full disk, full queue, busy). Callers
    /// answer 503.
    #[error("the store cannot take this now: {0}")]
    Unavailable(String),
    /// What is stored contradicts itself. The row is named; a person has to look.
    #[error("table {table}, column {column}, row {row}: {what}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's id, printed.
        row: String,
        /// What is wrong with it.
        what: String,
    },
    /// Durability can no longer be promised (a failed fsync); the process must end and start again from
    /// what is on the disk.
    #[error("the store must not go on: {0}")]
    Fatal(String),
    /// A call that cannot be right, such as a constraint that a caller's bug broke.
    #[error("the store refused: {0}")]
    Refused(String),
    /// Settings were changed from a version that is no longer the current one.
    #[error("settings are at version {current} by now")]
    VersionConflict {
        /// The current version.
        current: u64,
    },
}

impl Error {
    /// Whether the same call may succeed later.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Corrupt { .. } | Self::Fatal(_) | Self::Refused(_) | Self::VersionConflict { .. } => false,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as C;
        match error.sqlite_error_code() {
            Some(C::DiskFull | C::DatabaseBusy | C::DatabaseLocked | C::OutOfMemory | C::CannotOpen) => {
                Self::Unavailable(error.to_string())
            }
            Some(C::SystemIoFailure) => {
                // SQLITE_IOERR_FSYNC (4 << 8 | 10) and SQLITE_IOERR_DIR_FSYNC (5 << 8 | 10).
                let extended = error.sqlite_error().map_or(0, |e| e.extended_code);
                if matches!(extended, 1034 | 1290) {
                    Self::Fatal(error.to_string())
                } else {
                    Self::Unavailable(error.to_string())
                }
            }
            _ => Self::Refused(error.to_string()),
        }
    }
}
