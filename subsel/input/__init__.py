"""What comes in: one set of rules for files, rows, edges, ids and wishes, executed by every engine in its way."""
