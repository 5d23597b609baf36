"""What differs between engines: where points and graph live, and how they get there and out again."""
