"""Benchmark: accuracy and speed of language identifiers on short texts, RTP-LX prompts cut to a few characters.

    python benchmarks/identifiers.py --path data/RTP-LX --prompts 200

Every text is cut at the last space before the limit, or at the limit where that would halve it, and shorter prompts are
left out; a language with fewer than ten prompts of a length is shown as "-" and not in the mean. An answer that is not
likelier than what detox_ray counts as sure ("und") is wrong here. Prompts that quote another language are in the
sample.
"""

import argparse
import time
from pathlib import Path

from detox_ray.config import PromptsConfig
from detox_ray.config.languages import GROUPS
from detox_ray.data import read_prompts
from detox_ray.score.identifiers import Identifier, load
from detox_ray.score.identify import SURE

FEWEST = 10  # texts of a language


def cut(text: str, limit: int) -> str | None:
    """The first ``limit`` characters or, where a space says so, a few less. None for a shorter text."""
    if len(text) < limit:
        return None
    whole, space, _ = text[: limit + 1].rpartition(" ")
    return whole if space and len(whole) * 2 >= limit else text[:limit]


def accuracy(identifier: Identifier, texts: dict[str, list[str]]) -> dict[str, float]:
    """language -> share of its texts recognised."""
    found = {}
    for language, of_language in texts.items():
        answers = identifier.identify(of_language)
        found[language] = sum(a.code == language and a.confidence > SURE for a in answers) / len(answers)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, required=True, help="folder of RTP_LX_*.json")
    parser.add_argument("--prompts", type=int, default=200, help="of each language, spread over its file")
    parser.add_argument("--lengths", type=int, nargs="+", default=[10, 20, 40, 80], help="characters")
    parser.add_argument("--identifiers", nargs="+", default=["lingua", "py3langid"])
    parser.add_argument("--fasttext", help="lid.176.bin or .ftz, for the identifier fasttext")
    parser.add_argument("--baseline", default="lingua", help="the identifier that speeds are compared with")
    arguments = parser.parse_args()

    config = PromptsConfig(source="rtp-lx", path=str(arguments.path))
    prompts: dict[str, list[str]] = {}
    for language, rows in read_prompts(config, GROUPS["rtp-lx-17"], "skip").items():
        texts = rows.table["text"].to_pylist()
        prompts[language] = texts[:: max(1, len(texts) // arguments.prompts)][: arguments.prompts]
    identifiers = {name: load(name, arguments.fasttext) for name in arguments.identifiers}
    for identifier in identifiers.values():  # the first text of each language loads its model
        for texts in prompts.values():
            identifier.identify(texts[:1])

    print(
        f"{'length':>6} {'identifier':<10} {'mean':>5} {'texts/s':>8} {'ratio':>6}  "
        + " ".join(f"{c:>3}" for c in GROUPS["rtp-lx-17"])
    )
    for length in arguments.lengths:
        short = {
            language: cuts
            for language, texts in prompts.items()
            if len(cuts := [c for text in texts if (c := cut(text, length)) is not None]) >= FEWEST
        }
        rates: dict[str, float] = {}
        right: dict[str, dict[str, float]] = {}
        for name, identifier in identifiers.items():
            started = time.perf_counter()
            right[name] = accuracy(identifier, short)
            rates[name] = sum(map(len, short.values())) / (time.perf_counter() - started)
        for name, shares in right.items():
            ratio = rates[name] / rates[arguments.baseline] if arguments.baseline in rates else float("nan")
            cells = " ".join(f"{round(100 * shares[c]):>3}" if c in shares else "  -" for c in GROUPS["rtp-lx-17"])
            mean = sum(shares.values()) / len(shares)
            print(f"{length:>6} {name:<10} {100 * mean:>5.1f} {rates[name]:>8,.0f} {ratio:>6.2f}  {cells}")


if __name__ == "__main__":
    main()
