"""The command line: thin, one file per group of verbs, over the client."""
