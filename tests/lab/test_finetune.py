import json
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

pytest.importorskip("accelerate", reason="needs emprune[transformers]")
pytest.importorskip("transformers", reason="needs emprune[transformers]")

from emprune_lab.data.splits import Texts
from emprune_lab.errors import DataError, RunError, StoppedError
from emprune_lab.models.mean_pooled import MeanPooledBert, MeanPooledConfig
from emprune_lab.models.pretrained import MINILM_DATA, fetch_pretrained, load_pretrained, load_tokenizer
from emprune_lab.results.checkpoints import Checkpoints
from emprune_lab.results.run_folder import RECORDS, RunFolder
from emprune_lab.training.texts import callbacks, encoding, fine_tuning
from emprune_lab.training.texts.fine_tuning import TextTraining
from transformers import AutoModelForSequenceClassification

from tests.lab.runs import SilentReporter, log, outcome, run_of
from tests.lab.texts import (
    NUM_TEST,
    NUM_TRAIN,
    assert_equal_text_runs,
    run_text,
    text_settings,
    weights,
)


def test_the_result_says_what_was_done_and_nothing_is_printed_or_asked_of_the_network(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def offline(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", offline)
    monkeypatch.setattr(socket, "getaddrinfo", offline)
    report = SilentReporter()
    training = run_text(text_settings(place, validation=0.25), tmp_path, place, report=report)
    assert capfd.readouterr() == ("", "")
    result, visits = json.loads((tmp_path / "result.json").read_text()), np.load(tmp_path / "visits.npy")
    num_train = NUM_TRAIN * 3 // 4
    records = log(tmp_path)
    assert [record["epoch"] for record in records] == [record["epoch"] for record in report.records] == [0, 1, 2, 3]
    assert result["visits"] == visits.sum() == sum(record["num_kept"] for record in records)
    assert result["visits_fraction"] == result["visits"] / (4 * num_train)
    assert abs(result["visits"] - 0.5 * 4 * num_train) <= 4
    assert result["optimizer_steps"] == report.steps == result["visits"] / 4
    train = training.trainer.train_dataset
    assert isinstance(train, encoding.Encoded)
    lengths = torch.tensor([len(tokens["input_ids"]) for tokens in train.tokens])
    assert result["tokens"] == int((lengths * torch.from_numpy(visits)).sum())
    assert result["tokens"] <= result["padded_tokens"] <= result["visits"] * int(lengths.max())
    assert 0 < result["final_learning_rate"] < 1e-3
    assert (result["num_train"], result["num_validation"], result["num_test"]) == (num_train, 12, NUM_TEST)
    assert result["accuracy"] == records[-1]["test_accuracy"] == result["test_accuracy_by_epoch"]["4"]
    assert result["validation_accuracy"] == records[-1]["validation_accuracy"]
    assert "transformers" in result["versions"]
    assert "score" not in result
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json", "log.jsonl", "result.json", "visits.npy", "samples.parquet",
    }  # fmt: skip


def test_each_text_and_each_class_are_recorded(place: Path, tmp_path: Path) -> None:
    training = run_text(text_settings(place, validation=0.25), tmp_path, place)
    samples, result = pq.read_table(tmp_path / "samples.parquet"), outcome(tmp_path)
    told = ["index", "label", "class", "text", "text_2"]
    assert samples.column_names == [*told, "visits", "loss", "memory", "score"]
    assert samples["label"].to_pylist() == training.run.splits.train.y.tolist()
    classes = sorted({"entailment", "neutral", "contradiction"})
    assert samples["class"].to_pylist() == [classes[label] for label in training.run.splits.train.y.tolist()]
    texts = training.run.splits.train.x
    assert (samples["text"].to_pylist(), samples["text_2"].to_pylist()) == (texts.first, texts.second)
    assert samples["visits"].to_pylist() == np.load(tmp_path / "visits.npy").tolist()
    sizes = np.bincount(training.parts["test"].labels)
    assert np.dot(result["class_accuracy"], sizes) / sizes.sum() == pytest.approx(result["accuracy"])


@pytest.mark.parametrize("method", ["emp:pool=2", "infobatch"])
def test_a_stopped_and_resumed_run_is_bit_equal_to_the_whole_one(method: str, place: Path, tmp_path: Path) -> None:
    settings = text_settings(place, method, validation=0.25)
    whole = run_text(settings, tmp_path / "whole", place)
    for stop_after in (1, 4, 5):  # in the middle of an epoch, at the end of one, and in the next
        with pytest.raises(StoppedError, match="nothing is lost"):
            run_text(settings, tmp_path / "parts", place, stop_after=stop_after)
        assert (tmp_path / "parts" / "checkpoints").is_dir()
    parts = run_text(settings, tmp_path / "parts", place)
    assert_equal_text_runs(tmp_path / "whole", tmp_path / "parts", (whole, parts))
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {"config.json", "result.json", *RECORDS}


@pytest.mark.parametrize(("seconds", "epochs"), [(0.0, [1, 2, 3, 4]), (1e9, [4])])
def test_a_checkpoint_is_written_when_it_is_time_to_and_at_the_end(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, epochs: list[int]
) -> None:
    written: list[int] = []
    add = Checkpoints.add

    def note(checkpoints: Checkpoints, checkpoint: Path, *args: Any, **options: Any) -> None:
        state = json.loads((checkpoint / "trainer_state.json").read_text())
        written.append(state["stateful_callbacks"]["TallyCallback"]["attributes"]["epoch"])
        add(checkpoints, checkpoint, *args, **options)

    monkeypatch.setattr(callbacks, "SAVE_SECONDS", seconds)
    monkeypatch.setattr(Checkpoints, "add", note)
    run_text(text_settings(place), tmp_path, place)
    assert written == epochs


def test_a_run_that_was_killed_before_its_result_has_it_at_once(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = text_settings(place)

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            run_text(settings, tmp_path, place)
    report = SilentReporter()
    run_text(settings, tmp_path, place, report=report)
    assert report.steps == 0
    assert len(log(tmp_path)) == 4
    assert (tmp_path / "result.json").is_file()


def test_runs_of_one_seed_start_from_the_same_weights(place: Path, tmp_path: Path) -> None:
    chosen = [text_settings(place, "emp"), text_settings(place, "greedy"), text_settings(place, seed=2**40 + 1)]
    runs = [run_of(settings, data_dir=place / "data") for settings in chosen]
    one, same, other = (weights(TextTraining(run)) for run in runs)
    assert all(one[name].equal(same[name]) for name in one)
    assert not all(one[name].equal(other[name]) for name in one)


def test_on_two_classes_emp_below_its_threshold_is_greedy(place: Path, tmp_path: Path) -> None:
    trainings = {}
    for method in ("greedy", "emp", "emp:beta=9"):
        settings = text_settings(place, method, task="glue:cola", epochs=5)
        run_text(settings, tmp_path / method, place)  # warnings are errors: it does not warn
        trainings[method] = [log(tmp_path / method), np.load(tmp_path / method / "visits.npy").tolist()]
    plain = [[{**r, "summary": None} for r in records] for records, _ in (trainings["greedy"], trainings["emp"])]
    assert plain[0] == plain[1]  # the losses of every epoch too: it trained on the same batches
    assert trainings["greedy"][1] == trainings["emp"][1] != trainings["emp:beta=9"][1]


def test_the_metric_of_the_task_is_the_score(place: Path, tmp_path: Path) -> None:
    training = run_text(text_settings(place, "full", task="glue:cola", keep=1, epochs=8), tmp_path, place)
    result = outcome(tmp_path)
    assert result["metric"] == "Matthews"
    assert result["score"] == log(tmp_path)[-1]["test_score"]
    again = training.evaluate("test")
    assert again == {name: result[name] for name in ("accuracy", "loss", "class_accuracy", "score")}
    assert result["score"] > 50  # it learned


def test_texts_are_tokenised_once_for_all_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(name: str, **options: Any) -> Any:
        calls.append(name)
        return load_tokenizer(name, **options)

    monkeypatch.setattr(encoding, "load_tokenizer", counted)
    settings = text_settings(place, train_size=20, max_length=9)
    first, second = (TextTraining(run_of(own, data_dir=place / "data")) for own in (settings, settings.replace(seed=1)))
    assert first.parts.keys() == second.parts.keys() == {"test"}
    assert len(calls) == 2  # the training part and the test part
    assert first.trainer.train_dataset.tokens is second.trainer.train_dataset.tokens  # type: ignore[union-attr]
    lengths = [len(tokens["input_ids"]) for tokens in first.parts["test"].tokens]
    assert lengths == sorted(lengths)
    assert max(lengths) == 9


def test_a_run_may_cut_its_texts_off_earlier(place: Path, tmp_path: Path) -> None:
    settings, cut = (text_settings(place, "full", keep=None, epochs=1, max_length=most) for most in (None, 9))
    assert settings.folder_name != cut.folder_name
    for name, own in (("whole", settings), ("cut", cut)):
        training = run_text(own, tmp_path / name, place)
        train = training.trainer.train_dataset
        assert isinstance(train, encoding.Encoded)
        assert (max(len(tokens["input_ids"]) for tokens in train.tokens) == 9) == (name == "cut")
    assert outcome(tmp_path / "cut")["tokens"] < outcome(tmp_path / "whole")["tokens"]


def test_a_run_that_diverges_says_so(place: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"The loss became (nan|inf) in epoch \d+: the run diverged. Lower `max_lr`"):
        run_text(text_settings(place, "random", max_lr=1e30, epochs=6), tmp_path, place)


def test_bf16_runs_too(place: Path, tmp_path: Path) -> None:
    run_text(text_settings(place, precision="bf16", epochs=2), tmp_path, place)
    assert outcome(tmp_path)["machine"]["precision"] == "bf16"


def test_a_few_steps_are_timed(place: Path) -> None:
    speed = TextTraining(run_of(text_settings(place), data_dir=place / "data")).time_steps()
    assert min(speed.loading, speed.computing, speed.scoring) > 0


def test_to_time_steps_a_few_of_the_test_texts_are_tokenised(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenised: list[int] = []
    tokens = encoding._tokens

    def counted(texts: Texts, *arguments: Any) -> Any:
        tokenised.append(len(texts))
        return tokens(texts, *arguments)

    monkeypatch.setattr(encoding, "_tokens", counted)
    monkeypatch.setattr(fine_tuning, "EVALUATION_BATCH", 2)
    TextTraining(run_of(text_settings(place), data_dir=place / "data")).time_steps()
    assert tokenised == [NUM_TRAIN, 4]  # and not all NUM_TEST


@pytest.mark.parametrize(
    ("file", "content"),
    [("config.json", None), ("config.json", b"{"), ("config.json", b"{}"), ("config.json", b'{"model_type": "none"}'),
     ("tokenizer.json", b"{}"), ("tokenizer.json", b"x"), ("model.safetensors", None), ("model.safetensors", b"x" * 9)],
)  # fmt: skip
def test_a_model_that_does_not_load_is_named(file: str, content: bytes | None, place: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(place / "model", tmp_path / "model")
    for name in ("tokenizer_config.json", "special_tokens_map.json") if file == "tokenizer.json" else ():
        (folder / name).unlink(missing_ok=True)
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(DataError, match=f"model 'hf:{folder}' cannot be loaded: .*It must be the folder"):
        fetch_pretrained(f"hf:{folder}", data_dir=None, say=print)


@pytest.mark.skipif(not MINILM_DATA.folder().exists(), reason="needs MiniLM in the cache: emprune data minilm")
def test_minilm_is_loaded_with_two_layers_of_six() -> None:
    model = load_pretrained("minilm-2", num_classes=3)
    assert len(model.bert.encoder.layer) == 2
    tokens = load_tokenizer("minilm-2")(["a good film"], return_tensors="pt")
    assert model(**tokens).logits.shape == (1, 3)


def test_minilm_reads_the_mean_of_the_tokens_and_no_padding() -> None:
    torch.manual_seed(0)
    config = MeanPooledConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    config.num_labels = 3
    model = MeanPooledBert(config).eval()
    tokens, labels = torch.tensor([[5, 6, 7]]), torch.tensor([1])
    output = model(tokens, torch.ones_like(tokens), labels=labels)
    states = model.bert(tokens).last_hidden_state
    torch.testing.assert_close(output.logits, model.classifier(states.mean(1)))
    torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(output.logits, labels))
    padded = torch.tensor([[5, 6, 7, 0, 0]])
    torch.testing.assert_close(model(padded, (padded > 0).long()).logits, output.logits)


def test_a_saved_mean_pooled_model_is_loaded_as_one_and_not_as_berts_classifier(tmp_path: Path) -> None:
    config = MeanPooledConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    model = MeanPooledBert(config).eval()
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "mean-pooled-bert"
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokens = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(
        loaded(tokens, torch.ones_like(tokens)).logits, model(tokens, torch.ones_like(tokens)).logits
    )
