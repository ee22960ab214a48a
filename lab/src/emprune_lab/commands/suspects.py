"""`emprune suspects`: the samples of a run that look mislabelled."""

from pathlib import Path
from typing import Annotated

import typer

from emprune_lab.commands.options import DataDir, path_argument, path_option

__all__ = ["suspects"]

MOST_PRINTED = 20
WIDTH = 80


def suspects(
    run: Annotated[Path, path_argument(metavar="RUN", help="The folder of a finished run.")],
    top: Annotated[int, typer.Option(min=1, help="How many samples.")] = 100,
    by: Annotated[
        str | None,
        typer.Option(help="mean_margin, mean_loss or loss.", show_default="the first that the run recorded"),
    ] = None,
    csv: Annotated[Path | None, path_option("--csv", help="Write the table to this file.")] = None,
    parquet: Annotated[Path | None, path_option("--parquet", help="Write the table to this file.")] = None,
    html: Annotated[Path | None, path_option("--html", help="Write a page with pictures or texts.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Rank the training samples that look mislabelled, by what a run remembers of them.

    It needs the run's samples.parquet alone, and for pictures the data. A run
    with --record all remembers more to rank by, and the predicted class. Of
    your own data it names the files, or the rows of a table.

    [bold]Examples[/bold]

    emprune run digits --label-noise 0.1 --record all --out runs/noisy

    emprune suspects runs/noisy --top 150 --csv suspects.csv --html suspects.html
    """
    from emprune_lab.commands.consoles import out
    from emprune_lab.commands.running import failures_reported

    with failures_reported():
        from emprune_lab.commands.tables import suspects_table
        from emprune_lab.report.records import find_run
        from emprune_lab.report.suspect_samples import find_suspects, write_suspects

        found = find_suspects(find_run(run), top=top, by=by)
        files = write_suspects(found, csv=csv, parquet=parquet, html=html, data_dir=data_dir)
        out.print(suspects_table(found, most=MOST_PRINTED, width=min(out.width, WIDTH)))
        for file in files:
            out.print(f"{file}", highlight=False, soft_wrap=True)
