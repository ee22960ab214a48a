"""The tasks, one file each, and their registry. A new task is one file and one line below."""

from emprune.lab.errors import unknown_name
from emprune.lab.tasks.base import Recipe, Split, Splits, Task
from emprune.lab.tasks.cache import DataSet
from emprune.lab.tasks.cifar import CIFAR10, CIFAR10_DATA, CIFAR100, CIFAR100_DATA
from emprune.lab.tasks.digits import DIGITS
from emprune.lab.tasks.fashion_mnist import DATA as FASHION_MNIST_DATA
from emprune.lab.tasks.fashion_mnist import FASHION_MNIST
from emprune.lab.tasks.image_folder import PREFIX, image_folder
from emprune.lab.tasks.mnist import DATA as MNIST_DATA
from emprune.lab.tasks.mnist import MNIST
from emprune.lab.tasks.simclr import SIMCLR_TASKS
from emprune.lab.tasks.split import divide, drawn

__all__ = ["DATA_SETS", "TASKS", "Recipe", "Split", "Splits", "Task", "divide", "drawn", "get_task"]

TASKS: dict[str, Task] = {task.name: task for task in (DIGITS, MNIST, FASHION_MNIST, CIFAR10, CIFAR100, *SIMCLR_TASKS)}
DATA_SETS: dict[str, DataSet] = {
    "mnist": MNIST_DATA,
    "fashion-mnist": FASHION_MNIST_DATA,
    "cifar10": CIFAR10_DATA,
    "cifar100": CIFAR100_DATA,
    "simclr-fashion-mnist": FASHION_MNIST_DATA,
    "simclr-cifar10": CIFAR10_DATA,
    "simclr-cifar100": CIFAR100_DATA,
}
"""What `emprune data` fetches; a task without an entry brings its data along."""


def get_task(name: str) -> Task:
    """Return the task of that name, or of a user's own images: `image-folder:PATH`.

    Raises:
        ConfigError: If there is none; the message lists those there are.
    """
    if name.startswith(PREFIX):
        return image_folder(name)
    if name not in TASKS:
        raise unknown_name("task", name, [*TASKS, f"{PREFIX}PATH"])
    return TASKS[name]
