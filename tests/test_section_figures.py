"""Figures of stages' report sections can be drawn whatever their numbers are."""

import pytest

from detox_ray.cluster.section_figures import BEFORE, Curve, Dot, Panel, line_figure, multiples_figure


@pytest.mark.parametrize("height", [0.001, 0.3, 0.79, 0.81, 0.95, 1.0, 7.9, 8.2, 9.9, 300.0])
def test_axes_have_round_ticks_for_every_span(height: float) -> None:
    curve = Curve("toxicity", [(-5.0, 0.0), (-2.0, height / 3), (0.0, height)])
    figure = line_figure([curve], "dose", "toxicity", "Dose and response")
    assert figure.startswith("<svg") and figure.count("<text") >= 8


def test_small_multiples_share_their_rows_and_have_scales_of_their_own() -> None:
    panels = [
        Panel("share", [Dot(-0.1, -0.2, 0.05), None]),
        Panel("ratio", [Dot(1.2, 1.1, 1.3, BEFORE), Dot(2.0, None, None)], 1.0),
    ]
    figure = multiples_figure(["Dutch", "Mean"], panels, "Change of ability")
    assert figure.count("<circle") == 3 and figure.count(">Dutch<") == 1
    for text in ("Dutch, share: \u22120.1 [\u22120.2, 0.05]", "Mean, ratio: 2", ">\u22120.2<", ">0.05<", ">1<", ">2<"):
        assert text in figure
    assert figure.count('stroke-dasharray="3 3"') == 2  # the line of no change in each
