"""The alert rules and who is told: each fires when it must, is silent when it must, and asks for what there is."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.ops.rules import (
    ALERTMANAGER,
    OF_PROMETHEUS,
    PROMETHEUS,
    RULE_FILES,
    TEST_FILES,
    Rule,
    alerts,
    metrics,
    read,
    rules,
    selectors,
    sources,
)

ANNOTATIONS: Final = {"summary", "impact", "action", "runbook_url"}
WATCHDOG: Final = "Watchdog"
"""It always fires, and calls nobody: somebody outside notices when it is not heard."""
PACKAGES: Final = {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}


def tool(name: str) -> str:
    """Where a program is. The tests that need it are skipped without it, and say how to get it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} IS NOT INSTALLED, so the rules were not tried: apt-get install {PACKAGES[name]}")
    return found


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROMETHEUS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.stem)
def test_the_cases_of_the_rules_come_out_as_written(file: Path) -> None:
    """Prometheus itself evaluates every rule over made-up hours: who is called, in which words, and who is not."""
    assert "SUCCESS" in run(tool("promtool"), "test", "rules", str(file))


def test_prometheus_takes_its_configuration_and_every_rule() -> None:
    """With one that it does not take, it would not start, and nobody would be called."""
    taken = run(tool("promtool"), "check", "config", "prometheus.yml")

    assert f"{len(RULE_FILES)} rule files found" in taken
    assert "FAILED" not in taken


def test_alertmanager_takes_its_configuration() -> None:
    """As for Prometheus."""
    assert "SUCCESS" in run(tool("amtool"), "check-config", str(ALERTMANAGER))


def test_a_page_goes_to_who_is_awake_and_a_ticket_to_who_is_not() -> None:
    """And nothing that has lost its severity goes nowhere."""
    amtool = tool("amtool")

    def receiver(*labels: str) -> str:
        return run(amtool, "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels).strip()

    assert receiver("alertname=CommandsStuck", "severity=page") == "page"
    assert receiver("alertname=QuarantineNotReleased", "severity=ticket") == "ticket"
    assert receiver("alertname=Unheard") == "ticket"
    assert receiver("alertname=Watchdog", "severity=watchdog") == "watchdog"
    assert receiver("alertname=NotificationsFailing", "severity=page") == "ticket,page"


def test_there_are_rules_and_each_has_a_name_of_its_own() -> None:
    """A rule that shadows another in the tests would leave that one untried."""
    keys = [rule.key for rule in alerts()]

    assert len(keys) > 30
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: "-".join(filter(None, rule.key)))
def test_a_rule_asks_for_series_that_the_code_writes(rule: Rule) -> None:
    """A rule about a metric that was renamed is silent for ever."""
    known = {**metrics(), **OF_PROMETHEUS}
    recorded = {each.name for each in rules() if not each.is_alert}

    for selector in selectors(rule.expr):
        assert selector.name in known or selector.name in recorded
        if selector.name in known:
            asked = {matcher.name for matcher in selector.matchers.matchers}
            assert asked <= known[selector.name] | {"instance"}, selector
    named = {name for text in rule.annotations.values() for name in re.findall(r"\bflorin_\w+", text)}
    assert named <= set(known)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: "-".join(filter(None, rule.key)))
def test_an_alert_says_what_it_means_and_what_to_do(rule: Rule) -> None:
    """Whoever it wakes reads one screen, half asleep."""
    assert rule.labels["severity"] in {"page", "ticket"} or rule.name == WATCHDOG
    assert set(rule.annotations) == ANNOTATIONS
    assert all(rule.annotations.values())
    assert rule.annotations["runbook_url"].startswith("docs/runbooks.md#")


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: "-".join(filter(None, rule.key)))
def test_an_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(rule: Rule) -> None:
    """Without the first nobody knows that it works, and without the second that it lets people sleep."""
    fires, is_silent = False, False
    for series, case in cases():
        if case["alertname"] != rule.name:
            continue
        expected = case["exp_alerts"]
        fired = [alert for alert in expected if alert["exp_labels"].get("window") == rule.labels.get("window")]
        fires = fires or bool(fired)
        # Silence counts only where there is something to be silent about.
        is_silent = is_silent or (not fired and bool(series & sources(rule.expr)))
        for alert in fired:
            assert alert["exp_labels"]["severity"] == rule.labels["severity"]
            assert set(alert["exp_annotations"]) == ANNOTATIONS

    assert (fires, is_silent) == (True, rule.name != WATCHDOG)


def cases() -> Iterator[tuple[set[str], dict[str, Any]]]:
    """Every expectation of every test file, with the names of the series that it is given."""
    for file in TEST_FILES:
        for test in read(file)["tests"]:
            series = {each["series"].split("{")[0] for each in test["input_series"]}
            for case in test.get("alert_rule_test", []):
                yield series, case


def test_every_expectation_is_about_a_rule_and_given_series_that_there_are() -> None:
    """A case about an alert that was renamed, or fed with a metric that was, passes and shows nothing."""
    names = {rule.name for rule in alerts()}
    known = set(metrics()) | set(OF_PROMETHEUS)

    for series, case in cases():
        assert case["alertname"] in names
        assert series <= known


def test_what_silences_an_alert_is_about_alerts_that_there_are() -> None:
    """An alert that follows from another is held back by name; and only what pages may hold back what pages."""
    severity = {rule.name: rule.labels["severity"] for rule in alerts()}

    for inhibition in read(ALERTMANAGER)["inhibit_rules"]:
        sources_, targets = (named(inhibition[key], severity) for key in ("source_matchers", "target_matchers"))
        assert {severity[name] for name in sources_} == {"page"}
        assert not sources_ & targets


def named(matchers: list[str], known: dict[str, str]) -> set[str]:
    """The alerts that matchers are about. Each alternative of an expression has to be about one at least."""
    (names,) = [matcher for matcher in matchers if matcher.startswith("alertname ")]
    pattern = names.split('"')[1]
    found: set[str] = set()
    for alternative in pattern.split("|"):
        matching = {name for name in known if re.fullmatch(alternative, name)}
        assert matching, alternative
        found |= matching
    return found
