-- slice.sql: one slice of the click log. Version 1.
--
-- | table | what it is for                                                                               |
-- | ----- | -------------------------------------------------------------------------------------------- |
-- | meta  | what the file says of itself: format version, node, when it began, its number                |
-- | click | one touch per row; id is (ms since the slice began) << 30 | counter, both from the click id   |
--
-- There is no secondary index and no workspace in the key: a slice holds the clicks of one node in arrival
-- order, and the wall between workspaces is the scope of the prints and the click's own fields.
CREATE TABLE meta (name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE click (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
