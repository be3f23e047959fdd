"""Numbers and names of the Rbkit protocol, version 2.1.

Source: the documentation and C source of the Ruby Rbkit server; see docs/protocol.rst.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

PROTOCOL_VERSION: Final = "2.1"
SUBPROTOCOL: Final = "rbkit"
"""What a WebSocket client asks for in ``Sec-WebSocket-Protocol``."""

DEFAULT_PUB_PORT: Final = 5555
DEFAULT_REQ_PORT: Final = 5556
PORT_RANGE: Final = range(1024, 65001)
"""Ports an Rbkit server accepts; anything else is an ``Invalid port value``."""

OK: Final = b"ok"
"""The answer to every command that has nothing else to say: raw bytes, not MessagePack."""

COLLECTION_SIZE: Final = 400
"""A collection goes out as soon as this many events wait ..."""
COLLECTION_INTERVAL: Final = 1.0
"""... or after this many seconds."""
GC_STATS_INTERVAL: Final = 5.0
OBJECTS_PER_MESSAGE: Final = 1000
DEFAULT_CPU_INTERVAL_USEC: Final = 1000


class Field(IntEnum):
    """Integer keys of the MessagePack maps."""

    EVENT_TYPE = 0
    TIMESTAMP = 1
    PAYLOAD = 2
    OBJECT_ID = 3
    CLASS_NAME = 4
    REFERENCES = 5
    FILE = 6
    LINE = 7
    SIZE = 8
    MESSAGE_COUNTER = 9
    CORRELATION_ID = 10
    COMPLETE_MESSAGE_COUNT = 11
    METHOD_NAME = 12
    LABEL = 13
    SINGLETON_METHOD = 14
    THREAD_ID = 15
    # Ours, in the objects of a dump: where the class of an instance is.
    CLASS_FILE = 16
    CLASS_LINE = 17


class EventType(IntEnum):
    """Values of :attr:`Field.EVENT_TYPE`."""

    OBJ_CREATED = 0
    OBJ_DESTROYED = 1
    GC_START = 2
    GC_END_MARK = 3
    GC_END_SWEEP = 4
    OBJECT_SPACE_DUMP = 5
    GC_STATS = 6
    EVENT_COLLECTION = 7
    HANDSHAKE = 8
    CPU_SAMPLE = 9
