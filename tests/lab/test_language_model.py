"""Pre-training a causal language model in the lab: the loop of the images, on blocks of tokens."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("transformers", reason="needs emprune-lab[texts]")

from emprune_lab.data.blocks import END, _trained_tokenizer, read_blocks, write_blocks
from emprune_lab.data.splits import Splits
from emprune_lab.errors import StoppedError
from emprune_lab.models.language import make_language_model
from emprune_lab.tasks import get_task
from emprune_lab.tasks.language_model import LANGUAGE_MODEL
from emprune_lab.training.arrays import ArrayTraining
from tokenizers import Tokenizer

import emprune
from emprune.errors import ConfigError
from tests.lab.blocks import KINDS, LENGTH, block_settings, documents, write_documents
from tests.lab.reports import call
from tests.lab.runs import assert_equal_runs, log, outcome, run_of, run_small


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_documents(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def splits(data_dir: Path) -> Splits:
    return LANGUAGE_MODEL.load(data_dir)


def training_for(data_dir: Path, method: str = "emp", **settings: object) -> ArrayTraining:
    return ArrayTraining(run_of(block_settings(method, **settings), data_dir=data_dir))


@pytest.mark.parametrize(("name", "millions"), [("mini-llama", 1.9), ("small-llama", 6.9)])
def test_the_models_have_the_documented_number_of_parameters(name: str, millions: float) -> None:
    model = make_language_model(name, vocabulary=4096, length=256)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


def test_every_token_is_predicted_once_in_the_order_of_the_documents(splits: Splits, data_dir: Path) -> None:
    tokenizer = Tokenizer.from_file(str(data_dir / "language-model" / "tokenizer.json"))
    train = splits.train
    assert splits.classes == list(KINDS)
    for label, kind in enumerate(KINDS):
        rows = train.x[train.y == label]
        assert rows.shape[1] == LENGTH + 1
        assert rows[1:, 0].equal(rows[:-1, -1])  # the last token of a block is the first of the next
        row = torch.cat([rows[0, :1], rows[:, 1:].flatten()]).tolist()
        held_out = {path for path in splits.test.paths or () if path.startswith(kind)}
        texts = [document.text for document in documents() if document.kind == kind and document.name not in held_out]
        assert END.join(texts).startswith(tokenizer.decode(row, skip_special_tokens=False).rstrip("\ufffd"))


def test_documents_are_held_out_whole_and_the_vocabulary_is_that_of_the_others(splits: Splits, data_dir: Path) -> None:
    held_out, trained_on = set(splits.test.paths or ()), set(splits.train.paths or ())
    assert held_out
    assert not held_out & trained_on
    texts = [document.text for document in documents() if document.name not in held_out]
    written = Tokenizer.from_file(str(data_dir / "language-model" / "tokenizer.json"))
    assert written.to_str() == _trained_tokenizer(texts).to_str()


def test_the_bytes_of_a_block_are_those_of_the_text_it_predicts(splits: Splits, data_dir: Path) -> None:
    tokenizer = Tokenizer.from_file(str(data_dir / "language-model" / "tokenizer.json"))
    assert splits.test.num_bytes is not None
    pieces = {number: token for token, number in tokenizer.get_vocab().items()}
    for block, num_bytes in zip(splits.test.x.tolist(), splits.test.num_bytes.tolist(), strict=True):
        assert num_bytes == sum(len(pieces[token]) for token in block[1:] if pieces[token] != END)
    whole = tokenizer.encode("aé b")
    assert sum(len(token) for token in whole.tokens) == len("aé b".encode())


def test_what_fills_no_block_is_left_out_and_no_kind_needs_one(tmp_path: Path) -> None:
    write_blocks(tmp_path, documents(), length=3000)
    assert len(read_blocks(tmp_path).test) == 0


def test_a_step_is_one_forward_pass_whose_two_terms_are_those_of_the_library(data_dir: Path) -> None:
    training = training_for(data_dir)
    training.loader.set_epoch(0)
    index, (blocks,) = next(iter(training.loader))
    logits = training.model(blocks[:, :-1]).logits
    calls = []
    training.model.register_forward_hook(lambda *_: calls.append(1))
    scored = training.train_on(index, (blocks,))
    assert len(calls) == 1
    assert scored.allclose(emprune.losses.sequence_cross_entropy(logits, blocks[:, 1:]), atol=1e-6)
    training.pruner.sync()
    memory = training.pruner.stats["memory"][index]
    assert memory.allclose(emprune.memory.prediction_entropy(logits), atol=1e-5)


def test_a_model_is_scored_by_bits_per_byte_of_what_was_held_out(data_dir: Path, tmp_path: Path) -> None:
    training = run_small(block_settings(), tmp_path, data_dir=data_dir)
    result, test = outcome(tmp_path), training.run.splits.test
    assert test.num_bytes is not None
    with torch.no_grad():
        logits = training.model(test.x[:, :-1].long()).logits.flatten(0, 1)
    targets = test.x[:, 1:].long().flatten()
    nats = F.cross_entropy(logits, targets, reduction="none").double()
    assert result["metric"] == "bits per byte"
    assert result["score"] == pytest.approx(nats.sum().item() / math.log(2) / test.num_bytes.sum().item(), rel=1e-5)
    assert result["loss"] == pytest.approx(nats.mean().item(), rel=1e-5)
    right = logits.argmax(-1) == targets
    assert result["accuracy"] == pytest.approx(100 * right.double().mean().item())
    first = right.view(len(test), -1)[test.y == 0].double().mean().item()
    assert result["class_accuracy"][0] == pytest.approx(100 * first)
    records = log(tmp_path)
    assert [record["epoch"] for record in records if "test_score" in record] == [0, 1, 2, 3]
    assert records[-1]["test_score"] < records[0]["test_score"]


@pytest.mark.parametrize("method", ["emp", "infobatch:normalize=true", "random-permutation", "full"])
def test_a_stopped_and_resumed_run_is_bit_equal_to_the_whole_one(method: str, data_dir: Path, tmp_path: Path) -> None:
    settings = block_settings(method, validation=0.2, **({"keep": 1.0} if method == "full" else {}))
    whole = run_small(settings, tmp_path / "whole", data_dir=data_dir)
    for stop_after in (1, 3):
        with pytest.raises(StoppedError):
            run_small(settings, tmp_path / "parts", stop_after=stop_after, data_dir=data_dir)
    parts = run_small(settings, tmp_path / "parts", data_dir=data_dir)
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts", (whole, parts))
    visits = np.load(tmp_path / "whole" / "visits.npy")
    assert outcome(tmp_path / "whole")["visits"] == visits.sum()


def test_bf16_runs_too(data_dir: Path, tmp_path: Path) -> None:
    run_small(block_settings(precision="bf16", epochs=2), tmp_path, data_dir=data_dir)
    assert outcome(tmp_path)["machine"]["precision"] == "bf16"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"label_smoothing": 0.1}, "`label_smoothing` must be 0"),
        ({"model": "minilm"}, "Unknown language model; got 'minilm'"),
        ({"optimizer": "sgd"}, "`optimizer` must be one of adamw for blocks"),
        ({"recalibrate_bn": True}, "`recalibrate_bn` is for images, and language-model is of blocks"),
        ({"record": "all"}, "`record` must be mean_loss alone, or nothing, with language-model, which has no classes"),
        ({"method": "emp:memory=view-alignment"}, "`memory` must be a term for language-model, prediction-entropy"),
    ],
)
def test_what_a_language_model_cannot_do_is_refused(setting: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        block_settings(**setting)


def test_the_commands_compare_report_export_and_estimate(data_dir: Path, tmp_path: Path) -> None:
    size = ["--model", "tiny-llama", "--train-size", 64, "--epochs", 3, "--batch-size", 8, "--device", "cpu"]
    where = ["--precision", "fp32", "--data-dir", data_dir]
    methods = ["--methods", "full,random-permutation,emp", "--seeds", 2, "--jobs", 1]
    code, printed, said = call("compare", "language-model", *methods, *size, *where, "--out", tmp_path / "runs")
    assert code == 0, said
    text = " ".join(printed.split())
    assert "bits per byte" in text
    assert "lower is better" in text
    page = (tmp_path / "runs" / "report.html").read_text()
    assert "Bits per byte against cost" in page
    assert "documentation/" in page
    run = next(path.parent for path in (tmp_path / "runs").rglob("result.json") if "emp" in str(path))
    code, printed, _ = call("export", run, "--out", tmp_path / "exported", "--data-dir", data_dir)
    assert code == 0
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "exported").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "exported")
    test = LANGUAGE_MODEL.load(data_dir).test
    assert tokenizer.decode(tokenizer("docaé revb").input_ids) == "docaé revb"
    with torch.no_grad():
        blocks = test.x.long()
        loss = F.cross_entropy(model(blocks[:, :-1]).logits.flatten(0, 1), blocks[:, 1:].flatten()).item()
    assert loss == pytest.approx(json.loads((run / "result.json").read_text())["loss"], rel=1e-5)
    code, printed, _ = call("estimate", "language-model", *size, *where)
    assert code == 0
    assert "samples per second" in printed


def test_its_task_is_listed_and_fetched_like_the_others() -> None:
    assert get_task("language-model") is LANGUAGE_MODEL
    assert LANGUAGE_MODEL.kind == "blocks"
    assert LANGUAGE_MODEL.data is not None
    [source] = LANGUAGE_MODEL.data.sources
    assert source.verified
