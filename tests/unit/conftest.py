"""Fixtures of the unit tests; each has its home in ``support``."""

from __future__ import annotations

from support.native import sampler, way

__all__ = ["sampler", "way"]
