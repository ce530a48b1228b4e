"""The tables about scorers: those that are ready, and the languages in which they can be believed."""

from detox_ray.cli.output import Listing, Output
from detox_ray.cli.terminal_tables import Column, TerminalTable, bounded
from detox_ray.measure import Validity
from detox_ray.measure.validity import has_evidence
from detox_ray.run.validity import ValidityOutcome
from detox_ray.score import ready_scorers
from detox_ray.score.cards import Card
from detox_ray.storage.tables import OK


def write_scorers(output: Output) -> None:
    """Write the ready scorers."""
    rows, paragraphs = [], []
    for entry in ready_scorers().values():
        languages = "all" if entry.languages is None else " ".join(entry.languages)
        rows.append(
            {
                "name": entry.name,
                "type": entry.config.kind,
                "origin": entry.config.origin,
                "attributes": list(entry.attributes),
                "languages": None if entry.languages is None else list(entry.languages),
                "licence": entry.licence,
                "needs": entry.cost,
            }
        )
        paragraphs.append(
            f"{entry.name} ({entry.config.kind}) {entry.config.origin}\n"
            f"  {' '.join(entry.attributes)}; languages: {languages}\n"
            f"  licence: {entry.licence}; needs: {entry.cost}"
        )
    output.write(Listing(list(rows[0]), rows, paragraphs))
    output.say("The card of one: detox-ray scorers NAME.")
    output.say("Any other: score.scorers takes {name, type, path, …}; its types and fields are in the documentation.")


def write_card(output: Output, card: Card) -> None:
    """Write the card of a scorer."""
    facts = {
        "type": card.type,
        "origin": card.origin,
        "revision": card.revision,
        "licence": card.licence,
        "languages": "all" if card.languages is None else " ".join(card.languages),
        "trained on": card.trained_on,
        "needs": card.needs or "nothing that is known",
    }
    lines = [card.name, *(f"  {fact}: {value}" for fact, value in facts.items()), "  attributes:"]
    lines += [f"    {attribute}: {meaning}" for attribute, meaning in card.attributes.items()]
    lines.append("  validity:" if card.validity else "  validity: not measured here; see detox-ray validity")
    for entry in card.validity:
        auroc = f"AUROC {bounded(entry.auroc, entry.ci_low, entry.ci_high)}"
        number = auroc if entry.auroc is not None else entry.status.replace("_", " ")
        lines.append(f"    {entry.language}: {number}, n {entry.n:,}, against {entry.reference}")
    content = {**card._asdict(), "validity": [entry._asdict() for entry in card.validity]}
    languages = [entry.language for entry in card.validity]
    flat = {**content, "attributes": list(card.attributes), "validity": languages}
    output.write(Listing(list(flat), [flat], ["\n".join(lines)], content))


def write_validity(output: Output, outcome: ValidityOutcome) -> None:
    """Write a table per scorer, and the calibration map if one was fitted."""
    columns = (
        Column("language", "key"),
        Column("n", "number"),
        Column("toxic", "number"),
        Column("AUROC", "number"),
        Column("average precision", "number"),
        Column("note"),
        Column("Spearman", "number"),
        Column("best F1", "number"),
        Column("from", "number"),
        Column("calibration error", "number"),
    )
    tables = []
    for scorer in dict.fromkeys(row.scorer for row in outcome.rows):
        rows = [row for row in outcome.rows if row.scorer == scorer]
        cells = [
            (
                row.language,
                str(row.n),
                str(row.n_toxic),
                bounded(row.auroc, row.ci_low, row.ci_high),
                bounded(row.average_precision, row.average_precision_low, row.average_precision_high),
                ("" if has_evidence(row) else "no evidence") if row.status == OK else row.status.replace("_", " "),
                bounded(row.spearman, row.spearman_low, row.spearman_high),
                bounded(row.best_f1, None, None),
                bounded(row.best_f1_threshold, None, None),
                bounded(row.calibration_error, row.calibration_error_low, row.calibration_error_high),
            )
            for row in rows
        ]
        tables.append(TerminalTable(f"{scorer} against {rows[0].reference}", columns, cells))
    fields = (*Validity._fields, "evidence")
    output.write(Listing(fields, [{**row._asdict(), "evidence": has_evidence(row)} for row in outcome.rows], tables))
    output.say(f"written: {outcome.file}")
    if outcome.calibration is not None:
        fitted = outcome.calibration
        for language, curve in sorted(fitted.languages.items()):
            after = "" if curve.error_after is None else f" -> {curve.error_after:.3f} (cross-validated)"
            output.say(f"{language}: calibration error {curve.error_before:.3f}{after}, n {curve.n}")
        for language, reason in fitted.refused.items():
            output.say(f"{language}: no map: {reason.replace('_', ' ')}")
        output.say(f"written: {outcome.calibration_file}")
