"""The report of a selection as a page: from numbers to HTML. Nothing here knows an engine, or where data is."""
