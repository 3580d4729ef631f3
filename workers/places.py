"""Where things lie: home, ledger, records, data, tracker. Flags win over the environment, the environment over home."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import PlaceError
from workers.tracking.places import tracking_uri as resolve_tracking_uri


@dataclass(frozen=True)
class Places:
    """Absolute places, resolved once; child processes get them as flags."""

    home: Path
    ledger: str
    """Path of the SQLite file, or a database URL."""
    records: str
    """Local path or fsspec URL."""
    data: Path
    tracking_uri: str | None
    """None: no tracking."""

    @classmethod
    def resolve(
        cls,
        *,
        home: str | None = None,
        records: str | None = None,
        data: str | None = None,
        tracking_uri: str | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> "Places":
        """Places from flags, then environment variables, then the home folder (default `~/.warmup-bench`).

        Raises:
            PlaceError: a tracking URI that MLflow cannot keep runs at.
        """
        root = (
            Path(home or environment.get("WARMUP_BENCH_HOME") or Path.home() / ".warmup-bench").expanduser().absolute()
        )
        record_place = records or environment.get("WARMUP_BENCH_RECORDS") or str(root / "records")
        data_place = data or environment.get("WARMUP_BENCH_DATA") or root / "data"
        return cls(
            home=root,
            ledger=str(root / "ledger.sqlite"),
            records=record_place if "://" in record_place else str(Path(record_place).expanduser().absolute()),
            data=Path(data_place).expanduser().absolute(),
            tracking_uri=resolve_tracking_uri(tracking_uri or environment.get("MLFLOW_TRACKING_URI"), root),
        )

    def flags(self) -> list[str]:
        """Command-line flags that give a child process these places."""
        return [
            *("--home", str(self.home)),
            *("--records", self.records),
            *("--data", str(self.data)),
            *("--tracking-uri", self.tracking_uri or "none"),
        ]

    def make_home(self) -> None:
        """Create the home folder.

        Raises:
            PlaceError: it cannot be made or written.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            probe = self.home / f".writable-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise PlaceError(
                f"home {self.home}: {error.strerror or error}; set --home or WARMUP_BENCH_HOME to a folder that can be"
                " written"
            ) from error

    def study_folder(self, study_id: str) -> Path:
        """Where a study's result folder is kept when no other place is asked for."""
        return self.home / "studies" / study_id
