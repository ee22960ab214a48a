"""What there is to choose from, as tables: methods and tasks."""

import warnings

from rich.text import Text

import emprune
from emprune_lab.commands.fitting import TitledTable
from emprune_lab.method_spec import method_options, usable_as_text
from emprune_lab.tasks import TASKS, Recipe, get_task
from emprune_lab.tasks.glue import TASKS as GLUE_TASKS

__all__ = ["methods_table", "tasks_table"]


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
        summary = (emprune.methods.method_class(name).__doc__ or "").strip().partition("\n")[0]
        table.add_row(name, Text(summary), Text("\n".join(options) or "–"))
    quotas = "After @ stands a quota of each class: emp@equal, emp@rcap, emp@floor=0.1; or a guard: emp@guard=3."
    table.below = [quotas, *(str(warning.message) for warning in caught)]  # of packages whose methods do not load
    return table


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
    return table


def _recipe_cell(recipe: Recipe) -> str:
    return f"{recipe.model}, {recipe.epochs}, {recipe.batch_size}, {recipe.max_lr:g} ({recipe.optimizer})"
