"""The page: alone, small, and harmless whatever the names in it are."""

import json
import re
from html.parser import HTMLParser

import pytest

from workers.analysis import analyse
from workers.analysis.page import render_page
from workers.analysis.plain import alike, json_for_html, number, padded, plain

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&lt;%{x}{{ 7*7 }}"


class Elements(HTMLParser):
    """Counts tags and keeps the text of script elements."""

    def __init__(self):
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "script":
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def page(quickstart):
    return render_page(analyse(*quickstart))


def test_the_page_needs_no_network_and_stays_small(page):
    assert len(page.encode()) < 6_000_000
    own = page.replace(max(re.findall(r"<script>(.*?)</script>", page, re.DOTALL), key=len), "")
    assert "http://" not in own
    assert "https://" not in own
    assert not re.search(r"<(script|img|link|iframe)[^>]*(src|href)=", own)
    assert "default-src 'none'" in page


def test_the_verdict_comes_first(page):
    places = [page.index(f'<section id="{name}">') for name in ("verdict", "ranking", "figures", "tables")]
    assert places == sorted(places)


def test_the_column_of_steps_to_target_is_there_where_a_target_is_set(page, make_study, tmp_path):
    assert "steps to<br>target" in page
    folder, spec = make_study(total_steps=40, seeds=2, target=None).build(tmp_path)
    assert "steps to<br>target" not in render_page(analyse(folder, spec))


def test_plotly_is_embedded_once(page):
    assert page.count("plotly.js v") == 1


def test_each_panel_has_its_place_and_its_drawing(page):
    drawings = json.loads(re.search(r'id="drawings">(.*?)</script>', page, re.DOTALL)[1])
    assert set(drawings) == set(re.findall(r'class="plot" id="([^"]+)"', page))
    assert len(drawings) == 12


def test_hostile_names_stay_text(write_trials, small_spec, make_row):
    rows = [
        make_row(name, lr, seed, 0.2 + lr, workload=HOSTILE, optimizer=HOSTILE)
        for name in (HOSTILE, "warm")
        for lr in (0.1, 0.2)
        for seed in (0, 1)
    ]
    spec = {
        **small_spec,
        "name": HOSTILE,
        "description": HOSTILE,
        "workloads": [{"name": HOSTILE, "task": "classification"}],
        "optimizers": [{"name": HOSTILE, "kind": "adamw"}],
        "schedules": [{"name": HOSTILE}, {"name": "warm"}],
        "analysis": {**small_spec["analysis"], "baseline": HOSTILE},
    }
    page = render_page(analyse(write_trials(rows), spec))
    found = Elements()
    found.feed(page)
    assert found.tags.count("script") == 3
    assert "img" not in found.tags
    assert "49" not in page.split("<section")[0]
    drawings = json.loads(found.scripts[1])
    names = {trace["name"] for each in drawings.values() for trace in each["data"] if "name" in trace}
    assert all("<" not in name for name in names)
    assert any("&lt;/script&gt;" in name for name in names)


def test_json_for_a_page_holds_no_markup_and_reads_back():
    text = json_for_html({"a": "</script><!-- & \u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!-- & \u2028"}


def test_what_is_not_finite_becomes_a_word():
    given = {"a": [float("nan"), float("inf"), -float("inf"), 1.5]}
    assert plain(given) == {"a": ["NaN", "Infinity", "-Infinity", 1.5]}


def test_numbers_are_short_and_never_in_needless_powers():
    assert [number(value, 3) for value in (0.09486832, 3.0, 12345.0, 1.2e-9)] == ["0.0949", "3", "12345", "1.2e-09"]
    assert [padded(value) for value in (0.11, 2.0, 1500.0)] == ["0.110", "2.00", "1500"]


def test_a_difference_and_its_interval_share_their_decimals():
    assert alike(-0.000481, -0.0137, 0.0128) == ("-0.0005", "-0.0137", "+0.0128")
    assert alike(0.5, float("nan"), float("nan")) == ("+0.5", "NaN", "NaN")
