"""Files that appear whole or not at all."""

import os
from pathlib import Path

import pytest

from emprune.lab.files import write_whole


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, lambda file: file.write(b"old"))

    def fail_half_way(file: object) -> None:
        getattr(file, "write")(b"ne")  # noqa: B009
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_whole(path, fail_half_way)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
