"""What watches: the queries of alerts and dashboard ask for metrics that exist, with labels that they have."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import ray.dashboard.modules.metrics.dashboards as ray_dashboards
import yaml
from ray.util.metrics import Counter, Gauge, Histogram

from pipeline.flow import prometheus
from tests.infra.test_infra import INFRA
from tests.support.killed import HANGS_S

PLACE = INFRA / "monitoring"
ALERTS = [rule for group in yaml.safe_load((PLACE / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((PLACE / "grafana" / "dashboards" / "nightlift.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]
QUERIES = [each["expr"].replace("$__rate_interval", "5m") for each in (*ALERTS, *TARGETS)]
ENDINGS = {Counter: ["_total"], Gauge: [""], Histogram: ["_bucket", "_sum", "_count"]}


def _nodes(node: Any) -> Iterator[Any]:
    """All of a parsed query."""
    yield node
    for name in ("lhs", "rhs", "expr", "param", "vector_selector", "args"):
        below = getattr(node, name, None)
        for each in below if isinstance(below, list) else [below] if below is not None else []:
            yield from _nodes(each)


def _selectors(query: Any) -> list[promql.VectorSelector]:
    return [node for node in _nodes(query) if isinstance(node, promql.VectorSelector)]


def _aggregates(query: Any) -> list[promql.AggregateExpr]:
    """Those that say what they group by."""
    return [node for node in _nodes(query) if isinstance(node, promql.AggregateExpr) and node.modifier]


def _grouped_by(query: Any) -> set[str]:
    return {label for aggregate in _aggregates(query) for label in aggregate.modifier.labels}


@cache
def _ours() -> dict[str, set[str]]:
    """As Ray exports them, each with the labels that it has of us, of its node, and of a histogram."""
    metrics = [value for value in vars(prometheus).values() if type(value) in ENDINGS]
    assert len(metrics) >= 13
    return {
        f"ray_{metric.info['name']}{ending}": {*metric.info["tag_keys"], "instance", *["le"] * (ending == "_bucket")}
        for metric in metrics
        for ending in ENDINGS[type(metric)]
    }


@cache
def _rays() -> set[str]:
    """Those that Ray's own dashboards ask for."""
    (place,) = ray_dashboards.__path__
    return set(re.findall(r"\bray_\w+", " ".join(path.read_text() for path in Path(place).glob("*.py"))))


@pytest.mark.parametrize("query", QUERIES)
def test_queries_ask_for_what_is_exported(query: str) -> None:
    parsed = promql.parse(query)
    selectors = _selectors(parsed)
    assert selectors
    for selector in selectors:
        assert selector.name in _ours().keys() | _rays()
    for selector in selectors:
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert asked <= _ours().get(selector.name, asked)
    for aggregate in _aggregates(parsed):
        grouped = set(aggregate.modifier.labels)
        assert all(grouped <= _ours().get(selector.name, grouped) for selector in _selectors(aggregate))


@pytest.mark.parametrize(
    "query",
    ["rate(ray_nightlift_files[5m])", "ray_nightlift_photos_total", "ray_node_cpu_percent"],
)
def test_a_metric_that_is_not_exported_is_noticed(query: str) -> None:
    (selector,) = _selectors(promql.parse(query))
    assert selector.name not in _ours().keys() | _rays()


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    shown = {selector.name for target in TARGETS for selector in _selectors(_parsed(target))}
    ending = re.compile(r"_(total|bucket|sum|count)$")
    assert {ending.sub("", name) for name in _ours()} <= {ending.sub("", name) for name in shown}


def _parsed(target: dict[str, Any]) -> Any:
    return promql.parse(target["expr"].replace("$__rate_interval", "5m"))


def test_dashboard_is_laid_out_and_names_lines_by_labels_that_they_have() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for one, other in combinations([panel["gridPos"] for panel in DASHBOARD["panels"]], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS)
    assert all(panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"} for panel in PANELS)
    assert [each["name"] for each in DASHBOARD["templating"]["list"]] == ["datasource"]
    for target in TARGETS:
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= _grouped_by(_parsed(target))


@pytest.mark.parametrize("alert", ALERTS, ids=[alert["alert"] for alert in ALERTS])
def test_alerts_say_what_is_wrong_of_what(alert: dict[str, Any]) -> None:
    assert alert.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert alert["labels"]["severity"] in ("info", "warning")
    assert alert["annotations"].keys() == {"summary", "description"}
    named = set(re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"]))
    assert named <= (_grouped_by(promql.parse(alert["expr"])) or {"instance"})


def test_prometheus_and_grafana_find_what_belongs_to_them() -> None:
    config = yaml.safe_load((PLACE / "prometheus.yaml").read_text())
    assert all((PLACE / name).exists() for name in config["rule_files"])
    (scraped,) = config["scrape_configs"]
    compose = yaml.safe_load((INFRA / "compose" / "compose.yaml").read_text())["services"]
    (at_home,) = scraped["dns_sd_configs"]
    assert all(f"--metrics-export-port={at_home['port']}" in compose[name]["command"] for name in at_home["names"])
    mounts = dict(mount.removesuffix(":ro").split(":") for mount in compose["grafana"]["volumes"])
    provider = yaml.safe_load((PLACE / "grafana" / "dashboards" / "provider.yaml").read_text())["providers"][0]
    assert provider["options"]["path"] == f"{mounts['../monitoring/grafana']}/dashboards"
    source = yaml.safe_load((PLACE / "grafana" / "datasources" / "prometheus.yaml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090" and "prometheus" in compose


def test_promtool_has_nothing_to_say() -> None:
    if not shutil.which("promtool"):
        pytest.skip("promtool, which comes with Prometheus, is not installed")
    told = subprocess.run(
        ["promtool", "check", "config", PLACE / "prometheus.yaml"], capture_output=True, text=True, timeout=HANGS_S
    )
    assert told.returncode == 0, told.stderr
