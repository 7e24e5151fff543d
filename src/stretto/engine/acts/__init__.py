"""One function for each action of `core.actions`; the table that joins them."""
