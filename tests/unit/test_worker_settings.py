"""What a worker is told: roles, and how many shifts of each at a time."""

import pytest

from pipeline.core.errors import SettingsError
from pipeline.core.tickets import Role
from workers.settings import settings_from


def told(roles=None, workers=None):
    environment = {"VIDBATCH_REDIS": "redis://localhost:6379/0", "VIDBATCH_ROLES": roles, "VIDBATCH_WORKERS": workers}
    return settings_from({name: value for name, value in environment.items() if value is not None})


@pytest.mark.parametrize(
    ("roles", "workers", "shifts"),
    [
        (None, None, {"submit": 1, "poll": 1, "write": 1, "control": 1}),
        (None, "3", {"submit": 3, "poll": 3, "write": 1, "control": 1}),
        ("submit=4,poll=2,write,control", None, {"submit": 4, "poll": 2, "write": 1, "control": 1}),
        (" submit = 4 , poll,", "2", {"submit": 4, "poll": 2}),
        ("control=2", "8", {"control": 2}),
    ],
)
def test_each_role_has_its_number_of_shifts_and_each_shift_a_process(roles, workers, shifts):
    settings = told(roles, workers)
    assert settings.shifts == {Role(name): many for name, many in shifts.items()}
    assert settings.children == sum(shifts.values())


@pytest.mark.parametrize(
    ("roles", "found"),
    [
        ("submit,pol", "'pol'"),
        ("submit=0", "'submit=0'"),
        ("submit=,poll", "'submit='"),
        ("submit=two", "'submit=two'"),
        ("submit=-1", "'submit=-1'"),
        ("submit=65", "'submit=65'"),
        ("submit=²", "'submit=²'"),
        (" , ", "' , '"),
    ],
)
def test_what_is_no_role_with_a_number_is_named_with_what_is_allowed(roles, found):
    with pytest.raises(SettingsError) as raised:
        told(roles)
    for part in ("--roles (VIDBATCH_ROLES)", found, "submit, poll, write, control", "from 1 to 64"):
        assert part in str(raised.value)


def test_a_role_that_is_named_twice_is_a_mistake():
    with pytest.raises(SettingsError, match="found poll twice in 'poll=2,poll'"):
        told("poll=2,poll")
