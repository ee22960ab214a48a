from pathlib import Path

from tests.lab.chaos import chaos


def test_a_run_killed_again_and_again_ends_as_the_one_that_never_was(tmp_path: Path) -> None:
    kills: list[int] = []
    found, met = chaos(5, seed=0, folder=tmp_path, advance=kills.append)
    assert found == []
    assert sum(kills) == sum(met.values()) == 5
    assert any("gone on from a checkpoint" in what for what in met)
