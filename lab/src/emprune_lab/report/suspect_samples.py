"""The samples of a run that look mislabelled: as a table, and on a page to look at."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from emprune.errors import ConfigError
from emprune.suspects import rank_suspects
from emprune_lab.files import write_whole
from emprune_lab.pages.rendering import render_page
from emprune_lab.report.extreme_samples import TrainingData, shown_sample, training_data_of
from emprune_lab.report.records import ReportedRun

__all__ = ["Suspects", "find_suspects", "write_suspects_page"]

_SIGNALS = ("mean_margin", "mean_loss", "loss", "first_learnt", "forgotten", "recorded", "visits")
_IDENTITIES = ("path", "text", "text_2")
_WHOLE = ("first_learnt", "forgotten", "visits")


@dataclass(frozen=True)
class Suspects:
    """The samples of a run that look mislabelled.

    Args:
        run: The run.
        table: A row a sample by its position, the most suspicious first. It has the file or the text if there is one,
            the given and the predicted class, and each signal. `p_given` is that of the given class at the last visit.
        by: The signal that they are ranked by.
        num_unseen: Samples that were never observed, and are not ranked.
    """

    run: ReportedRun
    table: pd.DataFrame
    by: str
    num_unseen: int


def find_suspects(run: ReportedRun, *, top: int, by: str | None) -> Suspects:
    """Return the samples of a finished run that look mislabelled, by its samples.parquet.

    Args:
        run: The run.
        top: How many at most.
        by: The signal; None for the best that was recorded.

    Raises:
        ConfigError: If the run left no samples, or has no such signal.
    """
    samples = run.samples
    if samples is None:
        raise ConfigError(f"The run must have left a samples.parquet in {run.folder}; got none. Make the run again.")
    numbers = {name: samples[name].to_numpy(np.float64, na_value=np.nan) for name in _SIGNALS if name in samples}
    seen = ~np.isnan(numbers["loss"])
    if not seen.any():
        raise ConfigError(f"The run must have observed a sample; got none in {run.folder}. Use a longer run.")
    columns = {name: torch.from_numpy(values) for name, values in numbers.items()}
    found = rank_suspects(columns, torch.from_numpy(seen), min(top, int(seen.sum())), by=by, seed=run.seed)
    rows, names = samples.iloc[found.index.numpy()], run.class_names
    table = {name: rows[name].to_numpy() for name in _IDENTITIES if name in rows}
    for name, column in (("given", "label"), ("predicted", "predicted")):
        if column in rows:
            table[name] = np.array([names.get(int(label), str(int(label))) for label in rows[column]], dtype=object)
    table["p_given"] = np.exp(-found.signals["loss"].numpy())
    for name, values in found.signals.items():
        table[name] = values.numpy().astype(np.int64) if name in _WHOLE else values.numpy()
    positions = pd.Index(found.index.numpy(), name="position")
    return Suspects(run, pd.DataFrame(table, index=positions), found.by[0], found.num_unseen)


def write_suspects_page(suspects: Suspects, path: Path, data_dir: Path | None) -> None:
    """Write a page with a picture or the text of each sample, to be sorted by any column; nothing is fetched.

    Args:
        suspects: The samples.
        path: The file.
        data_dir: Where data sets are cached; without the data there are no pictures.
    """
    data = training_data_of(suspects.run, data_dir)
    numbers = [name for name in suspects.table if name not in (*_IDENTITIES, "given", "predicted")]
    rows = []
    for rank, (position, row) in enumerate(suspects.table.iterrows(), start=1):
        shown = None if isinstance(data, str) else shown_sample(int(str(position)), data, 0.0, [])
        rows.append(
            {
                "rank": rank,
                "position": position,
                "path": row.get("path"),
                "text": " | ".join(str(row[name]) for name in ("text", "text_2") if row.get(name)),
                "picture": None if shown is None else shown.picture,
                "true": _true_class(data, shown.true) if shown is not None and not isinstance(data, str) else None,
                "given": row["given"],
                "predicted": row.get("predicted"),
                "numbers": [f"{row[name]:.3g}" if name not in _WHOLE else f"{row[name]:,}" for name in numbers],
            }
        )
    page = render_page(
        "emprune_lab.report",
        styles={},
        template="suspects.html.jinja",
        has_figures=False,
        suspects=suspects,
        rows=rows,
        numbers=[name.replace("_", " ") for name in numbers],
        no_pictures=data if isinstance(data, str) else None,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write(page.encode()))


def _true_class(data: TrainingData, true: int | None) -> str | None:
    """The class before the run made the label wrong; None where it did not."""
    if true is None:
        return None
    return str(true) if data.classes is None else str(data.classes[true])
