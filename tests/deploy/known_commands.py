"""Run by itself: which command lines of ray and mlflow those refuse. They are parsed and not executed.

In a process of its own, because importing both takes seconds and leaves traces. JSON in, JSON out.
"""

import json
import sys
from typing import Any


def refusal(command: Any, words: list[str]) -> str | None:
    """Why a click command refuses the words after its name; None where it does not."""
    try:
        context = command.make_context(words[0], words[1:])
        if hasattr(command, "resolve_command"):
            rest = [*getattr(context, "_protected_args", []), *context.args]
            name, inner, left = command.resolve_command(context, rest)
            return refusal(inner, [name, *left])
    except (Exception, SystemExit) as error:
        return f"{' '.join(words)}: {getattr(error, 'message', None) or type(error).__name__}"
    return None


def main() -> None:
    """Read a list of command lines; write the refusals."""
    import mlflow.cli
    import ray.scripts.scripts

    known = {"ray": ray.scripts.scripts.cli, "mlflow": mlflow.cli.cli}
    found = [refusal(known[words[0]], words) for words in json.load(sys.stdin)]
    json.dump([one for one in found if one], sys.stdout)


if __name__ == "__main__":
    main()
