"""What each analysis asks and which runs it takes: all that its help says, without the code that answers it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["QUESTIONS", "Question"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """An analysis as `emprune analyze` shows it.

    Args:
        name: As given on the command line; also the name of its files.
        text: The help.
        methods: The methods that are run unless others are asked for.
        num_runs: The runs of each method, unless another number is asked for.
        settings: What runs are made with, unless told otherwise, instead of the recipe's; a list is varied.
    """

    name: str
    text: str
    methods: str = "full,random-permutation,greedy,emp"
    num_runs: int
    settings: Mapping[str, Any] = field(default_factory=dict)


VISITS = Question(
    name="visits",
    methods="random-permutation,random,infobatch,greedy,emp:pool=none",
    num_runs=5,
    settings={"keep": 0.1},
    text="""How often each sample is visited, by method: histogram, Lorenz curve, Gini coefficient.

    The paper's Figure 1, at its pruning rate of 90 %: --keep is 0.1 unless you
    say otherwise. For any task, on texts and in pre-training too.

    [bold]Example[/bold]

    emprune analyze visits fashion-mnist --train-size 2000 --epochs 20 --runs 2 --out runs/visits
    """,
)
LOSS_CURVES = Question(
    name="loss-curves",
    methods="emp:pool=none,infobatch,random-permutation",
    num_runs=5,
    text="""Training loss by epoch on a fixed random probe of the training set, by method.

    The paper's Figure 3: EMP, InfoBatch, and extreme low-frequency learning,
    which we read as always taking the least visited samples: that is
    random-permutation. The probe has at most 1,000 samples, the same for all
    methods of a seed.

    [bold]Example[/bold]

    emprune analyze loss-curves digits --epochs 20 --keep 0.1 --runs 3 --out runs/curves
    """,
)
LEAVE_ONE_OUT = Question(
    name="leave-one-out",
    methods="emp:pool=none",
    num_runs=50,
    settings={"leave_out": 1},
    text="""The loss of a sample that was left out, and the mean loss of those that were seen.

    The paper's Figure 4: 50 runs, each of which leaves out one random sample.

    [bold]Example[/bold]

    emprune analyze leave-one-out fashion-mnist --train-size 500 --epochs 15 --runs 10 --out runs/one-out
    """,
)
STATIC_REMOVAL = Question(
    name="static-removal",
    methods="full",
    num_runs=5,
    settings={"subset_fraction": [0.9, 0.7, 0.5, 0.3, 0.1]},
    text="""Mean loss of the removed data against the rate of random static pruning, and of the kept data beside it.

    The paper's Figure 5, five runs each, at rates of 10, 30, 50, 70 and 90 %;
    --subset-fraction 0.4 is one rate alone, 60 %. Runs train on all that is
    kept, in every epoch; other --methods prune that again.

    [bold]Example[/bold]

    emprune analyze static-removal digits --epochs 10 --out runs/removal
    """,
)
THEOREM_1 = Question(
    name="theorem-1",
    num_runs=5,
    settings={"label_noise": 0.2},
    text="""The share of the training set that is fitted, and the cap that Theorem 1 puts on it, by method.

    Whoever stores little of the labels in the weights cannot fit many. What is
    stored cannot be measured; it is put between what the model betrays and
    what it was shown, and so is the cap. A fifth of the labels is made wrong
    (--label-noise), because only then is it known what there is to store;
    without wrong labels, and with two classes, the theorem says nothing.

    [bold]Example[/bold]

    emprune analyze theorem-1 digits --epochs 40 --keep 0.1 --runs 3 --out runs/theorem
    """,
)
MEMORIZATION = Question(
    name="memorization",
    num_runs=10,
    settings={"subset_fraction": 0.7},
    text="""How much likelier a sample's class is named with the sample in the training set.

    Runs train on random parts of the data, 70 % unless --subset-fraction says
    otherwise: how often those that had a sample name its class, minus how
    often the others do (Feldman & Zhang 2020).

    [bold]Example[/bold]

    emprune analyze memorization digits --label-noise 0.1 --runs 8 --out runs/memory
    """,
)
ALIGNMENT_GAP = Question(
    name="alignment-gap",
    num_runs=10,
    settings={"subset_fraction": 0.7},
    text="""How much closer a sample's views lie, in pre-training, with the sample in the training set.

    Encoders train on random parts of the data, 70 % unless --subset-fraction
    says otherwise; the distance is that of features of unit length, of five
    pairs of views, in units of the range over all samples and methods
    (SSLMem, Wang et al. 2024).

    [bold]Example[/bold]

    emprune analyze alignment-gap simclr-cifar10 --train-size 5000 --runs 6 --out runs/alignment
    """,
)

FRONTIER = Question(
    name="frontier",
    methods="full,random-permutation,emp",
    num_runs=3,
    settings={"keep": [0.1, 0.2, 0.3, 0.5, 0.7]},
    text="""How much can be left out so that nothing is lost, and what is a method worth?

    Every method at several keeps, beside full training. The answer has two
    numbers of each method, with intervals: the keep from which on it loses
    nothing, and the keep at which random permutation reaches as much.

    [bold]Example[/bold]

    emprune analyze frontier digits --keep 0.1,0.3,0.5 --out runs/frontier
    """,
)

QUESTIONS = {
    question.name: question
    for question in (
        FRONTIER,
        VISITS,
        LOSS_CURVES,
        LEAVE_ONE_OUT,
        STATIC_REMOVAL,
        THEOREM_1,
        MEMORIZATION,
        ALIGNMENT_GAP,
    )
}
