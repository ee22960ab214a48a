"""What runs are compared by: how a metric is written, and which way is better."""

from dataclasses import dataclass

__all__ = ["METRICS", "Metric", "capital", "metric_of"]


@dataclass(frozen=True)
class Metric:
    """What runs are compared by.

    Args:
        name: As results have it.
        unit: Of its values, in the head of a table and on an axis; "" where the name says it.
        points: What a difference is counted in, in a sentence.
        margin: A difference that is too small to matter, where nobody names one.
        digits: Decimals of a value and of a difference.
        higher_is_better: Whether more is better.
    """

    name: str
    unit: str = "× 100"
    points: str = "points"
    margin: float = 0.5
    digits: int = 2
    higher_is_better: bool = True

    @property
    def heading(self) -> str:
        """The name with its unit."""
        return f"{self.name} {self.unit}".rstrip()

    def axis(self, called: str) -> str:
        """Return what an axis says, of the metric by its name or by another."""
        return f"{called}, {self.unit}" if self.unit else called

    @property
    def better(self) -> int:
        """What a difference is multiplied by so that a gain is positive: 1 or −1."""
        return 1 if self.higher_is_better else -1


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", unit="%"),
        Metric("F1"),
        Metric("Matthews"),
        Metric("bits per byte", unit="", points="bits per byte", margin=0.01, digits=4, higher_is_better=False),
    )
}
"""By the names that results have."""


def metric_of(name: str) -> Metric:
    """Return the metric of that name; one that is not known here, of a file of somebody else, counts in points.

    Example:
        >>> metric_of("accuracy").heading, metric_of("bits per byte").heading
        ('accuracy %', 'bits per byte')
    """
    return METRICS.get(name, Metric(name))


def capital(text: str) -> str:
    """Return a text as a sentence or a heading begins.

    Example:
        >>> capital("bits per byte")
        'Bits per byte'
    """
    return text[0].upper() + text[1:]
