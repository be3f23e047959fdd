"""The gateway: the bridge by itself, in front of any Rbkit servers."""
