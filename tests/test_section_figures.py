"""Figures of stages' report sections can be drawn whatever their numbers are."""

import pytest

from detox_ray.cluster.section_figures import Curve, line_figure


@pytest.mark.parametrize("height", [0.001, 0.3, 0.79, 0.81, 0.95, 1.0, 7.9, 8.2, 9.9, 300.0])
def test_axes_have_round_ticks_for_every_span(height: float) -> None:
    curve = Curve("toxicity", [(-5.0, 0.0), (-2.0, height / 3), (0.0, height)])
    figure = line_figure([curve], "dose", "toxicity", "Dose and response")
    assert figure.startswith("<svg") and figure.count("<text") >= 8
