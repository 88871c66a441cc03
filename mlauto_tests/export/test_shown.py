"""Expressions of the chosen products."""

from mlauto.export.shown import of, rate


def test_a_metric_is_that_of_the_chosen_products() -> None:
    """Further labels come behind."""
    assert of("mlauto_verdict") == 'mlauto_verdict{product=~"$product"}'
    assert of("mlauto_verdict", 'status="error"') == 'mlauto_verdict{product=~"$product", status="error"}'


def test_a_counter_is_shown_per_second() -> None:
    """Summed, over Grafana's own interval: it is never shorter than four scrapes."""
    expected = 'sum by (product, version) (rate(mlauto_a_total{product=~"$product"}[$__rate_interval]))'

    assert rate("mlauto_a_total", by="product, version") == expected
