"""The environment switches that keep MLflow off the network, off stdout and out of our logging."""

import os

# Documented in mlflow.environment_variables, but for DO_NOT_TRACK (mlflow.telemetry.utils).
_SWITCHES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # MLflow would install handlers of its own for the `mlflow` and `alembic` loggers, and print each run's address.
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A POST that MLflow repeats by itself after a lost answer makes a second run. Our publisher looks first.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    # Too long a value is cut by names.py, which says so; MLflow must not cut silently.
    "MLFLOW_TRUNCATE_LONG_VALUES": "false",
}


def set_switches() -> None:
    """Set them for this process before its first `import mlflow`, which reads some. What a person has set stays."""
    for name, value in _SWITCHES.items():
        os.environ.setdefault(name, value)
