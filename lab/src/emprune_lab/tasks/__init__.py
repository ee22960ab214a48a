"""The tasks, one file for each family, and their registry. A new task is one file and one line below."""

from collections.abc import Sequence

from emprune_lab.data.dividing import divide, drawn
from emprune_lab.data.splits import Split, Splits, Texts
from emprune_lab.errors import unknown_name
from emprune_lab.tasks.cifar import CIFAR10, CIFAR100
from emprune_lab.tasks.digits import DIGITS
from emprune_lab.tasks.glue import PREFIX as GLUE
from emprune_lab.tasks.glue import glue_task
from emprune_lab.tasks.image_folder import PREFIX as IMAGE_FOLDER
from emprune_lab.tasks.image_folder import image_folder
from emprune_lab.tasks.language_model import LANGUAGE_MODEL
from emprune_lab.tasks.mnist import FASHION_MNIST, MNIST
from emprune_lab.tasks.opinions import IMDB, MOVIE_REVIEWS
from emprune_lab.tasks.own_texts import PREFIX as OWN_TEXTS
from emprune_lab.tasks.own_texts import own_texts
from emprune_lab.tasks.simclr import simclr
from emprune_lab.tasks.task import BlockTask, ImageTask, Recipe, Task, TextTask, load_splits
from emprune_lab.tasks.topics import CLINC150, NEWSGROUPS, R52

__all__ = [
    "TASKS", "BlockTask", "ImageTask", "Recipe", "Split", "Splits", "Task", "TextTask", "Texts", "divide", "drawn",
    "get_task", "kind_of", "load_splits",
]  # fmt: skip

IMAGES = (DIGITS, MNIST, FASHION_MNIST, CIFAR10, CIFAR100)
CONTRASTIVE = map(simclr, (DIGITS, FASHION_MNIST, CIFAR10, CIFAR100))
TEXTS = (MOVIE_REVIEWS, CLINC150, R52, NEWSGROUPS, IMDB)
BLOCKS = (LANGUAGE_MODEL,)

TASKS: dict[str, Task] = {task.name: task for task in (*IMAGES, *CONTRASTIVE, *TEXTS, *BLOCKS)}


def get_task(name: str, *, besides: Sequence[str] = ()) -> Task:
    """Return the task of that name, of GLUE: `glue:cola`, or of a user's own data: `image-folder:PATH`, `texts:PATH`.

    Args:
        name: The task's.
        besides: What the caller takes beside tasks, for the message.

    Raises:
        ConfigError: If there is none; the message lists those there are.
    """
    if name.startswith(IMAGE_FOLDER):
        return image_folder(name)
    if name.startswith(OWN_TEXTS):
        return own_texts(name)
    if name.startswith(GLUE):
        return glue_task(name)
    if name not in TASKS:
        raise unknown_name("task", name, [*TASKS, *besides, f"{GLUE}TASK", f"{IMAGE_FOLDER}PATH", f"{OWN_TEXTS}PATH"])
    return TASKS[name]


def kind_of(name: str) -> str:
    """Return the kind of a task's samples, also where a user's own data are away: "images", "texts" or "blocks".

    Raises:
        ConfigError: If there is no such task.
    """
    if name.startswith((GLUE, OWN_TEXTS)):
        return TextTask.kind
    return ImageTask.kind if name.startswith(IMAGE_FOLDER) else get_task(name).kind
