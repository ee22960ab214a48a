"""The example programs of the frameworks run, and what they print is true."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    """Import an example, which is a program and no part of a package."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_movie_reviews_with_trl(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl")
    pytest.importorskip("pandas")
    monkeypatch.setenv("CI", "1")  # TRL's trainers report their use
    words = ("a film of", "few jokes and", "long scenes", "that nobody", "will forget", "or wants", "to see again")
    lines = [f"{row}\t1.0\t{' '.join(words[row * step % 7] for step in range(1, row % 5 + 3))}" for row in range(80)]
    (tmp_path / "reviews.txt").write_text("\n".join(lines), encoding="utf-8")
    example = load("trl_movie_reviews")
    options = ["--epochs=3", "--vocabulary=300", "--hidden=16", "--layers=1", f"--out={tmp_path}"]
    loss = example.train(example.parse([f"--data={tmp_path / 'reviews.txt'}", *options]))
    assert 0 < loss < 6
    assert capsys.readouterr().out.count("hard to predict: row ") == 3


def test_an_exported_model_with_trl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trl")
    monkeypatch.setenv("CI", "1")  # TRL's trainers report their use
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    raw = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    names = dict.fromkeys(("bos_token", "eos_token", "pad_token"), "<|end|>")
    PreTrainedTokenizerFast(tokenizer_object=raw, **names).save_pretrained(tmp_path / "exported")
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    special: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "use_cache": False}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(letters), **sizes, **special)).save_pretrained(tmp_path / "exported")
    rows = [[f"question {number}", f"intent_{number % 3}"] for number in range(40)]
    (tmp_path / "data.json").write_text(json.dumps({"train": rows, "test": rows[:2]}), encoding="utf-8")
    example = load("trl_exported_model")
    places = [f"--model={tmp_path / 'exported'}", f"--data={tmp_path / 'data.json'}", f"--out={tmp_path / 'out'}"]
    assert 0 <= example.train(example.parse([*places, "--epochs=2"])) <= 1


@pytest.mark.parametrize("framework", ["accelerate", "lightning"])
def test_digits(framework: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(framework)
    pytest.importorskip("sklearn")
    settings = {"cpu": True} if framework == "accelerate" else {"accelerator": "cpu"}
    accuracy = load(f"{framework}_digits").main(num_epochs=8, keep=0.5, **settings)
    assert accuracy > 0.9
    printed = capsys.readouterr().out.splitlines()[-1]
    assert printed.startswith(f"test accuracy {accuracy:.1%}, after ")
    assert printed.endswith("of 12000 visits: 50% saved")
