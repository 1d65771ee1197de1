"""The pages of dense networks, made from files in a run directory that may be a stranger's."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from made_up_records import HOSTILE, make_record
from shipped_trials import unpacked
from test_site import Page

from benchsuite.drawing.feature_maps import TILE, png
from benchsuite.store.record import TrialRecord
from benchsuite_leaderboard import rankings
from benchsuite_leaderboard.pages.ranking import ranking_data
from benchsuite_leaderboard.rankings import read_rankings
from benchsuite_leaderboard.site import render

if TYPE_CHECKING:
    from pathlib import Path

KEY = "0123456789abcdef0123"


def made_run(
    folder: Path,
    *,
    criteria: tuple[str, ...] = ("alpha", "beta", HOSTILE),
    layers: tuple[str, ...] = ("conv1", HOSTILE),
    units: int = 20,
    key: str = KEY,
    seed: int = 0,
    classes: tuple[str, ...] = ("a", HOSTILE.replace("\u202e", "")),
) -> dict[str, dict[str, list[float]]]:
    """Write a network's files into a run directory and return its scores by layer and criterion."""
    rng = np.random.default_rng(seed)
    k = min(10 if units >= 100 else 5, units // 2)
    scores = {layer: {c: rng.normal(size=units).tolist() for c in criteria} for layer in layers}
    found, compared = [], []
    for layer, by_criterion in scores.items():
        order = {c: sorted(range(units), key=lambda u, v=v: -v[u]) for c, v in by_criterion.items()}
        ends = {
            c: {
                "scores": v,
                "top": [[u, v[u]] for u in order[c][:k]],
                "bottom": [[u, v[u]] for u in order[c][: -k - 1 : -1]],
                "tied_top": 0,
                "tied_bottom": 2,
            }
            for c, v in by_criterion.items()
        }
        found.append(
            {"layer": layer, "units": units, "k": k, "sorted": False, "numbers": None, "criteria": ends}
        )
        tops = [set(order[c][:k]) for c in criteria]
        overlap = [[len(one & other) / k for other in tops] for one in tops]
        tau = [[None if i == j else 0.25 for j in range(len(criteria))] for i in range(len(criteria))]
        compared.append(
            {"layer": layer, "units": units, "k": k, "criteria": criteria, "tau": tau, "overlap": overlap}
        )
    place = folder / "ranking" / key
    place.mkdir(parents=True)
    network = {
        "key": "",
        "dataset": "digits",
        "model": "mlp",
        "seed": seed,
        "criteria": criteria,
        "layers": found,
    }
    (place / "scores.json").write_text(json.dumps(network), "utf-8")
    drawn = [[layers[0], [0, 3, 7]]]
    maps = {"tile": TILE, "split": "validation", "classes": [classes[0]] * 2, "layers": drawn}
    (place / "maps.png").write_bytes(png(np.zeros((4 * TILE, 3 * TILE), np.uint8)))
    described = {
        "key": "",
        "classes": classes,
        "test": np.eye(len(classes), dtype=int).tolist(),
        "train": (3 * np.eye(len(classes), dtype=int)).tolist(),
        "train_samples": 700,
        "maps": maps,
    }
    (place / "network.json").write_text(json.dumps(described), "utf-8")
    (folder / "agreement").mkdir(exist_ok=True)
    (folder / "agreement" / f"{key}.layers.json").write_text(json.dumps(compared), "utf-8")
    return scores


def records_of(*keys: str) -> list[TrialRecord]:
    made = [make_record(c, 0.5, 0.9, seed=s) for s in range(len(keys)) for c in ("alpha", "beta", HOSTILE)]
    return [
        TrialRecord(**{**vars(record), "stages": {"train": keys[record.axes["seed"]]}}) for record in made
    ]


@pytest.fixture
def site(tmp_path: Path) -> tuple[Path, dict[str, dict[str, list[float]]]]:
    scores = made_run(tmp_path / "run")
    render(records_of(KEY), tmp_path / "site", title="demo", sources=[tmp_path / "run"])
    return tmp_path / "site", scores


def test_the_page_lists_the_first_and_last_units_and_what_pairs_have_in_common(site: Any) -> None:
    folder, scores = site
    text = (folder / "rankings" / f"{KEY}.html").read_text("utf-8")
    for by_criterion in scores.values():
        for values in by_criterion.values():
            order = np.argsort(values)[::-1].tolist()
            assert f"<td>{', '.join(map(str, order[:5]))}</td>" in text
            assert f"<td>{', '.join(map(str, order[:-6:-1]))} <span" in text, "with a mark for ties"
        tops = [set(np.argsort(v)[::-1][:5].tolist()) for v in by_criterion.values()]
        common = np.mean([len(tops[i] & tops[j]) for i in range(3) for j in range(i)])
        assert f'<b>{common:.2f}</b></td><td class="num">1.25</td><td class="num">0.25</td>' in text
    assert "100.0% of the test split, 100.0% of the training split" in text
    assert "(6 of its 700 samples)" in text
    assert text.count('class="unit-map"') == 1 + 3
    assert "rankings.html" in (folder / "index.html").read_text("utf-8")
    assert f"rankings/{KEY}.html" in (folder / "rankings.html").read_text("utf-8")


def test_the_script_of_a_layer_has_its_scores_and_pairs(site: Any) -> None:
    folder, scores = site
    for number, by_criterion in enumerate(scores.values()):
        data = unpacked(folder / "rankings" / f"{KEY}-{number}.js")
        assert [each["scores"] for each in data["criteria"]] == list(by_criterion.values())
        assert [each["of"] for each in data["criteria"]] == data["pairs"]["of"] == [0, 1, 2]
        assert data["pairs"]["overlap"][1][1] == 1


def test_names_from_outside_are_text(site: Any) -> None:
    folder, _ = site
    text = (folder / "rankings" / f"{KEY}.html").read_text("utf-8")
    page = Page(text)
    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert page.text.count("<script>aler") > 3
    for address in (each for each in page.addresses if not each.startswith("#")):
        target = (folder / "rankings" / address.partition("#")[0]).resolve()
        assert target.is_file(), address


def test_a_site_of_results_files_alone_says_nothing_of_it(tmp_path: Path) -> None:
    render(records_of(KEY), tmp_path / "site", title="demo")
    assert not list((tmp_path / "site").glob("rankings*"))
    assert "rankings.html" not in (tmp_path / "site" / "index.html").read_text("utf-8")


def test_pages_are_made_anew_when_a_ranking_changes_and_go_with_it(tmp_path: Path) -> None:
    run, site = tmp_path / "run", tmp_path / "site"
    made_run(run)
    render(records_of(KEY), site, title="demo", sources=[run])
    path = run / "ranking" / KEY / "scores.json"
    path.write_text(path.read_text("utf-8").replace("conv1", "another"), "utf-8")
    render(records_of(KEY), site, title="demo", sources=[run])
    assert "another" in (site / "rankings" / f"{KEY}.html").read_text("utf-8")
    path.unlink()
    render(records_of(KEY), site, title="demo", sources=[run])
    assert not list((site / "rankings").iterdir())
    assert not (site / "rankings.html").exists()


@pytest.mark.parametrize("content", [b"GIF89a", b"\x89PNG\r\n\x1a\n", png(np.zeros((8, 8), np.uint8)), None])
def test_a_picture_that_is_none_or_of_another_size_is_left_out(tmp_path: Path, content: bytes | None) -> None:
    made_run(tmp_path)
    path = tmp_path / "ranking" / KEY / "maps.png"
    if content is None:
        (tmp_path / "secret.png").write_bytes(path.read_bytes())
        path.unlink()
        path.symlink_to(tmp_path / "secret.png")
    else:
        path.write_bytes(content)
    (network,) = read_rankings([tmp_path], records_of(KEY)).networks
    assert network.maps is None
    assert network.description is not None, "its numbers stay"


def test_a_comparison_of_another_ranking_is_left_out(tmp_path: Path) -> None:
    made_run(tmp_path)
    path = tmp_path / "agreement" / f"{KEY}.layers.json"
    layers = json.loads(path.read_text("utf-8"))
    layers[0]["units"] = 21
    layers[1]["criteria"][0] = "unknown"
    path.write_text(json.dumps(layers), "utf-8")
    (network,) = read_rankings([tmp_path], records_of(KEY)).networks
    assert [layer.overlap for layer in network.layers] == [None, None]


def test_networks_beyond_the_limit_are_counted_and_the_first_seeds_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{n:020x}" for n in range(3)]
    for seed, key in enumerate(keys):
        made_run(tmp_path / "run", key=key, seed=seed)
    size = (tmp_path / "run" / "ranking" / keys[0] / "scores.json").stat().st_size
    monkeypatch.setattr(rankings, "BYTES", 2.5 * size)
    found = read_rankings([tmp_path / "run"], records_of(*keys))
    assert ([each.ranking.seed for each in found.networks], found.left_out) == ([0, 1], 1)
    render(records_of(*keys), tmp_path / "site", title="demo", sources=[tmp_path / "run"])
    text = (tmp_path / "site" / "rankings.html").read_text("utf-8")
    assert "1 more network with later seeds is left out" in re.sub(r"\s+", " ", text)


def test_a_large_network_with_many_criteria_has_pages_of_a_bounded_size(tmp_path: Path) -> None:
    names = tuple(f"criterion-{i}" for i in range(29))
    layers = tuple(f"layer{i}.conv" for i in range(20))
    made_run(tmp_path / "run", criteria=names, layers=layers, units=512)
    render(records_of(KEY), tmp_path / "site", title="demo", sources=[tmp_path / "run"])
    page, *_ = (tmp_path / "site" / "rankings").glob("*.html")
    assert page.stat().st_size < 400_000
    for path in (tmp_path / "site" / "rankings").glob("*.js"):
        assert path.stat().st_size < 400_000


def test_of_many_classes_the_hardest_are_listed(tmp_path: Path) -> None:
    names = tuple(f"class {i}" for i in range(30))
    made_run(tmp_path / "run", classes=names)
    path = tmp_path / "run" / "ranking" / KEY / "network.json"
    data = json.loads(path.read_text("utf-8"))
    data["test"][17][17], data["test"][17][3] = 1, 4
    path.write_text(json.dumps(data), "utf-8")
    render(records_of(KEY), tmp_path / "site", title="demo", sources=[tmp_path / "run"])
    text = (tmp_path / "site" / "rankings" / f"{KEY}.html").read_text("utf-8")
    assert "Of 30 classes the 20 that are hardest on the test split" in text
    assert text.index("class 17</bdi></th>") < text.index("class 0</bdi></th>")
    assert '<bdi>class 17</bdi></th><td class="num">20.0</td>' in text
    assert "Confusion matrix" not in text


def test_the_page_knows_where_the_maps_of_a_layer_are(tmp_path: Path) -> None:
    made_run(tmp_path)
    (network,) = read_rankings([tmp_path], records_of(KEY)).networks
    data = ranking_data(network)
    assert data["maps"] == [(1, (0, 3, 7)), None]
    assert data["criteria"][:2] == ["alpha", "beta"]
