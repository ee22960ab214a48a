"""`emprune export`: the trained model of a run, its settings and its samples, in forms that other programs read."""

from pathlib import Path
from typing import Annotated

from emprune_lab.commands.options import DataDir, path_argument, path_option

__all__ = ["export"]


def export(
    run: Annotated[Path, path_argument(metavar="RUN", help="The folder of a finished run.")],
    out_dir: Annotated[
        Path | None, path_option("--out", help="Folder of the files.", show_default="RUN/exported")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Write a run's trained model, its settings and its samples for other programs.

    The folder gets three files. model.safetensors has the weights that were
    scored, and the settings in its metadata. settings.json has the settings.
    samples.csv has a row for each training sample: its path, class, visits,
    loss and score.

    A model of images also gets model.json: the names of your classes, and the
    size, mean and standard deviation of what it takes. A model of texts gets
    config.json and its tokenizer, so that from_pretrained loads the folder. A
    text run of `compare` keeps no model: its settings and samples are written.

    [bold]Example[/bold]

    emprune export runs/first --out exported
    """
    from emprune_lab.commands.consoles import out, progress
    from emprune_lab.commands.running import failures_reported

    with failures_reported():
        from emprune_lab.report.records import find_run
        from emprune_lab.training.exported import export_run

        folder = run if (run / "config.json").is_file() else find_run(run).folder or run
        where = out_dir or folder / "exported"
        for path in export_run(folder, where, data_dir=data_dir, say=lambda line: progress.print(line, soft_wrap=True)):
            out.print(f"{path}", highlight=False, soft_wrap=True)
