r"""The terms of Theorem 1, and what of them can be measured; pure functions of numbers.

.. math:: E \sum e_i \ge (H(y|x) - I(w; y|x) - \sum H(e_i)) / \log(C - 1)

with e_i = 1 where the model w does not give training sample i its label; docs/theory/index.md derives it. All below
is per sample and in nats, of a run's final model on the samples it trained on.

- **H(y|x)** is known only where we made it. Labels are wrong with probability p (`label_noise`), and a wrong label is
  any of the other C - 1 classes. Then H(y|x) = h = H(p) + p log(C - 1), where H(p) is the entropy of a coin. Assumed:
  the labels before that are a function of x. If they are not, H(y|x) is larger, and the bound with h is still true.
  Without noise h = 0, and the theorem says nothing.
- **H(e_i)** is replaced by its upper bound H(mean e), which is larger by concavity: the bound stays true. Beside it
  stands the plug-in estimate over the runs, the mean of H(share of runs that are wrong about i). It is too low with few
  runs, and because all of them share one draw of the labels. It says how much the replacement may give away.
- **I(w; y|x)** cannot be measured: it is about the weights of all trainings on all draws of the labels. Two numbers
  enclose it.

  *At least* what the loss and the fit reveal. By the loss, I >= h - (mean cross-entropy), because the divergence in the
  decomposition of the loss is never negative. By the fit, I >= h - H(mean e) - (mean e) log(C - 1), which is the
  theorem solved for I.

  *At most* v h, where v is the share of the samples that were visited: training used no other label. Assumed: labels
  are wrong independently of each other (they are drawn without replacement: nearly).

The least is our surrogate for I, and not the paper's. With it the theorem gives the lowest cap on the fitted share that
it can give. That cap holds by construction. With the most, the cap is proved. The true one lies between. With two
classes log(C - 1) = 0, and the theorem is void.

References: Harutyunyan et al., "Improving Generalization by Controlling Label-Noise Information in Neural Network
Weights" (ICML 2020), Theorem 2.1.
"""

import math
from dataclasses import dataclass

__all__ = ["Terms", "coin_entropy"]


def coin_entropy(p: float) -> float:
    """Return the entropy of a coin that shows heads with probability p, in nats.

    Example:
        >>> coin_entropy(0.0), round(coin_entropy(0.5), 4)
        (0.0, 0.6931)
    """
    return sum(-share * math.log(share) for share in (p, 1 - p) if share > 0)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The terms of Theorem 1 for one model, per sample, entropies in nats.

    Args:
        num_classes: C, above 2.
        noise: p, the share of wrong labels.
        errors: The share of the samples that are not given their label.
        loss: The mean cross-entropy.
        visited: The share of the samples that were ever visited.

    Example:
        >>> terms = Terms(
        ...     num_classes=10, noise=0.2, errors=0.2, loss=1.2, visited=1.0
        ... )  # the rule alone was learned
        >>> round(terms.label_entropy, 4), terms.stored_least, round(terms.bound(terms.stored_least), 4)
        (0.9398, 0.0, 0.2)
        >>> terms.bound(terms.stored_most)
        0.0
    """

    num_classes: int
    noise: float
    errors: float
    loss: float
    visited: float

    @property
    def label_entropy(self) -> float:
        """H(y|x)."""
        return coin_entropy(self.noise) + self.noise * math.log(self.num_classes - 1)

    @property
    def error_entropy(self) -> float:
        """H(mean e), which is not below the mean of the H(e_i)."""
        return coin_entropy(self.errors)

    @property
    def stored_by_loss(self) -> float:
        """What I(w; y|x) is not below, by the decomposition of the loss; it may be negative."""
        return self.label_entropy - self.loss

    @property
    def stored_by_fit(self) -> float:
        """What I(w; y|x) is not below, by the theorem itself; it may be negative."""
        return self.label_entropy - self.error_entropy - self.errors * math.log(self.num_classes - 1)

    @property
    def stored_least(self) -> float:
        """What I(w; y|x) is not below."""
        return min(max(0.0, self.stored_by_loss, self.stored_by_fit), self.stored_most)

    @property
    def stored_most(self) -> float:
        """What I(w; y|x) is not above."""
        return self.visited * self.label_entropy

    @property
    def fitted(self) -> float:
        """The share of the samples that are given their label."""
        return 1 - self.errors

    @property
    def cap_lowest(self) -> float:
        """What `fitted` is not above, by the theorem, if no more is stored than is betrayed."""
        return 1 - self.bound(self.stored_least)

    @property
    def cap_proved(self) -> float:
        """What `fitted` is not above, by the theorem."""
        return 1 - self.bound(self.stored_most)

    def bound(self, stored: float) -> float:
        """Return the least share of errors with so much stored, in [0, 1]; 0 where the theorem says nothing.

        The theorem's value may pass 1 where a model fits, by chance, what it was never shown.
        """
        missing = self.label_entropy - stored - self.error_entropy
        return min(1.0, max(0.0, missing / math.log(self.num_classes - 1)))
