"""A real nginx in front of a web server, with the configurations that the documentation shows."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from .ports import free_port
from .transports import Authority
from .waiting import scaled, wait_until

CONFIGURATIONS = Path(__file__).parents[2] / "docs" / "servers" / "nginx"
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

# Debian installs it where only root's PATH leads.
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def require_nginx() -> None:
    """Skips the test where nginx and its stream module are missing, except in CI, where they have to be there."""
    if NGINX is None or not STREAM_MODULE.exists():
        missing = "nginx with its stream module is missing (apt-get install nginx-light libnginx-mod-stream)"
        if os.environ.get("CI"):
            pytest.fail(f"{missing}, and CI must not skip the tests behind a proxy")
        pytest.skip(missing)


class Nginx:
    """An nginx with one of the documented configurations; a context manager.

    Args:
        configuration: a file of :data:`CONFIGURATIONS`, without its extension.
        upstream: port of the web server, or the path of its Unix socket.
        authority: gives the certificate, where the configuration has one.
        changed: further replacements in the configuration's text, each of which has to match.
    """

    def __init__(
        self,
        configuration: str,
        upstream: int | Path,
        *,
        authority: Authority | None = None,
        changed: Mapping[str, str] | None = None,
    ) -> None:
        require_nginx()
        text = (CONFIGURATIONS / f"{configuration}.conf").read_text()
        self.stream = text.startswith("stream")
        given = "/run/myapp.sock" if isinstance(upstream, Path) else "127.0.0.1:8000"
        there = str(upstream) if isinstance(upstream, Path) else f"127.0.0.1:{upstream}"
        replacements = {given: there, **(changed or {})}
        if authority is not None:
            replacements |= {
                "/etc/ssl/myapp/cert.pem": str(authority.certificate),
                "/etc/ssl/myapp/key.pem": str(authority.key),
            }
        for old, new in replacements.items():
            assert old in text, f"{old!r} is not in {configuration}.conf"
            text = text.replace(old, new)
        self._text = text
        self._directory = Path(tempfile.mkdtemp(prefix="rbn", dir="/tmp"))
        try:
            self._start()
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise

    def _start(self) -> None:
        self.port = free_port()  # nginx cannot choose one itself
        (self._directory / "nginx.conf").write_text(self._configuration())
        command = [NGINX, "-p", self._directory, "-c", "nginx.conf", "-e", "error.log"]
        self.process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=-3)
        wait_until(lambda: self.process.poll() is not None or self._listening(), "nginx to listen", timeout=20)
        if self.process.poll() is not None:
            raise AssertionError(f"nginx ended at once:\n{self.log()}\n{self._configuration()}")

    def _configuration(self) -> str:
        """What surrounds the documented part: one worker, no daemon, everything in a directory of its own."""
        text = re.sub(r"\blisten (80|443)\b", f"listen 127.0.0.1:{self.port}", self._text)
        lines = ["daemon off;", "worker_processes 1;", "pid nginx.pid;", "error_log error.log info;"]
        if os.geteuid() == 0:
            lines.append(f"user {pwd.getpwuid(0).pw_name};")  # else the worker could not enter the directory
        if self.stream:
            lines.append(f"load_module {STREAM_MODULE};")
        lines.append("events { worker_connections 64; }")
        if self.stream:
            return "\n".join([*lines, text])
        paths = [f"{kind}_temp_path {kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
        return "\n".join([*lines, "http {", "access_log access.log;", *paths, text, "}"])

    def _listening(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def log(self) -> str:
        """The error log."""
        path = self._directory / "error.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self) -> Nginx:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self.process.poll() is None:
                self.process.terminate()
                self.process.wait(scaled(10))
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # all of it has ended
            self.process.wait(scaled(10))
            if kind is not None:
                print(f"--- log of nginx\n{self.log()}---")
            shutil.rmtree(self._directory, ignore_errors=True)
