"""Reading over HTTP: a crop, a page, a batch."""
