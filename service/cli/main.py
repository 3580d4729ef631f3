"""`warmup-bench`: the commands, and what happens to their errors."""

import sys
from collections.abc import Callable

import typer

from schemas.errors import DataMissing, SpecError, WarmupBenchError
from service.cli import data, listing, plan, presets, report, run, show, sync

EXIT_FAILED, EXIT_REFUSED, EXIT_INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="warmup-bench",
    help="Do I need learning-rate warmup, which one, how long, how high may the peak be, and why?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS: dict[str, Callable[..., None]] = {
    "run": run.run,
    "plan": plan.plan,
    "presets": presets.presets,
    "list": listing.list_studies,
    "show": show.show,
    "report": report.report,
    "sync": sync.sync,
}
for name, command in COMMANDS.items():
    app.command(name)(command)
app.add_typer(data.app, name="data")


def main() -> None:
    """The console script. Exit status: 0 done, 1 something failed, 2 the input was refused, 130 interrupted."""
    try:
        app()
    except SpecError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(EXIT_REFUSED)
    except DataMissing as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_REFUSED)
    except WarmupBenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # Whoever read has gone, perhaps before the end: a driver of ours notices that its command is gone, and stops.
        sys.stderr.close()
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
