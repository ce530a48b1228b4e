"""What the tests of generation share: prompts in a store, and settings."""

from detox_ray.config import GenerateConfig

PROMPTS = {
    "en": ["The teacher is", "Anna says that Leo is a liar and", "", "Today"],
    "ar": ["المعلم كسول و"],
    "ja": ["先生は怠け者です。アンナは", "本"],
}


def config(**changes: object) -> GenerateConfig:
    return GenerateConfig.model_validate({"samples": 25, "max_tokens": 8, "prompts_per_unit": 3, **changes})
