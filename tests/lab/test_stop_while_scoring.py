"""A stop that is asked for while a run scores: it ends within a batch, and the run goes on as if nothing had been."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from emprune_lab.analyses.finished_run import FinishedRun
from emprune_lab.errors import StoppedError
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.settings import Settings
from emprune_lab.training import Training
from emprune_lab.training.objectives.classification import Classification
from emprune_lab.training.objectives.contrastive import Contrastive
from emprune_lab.training.probes import knn_accuracy, linear_probe_accuracy
from torch import nn

from tests.lab.runs import (
    SilentReporter,
    assert_equal_runs,
    checkpoints_of,
    log,
    run_of,
    run_small,
    small_settings,
    training_of,
)


def stop_in_scoring(training: Training, model: nn.Module, path: Path, *, closed: int, batch: int = 1) -> SilentReporter:
    """Run in `path`; after so many epochs were closed ask to stop in a batch of scoring, and see it obeyed at once."""
    report, scored = SilentReporter(), list[int]()

    def count(module: nn.Module, arguments: Any) -> None:
        if not module.training:
            scored.append(len(report.records))

    model.register_forward_pre_hook(count)
    folder = RunFolder.open(path, training.run.settings, resume=True)
    with pytest.raises(StoppedError, match="nothing is lost"):
        training.train(folder, report=report, stop=lambda: scored.count(closed) >= batch)
    assert scored.count(closed) == batch
    assert len(report.records) == closed
    return report


CLOSED = (0, 0, 1, 2)
"""The first epoch's scoring; that again; the next epoch's; the last one's."""


@pytest.mark.parametrize("settings", [{"method": "emp:pool=2"}, {"method": "emp:pool=gap", "validation": 0.2}])
def test_images(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classification, "evaluation_batch", 20)
    chosen = small_settings(**settings)
    whole = run_small(chosen, tmp_path / "whole")
    for closed in CLOSED:
        training = training_of(chosen)
        stop_in_scoring(training, training.model, tmp_path / "parts", closed=closed, batch=2)
        assert checkpoints_of(tmp_path / "parts")
    report = SilentReporter()
    parts = run_small(chosen, tmp_path / "parts", report=report)
    assert (report.steps, len(report.records)) == (0, 1)  # only the last epoch's scoring was left
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts", (whole, parts))
    assert len(FinishedRun(run_of(chosen), tmp_path / "parts").losses) > 0  # from its last checkpoint


def test_what_is_scored_with_batch_norm_estimated_again(tmp_path: Path) -> None:
    settings = small_settings("random", recalibrate_bn=True, epochs=1)
    whole = run_small(settings, tmp_path / "whole")
    training = training_of(settings)
    stop_in_scoring(training, training.model, tmp_path / "parts", closed=1)
    parts = run_small(settings, tmp_path / "parts")
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts", (whole, parts))


def test_contrastive_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Contrastive, "evaluation_batch", 20)
    settings = small_settings("random", task="simclr-digits", epochs=1)
    whole = run_small(settings, tmp_path / "whole")
    training = training_of(settings)
    stop_in_scoring(training, training.model, tmp_path / "parts", closed=0, batch=3)
    parts = run_small(settings, tmp_path / "parts")
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts", (whole, parts))


@pytest.mark.parametrize("probe", [linear_probe_accuracy, knn_accuracy])
def test_probes_that_are_fitted(probe: Callable[..., float]) -> None:
    def stop() -> None:
        raise StoppedError

    features, y = torch.randn(8, 2), torch.arange(8) % 2
    with pytest.raises(StoppedError):
        probe(features, y, test_features=features, test_y=y, check_stop=stop)


@pytest.mark.parametrize("settings", [{"method": "emp:pool=2"}, {"method": "emp:pool=gap", "validation": 0.25}])
def test_texts(settings: dict[str, Any], place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("accelerate", reason="needs emprune[transformers]")
    pytest.importorskip("transformers", reason="needs emprune[transformers]")
    from emprune_lab.training.texts import trainer

    from tests.lab.texts import assert_equal_text_runs, run_text, text_settings

    monkeypatch.setattr(trainer, "EVALUATION_BATCH", 4)
    chosen = text_settings(place, **settings)
    whole = run_text(chosen, tmp_path / "whole", place)
    for closed in CLOSED:
        training = text_training(chosen, place)
        model = training.trainer.model
        assert model is not None
        stop_in_scoring(training, model, tmp_path / "parts", closed=closed, batch=2)
    report = SilentReporter()
    parts = run_text(chosen, tmp_path / "parts", place, report=report)
    assert (report.steps, len(report.records)) == (0, 1)
    assert_equal_text_runs(tmp_path / "whole", tmp_path / "parts", (whole, parts))


def text_training(settings: Settings, place: Path) -> Any:
    from emprune_lab.training.texts.fine_tuning import TextTraining  # which needs transformers

    return TextTraining(run_of(settings, data_dir=place / "data"))


def test_the_gap_of_images_before_the_first_epoch(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"method": "emp:pool=gap", "validation": 0.2}
    run_small(small_settings(**settings), tmp_path / "earlier")
    chosen = small_settings(**settings, initial=str(tmp_path / "earlier"))
    training = training_of(chosen)
    assert stop_in_scoring(training, training.model, tmp_path / "run", closed=0).steps == 0
    assert not (tmp_path / "run" / "checkpoints").exists()
    run_small(chosen, tmp_path / "run")
    assert len(log(tmp_path / "run")) == 4


def test_the_gap_of_texts_before_the_first_epoch_and_again_when_it_goes_on(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="needs emprune[transformers]")
    pytest.importorskip("transformers", reason="needs emprune[transformers]")
    from tests.lab.texts import assert_equal_text_runs, run_text, text_settings

    settings: dict[str, Any] = {"method": "emp:pool=gap", "validation": 0.25}
    run_text(text_settings(place, **settings), tmp_path / "earlier", place)
    chosen = text_settings(place, **settings, initial=str(tmp_path / "earlier"))
    whole = run_text(chosen, tmp_path / "whole", place)
    for stop_after in (None, 1, None):
        if stop_after is None:
            training = text_training(chosen, place)
            stop_in_scoring(training, training.trainer.model, tmp_path / "parts", closed=0)
        else:
            with pytest.raises(StoppedError):
                run_text(chosen, tmp_path / "parts", place, stop_after=stop_after)
    parts = run_text(chosen, tmp_path / "parts", place)
    assert_equal_text_runs(tmp_path / "whole", tmp_path / "parts", (whole, parts))
