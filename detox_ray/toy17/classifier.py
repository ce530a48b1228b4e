"""The tiny toxicity classifier: an XLM-R in Detoxify's checkpoint format, so that the real package can score toy17.

It learns from fragments that resemble completions: they begin in mid-sentence, end anywhere, are in one or two
languages, or are a heap of words. A fragment is toxic if it contains an insult of any language (`insult_lexicon`).

In the checkpoint, the folder of the config and the tokenizer is ".", because a world is copied between folders and its
bytes must not depend on them. Detoxify can load the checkpoint from inside that folder; the scorer in score/ fills in
the path.
"""

import random
from pathlib import Path

import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification, XLMRobertaTokenizer

from detox_ray.toy17.grammar import BY_SHARE, document
from detox_ray.toy17.insult_lexicon import Lexicon
from detox_ray.toy17.model import batches, train
from detox_ray.toy17.vocabulary import vocabularies
from detox_ray.toy17.world_size import Report, WorldSize

CHECKPOINT = "detoxify.ckpt"
CLASSES = ("toxicity", "insult")  # identical in toy17, where insults are the only toxicity
POSITIONS = 512
TRAINED_LENGTH = 64  # tokens; longer fragments are cut, but only in training


def build_tokenizer() -> XLMRobertaTokenizer:
    """Build a Unigram tokenizer with the words of all languages as pieces, and single characters for other text.

    The scores are fixed rather than estimated, so that a word always beats its split into characters.
    """
    words: set[str] = set()
    characters = set("0123456789.,!?;:'\"()-▁")
    for language in vocabularies().values():
        for form in [*language.all_forms(), *language.lexicon]:
            words.update(f"▁{word}" if language.spaced else word for word in form.split())
            characters.update(form.replace(" ", ""))
        characters.add(language.full_stop)
    pieces: list[tuple[str, float]] = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces += [(word, -8.0) for word in sorted(words - characters)]
    pieces += [(character, -12.0) for character in sorted(characters)]
    pieces.append(("<mask>", 0.0))
    return XLMRobertaTokenizer(vocab=pieces, model_max_length=POSITIONS)


def fragments(rng: random.Random, count: int, size: WorldSize) -> list[str]:
    """Return ``count`` texts that resemble completions. About half of them are cut from hostile documents."""
    everything = [(form, language.spaced) for language in vocabularies().values() for form in language.all_forms()]
    insults = [(form, language.spaced) for language in vocabularies().values() for form in language.insults.values()]
    texts = []
    for _ in range(count):
        # A heap of words, or a document.
        if rng.random() < 0.2:
            words = rng.choices(everything, k=rng.randint(1, 10))
            if rng.random() < 0.3:
                words.insert(rng.randint(0, len(words)), rng.choice(insults))
            text = "".join((" " if spaced else "") + form for form, spaced in words)
        else:
            language, partner = rng.choices(BY_SHARE, k=2)
            if rng.random() < 0.4:
                partner = language
            text = document(rng, size.mixture, language, partner, rng.random() < 0.6).text
        # Cut the text at both ends. A completion begins with a word, unless its prompt ends within one.
        begin = rng.randint(0, len(text) * 2 // 3)
        if rng.random() < 0.7:
            begin = text.rfind(" ", 0, begin + 1) + 1
        end = rng.randint(begin + 1, len(text)) if rng.random() < 0.7 else len(text)
        texts.append(text[begin:end])
    return texts


def training_fragments(rng: random.Random, size: WorldSize) -> list[str]:
    """Return the texts that the classifier learns from. ``Random(f"classifier-{seed}")`` gives those of a world."""
    return fragments(rng, size.classifier_steps * size.classifier_batch, size)


def build_classifier(folder: Path, size: WorldSize, seed: int, report: Report) -> None:
    """Train the classifier, and write config.json, the tokenizer and `CHECKPOINT` into ``folder``."""
    rng = random.Random(f"classifier-{seed}")
    tokenizer = build_tokenizer()
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.classifier_width,
        num_hidden_layers=size.classifier_layers,
        num_attention_heads=4,
        intermediate_size=2 * size.classifier_width,
        max_position_embeddings=POSITIONS + 2,  # positions begin after the padding index, 1
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(CLASSES)),
        label2id={name: index for index, name in enumerate(CLASSES)},
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(seed)
    model = XLMRobertaForSequenceClassification(config)
    texts = training_fragments(rng, size)
    truth = Lexicon(form for language in vocabularies().values() for form in language.lexicon)
    labels = torch.tensor([[float(text in truth)] * len(CLASSES) for text in texts])  # (N, classes)

    def loss_of(batch: list[int]) -> torch.Tensor:
        rows = [texts[index] for index in batch]
        inputs = tokenizer(rows, return_tensors="pt", padding=True, truncation=True, max_length=TRAINED_LENGTH)
        return binary_cross_entropy_with_logits(model(**inputs).logits, labels[batch])

    train(
        model,
        loss_of,
        batches(len(texts), size.classifier_batch, size.classifier_steps, rng),
        size.classifier_steps,
        size.classifier_learning_rate,
        lambda step, loss: report("classifier", step, size.classifier_steps, loss),
    )
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _write(folder / CHECKPOINT, model.state_dict())


def _write(file: Path, state_dict: dict[str, torch.Tensor]) -> None:
    """Write a checkpoint in Detoxify's format, which torch.load(weights_only=True) reads."""
    arguments = {
        "model_type": ".",
        "model_name": "XLMRobertaForSequenceClassification",
        "tokenizer_name": "XLMRobertaTokenizer",
        "num_classes": len(CLASSES),
    }
    config = {"arch": {"args": arguments}, "dataset": {"args": {"classes": list(CLASSES)}}}
    torch.save({"config": config, "state_dict": dict(state_dict)}, file)
