"""The README's study, through the README's notebook lines, as a new user would run them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.commands import environment

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def block(language: str, holding: str = "") -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    [text] = [text for text in found if holding in text]
    return text


@pytest.mark.slow
def test_the_notebook_lines_run_the_study_and_give_a_table_and_a_figure(tmp_path: Path):
    # Fewer steps and seeds than the README's: the lines are what is tested here, not the machine.
    spec = block("yaml").replace("{steps: 200}", "{steps: 60}").replace("seeds: {count: 5}", "seeds: {count: 2}")
    (tmp_path / "study.yaml").write_text(spec, encoding="utf-8")
    lines = block("python", "import warmup_bench").replace('study.figure("', 'figure = study.figure("')
    script = (
        lines
        + "\nassert figure.data\nassert len(study.trials) == 30\nassert set(study.trials.state) == {'done'}\n"
        + "assert list(table.index) == sorted(set(study.trials.peak_lr))\n"
        + "assert len(best) == 3\nassert path.shape[0] == 3\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        env=environment(WARMUP_BENCH_HOME=str(tmp_path / "home"), MLFLOW_TRACKING_URI="none"),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "In short: " in done.stdout
