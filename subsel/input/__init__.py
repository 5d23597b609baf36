"""What comes in: one set of rules for files, rows, edges, ids and wishes, which every engine executes in its own way."""
