"""`emprune report`: the runs of some folders on one page."""

from pathlib import Path
from typing import Annotated

import typer

from emprune_lab.commands.options import DataDir, path_argument, path_option

__all__ = ["report"]


def report(
    paths: Annotated[
        list[Path],
        path_argument(metavar="DIR...", help="Folders of `compare`, of single runs, or results.json files."),
    ],
    out_dir: Annotated[
        Path | None,
        path_option("--out", help="Folder of report.html.", show_default="the first DIR, or its file's folder"),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="What differences are taken to.", show_default="the comparison's, else random-permutation"),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Say and draw what finished runs show, on one page that opens without a network: report.html.

    The page begins with what is saved, what is lost, and which method; the same
    is printed. It shows the samples visited most and least, and the table. It
    draws accuracy over time and cost, visits per sample, every epoch's loss,
    churn, overlap and staleness, and the classes. It ends with the command that
    makes it all again. What the runs did not record is left out, with the
    reason.

    Runs of one task and the same settings come together from all DIRs, for one
    comparison. Others get a section each. Nothing is fetched.

    [bold]Examples[/bold]

    emprune report runs/digits

    emprune report here/results.json there/results.json --out runs/both
    """
    from emprune_lab.commands.comparison_table import answer_lines, print_verdict
    from emprune_lab.commands.consoles import out, progress, prose_width
    from emprune_lab.commands.running import failures_reported

    with failures_reported():
        from emprune_lab.files import refuse_file
        from emprune_lab.report.page import write_report
        from emprune_lab.report.records import find_runs
        from emprune_lab.report.sections import divide_runs

        where = out_dir or (paths[0] if paths[0].is_dir() else paths[0].parent)
        refuse_file(where)
        found = find_runs(paths)
        path = write_report(found, where, baseline=baseline, data_dir=data_dir)
        for section in divide_runs(found.runs):
            for group in section.groups:
                out.print(f"{section.heading}, {group.title}", style="bold", highlight=False)
                print_verdict(group.verdict)
            if section.enough is not None:
                out.print(answer_lines([section.enough]), width=prose_width())
        for file in (file for run in found.runs for file in run.damaged):
            progress.print(f"{file} is damaged, and left out.", style="yellow", soft_wrap=True)
        out.print(f"{path}", highlight=False, soft_wrap=True)
