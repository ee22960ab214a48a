import pytest
from emprune_lab.method_spec import MethodSpec, method_options

import emprune
from emprune.errors import ConfigError
from tests.messages import Raises


@pytest.mark.parametrize(
    ("text", "method", "canonical"),
    [
        ("emp", emprune.EMP(), "emp:pool=2"),
        ("emp:pool=2:beta=10", emprune.EMP(beta=10, pool=2), "emp:beta=10:pool=2"),
        ("emp:beta=3", emprune.EMP(), "emp:pool=2"),
        ("emp:pool=none", emprune.EMP.paper(), "emp:pool=none"),
        ("emp:pool=none:beta=0.5", emprune.EMP.paper(beta=0.5), "emp:beta=0.5:pool=none"),
        ("emp:memory=prediction_entropy", emprune.EMP(), "emp:pool=2"),
        ("infobatch:normalize=true", emprune.InfoBatch(normalize=True), "infobatch:normalize=true"),
        ("infobatch:delta=.5", emprune.InfoBatch(delta=0.5), "infobatch:delta=0.5"),
        (
            "epsilon-greedy:replan_every=1",
            emprune.methods.EpsilonGreedy(replan_every=1),
            "epsilon-greedy:replan_every=1",
        ),
        ("emp@equal", emprune.EMP(), "emp:pool=2@equal"),
        ("random-permutation@rcap", emprune.RandomPermutation(), "random-permutation@rcap"),
        ("greedy@floor=0.10", emprune.Greedy(), "greedy@floor=0.1"),
        ("greedy@floor=.1:equal", emprune.Greedy(), "greedy@equal:floor=0.1"),
        ("emp@guard=03:equal", emprune.EMP(), "emp:pool=2@equal:guard=3"),
        (" random-permutation ", emprune.RandomPermutation(), "random-permutation"),
    ],
)
def test_a_method_is_written_in_one_way(text: str, method: emprune.Method, canonical: str) -> None:
    spec = MethodSpec.parse(text)
    assert spec.make() == method
    assert str(spec) == canonical
    assert MethodSpec.parse(canonical) == spec


@pytest.mark.parametrize(
    ("text", "parameter", "value"),
    [
        ("emq", None, "emq"),
        ("emp:bta=3", "emp", "bta"),
        ("greedy:beta=3", "greedy", "beta"),
        ("emp:beta", "name:option=value:...", "emp:beta"),
        ("emp:beta=lots", "emp:beta", "lots"),
        ("emp:pool=lots", "emp:pool", "lots"),
        ("emp:memory=entropy", "emp:memory", "entropy"),
        ("infobatch:normalize=1", "infobatch:normalize", "1"),
        ("ucb:replan_every=1.5", "ucb:replan_every", "1.5"),
        ("emp:beta=1:beta=2", "beta", "emp:beta=1:beta=2"),
        ("emp@same", "@", "same"),
        ("emp@free", "@", "free"),
        ("emp@floor=2", "@", "floor=2"),
        ("emp@guard=0", "@", "guard=0"),
        ("emp@equal:rcap", "@", "rcap"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, parameter: str | None, value: str, raises: Raises) -> None:
    with raises(ConfigError, parameter=parameter, value=value):
        MethodSpec.parse(text)


def test_a_value_out_of_range_is_refused_when_the_method_is_made() -> None:
    with pytest.raises(ConfigError, match="`beta` must be a number"):
        MethodSpec.parse("emp:beta=-1").make()


def test_a_method_that_needs_what_only_code_has_says_so() -> None:
    for name, option in (("static-subset", "ranking"), ("reducible-loss", "irreducible")):
        with pytest.raises(ConfigError, match=f"`{name}` cannot be used from the command line: it needs {option}"):
            MethodSpec.parse(name).make()


def test_every_registered_method_shows_its_options() -> None:
    assert list(method_options("emp")) == ["beta", "memory", "pool"]
    for name in emprune.methods.method_names():
        method_options(name)
