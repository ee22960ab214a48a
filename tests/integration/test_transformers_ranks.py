"""Two ranks, each with its own Trainer: together they train on the plan, once, in equally many steps."""

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import emprune

pytest.importorskip("accelerate", reason="needs emprune[transformers]")
pytest.importorskip("transformers", reason="needs emprune[transformers]")

from accelerate.state import AcceleratorState, GradientState, PartialState

from emprune.testing import assert_same_state
from tests.integration.trainers import RecordingTrainer, Sentences, make_arguments, make_model, make_pruner, weights_of

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo"),
]


def train(folder: Path, method: emprune.EMP, *, resume: bool) -> dict[str, Any]:
    arguments = make_arguments(
        folder / "run",
        save_strategy="steps",
        save_steps=3,
        gradient_accumulation_steps=2,
        eval_strategy="epoch" if method.needs_gap else "no",
    )
    assert arguments.world_size == 2
    pruner = make_pruner(method)
    trainer = RecordingTrainer(
        make_model(), arguments, train_dataset=Sentences(), eval_dataset=Sentences(), pruner=pruner
    )
    trainer.train(resume_from_checkpoint=str(folder / "run" / "checkpoint-6") if resume else None)
    assert trainer.lr_scheduler is not None
    metrics = trainer.evaluate()
    return {
        "steps": (trainer.state.global_step, trainer.state.max_steps),
        "learning_rate": trainer.lr_scheduler.get_last_lr()[0],
        "planned": trainer.planned,
        "delivered": trainer.delivered,
        "plan": pruner.plan.index,
        "state": pruner.state_dict(),
        "weights": weights_of(trainer),
        "loss": metrics["eval_loss"],
    }


def run_rank(folder: Path, method: emprune.EMP, rank: int, resume: bool) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()  # what this process inherited
    rendezvous = f"file://{folder}/rendezvous-{resume}"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    torch.save(train(folder, method, resume=resume), folder / f"rank-{rank}-{resume}.pt")
    dist.destroy_process_group()


def on_two_ranks(folder: Path, method: emprune.EMP, *, resume: bool) -> list[dict[str, Any]]:
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=run_rank, args=(folder, method, rank, resume), daemon=True) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    alive = [process for process in processes if process.is_alive()]
    for process in alive:
        process.kill()
    assert not alive, "a rank hangs"
    return [torch.load(folder / f"rank-{rank}-{resume}.pt", weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("method", [emprune.EMP(beta=4.0), emprune.EMP(beta=4.0, pool="gap")], ids=["emp", "gap"])
def test_two_ranks_train_on_the_plan_once_and_resume_exactly(tmp_path: Path, method: emprune.EMP) -> None:
    one, two = on_two_ranks(tmp_path, method, resume=False)
    for rank in (one, two):
        assert rank["delivered"] == rank["planned"]
        assert rank["steps"][0] == rank["steps"][1] == one["steps"][0]
        assert rank["learning_rate"] == 0
    for epoch, mine in one["delivered"].items():
        theirs = two["delivered"][epoch]
        assert len(mine) == len(theirs)
        assert set(mine).isdisjoint(theirs)
        assert len(set(mine)) == len(mine)
    assert one["plan"][0::2].tolist() == one["delivered"][4]
    assert_same_state(one["state"], two["state"])
    assert ("gap" in one["state"]) == method.needs_gap
    assert one["loss"] == two["loss"]
    for name, value in one["weights"].items():
        assert value.equal(two["weights"][name]), name
    again = on_two_ranks(tmp_path, method, resume=True)
    for whole, resumed in zip((one, two), again, strict=True):
        assert_same_state(resumed["state"], whole["state"])
        for name, value in whole["weights"].items():
            assert value.equal(resumed["weights"][name]), name
