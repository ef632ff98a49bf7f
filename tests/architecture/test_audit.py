"""The part of `make audit` that needs no network."""

import pytest

from tests import audit


@pytest.mark.parametrize("lock", audit.LOCKS)
def test_every_package_that_runs_has_a_licence_that_is_allowed(lock):
    assert audit.locked(lock)
    assert audit.unfit_licences(lock) == {}


def test_every_exception_is_still_needed():
    assert [name for name in audit.ALLOWED if name not in audit.locked("requirements.lock")] == []
