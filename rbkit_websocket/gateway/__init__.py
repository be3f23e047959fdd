"""The bridge by itself, in front of any Rbkit servers: what ``rbkit-websocket gateway`` runs."""
