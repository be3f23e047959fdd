"""Taking a connection over from its web server: one file a server, and the registry that asks them in order."""
