"""TRL's reward and DPO trainers: a sample is a pair, and its loss is the pair's."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import emprune

pytest.importorskip("trl", reason="needs emprune[trl]")

from peft import LoraConfig
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from emprune.integrations.trl import PrunedDPOTrainer, PrunedRewardTrainer
from tests.integration.tuning import (
    count_forwards,
    make_config,
    make_lm,
    make_scorer,
    make_tokenizer,
    pairs,
)
from tests.messages import Raises

LORA = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
# PEFT asks in a way that newer transformers deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")  # TRL's trainers report their use


def make_reward(folder: Path, *, cls: Any = PrunedRewardTrainer, extra: Any = None, **options: Any) -> Any:
    config = make_config(RewardConfig, folder, **options)
    prune: dict[str, Any] = {"method": emprune.EMP(beta=5), "keep": 0.5} if cls is PrunedRewardTrainer else {}
    data = {"train_dataset": pairs(), "processing_class": make_tokenizer()}
    return cls(make_scorer(), args=config, **data, **prune | (extra or {}))


def make_dpo(folder: Path, *, cls: Any = PrunedDPOTrainer, extra: Any = None, **options: Any) -> Any:
    config = make_config(DPOConfig, folder, **options)
    prune: dict[str, Any] = {"method": emprune.EMP(beta=5), "keep": 0.5} if cls is PrunedDPOTrainer else {}
    prune |= extra or {}
    if "peft_config" not in prune:
        prune["ref_model"] = make_reference()
    return cls(make_lm(), args=config, train_dataset=pairs(), processing_class=make_tokenizer(), **prune)


def make_reference() -> Any:
    model = make_lm()
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter += 0.05 * torch.randn_like(parameter)
    return model.eval()


def check_columns(trainer: Any, losses: list[float], preferences: list[float]) -> None:
    """What the pruner remembers is what each pair costs, and how sure its preference is."""
    stats = trainer.pruner.stats
    p = torch.tensor(preferences).sigmoid()
    entropies = -(p * p.log() + (1 - p) * (1 - p).log())
    expected = torch.tensor(losses)
    assert expected.diff().abs().min() > 1e-5  # they tell the pairs apart
    assert int(stats.seen.sum()) >= len(losses) - 4
    torch.testing.assert_close(stats["loss"][stats.seen], expected[stats.seen], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(stats["memory"][stats.seen], entropies[stats.seen], rtol=1e-4, atol=1e-5)


def reward_of(model: Any, tokens: list[int]) -> float:
    with torch.no_grad():
        return float(model(input_ids=torch.tensor([tokens]), attention_mask=torch.ones(1, len(tokens))).logits)


@pytest.mark.parametrize("options", [{}, {"max_length": 14}, {"center_rewards_coefficient": 0.1}])
def test_a_reward_is_the_pairs(tmp_path: Path, options: dict[str, Any]) -> None:
    trainer = make_reward(tmp_path, **options)
    assert count_forwards(trainer) == trainer.state.global_step
    model, data = trainer.model.eval(), pairs()
    assert (len(trainer.rows) < len(data)) == ("max_length" in options)
    losses, preferences = [], []
    for sample, row in zip(trainer.train_dataset, trainer.rows.tolist(), strict=True):
        assert str(make_tokenizer().decode(sample["chosen_ids"])).startswith(data[row]["prompt"])
        chosen, rejected = reward_of(model, sample["chosen_ids"]), reward_of(model, sample["rejected_ids"])
        preferences.append(chosen - rejected)
        center = options.get("center_rewards_coefficient", 0) * (chosen + rejected) ** 2
        losses.append(float(-F.logsigmoid(torch.tensor(chosen - rejected))) + center)
    check_columns(trainer, losses, preferences)
    assert trainer.to_frame()["row"].tolist() == trainer.rows.tolist()


def log_p_of(model: Any, prompt: list[int], completion: list[int]) -> float:
    tokens = torch.tensor([prompt + completion])
    with torch.no_grad():
        log_p = model(input_ids=tokens).logits[0, :-1].log_softmax(-1)
    return float(log_p.gather(1, tokens[0, 1:, None])[len(prompt) - 1 :].sum())


DPO: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sigmoid": ({}, {}),
    "hinge": ({"loss_type": ["hinge"]}, {}),
    "ipo": ({"loss_type": ["ipo"]}, {}),
    "lora": ({}, {"peft_config": LORA}),
    "precomputed": ({"precompute_ref_log_probs": True}, {}),
}


@pytest.mark.parametrize("case", DPO)
def test_a_dpo_loss_is_the_pairs(tmp_path: Path, case: str) -> None:
    options, extra = DPO[case]
    trainer = make_dpo(tmp_path, extra=extra, beta=0.5, **options)
    vanilla = make_dpo(tmp_path, cls=DPOTrainer, extra=extra, beta=0.5, **options)
    per_step = [count_forwards(each) / each.state.global_step for each in (trainer, vanilla)]
    assert per_step[0] == per_step[1]
    model, reference = trainer.model.eval(), make_reference()
    losses, preferences = [], []
    for sample in trainer.train_dataset:
        ratios = []
        for name in ("chosen_ids", "rejected_ids"):
            texts = sample["prompt_ids"], sample[name]
            policy = log_p_of(model, *texts)
            with model.disable_adapter() if case == "lora" else nullcontext():
                ratios.append(policy - log_p_of(model if case == "lora" else reference, *texts))
        preference = 0.5 * (ratios[0] - ratios[1])
        preferences.append(preference)
        if case == "hinge":
            losses.append(max(0.0, 1 - preference))
        elif case == "ipo":
            lengths = [len(sample[name]) for name in ("chosen_ids", "rejected_ids")]
            losses.append((ratios[0] / lengths[0] - ratios[1] / lengths[1] - 1) ** 2)
        else:
            losses.append(float(-F.logsigmoid(torch.tensor(preference))))
    check_columns(trainer, losses, preferences)


@pytest.mark.parametrize("make", [make_reward, make_dpo])
def test_weights_enter_a_pairs_loss(tmp_path: Path, make: Any) -> None:
    trainer = make(tmp_path, extra={"method": "infobatch:delta=1"}, learning_rate=1e-3)
    trainer.train()
    plan = trainer.pruner.plan
    assert plan.weight is not None
    index = plan.index[:4]
    batch = trainer.data_collator([trainer.train_dataset[position] for position in index.tolist()])
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, {**batch, "emprune_index": index})
    trainer.pruner.sync()
    losses = trainer.pruner.stats["loss"][index]
    torch.testing.assert_close(loss.detach(), (losses * trainer.pruner.weights(index)).mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", ["full", "random-permutation"])
@pytest.mark.parametrize(("make", "plain"), [(make_reward, RewardTrainer), (make_dpo, DPOTrainer)])
def test_methods_without_losses_cost_nothing(tmp_path: Path, spec: str, make: Any, plain: Any) -> None:
    pruned = make(tmp_path, extra={"method": spec, "keep": None if spec == "full" else 0.5})
    vanilla = make(tmp_path, cls=plain)
    per_step = [count_forwards(each) / each.state.global_step for each in (pruned, vanilla)]
    assert per_step[0] == per_step[1]


@pytest.mark.parametrize("options", [{"loss_type": ["robust"]}, {"ld_alpha": 0.5}, {"use_weighting": True}])
def test_a_pairs_loss_that_is_not_known_is_refused(tmp_path: Path, options: dict[str, Any], raises: Raises) -> None:
    [(name, value)] = options.items()
    with raises(emprune.errors.ConfigError, parameter=name, value=value):
        make_dpo(tmp_path, label_smoothing=0.1, **options)
    make_dpo(tmp_path, extra={"method": "random-permutation"}, label_smoothing=0.1, **options)


def test_a_preference_is_recorded_where_its_loss_is_a_cross_entropy(tmp_path: Path, raises: Raises) -> None:
    trainer = make_reward(tmp_path, extra={"record": "all"})
    trainer.train()
    trainer.pruner.sync()
    assert trainer.pruner.suspects(3).by == ("mean_margin",)
    make_dpo(tmp_path, extra={"record": "all"})
    with raises(emprune.errors.ConfigError, parameter="record"):
        make_reward(tmp_path, extra={"record": "all"}, center_rewards_coefficient=0.1)
    with raises(emprune.errors.ConfigError, parameter="record"):
        make_dpo(tmp_path, extra={"record": "all"}, loss_type=["ipo"])
