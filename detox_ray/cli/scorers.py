"""The command `scorers`: the list of ready scorers, and the card of one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from detox_ray.cli.exit_codes import exit_codes

if TYPE_CHECKING:
    from detox_ray.score.cards import Card


def scorers(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A ready scorer, for its card.", show_default=False)
    ] = None,
    validity: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A validity.csv of detox-ray validity, to show on the card.")
    ] = None,
) -> None:
    """List the ready scorers, or show the card of one.

    A card holds the revision, the licence, the languages, what each attribute means, what the scorer was trained on,
    and, with --validity, in which languages it was shown to work here.
    """
    with exit_codes():
        from detox_ray.cli import terminal
        from detox_ray.score import cards

        console = Console(highlight=False)
        if name is None:
            terminal.scorers(console)
            return
        rows = cards.read_validity(validity, name) if validity is not None else []
        show_card(console, cards.ready_card(name, rows))


def show_card(console: Console, card: "Card") -> None:
    """Print a card."""
    languages = "all" if card.languages is None else " ".join(card.languages)
    facts = {
        "type": card.type,
        "origin": card.origin,
        "revision": card.revision,
        "licence": card.licence,
        "languages": languages,
        "trained on": card.trained_on,
        "needs": card.needs or "nothing that is known",
    }
    console.print(card.name, style="bold", markup=False)
    for fact, value in facts.items():
        console.print(f"  {fact}: {value}", markup=False, soft_wrap=True)
    console.print("  attributes:")
    for attribute, meaning in card.attributes.items():
        console.print(f"    {attribute}: {meaning}", markup=False, soft_wrap=True)
    if not card.validity:
        console.print("  validity: not measured here; see detox-ray validity", markup=False)
        return
    console.print("  validity:")
    for row in card.validity:
        bounds = "" if row.ci_low is None or row.ci_high is None else f" [{row.ci_low:.3f}, {row.ci_high:.3f}]"
        number = row.status.replace("_", " ") if row.auroc is None else f"AUROC {row.auroc:.3f}{bounds}"
        console.print(
            f"    {row.language}: {number}, n {row.n:,}, against {row.reference}", markup=False, soft_wrap=True
        )
