"""What is recorded in frameworks, also by methods that need no outputs, and no losses."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import emprune
from emprune.errors import ObservationError
from tests.messages import Raises


def assert_recorded(stats: emprune.methods.SampleStats, logits: Tensor, labels: Tensor) -> None:
    """The columns are those of a model that does not change."""
    seen = stats.seen
    assert int(seen.count_nonzero()) > 40
    p = logits.softmax(1)
    of_label = p.gather(1, labels[:, None]).squeeze(1)
    margin = of_label - p.scatter(1, labels[:, None], -1).amax(1)
    losses = F.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(stats["mean_loss"][seen], losses[seen], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(stats["mean_margin"][seen], margin[seen], rtol=1e-5, atol=1e-5)
    assert stats["predicted"][seen].equal(logits.argmax(1)[seen].int())
    assert stats["recorded"].equal(stats["visits"])
    assert int(stats["forgotten"].sum()) == 0


@pytest.mark.parametrize("method", ["random", "greedy", "emp"])
def test_the_trainer(tmp_path: Path, method: str) -> None:
    trainers: Any = pytest.importorskip("tests.integration.trainers", exc_type=ImportError)
    pruner = trainers.make_pruner(emprune.methods.make_method(method), record="all")
    arguments = trainers.make_arguments(tmp_path, learning_rate=0.0)
    trainer = trainers.PrunedTrainer(
        trainers.make_model(), arguments, train_dataset=trainers.Sentences(), pruner=pruner
    )
    trainer.train()
    output = trainer.predict(trainer.train_dataset)
    logits, labels = torch.from_numpy(output.predictions), torch.from_numpy(output.label_ids)
    assert_recorded(pruner.stats, logits, labels)
    assert len(trainer.pruner.suspects(5)) == 5


def test_the_trainer_with_many_predictions_a_sample(tmp_path: Path, raises: Raises) -> None:
    trainers: Any = pytest.importorskip("tests.integration.trainers", exc_type=ImportError)
    for record in ("mean_loss", "all"):
        trainer = trainers.PrunedTrainer(
            trainers.make_model("causal"),
            trainers.make_arguments(tmp_path, num_train_epochs=2),
            train_dataset=trainers.Sentences("causal"),
            method="random",
            keep=0.5,
            record=record,
        )
        if record == "mean_loss":
            trainer.train()
            assert len(trainer.pruner.suspects(5)) == 5
        else:
            with raises(ObservationError, parameter="outputs"):
                trainer.train()


def test_lightning() -> None:
    modules: Any = pytest.importorskip("tests.integration.lightning_module", exc_type=ImportError)
    from emprune.integrations.lightning import prepare
    from tests.integration import runs

    class Recorded(modules.Module):  # type: ignore[misc]
        def setup(self, stage: str) -> None:
            self.loader = prepare(self.trainer, runs.make_dataloader(), "random", keep=1.0, record="all")
            self.pruner = self.loader.pruner

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.0)

        def on_train_end(self) -> None:
            """There is no schedule to look at."""

    module = Recorded()
    modules.make_trainer().fit(module)
    _, x, y = runs.DATASET.tensors
    assert_recorded(module.pruner.stats, module.net(x).detach(), y)
