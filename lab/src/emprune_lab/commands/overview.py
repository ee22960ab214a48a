"""What there is to choose from, as tables: methods and tasks; and a method in full, as its docstring has it."""

import inspect
import warnings

from docstring_parser import Docstring
from docstring_parser.google import DEFAULT_SECTIONS, GoogleParser, Section, SectionType
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

import emprune
from emprune.methods.options import options_of
from emprune_lab.commands.fitting import OPEN, TitledTable
from emprune_lab.method_spec import method_options, usable_as_text
from emprune_lab.tasks import TASKS, Recipe, get_task
from emprune_lab.tasks.glue import TASKS as GLUE_TASKS

__all__ = ["method_page", "methods_table", "tasks_table"]

_SOURCES = Section("References", "references", SectionType.SINGULAR)
_DOCSTRINGS = GoogleParser([*DEFAULT_SECTIONS, _SOURCES])


def methods_table() -> TitledTable:
    """Return the methods, what each visits, and its options."""
    table = TitledTable("Methods (options as in emp:beta=3:pool=2)")
    table.add_column("method", no_wrap=True)  # a name is to be typed
    for head in ("what it visits", "options and defaults"):
        table.add_column(head, overflow="fold")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names = emprune.methods.method_names()
    for name in names:
        options = [f"{o}={'...' if value.required else value.default}" for o, value in method_options(name).items()]
        if not usable_as_text(name):
            options = ["only from code"]
        summary = _documented(emprune.methods.method_class(name)).short_description
        table.add_row(name, Text(summary or ""), Text("\n".join(options) or "–"))
    quotas = "After @ stands a quota of each class: emp@equal, emp@rcap, emp@floor=0.1; or a guard: emp@guard=3."
    table.below = [
        "`emprune methods emp` explains one method and its options.",
        quotas,
        *(str(warning.message) for warning in caught),  # of packages whose methods do not load
    ]
    return table


def method_page(name: str) -> Group:
    """Return what a method visits, what each of its options means, and where it comes from.

    Args:
        name: As registered.

    Raises:
        ConfigError: If there is no such method.
    """
    cls = emprune.methods.method_class(name)
    page = _documented(cls)
    meanings = {entry.arg_name: entry.description for entry in page.params}
    table = Table(**OPEN)
    for head in ("option", "default"):
        table.add_column(head, no_wrap=True)  # to be typed
    table.add_column("what it is", overflow="fold")
    for option, value in options_of(cls).items():
        default = "none; needed" if value.required else value.text_of(value.default)
        table.add_row(option, default, Text(_in_one_line(meanings.get(option))))
    sources = [entry.description for entry in page.meta if entry.args == _SOURCES.key.split()]
    parts: list[RenderableType] = [Text(f"{name}: {page.short_description or cls.__name__}", "table.title")]
    parts += _paragraphs(page.long_description)
    parts += [Text(), table] if table.rows else []
    if not usable_as_text(name):
        parts += _paragraphs("It is made in code: its options cannot be written as text.")
    for source in sources:
        parts += _paragraphs(f"From {source}")
    return Group(*parts)


def tasks_table() -> TitledTable:
    """Return the tasks, and the defaults of their recipes."""
    table = TitledTable("Tasks")
    table.add_column("task", no_wrap=True)  # a name is to be typed
    table.add_column("data", overflow="fold")
    table.add_column("model, epochs, batch size, peak learning rate", overflow="fold")
    for task in TASKS.values():
        table.add_row(task.name, task.description, _recipe_cell(task.recipe))
        for name, other in task.recipes.items():
            table.add_row("", Text(f"--recipe {name}", style="dim"), _recipe_cell(other))
    glue_tasks = f"a task of GLUE: {', '.join(GLUE_TASKS)}"
    table.add_row("glue:TASK", glue_tasks, _recipe_cell(get_task("glue:cola").recipe))
    table.add_row("image-folder:PATH", "your own images, PATH/train/CLASS/* or PATH/CLASS/*; [:size=64]")
    texts = "your own texts: CSV, TSV, JSONL or Parquet, or a folder of train.* and test.*"
    options = "[:text=COLUMN] [:label=COLUMN]"
    table.add_row("texts:PATH", f"{texts}; {options}", _recipe_cell(get_task("glue:cola").recipe))
    return table


def _recipe_cell(recipe: Recipe) -> str:
    return f"{recipe.model}, {recipe.epochs}, {recipe.batch_size}, {recipe.max_lr:g} ({recipe.optimizer})"


def _documented(cls: type[emprune.Method]) -> Docstring:
    return _DOCSTRINGS.parse(inspect.cleandoc(cls.__doc__ or ""))


def _paragraphs(text: str | None) -> list[Text]:
    """Return the paragraphs of a docstring's text, each after a blank line."""
    return [
        line
        for paragraph in (text or "").split("\n\n")
        if paragraph
        for line in (Text(), Text(_in_one_line(paragraph)))
    ]


def _in_one_line(text: str | None) -> str:
    return " ".join((text or "").split())
