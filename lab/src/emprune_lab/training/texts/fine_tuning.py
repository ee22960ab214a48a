"""Training on texts: a pretrained language model, fine-tuned by the Hugging Face Trainer on the plan."""

import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.trainer_callback import PrinterCallback

from emprune import DataPruner
from emprune_lab.errors import RunError, StoppedError
from emprune_lab.files import draft_folder, write_whole
from emprune_lab.models.pretrained import load_pretrained, load_tokenizer, quiet
from emprune_lab.results.record import RunRecord
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.run import Run
from emprune_lab.tasks import TextTask
from emprune_lab.training.exported import CONFIG, packed
from emprune_lab.training.saved_state import MISFITS, misfit
from emprune_lab.training.scores import class_accuracy, score
from emprune_lab.training.speed import Speed
from emprune_lab.training.texts.callbacks import Clock, TallyCallback, TextTally
from emprune_lab.training.texts.encoding import Encoded, Encoder
from emprune_lab.training.texts.trainer import EVALUATION_BATCH, CountingTrainer, arguments_of
from emprune_lab.training.training import PROBE_SIZE, Reporter, Training

__all__ = ["TextTraining"]

NUM_SCORED_BATCHES = 2


class TextTraining(Training):
    """A run on texts in memory. Runs of one seed start from the same weights, whatever the method.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        assert isinstance(run.task, TextTask), "images are not trained here"
        self.task, model_name = run.task, run.settings.training.model
        max_length = run.settings.training.max_length or self.task.max_length
        self._encode = Encoder(model_name, max_length, run.data_dir)
        self._train_set = self._encode(run.splits.train)
        torch.manual_seed(run.settings.seed)
        model = load_pretrained(model_name, num_classes=self.task.num_classes, data_dir=run.data_dir)
        tokenizer = load_tokenizer(model_name, data_dir=run.data_dir)
        model.config.pad_token_id = tokenizer.pad_token_id
        with tempfile.TemporaryDirectory(prefix="emprune-") as made:  # it makes a folder; the run's is known later
            self.trainer = CountingTrainer(
                model,
                arguments_of(run, Path(made)),
                train_dataset=self._train_set,
                processing_class=tokenizer,
                pruner=run.new_pruner(),
            )
        self.trainer.remove_callback(PrinterCallback)

    @property
    def pruner(self) -> DataPruner:  # noqa: D102 - inherited
        pruner: DataPruner = self.trainer.pruner
        return pruner

    @cached_property
    def parts(self) -> Mapping[str, Encoded]:
        """What is scored, in order of length. It is tokenised when it is first asked for: to time steps needs none."""
        splits = self.run.splits
        parts = {"test": self._encode(splits.test)}
        if splits.validation is not None:
            parts["validation"] = self._encode(splits.validation)
        if self.run.follows_gap:
            parts["probe"] = self._train_set.take(self.pruner.probe(PROBE_SIZE).tolist())
        return {name: part.by_length() for name, part in parts.items()}

    def evaluate(self, part: str) -> dict[str, Any]:
        """Return accuracy in per cent, in all and by class, mean cross-entropy and, of another metric, the score."""
        return self._evaluate(self.parts[part])

    def _train(self, folder: RunFolder, report: Reporter) -> RunRecord:
        settings, checkpoints = self.run.settings, folder.checkpoints
        _ = self.parts  # tokenised now: no clock of the scoring runs meanwhile

        def begin(tally: TextTally) -> None:
            folder.log.cut(tally.log_bytes, tally.log_sha256)
            self.begin(folder, report, tally)

        callback = TallyCallback(
            self.trainer,
            settings.cost.epochs,
            begin=begin,
            step=report.step,
            close_epoch=lambda tally: self.close_epoch(tally, folder, report),
            saved=lambda written, num_steps: checkpoints.add(written, num_steps, lasting=False),
            stop=self.stop,
            check_stop=self.stop.check,
        )
        self.trainer.add_callback(callback)
        with draft_folder(checkpoints.folder) as written:
            self.trainer.args.output_dir = str(written)
            self._train_from(checkpoints.newest(lambda found: found, say=report.remark), callback)
        tally, num_epochs = callback.tally, settings.cost.epochs
        if tally.epoch < num_epochs:
            raise StoppedError(f"Stopped in epoch {tally.epoch + 1} of {num_epochs}; nothing is lost.")
        self.pruner.sync()
        if self.run.keeps_model:
            write_whole(folder.model, lambda file: file.write(self._packed_model()))
        return self.finish(folder, tally)

    def _time_steps(self, step: Callable[[], object]) -> Speed:
        clock = Clock(self.trainer, self._now, step)
        self.trainer.add_callback(clock)
        self.trainer.train()
        test = self.run.splits.test
        chosen = torch.arange(0, len(test), max(1, len(test) // (NUM_SCORED_BATCHES * EVALUATION_BATCH)))
        part = self._encode(test.take(chosen)).by_length()
        self._evaluate(part)
        before = self._now()
        self._evaluate(part)
        return Speed.of(clock.steps, scoring=(self._now() - before) / len(part))

    def _packed_model(self) -> bytes:
        """Return the weights, and the configuration with the names of the classes."""
        model = self.trainer.model
        assert model is not None, "it was trained"
        config: Any = model.config
        names = dict(enumerate(map(str, self.run.splits.classes or range(self.task.num_classes))))
        config.update(
            {
                "id2label": names,
                "label2id": {name: label for label, name in names.items()},
                "architectures": [type(model).__name__],
            }
        )
        return packed(model.state_dict(), self.run.settings, **{CONFIG: config.to_json_string()})

    def _train_from(self, checkpoint: Path | None, callback: TallyCallback) -> None:
        try:
            with quiet():
                self.measure_first_gap()  # of a resumed run too: the Trainer plans before it loads
                self.trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        except StoppedError:
            raise
        except (*MISFITS, SafetensorError) as error:
            if checkpoint is None or callback.begun or isinstance(error, torch.OutOfMemoryError):
                raise
            raise RunError(
                f"{checkpoint} {misfit(error)}. Move it away, and go on from the one before it with --resume."
            ) from error

    def _evaluate(self, part: Encoded) -> dict[str, Any]:
        with torch.random.fork_rng(devices=[]):  # the Trainer draws a seed, and may be stopped after it
            prediction = self.trainer.predict(part)
        logits, labels = torch.as_tensor(prediction.predictions), torch.as_tensor(prediction.label_ids)
        predicted, metric = logits.argmax(1), self.task.metric
        own = {} if metric == "accuracy" else {"score": score(metric, labels.numpy(), predicted.numpy())}
        return {
            "accuracy": score("accuracy", labels.numpy(), predicted.numpy()),
            "loss": float(torch.nn.functional.cross_entropy(logits.float(), labels)),
            "class_accuracy": class_accuracy(predicted, labels, num_classes=self.task.num_classes),
            **own,
        }

    def _now(self) -> float:
        self.run.compute.synchronize()
        return time.perf_counter()
