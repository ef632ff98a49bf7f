"""The front door: what programs may import from `pipeline`."""

import pipeline


def isort_style(name):
    """Constants, then classes, then functions, each by name: the order that ruff's RUF022 keeps."""
    return (not name.isupper(), not name[0].isupper(), name)


def test_the_front_door_lists_its_names_in_order():
    assert pipeline.__all__ == sorted(set(pipeline.__all__), key=isort_style)


def test_every_name_at_the_front_door_exists():
    assert [name for name in pipeline.__all__ if not hasattr(pipeline, name)] == []
