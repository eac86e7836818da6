"""What is learnt. A new task is one module and one line in `TASKS`."""

from types import ModuleType

from src.tasks import integration, sentiment

TASKS: dict[str, ModuleType] = {"sentiment": sentiment, "integration": integration}
