"""Ways to get files: from a folder on this machine, over the network, out of a Debian package."""

import gzip
import shutil
import subprocess
import tempfile
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path

from emprune.lab.tasks.cache import Source, SourceError

__all__ = ["debian_package", "local_folder", "web_address"]

CONNECT_SECONDS = 10
APT_SECONDS = 600


def local_folder(folder: str, names: Sequence[str]) -> Source:
    """Return the source that unpacks `<name>.gz` from a folder on this machine."""

    def collect(into: Path) -> None:
        _unpack(Path(folder), names, into)

    return Source(f"the folder {folder}", collect)


def web_address(address: str, names: Sequence[str]) -> Source:
    """Return the source that downloads and unpacks `<address>/<name>.gz`."""

    def collect(into: Path) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            for name in names:
                _download(f"{address}/{name}.gz", Path(temporary) / f"{name}.gz")
            _unpack(Path(temporary), names, into)

    return Source(address, collect)


def debian_package(package: str, folder: str, names: Sequence[str]) -> Source:
    """Return the source that downloads a Debian package, without installing it, and unpacks `<folder>/<name>.gz`."""

    def collect(into: Path) -> None:
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise SourceError("apt-get and dpkg-deb are not on this machine")
        with tempfile.TemporaryDirectory() as temporary:
            _call(["apt-get", "download", package], Path(temporary), "`apt-get update` may help")
            archives = [str(path) for path in Path(temporary).glob("*.deb")]
            if len(archives) != 1:
                raise SourceError(f"apt-get downloaded {len(archives)} packages instead of one")
            _call(["dpkg-deb", "-x", archives[0], "content"], Path(temporary), "the archive is damaged")
            _unpack(Path(temporary, "content", folder.lstrip("/")), names, into)

    return Source(f"the Debian package {package}", collect)


def _unpack(folder: Path, names: Sequence[str], into: Path) -> None:
    missing = [f"{name}.gz" for name in names if not (folder / f"{name}.gz").is_file()]
    if missing:
        raise SourceError(f"{', '.join(missing)} not there")
    for name in names:
        try:
            with gzip.open(folder / f"{name}.gz") as packed, (into / name).open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise SourceError(f"{name}.gz is damaged ({error})") from error


def _download(address: str, path: Path) -> None:
    try:
        with urllib.request.urlopen(address, timeout=CONNECT_SECONDS) as answer, path.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (OSError, ValueError) as error:
        raise SourceError(f"no answer ({getattr(error, 'reason', error)})") from error


def _call(command: list[str], folder: Path, advice: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=APT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"`{' '.join(command)}` took longer than {APT_SECONDS} s") from error
    if done.returncode != 0:
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
        raise SourceError(f"`{' '.join(command)}` failed: {reason[0]} ({advice})")
