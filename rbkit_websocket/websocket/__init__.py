"""The WebSocket layer (RFC 6455): opening handshake, frames, one outbox for all writes, sessions and their keeper."""
