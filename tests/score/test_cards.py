"""The card of a scorer: what is known of it, and nothing that is not."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from detox_ray.cli import app
from detox_ray.config import InputError
from detox_ray.score import ready_scorers
from detox_ray.score.cards import NOT_STATED, ready_card

VALIDITY = """scorer,reference,language,n,auroc,ci_low,ci_high,status
textdetox-xlmr,human: rtp-lx,de,500,0.91,0.88,0.94,ok
textdetox-xlmr,human: rtp-lx,sv,0,,,,no_labels
other,human: rtp-lx,de,500,0.5,0.4,0.6,ok
"""


@pytest.mark.parametrize("name", list(ready_scorers()))
def test_every_ready_scorer_has_a_card_that_says_what_its_values_mean(name: str) -> None:
    card = ready_card(name)
    assert card.name == name and card.revision and card.licence and card.needs and card.trained_on
    assert set(card.attributes) == set(ready_scorers()[name].attributes)
    assert all(len(meaning) > 20 for meaning in card.attributes.values())


def test_what_a_publisher_does_not_state_is_not_made_up() -> None:
    assert ready_card("perspective").trained_on == NOT_STATED
    assert "Jigsaw" in ready_card("detoxify-original").trained_on
    assert "targets someone" in ready_card("detoxify-unbiased").attributes["identity_attack"]
    assert "lewd" in ready_card("detoxify-unbiased").attributes["sexual_explicit"]


def test_the_command_shows_a_card_with_the_validity_that_was_measured_here(tmp_path: Path) -> None:
    file = tmp_path / "validity.csv"
    file.write_text(VALIDITY, encoding="utf-8")
    result = CliRunner().invoke(app, ["scorers", "textdetox-xlmr", "--validity", str(file)])
    assert result.exit_code == 0, result.output
    assert "de: AUROC 0.910 [0.880, 0.940], n 500, against human: rtp-lx" in result.stdout
    assert "sv: no labels, n 0" in result.stdout and "other" not in result.stdout
    assert "textdetox/multilingual_toxicity_dataset" in result.stdout
    assert "not measured here" in CliRunner().invoke(app, ["scorers", "perspective"]).stdout
    assert CliRunner().invoke(app, ["scorers", "unknown"]).exit_code == 2


def test_a_file_that_is_no_validity_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["scorers", "perspective", "--validity", str(tmp_path / "x.csv")])
    assert result.exit_code == 2 and "must be a validity.csv" in result.stderr
    assert "it has no column scorer" in result.stderr
    result = CliRunner().invoke(app, ["scorers", "perspective", "--validity", str(tmp_path / "absent.csv")])
    assert result.exit_code == 2 and "--validity: must be a validity.csv" in result.stderr
    assert "it does not exist (got " in result.stderr and "Errno" not in result.stderr
    with pytest.raises(InputError, match="unknown scorer"):
        ready_card("unknown")
