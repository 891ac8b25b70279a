//! Why the log could not do what was asked, split by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

use arrow_schema::ArrowError;
use parquet::errors::ParquetError;

/// Why the log failed. Appending never yields one: it answers [`super::Append`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused; trying again may help.
    #[error("failed to {what} {}", .file.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// The file or directory, relative to nothing: as the operator named it.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// SQLite refused; trying again may help.
    #[error("failed to {what} {}", .file.display())]
    Sqlite {
        /// What was being done.
        what: &'static str,
        /// The slice or manifest.
        file: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A file of sealed clicks could not be read or written as Parquet.
    #[error("failed to {what} {}", .file.display())]
    Parquet {
        /// What was being done.
        what: &'static str,
        /// The segment.
        file: PathBuf,
        /// What the Parquet library said.
        source: ParquetError,
    },
    /// A bucket did not do what was asked, or did not say that it did; trying again may help.
    #[error("failed to {what} {file}")]
    Bucket {
        /// What was being done.
        what: &'static str,
        /// The bucket's name, and the segment's in it.
        file: String,
        /// What was said, or that nothing was.
        source: io::Error,
    },
    /// A row that contradicts itself. Trying again does not help; [`super::ClickLog::verify`] sets the file aside.
    #[error("failed to read row {row} of {}: the stored click makes no sense", .file.display())]
    Damaged {
        /// The slice or segment.
        file: PathBuf,
        /// The row.
        row: i64,
    },
    /// The log was shut down, or has given up after repeated panics.
    #[error("failed to reach the click log: it has stopped")]
    Stopped,
    /// A bug of ours, which is logged and counted; trying again may help.
    #[error("failed to work on the click log: a panic")]
    Panicked,
}

/// How an error begins that the library did not make itself, once the reader of whole pages has made a text of it.
const EXTERNAL: &str = "External: ";

/// An error of the file system comes through the library as an external one. So does every error of the reader of whole
/// pages, which keeps nothing but the text of what went wrong below it.
fn is_of_file_system(error: &ParquetError) -> bool {
    let ParquetError::External(inner) = error else { return false };
    match inner.downcast_ref::<ArrowError>() {
        Some(ArrowError::ParquetError(text)) => {
            text.strip_prefix(EXTERNAL).is_some_and(|text| !is_of_zstd(text))
        }
        Some(ArrowError::IoError(..)) | None => true,
        Some(_) => false,
    }
}

/// Whether zstd says that bytes are none of its own. It is not heard where there was no memory.
fn is_of_zstd(text: &str) -> bool {
    /// The highest number that an error of zstd has.
    const ERRORS_MAX: usize = 120;
    const NO_MEMORY: usize = 64;
    (1..=ERRORS_MAX)
        .filter(|code| *code != NO_MEMORY)
        .any(|code| zstd::zstd_safe::get_error_name(code.wrapping_neg()) == text)
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Io { .. }
            | Self::Sqlite { .. }
            | Self::Parquet { .. }
            | Self::Bucket { .. }
            | Self::Panicked => !self.is_damage(),
            Self::Damaged { .. } | Self::Stopped => false,
        }
    }

    /// Whether it speaks of bytes on the disk that are not what was written.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Sqlite { source, .. } => {
                matches!(
                    source.sqlite_error_code(),
                    Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
                ) || matches!(
                    source,
                    // A table or column that is not there, or holds another type: no version of ours wrote that.
                    rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::QueryReturnedNoRows
                ) || source.sqlite_error_code() == Some(rusqlite::ErrorCode::Unknown)
            }
            Self::Parquet { source, .. } => !is_of_file_system(source),
            Self::Io { .. } | Self::Bucket { .. } | Self::Stopped | Self::Panicked => false,
        }
    }

    /// The file that it speaks of.
    pub(super) fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Io { file, .. }
            | Self::Sqlite { file, .. }
            | Self::Parquet { file, .. }
            | Self::Damaged { file, .. } => Some(file),
            Self::Bucket { .. } | Self::Stopped | Self::Panicked => None,
        }
    }

    pub(super) fn io(what: &'static str, file: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, file: file.to_owned(), source }
    }

    pub(super) fn bucket(what: &'static str, file: String) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            // Somebody said that it is to end.
            io::ErrorKind::Interrupted => Self::Stopped,
            _ => Self::Bucket { what, file, source },
        }
    }

    pub(super) fn parquet(what: &'static str, file: &Path) -> impl FnOnce(ParquetError) -> Self {
        move |source| Self::Parquet { what, file: file.to_owned(), source }
    }

    pub(super) fn sqlite(what: &'static str, file: &Path) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Sqlite { what, file: file.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_system_says_is_no_damage_and_what_the_library_says_is() {
        let of = |source| Error::Parquet { what: "read", file: PathBuf::from("a.parquet"), source };
        let bad = || ParquetError::General("a page that makes no sense".to_owned());
        let io = || ParquetError::External(Box::new(io::Error::from_raw_os_error(5)));
        assert!(of(bad()).is_damage() && !of(io()).is_damage());
        // As both come out of the reader of whole pages.
        let wrapped = |error: ParquetError| ParquetError::from(ArrowError::from(error));
        assert!(of(wrapped(bad())).is_damage() && !of(wrapped(io())).is_damage());
        // What zstd says is of the bytes, though it comes as if the system had said it.
        let mut packed = zstd::bulk::compress(&[7; 4_000], 1).unwrap();
        packed.truncate(9);
        let zstd = zstd::bulk::decompress(&packed, 4_000).unwrap_err();
        assert!(of(wrapped(ParquetError::External(Box::new(zstd)))).is_damage());
    }
}
