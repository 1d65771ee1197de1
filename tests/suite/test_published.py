"""Published values in a suite file: units are clear, and what cannot be compared is refused with its line."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from benchsuite.errors import UsageError
from benchsuite.registry.discovery import discover
from benchsuite.suite import PublishedValue, load_suite

SMALL = """
[suite]
name = "small"
seeds = [0]
sparsities = [0.5]
scorers = ["magnitude-l1"]

[[workload]]
dataset = "digits"
models = ["mlp"]

[[reference]]
value = 85.0
unit = "%"
metric = "accuracy/top1"
source = "Author 2018, table 3"
url = "https://example.org/a"
scorer = "magnitude-l1"
"""


@pytest.fixture(scope="module")
def registry():
    return discover()[0]


def value(**changes) -> PublishedValue:
    return PublishedValue.model_validate(
        {"value": 0.85, "metric": "accuracy/top1", "source": "Author 2018"} | changes
    )


@pytest.mark.parametrize(
    ("metric", "number", "unit", "in_ours"),
    [
        ("accuracy/top1", 85, "%", 0.85),
        ("accuracy/top1", 0.85, "", 0.85),
        ("accuracy/class/3 of 7", 85, "%", 0.85),
        ("sparsity/macs", 12.5, "%", 0.125),
        ("accuracy/loss", 2.5, "", 2.5),
        ("cost/params", 61706, "", 61706),
        ("latency/batch1_ms", 1.5, "", 1.5),
        ("accuracy/top1_dense", 97, "%", 0.97),
        ("measured/mine/purity", 80.5, "%", 0.805),
        ("measured/mine/error/conv1", 80.5, "", 80.5),
    ],
)
def test_a_value_is_compared_in_the_unit_that_the_metric_has_in_records(metric, number, unit, in_ours):
    assert value(metric=metric, value=number, unit=unit).in_our_unit == pytest.approx(in_ours, rel=1e-15)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("value = 85.0", "value = 850", 12, "accuracy/top1 is a fraction from 0 to 1, not 850%"),
        ('unit = "%"', "", 12, 'write unit = "%" beside it'),
        ("value = 85.0", "value = inf", 13, "finite"),
        ("value = 85.0", 'value = "85"', 13, "valid number"),
        ("value = 85.0", "value = true", 13, "valid number"),
        ("accuracy/top1", "acuracy/top1", 15, "did you mean 'accuracy'"),
        ("accuracy/top1", "accuracy/top_1", 15, "did you mean 'accuracy/top1'"),
        ("accuracy/top1", "top1", 15, "there are: accuracy/top1"),
        ("accuracy/top1", "cost/params", 12, "is no fraction: leave out unit"),
        ("accuracy/top1", "accuracy/top1_dense", 12, "of the dense network: leave out scorer"),
        ("https://example.org", "javascript:alert(1)//", 17, "http:// or https://"),
        ("https://example.org/a", "https://a b", 17, "http:// or https://"),
        ('source = "Author 2018, table 3"', "", 12, "source: is required"),
        ("url =", "ulr =", 17, "unknown key; did you mean 'url'"),
        ("scorer =", 'name = "tree"\nscorer =', 12, "leave out 'name' or 'scorer'"),
        ("[[reference]]", "[reference]", 12, "write [[reference]] instead of [reference]"),
        (
            'scorer = "magnitude-l1"',
            'scorer = { name = "random", dros = 1 }',
            18,
            "there is no parameter 'dros'",
        ),
        ('scorer = "magnitude-l1"', "sparsity = 1.5", 18, "a fraction in [0, 1)"),
        ('scorer = "magnitude-l1"', 'scope = "layers"', 18, "is not one of"),
    ],
)
def test_each_error_names_its_line_and_what_would_be_right(tmp_path, registry, old, new, line, message):
    path = tmp_path / "suite.toml"
    head, sign, tail = SMALL.partition("[[reference]]")
    path.write_text(head + (sign + tail).replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        load_suite(path, registry)
    assert any(f":{line}: " in text and message in text for text in str(caught.value).splitlines()), str(
        caught.value
    )


def test_a_table_of_a_plugin_is_its_name_in_records(tmp_path, registry):
    path = tmp_path / "suite.toml"
    path.write_text(
        SMALL.replace('scorer = "magnitude-l1"', 'scorer = { name = "shapley", permutations = 2 }')
    )
    assert load_suite(path, registry).reference[0].scorer == "shapley(permutations=2)"


@pytest.mark.parametrize("url", ["data:text/html,x", "//a", 'https://a"onclick=', "https://a\nb", "HTTPS://"])
def test_only_addresses_of_the_web_are_links(url):
    with pytest.raises(ValidationError):
        value(url=url)
