"""`--group-by-length` on texts: less padding at the same cost, and off unless it is asked for."""

import json
from pathlib import Path

import pytest

pytest.importorskip("accelerate", reason="needs emprune[transformers]")
pytest.importorskip("transformers", reason="needs emprune[transformers]")

from emprune_lab.errors import StoppedError
from emprune_lab.settings import Settings
from emprune_lab.training.texts.encoding import Encoded

from tests.lab.runs import outcome
from tests.lab.texts import assert_equal_text_runs, run_text, text_settings


def test_it_pads_less_at_the_same_cost_and_is_recorded(place: Path, tmp_path: Path) -> None:
    plain, grouped = (text_settings(place, "full", keep=None, group_by_length=on) for on in (None, True))
    run_text(plain, tmp_path / "plain", place)
    training = run_text(grouped, tmp_path / "grouped", place)
    first, second = outcome(tmp_path / "plain"), outcome(tmp_path / "grouped")
    assert (first["visits"], first["tokens"]) == (second["visits"], second["tokens"])
    assert second["padded_tokens"] < first["padded_tokens"]
    assert second["padded_tokens"] < 1.1 * second["tokens"]
    train = training.trainer.train_dataset
    assert isinstance(train, Encoded)
    assert training.pruner.lengths is not None
    assert training.pruner.lengths.tolist() == [len(tokens["input_ids"]) for tokens in train.tokens]
    stored = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("plain", "grouped")]
    assert [config["training"]["group_by_length"] for config in stored] == [False, True]


def test_without_it_settings_and_folders_are_what_they_were(place: Path) -> None:
    settings, grouped = (text_settings(place, group_by_length=on) for on in (None, True))
    document = settings.model_dump()
    del document["training"]["group_by_length"]  # as an earlier version wrote it
    assert Settings.read(document) == settings
    assert settings.folder_name != grouped.folder_name
    assert settings.differences(grouped) == ["group_by_length: False and True"]


@pytest.mark.parametrize("stop_after", [5, 12])
def test_a_resumed_run_is_bit_equal_to_the_whole_one(place: Path, tmp_path: Path, stop_after: int) -> None:
    settings = text_settings(place, "emp:pool=2", group_by_length=True)
    whole = run_text(settings, tmp_path / "whole", place)
    with pytest.raises(StoppedError):
        run_text(settings, tmp_path / "stopped", place, stop_after=stop_after)
    resumed = run_text(settings, tmp_path / "stopped", place)
    assert_equal_text_runs(tmp_path / "whole", tmp_path / "stopped", (whole, resumed))
