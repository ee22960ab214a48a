"""The label sets: data whose wrong labels are known, because we made them or because people corrected them.

A label set is written ``TASK:KIND`` or ``TASK:KIND:SHARE``: ``fashion-mnist:uniform:0.4``, ``cifar10:worse_label``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from emprune_lab.data.dividing import stratified_order
from emprune_lab.data.splits import Split, Splits, Texts
from emprune_lab.models import make_model
from emprune_lab.tasks import ImageTask, get_task
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["LABEL_SETS", "LabelData", "nearest_class", "read", "with_wrong_labels"]

SHARES = (0.1, 0.4)
MADE = tuple(
    f"{task}:{kind}:{share}" for task in ("fashion-mnist", "20ng") for kind in ("uniform", "class") for share in SHARES
)
HUMAN_10 = tuple(f"cifar10:{name}" for name in ("aggre_label", "random_label1", "worse_label"))
HUMAN_100 = ("cifar100:noisy_label",)
RIGHT = ("fashion-mnist:clean", "cifar10:clean_label")
"""Without a wrong label: what a guard costs there."""
LABEL_SETS = (*MADE, *HUMAN_10, *HUMAN_100, *RIGHT)  # their order decides draws, so a new one comes last

SIZES = {"fashion-mnist": 10_000}
NUM_VALIDATION = 1_000
NUM_FEATURES, WIDTH, NUM_WORDS = 300, 512, 30_000
Transform = Callable[..., Sequence[Tensor]]


@dataclass(frozen=True, eq=False)
class LabelData:
    """What is trained on, and what is known of it.

    Args:
        name: The label set's.
        x: (N, ...) raw images, or the features of texts.
        given: (N,) int64, the labels that are trained on.
        true: (N,) int64.
        validation: 1,000 samples with labels that are wrong in the same way. Only the gap is measured on them.
        test: All others of the official test set, with correct labels.
        num_classes: C.
        model: Makes a network, of torch's global generator.
        transform: Of a training batch, as `ArrayLoader` takes it.
        prepare: Of what is scored.
    """

    name: str
    x: Tensor
    given: Tensor
    true: Tensor
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    num_classes: int
    model: Callable[[], nn.Module]
    transform: Transform | None
    prepare: Callable[[Tensor], Tensor]

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """(N,) which labels are wrong."""
        found: NDArray[np.bool_] = (self.given != self.true).numpy()
        return found


def read(name: str, seed: int, *, human: Path, data_dir: Path | None = None) -> LabelData:
    """Return a label set. What we make wrong is drawn by the seed; human labels are the same for every seed.

    Args:
        name: One of `LABEL_SETS`.
        seed: The runs'.
        human: The folder of `cifar10n.npz` and `cifar100n.npz`.
        data_dir: The lab's data folder.

    Raises:
        ValueError: If the images are not in the order of the human labels.
    """
    task_name, kind, *rest = name.split(":")
    task = get_task(task_name)
    train, test = _loaded(task_name, data_dir)
    random = np.random.default_rng([seed, LABEL_SETS.index(name)])
    true = train.y
    if rest:
        towards = nearest_class(train.x, true) if kind == "class" else None
        given = with_wrong_labels(true, float(rest[0]), task.num_classes, towards, random)
    elif kind == "clean":
        given = true.clone()
    else:
        given = human_labels(human / f"{task_name}n.npz", kind, true)
    held = stratified_order(test.y, seed=0)
    first, others = test.take(held[:NUM_VALIDATION]), test.take(held[NUM_VALIDATION:])
    validation = (first.x, wrong_in_the_same_way(first.y, given, true, random))
    shared = (name, train.x, given, true, validation, (others.x, others.y), task.num_classes)
    if isinstance(task, ImageTask):
        return LabelData(*shared, _network(task), task.transform, task.normalise)
    return LabelData(*shared, _head(task.num_classes), None, lambda x: x)


def with_wrong_labels(
    true: Tensor, share: float, num_classes: int, towards: Tensor | None, random: np.random.Generator
) -> Tensor:
    """Return labels of which exactly a share is wrong.

    Args:
        true: (N,) int64.
        share: In (0, 1).
        num_classes: C.
        towards: (C,) what a class is taken for; None for any other class, each as likely.
        random: The draws.

    Example:
        >>> y = torch.arange(10).repeat(10)
        >>> given = with_wrong_labels(y, 0.4, 10, None, np.random.default_rng(0))
        >>> int((given != y).sum())
        40
    """
    chosen = torch.from_numpy(random.choice(len(true), round(share * len(true)), replace=False))
    given = true.clone()
    if towards is None:
        given[chosen] = (true[chosen] + torch.from_numpy(random.integers(1, num_classes, len(chosen)))) % num_classes
    else:
        given[chosen] = towards[true[chosen]]
    return given


def nearest_class(x: Tensor, y: Tensor) -> Tensor:
    """Return (C,) int64, for each class the other one whose mean is nearest to its own.

    Example:
        >>> nearest_class(torch.tensor([[0.0], [1.0], [5.0]]), torch.arange(3)).tolist()
        [1, 0, 1]
    """
    means = torch.stack([x[y == label].flatten(1).float().mean(0) for label in range(int(y.max()) + 1)])
    return torch.cdist(means, means).fill_diagonal_(torch.inf).argmin(1)


def human_labels(file: Path, kind: str, true: Tensor) -> Tensor:
    """Return the labels that people gave.

    Raises:
        ValueError: If the images are in another order than the labels.
    """
    content = np.load(file)
    if not np.array_equal(content["clean_label"], true.numpy()):
        raise ValueError(f"The images must be in the order of {file.name}; got other labels. Use the official release.")
    return torch.from_numpy(content[kind].astype(np.int64))


def wrong_in_the_same_way(y: Tensor, given: Tensor, true: Tensor, random: np.random.Generator) -> Tensor:
    """Return labels for other samples that are wrong as often, class by class, as those of the training set.

    Args:
        y: (M,) int64, the true labels of the other samples.
        given: (N,) of the training set.
        true: (N,) of the training set.
        random: The draws.
    """
    num_classes = int(true.max()) + 1
    counts = torch.zeros(num_classes, num_classes).index_put_((true, given), torch.ones(()), accumulate=True)
    upper = (counts / counts.sum(1, keepdim=True)).cumsum(1).numpy()[y.numpy()]
    drawn = (random.random((len(y), 1)) > upper).sum(1)
    return torch.from_numpy(np.minimum(drawn, num_classes - 1).astype(np.int64))


@lru_cache(maxsize=1)
def _loaded(name: str, data_dir: Path | None) -> tuple[Split, Split]:
    task = get_task(name)
    splits = task.load(data_dir)
    if not isinstance(task, ImageTask):
        return _features(splits)
    train = splits.train
    if name in SIZES:
        train = train.take(stratified_order(train.y, seed=1)[: SIZES[name]])
    return train, splits.test


def _features(splits: Splits[Texts]) -> tuple[Split, Split]:
    """Return texts as their TF-IDF in 300 dimensions (latent semantic analysis), of mean 0 and variance 1."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    words = TfidfVectorizer(sublinear_tf=True, max_features=NUM_WORDS, stop_words="english")
    features = make_pipeline(words, TruncatedSVD(NUM_FEATURES, random_state=0), StandardScaler())
    train = features.fit_transform(splits.train.x.first)
    test = features.transform(splits.test.x.first)
    return tuple(  # type: ignore[return-value] # there are two
        Split(torch.from_numpy(x.astype(np.float32)), part.y)
        for x, part in ((train, splits.train), (test, splits.test))
    )


def _network(task: ImageTask) -> Callable[[], nn.Module]:
    return lambda: make_model("small-resnet", in_channels=task.input_shape[0], num_classes=task.num_classes)


def _head(num_classes: int) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(NUM_FEATURES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, num_classes))
