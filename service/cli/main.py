"""`warmup-bench`: the commands, and what happens to their errors."""

import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer

from schemas.errors import DataMissing, PlaceRefused, SpecError, WarmupBenchError
from schemas.problems import escaped
from service.cli import (
    cancel,
    data,
    derive,
    extend,
    healthy,
    keys,
    listing,
    logs,
    migrate,
    plan,
    presets,
    report,
    run,
    schema,
    serve,
    show,
    submit,
    sync,
    verify,
    watch,
)

EXIT_FAILED, EXIT_REFUSED, EXIT_INTERRUPTED = 1, 2, 130
MAX_PROBLEMS = 100
"""A list of a hundred thousand wrong seeds has as many problems, and nobody reads them."""

app = typer.Typer(
    name="warmup-bench",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: dict[str, Callable[..., None]] = {
    "run": run.run,
    "plan": plan.plan,
    "presets": presets.presets,
    "list": listing.list_studies,
    "show": show.show,
    "report": report.report,
    "logs": logs.logs,
    "sync": sync.sync,
    "verify": verify.verify,
    "schema": schema.schema,
    "serve": serve.serve,
    "migrate": migrate.migrate,
    "healthy": healthy.healthy,
    "submit": submit.submit,
    "watch": watch.watch,
    "cancel": cancel.cancel,
    "extend": extend.extend,
    "derive": derive.derive,
}
for name, command in COMMANDS.items():
    app.command(name)(command)
app.add_typer(data.app, name="data")
app.add_typer(keys.app, name="keys")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"warmup-bench {version('warmup-bench')}")
        raise typer.Exit


@app.callback()
def options(
    is_version_asked: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Do I need learning-rate warmup, which one, how long, how high may the peak be, and why?"""


def main() -> None:
    """The console script. Exit status: 0 done, 1 something failed, 2 the input was refused, 130 interrupted."""
    try:
        app(prog_name="warmup-bench")
    except SpecError as error:
        for problem in error.problems[:MAX_PROBLEMS]:
            _say_error(problem)
        if len(error.problems) > MAX_PROBLEMS:
            _say_error(f"and {len(error.problems) - MAX_PROBLEMS:,} more")
        sys.exit(EXIT_REFUSED)
    except (DataMissing, PlaceRefused) as error:
        _say_error(error)
        sys.exit(EXIT_REFUSED)
    except WarmupBenchError as error:
        _say_error(error)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # Whoever read has gone, perhaps before the end: a driver of ours notices that its command is gone, and stops.
        sys.stderr.close()
        sys.exit(EXIT_FAILED)


def _say_error(what: object) -> None:
    # The end of a log has several lines; what else cannot be printed was not meant for a terminal.
    print("\n".join(escaped(line) for line in f"error: {what}".split("\n")), file=sys.stderr)


if __name__ == "__main__":
    main()
