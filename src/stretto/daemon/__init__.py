"""The one process per home: singleton, HTTP over a Unix socket, event stream."""
