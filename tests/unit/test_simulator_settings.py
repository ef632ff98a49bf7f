import orjson
import pytest

from pipeline.core.errors import SettingsError
from pipeline.simulator.settings import OPTIONS, SimulatorSettings, changed, changed_live, shown

USUAL = SimulatorSettings()


def test_every_setting_is_an_option_with_a_flag_and_an_explanation():
    assert {option.name for option in OPTIONS} == set(SimulatorSettings.__dataclass_fields__)
    assert all(option.flag.startswith("--") and option.help for option in OPTIONS)


def test_every_default_survives_its_own_way_through_json():
    values = {name: value for name, value in orjson.loads(orjson.dumps(shown(USUAL))).items() if name != "keys"}
    assert changed(USUAL, values) == USUAL


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("port", "8000", 8000),
        ("fast", "true", True),
        ("fail_rate", "0.25", 0.25),
        ("retry_after", "2s", 2.0),
        ("retry_after", "none", None),
        ("max_open", 3, 3),
        ("max_open", None, None),
        ("keys", "sk-a, sk-b", ("sk-a", "sk-b")),
        ("keys", ["sk-a"], ("sk-a",)),
        ("prices", "1,2,3,4", (1.0, 2.0, 3.0, 4.0)),
        ("garbled_kind", "empty", "empty"),
        ("created_skew_s", "-3600", -3600),
        ("created_skew_s", 86400, 86400),
        ("retry_after_text", "-5", "-5"),
        ("error_status", "504", 504),
    ],
)
def test_text_and_json_set_a_switch(name, text, value):
    assert getattr(changed(USUAL, {name: text}), name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fail_rate", 1.5),
        ("fail_rate", "often"),
        ("port", 1.5),
        ("port", True),
        ("fast", "perhaps"),
        ("fast", 1),
        ("host", 4),
        ("keys", 5),
        ("keys", [1]),
        ("prices", "1,2"),
        ("latency", "never"),
        ("max_open", -1),
        ("max_open", "inf"),
        ("garbled_kind", "xml"),
        ("garbled_kind", ["html"]),
        ("created_skew_s", 0.5),
        ("created_skew_s", "inf"),
        ("created_skew_s", True),
        ("retry_after_text", "1\r\nX: y"),
        ("retry_after_text", "spät"),
        ("error_status", 599),
        ("flood_bytes", 10**400),
    ],
)
def test_a_value_that_fits_no_switch_is_refused_by_the_switchs_name(name, value):
    with pytest.raises(SettingsError, match=f"^{name}: "):
        changed(USUAL, {name: value})


def test_an_unknown_setting_is_refused():
    with pytest.raises(SettingsError, match="no setting 'colour'"):
        changed(USUAL, {"colour": "red"})


def test_what_the_start_needed_stays_as_it_is():
    with pytest.raises(SettingsError, match="fast, port can only be set when"):
        changed_live(USUAL, {"port": 1, "fast": True})
    assert changed_live(USUAL, {"fail_rate": 1}).fail_rate == 1


def test_accepted_keys_are_never_shown():
    settings = changed(USUAL, {"keys": "sk-secret-one,sk-secret-two"})
    assert shown(settings)["keys"] == ["***", "***"]
    assert "sk-secret" not in repr(settings)
