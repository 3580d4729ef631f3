"""What goes with which task: models, data sets and budgets that a workload of another task names by mistake."""

from typing import Any

from schemas.errors import Problem
from schemas.problems import show
from schemas.tags import tags
from schemas.workloads import Analytic, Dataset, LanguageModel, Model, Text, TextModel, Workload

KINDS: dict[str, dict[str, tuple[str, ...]]] = {
    "classification": {"model": tags(Model), "dataset": tags(Dataset)},
    "language_model": {"model": tags(TextModel), "dataset": tags(Text)},
}
"""Task -> part -> the kinds that it may be of."""


def task_problems(raw: Any, where: str) -> list[Problem]:
    """Kinds of a raw workload that belong to another task than the one it states."""
    task = raw.get("task") if isinstance(raw, dict) else None
    problems = []
    for part, own in KINDS.get(task, {}).items() if isinstance(task, str) else ():
        stated = raw.get(part)
        kind = stated.get("kind") if isinstance(stated, dict) else None
        other = next((other for other, kinds in KINDS.items() if other != task and kind in kinds[part]), None)
        if other is not None and kind not in own:
            problems.append(
                Problem(f"{where}.{part}.kind", show(kind), f"{', '.join(own)} ({kind}: with task {other})")
            )
    return problems


def budget_problems(workload: Workload, where: str) -> list[Problem]:
    """A budget in tokens where there are none."""
    if isinstance(workload, Analytic | LanguageModel) or workload.budget.tokens is None:
        return []
    allowed = "steps, examples or epochs: tokens are counted with task language_model"
    return [Problem(f"{where}.budget.tokens", show(workload.budget.tokens), allowed)]
