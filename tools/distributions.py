"""Builds the distributions of a release, for ``tools/release``, in whose environment it runs.

The source distribution and the wheel without extensions come from the build backend. The others are that wheel with the
extensions in it: these are compiled here, for each supported Python and processor, against an old C library. That takes
a Python's headers, not the Python itself, so that one machine builds them all.
"""

from __future__ import annotations

import argparse
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
PROCESSORS = ("x86_64", "aarch64")
GLIBC = (2, 17)
"""Of 2012: PyPI and pip call it manylinux_2_17, or manylinux2014."""

SUITE = "sid"
"""Of Debian: has the newest Pythons' headers."""


@dataclass(frozen=True)
class Target:
    """What a wheel is for."""

    python: str
    processor: str

    @property
    def tag(self) -> str:
        """As of an interpreter, ``cp311``."""
        return "cp" + self.python.replace(".", "")

    @property
    def suffix(self) -> str:
        """Of an extension's file."""
        return f".{self.tag.replace('cp', 'cpython-')}-{self.processor}-linux-gnu.so"


def main() -> None:
    options = _options()
    work, out = options.work, options.out.resolve()
    if out.exists() and any(out.iterdir()):
        sys.exit(f"{out} is not empty")
    source = work / "source"
    _run("git", "clone", "-q", ROOT, source)
    changed = _run("git", "-C", ROOT, "status", "--porcelain", "--untracked-files=no")
    if changed:
        print(f"built from the last commit, without the changes of:\n{changed}", flush=True)
    # The times in the wheels: the same commit makes the same ones.
    os.environ["SOURCE_DATE_EPOCH"] = _run("git", "-C", source, "log", "-1", "--format=%ct")
    tell_addresses(source, options.repository or _origin(), f"v{_version(source)}")
    pure = _build_from_source(source, out)
    include = work / "include"
    for python in options.python:
        found = headers(python, options.root, include, work / "debian")
        print(f"headers of Python {found}", flush=True)
        for processor in options.processor:
            target = Target(python, processor)
            built = compiled(source, target, include, work / "built" / f"{target.tag}-{processor}")
            wheel = with_extensions(pure, target, built, work)
            _run("auditwheel", "repair", "--plat", "auto", "--only-plat", "-w", out, wheel)
            if not list(out.glob(f"*-{target.tag}-*{_platform(processor)}.whl")):
                sys.exit(f"{wheel.name} is not {_platform(processor)}: auditwheel show tells why")
    _check(out, source)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/release", description=__doc__)
    add = parser.add_argument
    add("--work", type=Path, required=True, help=argparse.SUPPRESS)
    add("--out", type=Path, default=Path("dist"), help="an empty folder, or a new one (default: dist)")
    add("--repository", help="the repository's public address, for links (default: that of the remote origin)")
    add("--root", type=Path, action="append", default=[], help="a folder with a Debian that has headers of Pythons")
    add("--python", nargs="+", default=PYTHONS, help=f"versions (default: {' '.join(PYTHONS)})")
    add("--processor", nargs="+", default=PROCESSORS, help=f"processors (default: {' '.join(PROCESSORS)})")
    return parser.parse_args()


# -- links


def tell_addresses(source: Path, repository: str, tag: str) -> None:
    """Makes links and pictures of README.rst absolute, and adds addresses to the metadata: a registry's page and what
    is installed lie outside of the repository, whose files those of the release are by their tag."""
    readme = source / "README.rst"
    text = readme.read_text()
    for name in re.findall(_RELATIVE, text):
        if not (source / name.partition("#")[0]).exists():
            sys.exit(f"README.rst leads to {name}, which is not there")
    text = re.sub(rf"(\.\. image:: ){_RELATIVE_PATH}", rf"\1{repository}/raw/{tag}/\2", text)
    readme.write_text(re.sub(rf"(<){_RELATIVE_PATH}(?=>`_)", rf"\1{repository}/blob/{tag}/\2", text))
    addresses = {
        "Source": repository,
        "Documentation": f"{repository}/blob/{tag}/docs/index.rst",
        "Changelog": f"{repository}/blob/{tag}/CHANGELOG.rst",
        "Issues": f"{repository}/issues",
    }
    lines = "".join(f"\n    {name} = {address}" for name, address in addresses.items())
    declared = source / "setup.cfg"
    declared.write_text(declared.read_text().replace("[metadata]\n", f"[metadata]\nproject_urls ={lines}\n", 1))


_RELATIVE_PATH = r"((?![a-z]+:|#)[\w./#-]+)"
_RELATIVE = rf"(?:\.\. image:: |(?<=<)){_RELATIVE_PATH}(?=>`_|$)"


def _version(source: Path) -> str:
    (version,) = re.findall(r'^__version__ = "(.*)"$', (source / "rbkit_websocket" / "__init__.py").read_text(), re.M)
    return version


def _origin() -> str:
    """The address that a browser takes, of the remote that this was cloned from."""
    _, told = _tried("git", "-C", ROOT, "remote", "get-url", "origin")
    address = re.sub(r"^(ssh://)?git@([\w.-]+)[:/]", r"https://\2/", told.strip()).removesuffix(".git")
    if not address.startswith("https://"):
        sys.exit("Where is the repository? README.rst links to it: --repository https://HOST/OWNER/NAME")
    return address


# -- what the build backend makes


def _build_from_source(source: Path, out: Path) -> Path:
    """The source distribution, and the wheel without extensions that is built from it."""
    os.environ.update(RBKIT_NATIVE="0", RBKIT_DASHBOARD="require")
    failed, told = _tried(sys.executable, "-m", "build", "--outdir", out, source)
    del os.environ["RBKIT_NATIVE"]
    # setuptools warns so of what it will not take for long.
    if failed or "Deprecat" in told or "importable" in told:
        sys.exit(f"{told}\nThe build fails or warns: see above.")
    return next(out.glob("*-none-any.whl"))


# -- headers of Pythons


def headers(python: str, roots: Iterable[Path], include: Path, debian: Path) -> str:
    """Copies a Python's headers to a folder in ``include``; returns their version."""
    name = f"python{python}"
    found = next((folder for folder in _folders(name, roots) if (folder / "Python.h").is_file()), None)
    if found is None:
        found = _from_debian(name, debian) / "usr" / "include" / name
    shutil.copytree(found, include / name)
    # Debian's pyconfig.h includes that of the processor. They say the same of all that have 64 bits and these bytes'
    # order, as far as structures and functions are concerned.
    for folder in found.parent.glob(f"*-linux-gnu/{name}"):
        for processor in PROCESSORS:
            shutil.copytree(folder, include / f"{processor}-linux-gnu" / name, dirs_exist_ok=True)
    told = re.search(r'^#define PY_VERSION\s+"(.*)"', (include / name / "patchlevel.h").read_text(), re.MULTILINE)
    if told is None:
        sys.exit(f"{found} has no version")
    return told[1]


def _folders(name: str, roots: Iterable[Path]) -> Iterable[Path]:
    yield from (root / "usr" / "include" / name for root in roots)
    of_pyenv = sorted(Path.home().glob(f".pyenv/versions/{name.removeprefix('python')}.*/bin/{name}"))
    for interpreter in [shutil.which(name), *of_pyenv]:
        if interpreter:
            failed, told = _tried(interpreter, "-c", "import sysconfig; print(sysconfig.get_path('include'))")
            if not failed:
                yield Path(told.strip())


def _from_debian(name: str, folder: Path) -> Path:
    """Unpacks the headers' package, with lists of packages of its own: the machine's stay as they are."""
    for inside in ("lists/partial", "cache/archives/partial"):
        (folder / inside).mkdir(parents=True, exist_ok=True)
    which = ("--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian", "Label: Debian")
    mirrors = _run("apt-get", "indextargets", *which).split()
    if not mirrors:
        sys.exit(f"There are no headers of {name}: install them, or name the root of a Debian that has them (--root)")
    (folder / "sources.list").write_text(f"deb {mirrors[0]} {SUITE} main\n")
    own = {"Dir::Etc::sourcelist": "sources.list", "Dir::State::lists": "lists", "Dir::Cache": "cache"}
    apt = ["apt-get", "-qq", "-o", "Dir::Etc::sourceparts=/dev/null", "-o", "APT::Sandbox::User=root"]
    apt += [part for key, value in own.items() for part in ("-o", f"{key}={folder / value}")]
    if not list((folder / "lists").glob("*_Packages*")):
        _run(*apt, "update")
    _run(*apt, "download", f"lib{name}-dev", cwd=folder)
    (package,) = folder.glob(f"lib{name}-dev_*.deb")
    _run("dpkg", "-x", package, folder / "root")
    return folder / "root"


# -- wheels with extensions


def compiled(source: Path, target: Target, include: Path, folder: Path) -> list[Path]:
    """The extensions, as setup.py declares them."""
    folder.mkdir(parents=True)
    compiler = (sys.executable, "-m", "ziglang", "cc", "-target", f"{target.processor}-linux-gnu.{_dotted(GLIBC)}")
    paths = ("-I", include / f"python{target.python}", "-idirafter", include)
    built = []
    for extension in declared(source):
        file = folder / (extension.name.rpartition(".")[2] + target.suffix)
        _run(
            *(*compiler, "-shared", "-fPIC", "-s", "-DNDEBUG", *extension.extra_compile_args, *paths),
            *(*extension.sources, *extension.extra_link_args, "-o", file),
            cwd=source,
        )
        built.append(file)
    return built


def declared(source: Path):
    """The extensions that setup.py declares, whose paths are relative to it."""
    before = Path.cwd()
    os.chdir(source)
    try:
        return runpy.run_path("setup.py")["extensions"]()
    finally:
        os.chdir(before)


def with_extensions(pure: Path, target: Target, built: list[Path], work: Path) -> Path:
    """A wheel with these files in it."""
    folder = work / "wheels" / f"{target.tag}-{target.processor}"
    _run("wheel", "unpack", "-d", folder, pure)
    (root,) = folder.iterdir()
    for file in built:
        shutil.copy(file, root / "rbkit_websocket" / "native")
    (facts,) = root.glob("*.dist-info/WHEEL")
    text = facts.read_text().replace("Root-Is-Purelib: true", "Root-Is-Purelib: false")
    facts.write_text(re.sub(r"^Tag: .*", f"Tag: {target.tag}-{target.tag}-linux_{target.processor}", text, flags=re.M))
    _run("wheel", "pack", "-d", folder, root)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _platform(processor: str) -> str:
    return f"manylinux_{_dotted(GLIBC).replace('.', '_')}_{processor}"


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


# -- the end


def _check(out: Path, source: Path) -> None:
    made = sorted(out.iterdir())
    _run("twine", "check", "--strict", *made)
    _run(sys.executable, ".ci/check_dist.py", "--links", *made, cwd=source)
    for path in made:
        print(f"{path.stat().st_size:>10,}  {path.name}")


def _tried(*command: object, cwd: Path | None = None) -> tuple[int, str]:
    """A command's exit code, and what it said."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def _run(*command: object, cwd: Path | None = None) -> str:
    """What a command said; if it fails that is printed, and is the end."""
    failed, told = _tried(*command, cwd=cwd)
    if failed:
        sys.exit(f"{told}\n{' '.join(map(str, command))[:300]} failed, see above")
    return told.strip()


if __name__ == "__main__":
    main()
