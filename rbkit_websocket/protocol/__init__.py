"""The Rbkit protocol 2.1 and its WebSocket framing: constants, codec, messages, envelope. No I/O."""
