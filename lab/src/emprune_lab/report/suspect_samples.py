"""The samples of a run that look mislabelled: as a table, and on a page to look at."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
import torch

from emprune.errors import ConfigError
from emprune.suspects import rank_suspects
from emprune_lab.files import refuse_foreign, write_whole
from emprune_lab.pages.rendering import render_page
from emprune_lab.report.extreme_samples import TrainingData, shown_sample, training_data_of
from emprune_lab.report.records import ReportedRun

__all__ = ["Suspects", "find_suspects", "write_suspects"]

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


def write_suspects(
    suspects: Suspects, *, csv: Path | None, parquet: Path | None, html: Path | None, data_dir: Path | None
) -> list[Path]:
    """Write the files that are asked for, and return them.

    Args:
        suspects: The samples.
        csv: The file of the table as CSV.
        parquet: The file of the table as Parquet.
        html: The file of a page with a picture or the text of each sample, to be sorted by any column.
        data_dir: Where data sets are cached; nothing is fetched, and without the data the page has no pictures.

    Raises:
        ConfigError: If a file has another suffix, or would replace what is none of emprune's. Then none is written.
    """
    table, files = suspects.table, {".csv": csv, ".parquet": parquet, ".html": html}
    for suffix, path in files.items():
        if path is not None and path.suffix != suffix:
            raise ConfigError(f"`{suffix[1:]}` must be a file that ends in {suffix}; got {str(path)!r}. Rename it.")
    asked = {suffix: path for suffix, path in files.items() if path is not None}
    refuse_foreign(*asked.values())
    write: dict[str, Callable[[BinaryIO], object]] = {
        ".csv": table.to_csv,
        ".parquet": table.to_parquet,
        ".html": lambda file: file.write(_page(suspects, data_dir).encode()),
    }
    for suffix, path in asked.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, write[suffix])
    return list(asked.values())


def _page(suspects: Suspects, data_dir: Path | None) -> str:
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
    return render_page(
        "emprune_lab.report",
        styles={},
        template="suspects.html.jinja",
        has_figures=False,
        suspects=suspects,
        rows=rows,
        numbers=[name.replace("_", " ") for name in numbers],
        no_pictures=data if isinstance(data, str) else None,
    )


def _true_class(data: TrainingData, true: int | None) -> str | None:
    """The class before the run made the label wrong; None where it did not."""
    if true is None:
        return None
    return str(true) if data.classes is None else str(data.classes[true])
