import pytest
import torch
from emprune_lab.data.dividing import divide, stratified_order
from emprune_lab.data.splits import Split, Splits
from emprune_lab.models import MODELS, make_model
from emprune_lab.tasks import TASKS, ImageTask, get_task
from emprune_lab.tasks.digits import DIGITS

from emprune.errors import ConfigError


@pytest.fixture(scope="module")
def digits() -> Splits:
    return get_task("digits").load(None)


def test_digits_are_split_three_to_one_with_the_classes_in_proportion(digits: Splits) -> None:
    assert (len(digits.train), len(digits.test)) == (1347, 450)
    share = digits.test.y.bincount() / (digits.test.y.bincount() + digits.train.y.bincount())
    assert (share - 0.25).abs().max() < 0.01


def test_digits_have_the_mean_and_deviation_the_task_says(digits: Splits) -> None:
    x = DIGITS.normalise(digits.train.x)
    assert x.mean().abs() < 0.01
    assert (x.std() - 1).abs() < 0.01


def test_the_transform_augments_and_normalises(digits: Splits) -> None:
    x, y = DIGITS.transform(torch.Generator().manual_seed(0), digits.train.x[:9], digits.train.y[:9])
    assert x.shape == (9, 1, 8, 8)
    assert x.dtype == torch.float32
    assert y.equal(digits.train.y[:9])
    assert not x.equal(DIGITS.normalise(digits.train.x[:9]))


def test_every_beginning_of_the_order_holds_the_classes_in_proportion() -> None:
    y = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    order = stratified_order(y, seed=3)
    assert order.sort().values.equal(torch.arange(100))
    for size in (10, 20, 50, 70):
        counts = y[order[:size]].bincount(minlength=3)
        assert (counts - torch.tensor([0.6, 0.3, 0.1]) * size).abs().max() <= 1
    assert not order.equal(stratified_order(y, seed=4))


def test_a_subset_is_the_same_each_time_and_part_of_the_larger_one(digits: Splits) -> None:
    small, again, large = (divide(digits, train_size=n, validation=0).train for n in (100, 100, 400))
    assert small.x.equal(again.x)
    assert small.x.equal(large.x[:100])


def test_validation_comes_out_of_the_training_subset_and_the_test_set_is_left_alone(digits: Splits) -> None:
    splits = divide(digits, train_size=200, validation=0.1)
    assert splits.validation is not None
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (180, 20, 450)
    subset = divide(digits, train_size=200, validation=0).train
    both = torch.cat([splits.train.x, splits.validation.x]).flatten(1)
    assert both.unique(dim=0).equal(subset.x.flatten(1).unique(dim=0))


@pytest.mark.parametrize(
    ("train_size", "validation", "word"), [(0, 0, "train_size"), (9, 0, "train_size"), (8, 0.05, "validation")]
)
def test_impossible_subsets_are_refused(train_size: int, validation: float, word: str) -> None:
    split = Split(torch.zeros(8, 1, 1, 1, dtype=torch.uint8), torch.arange(8))
    with pytest.raises(ConfigError, match=word):
        divide(Splits(split, split), train_size=train_size, validation=validation)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("task", ["digits", "mnist", "fashion-mnist", "cifar10", "cifar100"])
def test_every_model_takes_every_task(name: str, task: str) -> None:
    found = TASKS[task]
    assert isinstance(found, ImageTask)
    shape = found.input_shape
    model = make_model(name, in_channels=shape[0], num_classes=7)
    assert model(torch.zeros(2, *shape)).shape == (2, 7)


def test_unknown_models_and_tasks_are_refused_with_what_there_is() -> None:
    with pytest.raises(
        ConfigError,
        match=r"Did you mean 'digits'\? There are: 20ng, cifar10, cifar100, clinc150, digits, fashion-mnist",
    ):
        get_task("digit")
    with pytest.raises(ConfigError, match=r"Unknown model; got 'resnet5'.*small-resnet"):
        make_model("resnet5", in_channels=1, num_classes=2)
