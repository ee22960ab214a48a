"""Training on arrays by our own loop: images, or blocks of tokens. It stops after any batch, and goes on exactly."""

import copy
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

import emprune
from emprune.distributed import Ranks
from emprune.randomness import derive_seed
from emprune_lab.data.splits import Split
from emprune_lab.errors import StoppedError
from emprune_lab.results.record import RunRecord
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.run import Run
from emprune_lab.training.objectives import Network, Objective, make_objective
from emprune_lab.training.optimization import SCHEDULES, make_optimizer
from emprune_lab.training.saved_state import load_state, save_state
from emprune_lab.training.speed import NUM_TIMED_STEPS, Speed, TimedStep
from emprune_lab.training.tally import Tally
from emprune_lab.training.training import PROBE_SIZE, Reporter, Training

__all__ = ["ArrayTraining"]

RECALIBRATION_SIZE, RECALIBRATION_BATCH = 2000, 200


class ArrayTraining(Training):
    """A run on images or blocks of tokens in memory. Runs of one seed start from the same weights, whatever the method.

    The objective says what a batch is made into, what it costs and what a model is scored by. The learning rate follows
    from the position, so there is no scheduler to keep.

    Args:
        run: The run. Its batch size is that of all ranks together.
        ranks: Those that share it; None for this process alone. All data are on every rank.

    Raises:
        ConfigError: If the data, the method and the cost do not go together.
    """

    def __init__(self, run: Run, ranks: Ranks | None = None) -> None:
        super().__init__(run, ranks)
        device, splits = run.compute.device, run.splits
        self.objective: Objective = make_objective(run, self.stop.check)
        self.train_split: Split = splits.train.to(device)
        self.loader = emprune.ArrayLoader(
            self.objective.arrays(self.train_split),
            run.new_pruner(),
            batch_size=run.sizes.batch // self.ranks.size,
            transform=self.objective.transform,
            drop_last=run.whole_batches,
        )
        probe = self.train_split.take(self.pruner.probe(PROBE_SIZE))
        self._parts = {"test": splits.test.to(device), "probe": probe}
        if splits.validation is not None:
            self._parts["validation"] = splits.validation.to(device)
        torch.manual_seed(run.settings.seed)
        self.model: nn.Module = self.objective.make_model()
        self.model.to(device=device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        decay = run.settings.training.ema
        self.averaged = None
        if decay:
            self.averaged = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
        self.network: Network = self.model if self.ranks.size == 1 else DistributedDataParallel(self.model)
        if run.settings.machine.compile:
            self.network = torch.compile(self.network, dynamic=False)
        self.optimizer = make_optimizer(run.settings.training, self.model)
        if self.ranks.rank > 0:  # what a model drops is not the same on all ranks
            torch.manual_seed(derive_seed(run.settings.seed, "dropout", self.ranks.rank))

    @property
    def pruner(self) -> emprune.DataPruner:  # noqa: D102 - inherited
        return self.loader.pruner

    @property
    def parts(self) -> Mapping[str, Split]:  # noqa: D102 - inherited
        return self._parts

    @property
    def result_model(self) -> nn.Module:
        """What is scored: the running average of the weights where there is one, else the model."""
        return self.model if self.averaged is None else self.averaged

    def evaluate(self, part: str) -> dict[str, Any]:  # noqa: D102 - inherited
        return self.score(self._parts[part], self.result_model)

    def score(self, split: Split, model: nn.Module) -> dict[str, Any]:
        """Return a model's scores on a split."""
        return self.objective.score(model, split, train=self.train_split)

    def _train(self, folder: RunFolder, report: Reporter) -> RunRecord:
        num_epochs = self.run.settings.cost.epochs
        tally = self._restore(folder, report)
        self.begin(folder, report, tally)
        self.measure_first_gap()
        if tally.batch == len(self.loader):  # its scoring was stopped; the checkpoint stays, which is as good
            self.close_epoch(tally, folder, report)
        while tally.epoch < num_epochs:
            try:
                if self._train_epoch(tally, report):
                    self.close_epoch(tally, folder, report)
            except StoppedError:
                self._save(tally, folder)
                raise
            self._save(tally, folder)
            if self.stop() and tally.epoch < num_epochs:
                raise StoppedError(f"Stopped in epoch {tally.epoch + 1} of {num_epochs}; nothing is lost.")
        self.pruner.sync()
        return self.led(lambda: self.finish(folder, tally, **self._recalibrated_scores()), doing="the end of the run")

    def train_on(self, index: Tensor, batch: Sequence[Tensor]) -> Tensor:
        """Make one step on a batch of the loader, and return the losses that the score saw, (B,)."""
        losses = self.objective.losses(self.network, batch)
        self.pruner.reduce(index, losses.optimised, losses.outputs, score_losses=losses.scored).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        return losses.scored

    def set_learning_rate(self, *, steps: int) -> float:
        """Set the rate for the next step, after so many, and return it."""
        training = self.run.settings.training
        progress = steps / max(1, self.loader.total_steps - 1)
        rate = training.max_lr * SCHEDULES[training.schedule](progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _time_steps(self, step: Callable[[], object]) -> Speed:
        steps: list[TimedStep] = []
        start, batches = self.loader.state_dict(), self.loader.batches()
        while len(steps) < NUM_TIMED_STEPS:
            before = self._now()
            try:
                index, batch = next(batches)
            except StopIteration:  # a short run is at its end, and begins again
                self.loader.load_state_dict(start)
                batches = self.loader.batches()
                continue
            between = self._now()
            self.train_on(index, batch)
            steps.append(TimedStep(between - before, self._now() - between, len(index)))
            step()
        x = self._parts["test"].x[: self.objective.evaluation_batch]
        self.objective.predict_all(self.result_model, x)
        before = self._now()
        self.objective.predict_all(self.result_model, x)
        return Speed.of(steps, scoring=(self._now() - before) / len(x))

    def recalibrated(self) -> nn.Module:
        """Return a copy of what is scored, with batch-norm statistics estimated again on random training images.

        The images are without augmentation, as when they are scored. They are `RECALIBRATION_SIZE` of all the data, not
        of what a method kept. So the effect of the selection on the statistics can be told from its other effects.
        """
        generator = torch.Generator().manual_seed(self.run.settings.seed)
        chosen = torch.randperm(len(self.train_split), generator=generator)[:RECALIBRATION_SIZE]
        images = self.train_split.x[chosen.to(self.run.compute.device)]
        batches = [self.objective.prepared(part) for part in images.split(RECALIBRATION_BATCH)]
        model = copy.deepcopy(self.result_model)
        with self.run.compute.autocast():
            update_bn([x.contiguous(memory_format=torch.channels_last) for x in batches], model)
        return model

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs, the random state of torch included (for models with dropout)."""
        device = self.run.compute.device
        return {
            "model": self.model.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "loader": self.loader.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put everything back to where `state_dict` found it."""
        self.model.load_state_dict(state["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.loader.load_state_dict(state["loader"])
        device = self.run.compute.device
        if self.ranks.rank > 0:  # the first rank's is saved; another's only must not begin from the start again
            position = (self.pruner.epoch, self.loader.num_delivered)
            torch.manual_seed(derive_seed(self.run.settings.seed, "resumed", self.ranks.rank, *position))
            return
        torch.set_rng_state(state["random"])
        if device.type == "cuda" and state["random_cuda"] is not None:
            torch.cuda.set_rng_state(state["random_cuda"], device)

    def _train_epoch(self, tally: Tally, report: Reporter) -> bool:
        """Train on the rest of the epoch, or until a stop is asked for; return whether the epoch is complete."""
        started = time.perf_counter()
        self.loader.set_epoch(tally.epoch)
        if tally.batch == 0:
            tally.planned(self.pruner.summary())
        num_batches, num_visits = len(self.loader), 0
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.run.compute.device)
        for index, batch in self.loader:
            tally.learning_rate = self.set_learning_rate(steps=tally.steps)
            loss_sum += self.train_on(index, batch).sum()
            tally.batch += 1
            tally.steps += 1
            num_visits += len(index)
            report.step(len(index) * self.ranks.size)
            if self.stop():
                break
        sums = torch.stack([loss_sum.cpu(), torch.tensor(num_visits, dtype=torch.float64)])
        total_loss, total_visits = self.ranks.total(sums, doing="the sum of the losses").tolist()
        tally.loss_sum += total_loss
        tally.visits += round(total_visits)
        tally.epoch_seconds += time.perf_counter() - started
        return tally.batch == num_batches

    def _save(self, tally: Tally, folder: RunFolder) -> None:
        """Write a checkpoint, which any number of ranks may go on from."""
        if self.ranks.size > 1:
            self.pruner.sync()
        if self.ranks.rank == 0:
            state = {"tally": dataclasses.asdict(tally), "session": self.state_dict()}
            folder.checkpoints.write(tally.steps, lambda checkpoint: save_state(checkpoint, state), lasting=True)

    def _restore(self, folder: RunFolder, report: Reporter) -> Tally:
        """Go back to the checkpoint, and the log with it: what was logged later will be logged again."""
        leads, tally = self.ranks.rank == 0, Tally()

        def load(state: Mapping[str, Any]) -> None:
            nonlocal tally
            tally = Tally.restored(state["tally"], num_epochs=self.run.settings.cost.epochs)
            self.load_state_dict(state["session"])

        state = None
        if leads:
            state = folder.checkpoints.newest(lambda checkpoint: load_state(checkpoint, load), say=report.remark)
        state = self.ranks.broadcast(state, doing="loading the checkpoint")
        if leads:
            folder.log.cut(tally.log_bytes, tally.log_sha256)
        elif state is not None:
            load(state)
        return tally

    def _recalibrated_scores(self) -> dict[str, Any]:
        if not self.run.settings.training.recalibrate_bn:
            return {}
        return {"accuracy_recalibrated": self.score(self._parts["test"], self.recalibrated())["accuracy"]}

    def _now(self) -> float:
        self.run.compute.synchronize()
        return time.perf_counter()
