"""`warmup-bench logs STUDY`: the log of a study's driver; with --trial, of a trial that failed."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import WarmupBenchError
from schemas.problems import escaped
from service.cli.options import DatabaseUrl, Home, Records, StudyId, places
from service.cli.server import KeyFile, ServerAddress, connected, find_study, named_server
from workers.places import database_url as resolved_database_url

if TYPE_CHECKING:
    from workers.ledger.ledger import Ledger
    from workers.places import Places

Trial = Annotated[str | None, typer.Option("--trial", metavar="ID", help="A trial of it, by the first digits or more.")]


class NoLog(WarmupBenchError):
    """Nothing of that kind is kept."""

    code = "log_not_found"


def logs(
    study: StudyId,
    trial: Trial = None,
    home: Home = None,
    records: Records = None,
    database_url: DatabaseUrl = None,
    server: ServerAddress = None,
    key_file: KeyFile = None,
) -> None:
    """Print the end of the log of a study's driver. Of a trial: what the attempts at it have said that failed."""
    there = named_server(server, key_file, home)
    if there is not None:
        with connected(there) as client:
            found = find_study(client, study)
            if trial is None:
                text = client.study_log(found.id)
            else:
                text = client.trial_log(_the_one((one.id for one in client.trials(found.id)), trial))
    else:
        where = places(home, records)
        url = resolved_database_url(flag=database_url)
        from workers.ledger.ledger import Ledger

        with Ledger.open(url or where.home, create=False) as ledger:
            text = _text_here(ledger, where, study, trial)
    print("\n".join(escaped(line) for line in text.rstrip("\n").split("\n")))


def _text_here(ledger: "Ledger", where: "Places", study: str, trial: str | None) -> str:
    from service.study_logs import StudyLogs

    row, kept = ledger.find_study(study), StudyLogs(ledger, where)
    if trial is None:
        text = kept.of_study(row.id)
        if text is None:
            raise NoLog(f"no log of study {row.id}: it has had no driver yet, or that ran elsewhere")
        return text
    trials = {one.trial_id: one for one in ledger.trials(row.id)}
    text = kept.of_trial(trials[_the_one(trials, trial)])
    if text is None:
        raise NoLog(f"no attempt at that trial has failed; `warmup-bench logs {row.id[:8]}` shows its driver's log")
    return text


def _the_one(ids: Iterable[str], begin: str) -> str:
    found = [one for one in ids if one.startswith(begin)]
    if len(found) != 1:
        raise NoLog(f"{len(found)} trials of this study begin with {begin!r}; `--trial` takes the id of one")
    return found[0]
