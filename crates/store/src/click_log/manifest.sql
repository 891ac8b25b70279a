-- manifest.sql: what the click log knows of its closed slices and of its sealed clicks. Version 1.
--
-- | table       | what it is for                                                                     |
-- | ----------- | ---------------------------------------------------------------------------------- |
-- | meta        | format version; the highest number ever given to a file, so that none is used twice; the
-- |             | moment that was believed last; the highest slice that was published; for each node the
-- |             | latest moment in an id of a closed slice, so that ids go on behind it though it is gone |
-- | slice       | one row per closed slice: its name, span, size, checksum, whether it is published    |
-- | slice_count | its click counts, until the ledger has them in its rollups                          |
-- | segment     | one row per segment: its name, span, size, checksum, and its side file               |
-- | side        | one row per side file of segments: which segments it was made for, size, checksum    |
-- | object      | objects that may be in a bucket by our hand: noted before one is put, forgotten once it is deleted |
-- | doomed      | files whose clicks are in other files by now, or expired: to be deleted, then forgotten |
--
-- A file lists the slices of all workspaces, so these keys do not start with one; slice_count carries it. Slices,
-- segments and their side files are numbered by one counter.
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS slice (
    seq               INTEGER PRIMARY KEY,
    node              INTEGER NOT NULL,
    began_ms          INTEGER NOT NULL,
    id_first_ms       INTEGER NOT NULL,
    id_last_ms        INTEGER NOT NULL,
    received_first_ms INTEGER NOT NULL,
    received_last_ms  INTEGER NOT NULL,
    clicks            INTEGER NOT NULL,
    bytes             INTEGER NOT NULL,
    checksum          INTEGER NOT NULL,
    published         INTEGER NOT NULL,
    -- Its clicks are in a segment; the row is left for its counts.
    elsewhere         INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS slice_count (
    seq          INTEGER NOT NULL,
    workspace    INTEGER NOT NULL,
    app          BLOB NOT NULL,
    campaign     BLOB NOT NULL,
    partner      BLOB NOT NULL,
    link         BLOB NOT NULL,
    kind         INTEGER NOT NULL,
    country      TEXT NOT NULL,
    bucket_start INTEGER NOT NULL,
    count        INTEGER NOT NULL,
    absent       INTEGER NOT NULL,
    unexpanded   INTEGER NOT NULL,
    PRIMARY KEY (seq, workspace, link, kind, country, bucket_start, app, campaign, partner)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS segment (
    seq               INTEGER PRIMARY KEY,
    node              INTEGER NOT NULL,
    hour_ms           INTEGER NOT NULL,
    id_first_ms       INTEGER NOT NULL,
    id_last_ms        INTEGER NOT NULL,
    received_first_ms INTEGER NOT NULL,
    received_last_ms  INTEGER NOT NULL,
    clicks            INTEGER NOT NULL,
    bytes             INTEGER NOT NULL,
    checksum          INTEGER NOT NULL,
    side              INTEGER NOT NULL,
    -- The bucket that it lies in; NULL: the log's directory.
    bucket            TEXT,
    -- Of one in a bucket: numbers of the files whose clicks are in it, 8 bytes each, big-endian.
    replaces          BLOB
);
CREATE TABLE IF NOT EXISTS side (
    seq      INTEGER PRIMARY KEY,
    node     INTEGER NOT NULL,
    -- Numbers of segments, 8 bytes each, big-endian, in order of time.
    segments BLOB NOT NULL,
    bytes    INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS object (
    bucket TEXT NOT NULL,
    file   TEXT NOT NULL,
    -- Number of the segment. An object whose segment is not listed is to be deleted.
    seq    INTEGER NOT NULL,
    -- 1 once the bucket said that it was put by us: what is there under its name is ours.
    put    INTEGER NOT NULL,
    PRIMARY KEY (bucket, file)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS doomed (file TEXT PRIMARY KEY NOT NULL) WITHOUT ROWID;
