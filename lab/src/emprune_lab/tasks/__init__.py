"""The tasks, one file each, and their registry. A new task is one file and one line below."""

from emprune_lab.data.cache import DataSet
from emprune_lab.data.split import divide, drawn
from emprune_lab.errors import unknown_name
from emprune_lab.tasks import clinc150, glue, image_folder, imdb, movie_reviews, topics
from emprune_lab.tasks.cifar import CIFAR10, CIFAR10_DATA, CIFAR100, CIFAR100_DATA
from emprune_lab.tasks.digits import DIGITS
from emprune_lab.tasks.fashion_mnist import DATA as FASHION_MNIST_DATA
from emprune_lab.tasks.fashion_mnist import FASHION_MNIST
from emprune_lab.tasks.mnist import DATA as MNIST_DATA
from emprune_lab.tasks.mnist import MNIST
from emprune_lab.tasks.simclr import SIMCLR_TASKS
from emprune_lab.tasks.task import ImageTask, Recipe, Split, Splits, Task, Texts, TextTask

__all__ = [
    "DATA_SETS",
    "IMAGE_TASKS",
    "TASKS",
    "ImageTask",
    "Recipe",
    "Split",
    "Splits",
    "Task",
    "TextTask",
    "Texts",
    "data_of",
    "divide",
    "drawn",
    "get_task",
]

IMAGE_TASKS = (DIGITS, MNIST, FASHION_MNIST, CIFAR10, CIFAR100)
TEXT_TASKS = (movie_reviews.MOVIE_REVIEWS, clinc150.CLINC150, topics.R52, topics.NEWSGROUPS, imdb.IMDB)

TASKS: dict[str, Task] = {task.name: task for task in (*IMAGE_TASKS, *SIMCLR_TASKS, *TEXT_TASKS)}

IMAGE_DATA = (MNIST_DATA, FASHION_MNIST_DATA, CIFAR10_DATA, CIFAR100_DATA)
TEXT_DATA = (movie_reviews.DATA, clinc150.DATA, topics.R52_DATA, topics.NEWSGROUPS_DATA, imdb.DATA)

DATA_SETS: dict[str, DataSet] = {
    **{data.name: data for data in (*IMAGE_DATA, *TEXT_DATA)},
    **{f"simclr-{data.name}": data for data in IMAGE_DATA},
}
"""What `emprune data` fetches; a task without an entry brings its data along."""


def get_task(name: str) -> Task:
    """Return the task of that name, of a user's own images: `image-folder:PATH`, or of GLUE: `glue:cola`.

    Raises:
        ConfigError: If there is none; the message lists those there are.
    """
    if name.startswith(image_folder.PREFIX):
        return image_folder.image_folder(name)
    if name.startswith(glue.PREFIX):
        return glue.glue_task(name)
    if name not in TASKS:
        raise unknown_name("task", name, [*TASKS, f"{glue.PREFIX}TASK", f"{image_folder.PREFIX}PATH"])
    return TASKS[name]


def data_of(task: str) -> DataSet | None:
    """Return the data set that a task needs; None if it brings its data along."""
    return glue.glue_data(task) if task.startswith(glue.PREFIX) else DATA_SETS.get(task)
