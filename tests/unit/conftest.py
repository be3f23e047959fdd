"""Fixtures of the unit tests; each has its home in ``support``."""

from __future__ import annotations

from support.embeddedpeer import subscriber
from support.native import sampler, way

__all__ = ["sampler", "subscriber", "way"]
