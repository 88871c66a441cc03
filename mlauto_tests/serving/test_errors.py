"""Errors know which HTTP status says the same."""

from mlauto.serving import errors


def test_each_error_has_its_status() -> None:
    """The client's mistakes are 4xx, the model's failures 500, and what passes is 503."""
    assert errors.RequestError("x").status == 400
    assert errors.RequestError("x", 422).status == 422
    assert errors.ModelError("x").status == 500
    assert errors.UnavailableError("x").status == 503
    assert errors.UnavailableError("x", 504, "7").version == "7"
    assert errors.ControlError("x").status == 409


def test_all_errors_have_one_root() -> None:
    """Whoever answers requests needs one `except`."""
    assert all(issubclass(getattr(errors, name), errors.ServingError) for name in errors.__all__)
