"""Parts are found in what is installed and in files that were named; their code is known by its source."""

import importlib
import sys
from dataclasses import replace

import pytest
import torch

import warmup_bench
from schemas.errors import PlaceRefused
from schemas.plugins import PluginModel, PluginSource
from schemas.trials import Member, PackTask
from tests.plugins.installing import install
from tests.science.conftest import classification, trial
from workers.cluster.orders import PackOrder
from workers.cluster.pack_runner import PackRunner
from workers.data import load as load_data
from workers.inspection.study import manifest
from workers.plugins import PluginFailed, PluginMissing, SourceChanged, check_sources, find, installed, load, use_files

FILE = """
from torch import nn


def my_net(width: int = 4):
    return nn.Sequential(nn.Linear(64, width), nn.BatchNorm1d(width), nn.Linear(width, 10))


PLUGINS = {"models": {"my_net": my_net, "three": 3}}
"""


@pytest.fixture
def acme(tmp_path, monkeypatch):
    """The package, installed on the path of this process."""
    torch.set_num_threads(1)
    folder = install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    use_files([])
    yield folder
    use_files([])
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme"]:
        del sys.modules[name]


@pytest.fixture
def named(tmp_path):
    """Writes a plugin file and names it."""

    def write(text=FILE, name="my_net.py"):
        path = tmp_path / name
        path.write_text(text)
        use_files([path])
        return path

    yield write
    use_files([])


def test_an_installed_part_is_found_without_being_imported(acme):
    assert ("acme_net", "acme-models 1.2") in [(part.name, part.origin) for part in installed("models")]
    assert "acme" not in sys.modules


def test_an_installed_part_is_its_distribution_and_its_packages_source(acme):
    source = load("models", "acme_net").source
    assert (source.distribution, source.version) == ("acme-models", "1.2")
    check_sources([source])
    (acme / "sizes.py").write_text("HIDDEN = 16\n")  # a neighbour that it imports counts
    with pytest.raises(SourceChanged, match=r"its source has changed since the study was made.*run the file again"):
        check_sources([source])
    (acme / "sizes.py").write_text("HIDDEN = 8\n")
    check_sources([source])


def test_other_code_than_the_studys_is_refused(acme):
    other = load("models", "acme_net").source.model_copy(update={"version": "1.1"})
    with pytest.raises(SourceChanged, match=r"model acme_net \(acme-models 1.1"):
        check_sources([other])


def test_a_part_that_is_not_there_is_refused_with_those_that_are(acme):
    with pytest.raises(PluginMissing, match=r"model acme: not found \(here: acme_late, acme_net, broken\); install"):
        find("models", "acme")


def test_a_part_of_two_distributions_is_nobodys(acme, tmp_path):
    install(tmp_path / "site", name="acme_fork")
    with pytest.raises(PluginMissing, match=r"acme_net: it is in acme-fork 1\.2 and acme-models 1\.2"):
        find("models", "acme_net")


def test_a_part_that_cannot_be_imported_says_why(acme):
    with pytest.raises(PluginFailed, match=r"model broken raised ModuleNotFoundError: No module named 'acme.nowhere'"):
        load("models", "broken")


def test_a_service_learns_of_what_is_listed_and_what_is_wrong(acme):
    own, wrong = manifest([("models", "acme_net"), ("datasets", "acme_data"), ("models", "broken")])
    assert [facts.source.name for facts in own.plugins] == ["acme_net", "acme_data"]
    assert [(facts.kind, facts.num_train, facts.num_test, facts.num_classes) for facts in own.datasets] == [
        ("plugin:acme_data", 64, 0, 10)
    ]
    assert ["broken" in line for line in wrong] == [True]


def test_a_data_set_is_the_same_at_every_call(acme):
    from schemas.plugins import PluginDataset
    from workers.data.own import load_own

    dataset = PluginDataset(kind="plugin", name="acme_data")
    load_own.cache_clear()
    first = load_data(dataset, None).sha256
    torch.rand(3)
    load_own.cache_clear()
    assert load_data(dataset, None).sha256 == first


def test_a_file_names_its_parts(named):
    named()
    source = load("models", "my_net").source
    assert (source.distribution, source.version) == ("my_net.py", "")


def test_a_file_that_changes_is_seen_by_who_has_imported_it(named):
    path = named()
    source = load("models", "my_net").source
    path.write_text(FILE + "\n# a word more\n")
    with pytest.raises(SourceChanged, match=r"model my_net \(my_net.py"):
        check_sources([source])


BROKEN = {
    "no parts": ("x = 1\n", 'got no list of its parts, allowed PLUGINS = {"models": {"my_net": my_net}}'),
    "a group that there is not": ("PLUGINS = {'model': {}}\n", "PLUGINS: got model, allowed models, datasets, losses"),
    "a name that no study can say": (
        'PLUGINS = {"models": {"my net": print, 3: print}}\n',
        "PLUGINS: got 'my net', 3, allowed names of letters",
    ),
    "no Python": ("def\n", "SyntaxError: invalid syntax"),
    "what lies beside it": ("import beside_it\n", "it may import what is installed, not what lies beside it"),
    "a package of ours": ("import workers.mine\n", "`workers` is one of this program's own packages"),
    "raises": ("raise SystemExit(3)\n", "SystemExit: 3"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_cannot_be_used_is_refused_by_name(case, named, tmp_path):
    text, expected = BROKEN[case]
    named(text, "mine.py")
    with pytest.raises(PluginFailed) as refused:
        find("models", "my_net")
    assert f"--plugin {tmp_path / 'mine.py'}" in str(refused.value)
    assert expected in str(refused.value)


def test_a_notebook_may_name_one_file_alone(tmp_path):
    with pytest.raises(PlaceRefused, match=r"got \S+nowhere\.py: no file"):
        warmup_bench.run({}, home=str(tmp_path / "home"), plugins=str(tmp_path / "nowhere.py"))


def test_what_cannot_be_called_is_refused(named):
    named()
    with pytest.raises(PluginFailed, match="model three: got int, allowed a callable"):
        load("models", "three")


def digits_order(source: PluginSource, model: str = "my_net", steps: int = 30) -> PackOrder:
    """A pack of one trial on the digits."""
    workload = classification(steps, model=PluginModel(kind="plugin", name=model))
    sha256 = load_data(workload.dataset, None).sha256
    spec = replace(trial(workload), dataset_sha256=sha256, plugins=(source,))
    return PackOrder(PackTask("pack", 1, (Member(0, spec),), chunk_steps=10, stacked=False), 1, [], None)


def test_a_pack_whose_source_has_changed_fails_and_says_what_to_do(named, tmp_path):
    path = named()
    source = load("models", "my_net").source
    runner = PackRunner(str(tmp_path / "records"), None)
    assert runner.advance(digits_order(source), 0.0).error is None
    path.write_text(FILE.replace("width: int = 4", "width: int = 5"))
    failed = runner.advance(digits_order(source), 0.0)
    assert failed.results is None
    assert failed.reason.startswith("model my_net (my_net.py, sha256")
    assert "put the old one back and the same command continues" in failed.reason
    path.write_text(FILE)
    done = runner.advance(digits_order(source), 60.0)
    assert [row["outcome"] for row in done.results or []] == ["trained"], done.reason


def test_a_part_that_raises_while_it_trains_fails_its_pack_alone(acme, tmp_path):
    source = load("models", "acme_late").source
    runner = PackRunner(str(tmp_path / "records"), None)
    failed = runner.advance(digits_order(source, "acme_late"), 60.0)
    assert failed.reason.startswith("model acme_late raised ValueError: too often (parts.py:")
    assert "Traceback" in (failed.error or "")
    net = load("models", "acme_net").source
    done = runner.advance(digits_order(net, "acme_net"), 60.0)
    assert done.results is not None, done.error


def test_a_checkpoint_of_a_pack_that_is_not_stacked_is_taken_up(named, tmp_path):
    named()
    order = digits_order(load("models", "my_net").source)
    whole = _to_the_end(PackRunner(str(tmp_path / "whole"), None), order)
    first = PackRunner(str(tmp_path / "parts"), None)
    first.advance(order, 0.0)
    saved = first.advance(None, 0.0, save=True)
    resumed = PackOrder(order.task, 2, saved.manifest, saved.checkpoint)
    parts = _to_the_end(PackRunner(str(tmp_path / "parts"), None), resumed)
    assert repr(whole.results) == repr(parts.results)
    assert parts.timed_steps < whole.timed_steps


def _to_the_end(runner, order):
    progress = runner.advance(order, 60.0)
    assert progress.error is None, progress.error
    return progress


def test_a_file_may_be_named_twice(named):
    path = named()
    use_files([path, path])
    assert find("models", "my_net").origin == str(path)
