"""Configuration of gunicorn: tells when a worker has loaded its application, which has not been asked for anything."""

from __future__ import annotations

from typing import Any

READY = "the worker is ready"


def post_worker_init(worker: Any) -> None:
    worker.log.info(READY)
