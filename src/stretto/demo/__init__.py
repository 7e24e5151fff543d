"""A whole run on a small real repository, by public commands only: `stretto demo`."""
