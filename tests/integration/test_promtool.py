"""Prometheus' own tool reads what we write: the page, the rules and the configuration."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.promql import ALERTS
from tests.unit.test_dashboard import page

NEEDED = "VIDBATCH_TESTS_NEED_PROMTOOL"
pytestmark = pytest.mark.slow

CASES = """
rule_files: [{rules}]
evaluation_interval: 10s
tests:
  - interval: 10s
    input_series:
      - {{series: 'vidbatch_up', values: '1x6 0x20'}}
      - {{series: 'vidbatch_workers{{role="poll"}}', values: '1x6 0x30'}}
      - {{series: 'vidbatch_workers{{role="submit"}}', values: '1x60'}}
      - {{series: 'vidbatch_runs{{state="running"}}', values: '1x60'}}
      - {{series: 'vidbatch_run_paused{{run="r",account="a",why="person"}}', values: '1x60'}}
      - {{series: 'vidbatch_run_paused{{run="r",account="a",why="guard"}}', values: '0x6 1x30'}}
      - {{series: 'vidbatch_schedule_last_exit_code{{schedule="nightly"}}', values: '0x6 1x30'}}
      - {{series: 'vidbatch_heartbeat_age_seconds', values: '1 1 1 1 10+10x30'}}
    alert_rule_test:
      - {{eval_time: 50s, alertname: VidbatchRedisAway}}
      - {{eval_time: 50s, alertname: VidbatchScheduleFailed}}
      - {{eval_time: 50s, alertname: VidbatchNoWorkerOfRole}}
{fires}
"""


@pytest.fixture(scope="module")
def promtool():
    found = shutil.which("promtool")
    if found is None:
        assert NEEDED not in os.environ, "promtool is needed here, and is not on the PATH"
        pytest.skip("no promtool on the PATH (Debian: apt-get install prometheus)")
    return lambda *words, text="": subprocess.run(
        [found, *words], input=text, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_page_is_as_prometheus_likes_it(promtool):
    told = promtool("check", "metrics", text=page())
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_a_page_that_it_does_not_like_is_found(promtool):
    assert promtool("check", "metrics", text="# TYPE x counter\nx 1\n").returncode != 0


@pytest.mark.parametrize("what", [("config", "prometheus.yml"), ("rules", "alerts.yml")])
def test_rules_and_configuration_are_valid(promtool, what):
    told = promtool("check", what[0], str(ALERTS.parent / what[1]))
    assert told.returncode == 0, told.stdout + told.stderr


def test_alerts_fire_when_they_should_and_not_before(promtool, tmp_path):
    labels = {
        "VidbatchRedisAway": "",
        "VidbatchNoWorkerOfRole": ", role: poll",
        "VidbatchRunPaused": ", run: r, account: a, why: guard",
        "VidbatchScheduleFailed": ", schedule: nightly",
        "VidbatchHeartbeatOld": "",
    }
    fires = [
        f"      - {{eval_time: 5m, alertname: {name}, exp_alerts: [{{exp_labels: {{severity: page{of}}}}}]}}"
        for name, of in labels.items()
    ]
    rules = tmp_path / "alerts.yml"
    # what is said is not compared here: only which alerts fire, and for whom
    rules.write_text(_without_words(ALERTS), encoding="utf-8")
    cases = tmp_path / "cases.yml"
    cases.write_text(CASES.format(rules=rules.name, fires="\n".join(fires)), encoding="utf-8")
    told = promtool("test", "rules", str(cases))
    assert told.returncode == 0, told.stdout + told.stderr


def _without_words(path: Path) -> str:
    import yaml

    groups = yaml.safe_load(path.read_text(encoding="utf-8"))
    for group in groups["groups"]:
        for rule in group["rules"]:
            del rule["annotations"]
    return yaml.safe_dump(groups)
