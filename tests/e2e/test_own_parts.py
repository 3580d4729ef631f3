"""The README's ten lines to one's own model, in somebody's repository; beside it, what somebody has installed."""

import json
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from service.spec_files import read_document
from tests.e2e.commands import WAIT_S, as_file, environment
from tests.e2e.conftest import make_hostile
from tests.plugins.installing import install
from workers.ledger.ledger import Ledger

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HEADING = "### Benchmark your own model"

pytestmark = [pytest.mark.slow, pytest.mark.proof]


def lines(language: str) -> str:
    text = README.split(HEADING)[1].split("\n## ")[0]
    return re.search(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)[1]


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of an environment that has this program, and a package of somebody's installed."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    [site] = folder.glob("lib/python*/site-packages")
    install(site)
    here = [sysconfig.get_paths()["purelib"], *(path for path in sys.path if path.endswith("site-packages")), str(ROOT)]
    (site / "here.pth").write_text("".join(f"{path}\n" for path in dict.fromkeys(here)))
    program = folder / "bin" / "warmup-bench"
    program.write_text(f"#!{folder / 'bin' / 'python'} -P\nfrom warmup_bench import main\nmain()\n")
    program.chmod(0o755)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def ran(python, tmp_path_factory):
    """What the lines make in a repository with folders named `workers` and `schemas`: fewer steps, and neighbours."""
    cwd = make_hostile(tmp_path_factory.mktemp("repository"))
    (cwd / "my_net.py").write_text(lines("python"))
    study = re.search(r"^```yaml\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)[1]
    study = study.replace("{steps: 200}", "{steps: 30}").replace("seeds: {count: 5}", "seeds: {count: 1}")
    study = study.replace("count: 5, spacing", "count: 1, spacing").replace("sweep: [10, 40]", "sweep: [10]")
    (cwd / "study.yaml").write_text(study.replace("low: 1e-3, high: 0.1", "low: 0.01, high: 0.01"))
    sed, plan, run = (line.partition("  #")[0] for line in lines("sh").splitlines())
    program = str(python.with_name("warmup-bench"))
    answers = {}
    for name, line in (("sed", sed), ("plan", plan), ("run", run)):
        if name == "plan":
            _add_neighbours(cwd / "mine.yaml")
        line = line.replace(".venv/bin/warmup-bench", program)
        more = " --out out --json" if name == "run" else ""
        answers[name] = subprocess.run(
            ["sh", "-c", line + more],
            cwd=cwd,
            env=environment(WARMUP_BENCH_HOME=str(cwd / "home"), MLFLOW_TRACKING_URI="none", PYTHONPATH=str(cwd)),
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
    return cwd, answers


def _add_neighbours(path: Path) -> None:
    """An installed model, one that raises while it trains, and an installed data set."""
    document = read_document(str(path))
    [mine] = document["workloads"]
    for name, model, dataset in (
        ("installed", "acme_net", {"kind": "plugin", "name": "acme_data"}),
        ("late", "acme_late", {"kind": "digits"}),
    ):
        fields = {"name": name, "model": {"kind": "plugin", "name": model}, "dataset": dataset, "batch_size": 16}
        document["workloads"].append({**mine, **fields})
    document["probe_budget"] = 20.0  # of so few steps
    document["probes"] = [probe for probe in document["probes"] if probe["kind"] == "sharpness"]
    as_file(document, path)


def test_the_plan_says_what_trains_one_by_one(ran):
    _, answers = ran
    assert answers["plan"].returncode == 0, answers["plan"].stderr
    said = [line for line in answers["plan"].stdout.splitlines() if line.startswith("unstacked")]
    assert [line.split("(")[0].split()[1:] for line in said[:1]] == [["BatchNorm", "in", "my_net"]]
    assert not [line for line in said if "acme_net" in line], "a plain network is stacked"


def test_ten_lines_train_ones_own_model_and_what_is_installed(ran):
    cwd, answers = ran
    assert answers["run"].returncode == 1, "one workload raises"
    answer = json.loads(answers["run"].stdout)
    trials = pq.read_table(cwd / "out" / "trials.parquet").to_pandas()
    done = trials[trials.state == "done"]
    assert set(done.workload) == {"digits model.options.width=16", "digits model.options.width=64", "installed"}
    assert set(done.model) == {"my_net", "acme_net"}
    assert set(done[done.workload == "installed"].dataset) == {"acme_data"}
    assert done.final_validation_loss.notna().all()
    assert done[done.workload == "installed"].final_test_loss.isna().all()
    probes = pq.read_table(cwd / "out" / "probes.parquet").to_pandas()
    assert set(probes[probes.converged].trial_id) == set(done.trial_id)
    assert answer["counts"]["errored"] == 2


def test_a_trial_whose_part_raises_is_errored_with_its_log_and_its_neighbours_are_not(ran):
    cwd, answers = ran
    trials = pq.read_table(cwd / "out" / "trials.parquet").to_pandas()
    late = trials[trials.workload == "late"]
    assert set(late.state) == {"errored"}
    assert all(re.match(r"model acme_late raised ValueError: too often \(parts.py:\d+\)", text) for text in late.reason)
    assert set(trials[trials.workload != "late"].state) == {"done"}
    told = json.loads(answers["run"].stdout)["errored"][0]
    assert told["reason"] in set(late.reason)
    assert told["trial_id"] in set(late.trial_id)
    with Ledger.open(cwd / "home", create=False) as ledger:
        (study,), _ = ledger.list_studies()
        logs = [pack.log for pack in ledger.packs(study.id) if pack.log]
    assert logs
    assert all("Traceback" in log for log in logs)


def test_the_result_says_which_code_it_is_of(ran):
    cwd, _ = ran
    sources = read_document(str(cwd / "out" / "study.yaml"))["plugins"]
    assert [(source["group"], source["name"], source["distribution"], source["version"]) for source in sources] == [
        ("datasets", "acme_data", "acme-models", "1.2"),
        ("models", "acme_late", "acme-models", "1.2"),
        ("models", "acme_net", "acme-models", "1.2"),
        ("models", "my_net", "my_net.py", ""),
    ]


def test_a_file_that_has_changed_makes_another_study(ran, python):
    cwd, _ = ran
    program = str(python.with_name("warmup-bench"))

    def planned():
        flags = ["--plugin", "my_net.py", "--home", "home", "--json"]
        done = subprocess.run(
            [program, "plan", "mine.yaml", *flags],
            cwd=cwd,
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    before = planned()
    assert before["trials_done"] == before["trials"] - 2
    text = (cwd / "my_net.py").read_text()
    (cwd / "my_net.py").write_text(text.replace("nn.ReLU()", "nn.Tanh()"))
    after = planned()
    (cwd / "my_net.py").write_text(text)
    assert before["spec_hash"] != after["spec_hash"]
    assert after["trials_done"] == 2, "those of the installed model"
