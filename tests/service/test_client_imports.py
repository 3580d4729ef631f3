"""What is loaded when: other commands do not pay for the client, and the client not for the server."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENTS = {"httpx", "stamina", "tomllib", "ssl", "fastapi", "uvicorn"}
RUN = "import sys; from service.cli.main import main\nsys.argv = ['warmup-bench', *{arguments!r}]\n"
RUN += "try:\n    main()\nexcept SystemExit:\n    pass\nprint(*sys.modules)"


def loaded(script: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("arguments", [["--version"], ["submit", "--help"], ["presets"]])
def test_a_command_that_asks_no_server_loads_no_client(arguments: list[str]) -> None:
    assert not CLIENTS & loaded(RUN.format(arguments=arguments))


def test_a_list_of_a_home_loads_no_client(tmp_path: Path) -> None:
    arguments = ["list", "--server", "none", "--home", str(tmp_path)]
    assert not {"httpx", "stamina", "fastapi"} & loaded(RUN.format(arguments=arguments))


def test_the_client_is_nothing_of_what_the_server_is_made_of() -> None:
    found = loaded("import sys, service.client; print(*sys.modules)")
    assert "httpx" in found
    assert not {"fastapi", "uvicorn", "sqlalchemy", "numpy", "pyarrow", "pandas", "torch", "ray", "mlflow"} & found
