"""A scorer with calibrated toxicity: another scorer's, mapped to the scale of a reference."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from detox_ray.config import InputError, Problem
from detox_ray.config.base import Name
from detox_ray.data.calibration import Calibration
from detox_ray.score.scorer_variant import Combination, ResolvedScorer, ScorerVariant
from detox_ray.storage import Store, key_of

CALIBRATION = "calibration.json"


class CalibratedConfig(ScorerVariant):
    """The toxicity of another scorer, mapped per language by a calibration from `detox-ray validity`."""

    # The member's identity and the content of the file are hashed instead.
    no_influence = ScorerVariant.no_influence | {"of", "path"}
    member_fields = ("of",)

    type: Literal["calibrated"]
    of: Name  # the scorer to calibrate; it must be listed before this one
    path: str  # the calibration's JSON file

    def meaning(self, attribute: str) -> str:
        return f"the value of {self.of}, mapped per language to the scale of the calibration's reference"

    def check_files(self, say: Callable[[str], None]) -> list[Problem]:
        path = Path(self.path).expanduser()
        if not path.is_file():
            return [Problem("path", self.path, "must be an existing file")]
        try:
            Calibration.load(path.read_text("utf-8"))
        except (ValueError, OSError) as error:
            return [Problem("path", self.path, str(error))]
        return []

    def resolve(self, store: Store, world: str | None, earlier: Mapping[str, ResolvedScorer]) -> ResolvedScorer:
        member = earlier[self.of]
        content = Path(self.path).expanduser().read_bytes()
        try:
            calibration = Calibration.load(content.decode())
            calibration.check(member.name, member.identity)
        except InputError as error:
            raise InputError(f"scorer {self.name}: {self.path}: {error}") from None
        languages = tuple(c for c in calibration.languages if member.languages is None or c in member.languages)
        scorer = self.copied(store, {CALIBRATION: content}, languages)
        identity = key_of(map=scorer.identity, member=member.identity)
        return scorer._replace(identity=identity, members=(member,))

    def combination(self, scorer: ResolvedScorer, store: Store) -> Combination:
        calibration = Calibration.load(store.read_bytes(f"{scorer.folder}/{CALIBRATION}").decode())
        return Combination(
            combine=lambda values_MN, language: calibration.apply(values_MN[0], language),
            attributes=("toxicity",),
            languages=calibration.languages,
        )


VARIANT = CalibratedConfig
