"""Reviews whose sentiment hangs on one word, a tokenizer for them, and a small BERT that learned them."""

from functools import cache

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

FILLERS = [
    "a",
    "an",
    "the",
    "film",
    "plot",
    "actor",
    "music",
    "scene",
    "ending",
    "was",
    "is",
    "had",
    "and",
    "of",
    "with",
    "it",
    "we",
    "saw",
    "very",
    "quite",
]
GOOD, BAD = ["great", "lovely", "super"], ["awful", "boring", "poor"]
PIECES = ["##ing", "##ly", "play", "act", "chess", ".", "!", "?", ",", '"', "3", "no"]
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
SPECIAL["mask_token"] = "[MASK]"
NAMES = ["input_ids", "token_type_ids", "attention_mask"]


def bert_tokenizer():
    vocabulary = {word: i for i, word in enumerate([*SPECIAL.values(), *FILLERS, *GOOD, *BAD, *PIECES])}
    raw = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    raw.normalizer, raw.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, model_input_names=NAMES, **SPECIAL)


def encoded(tokenizer, *texts, **kwargs):
    return tokenizer(*texts, return_tensors="pt", padding=True, **kwargs)


@cache
def learned_reviews():
    """A small BERT that learned which of six words decides a review, or that none is there; its tokenizer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = bert_tokenizer()
        model = transformers.BertForSequenceClassification(tiny(transformers.BertConfig))
        texts, labels, _ = written(400)
        batch = encoded(tokenizer, texts)
        optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
        for rows in torch.randint(len(labels), (100, 64)):
            part = {name: values[rows] for name, values in batch.items()}
            masked = torch.rand(part["input_ids"].shape) < 0.8 * torch.rand(64, 1)
            part["input_ids"] = part["input_ids"].masked_fill(masked, tokenizer.mask_token_id)
            optimizer.zero_grad()
            model(**part, labels=labels[rows]).loss.backward()
            optimizer.step()
    model.zero_grad()
    return model.eval(), tokenizer


def tiny(config, **changes):
    settings = {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 40,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    return config(**{**settings, **changes})


def written(n, seed=0):
    """Reviews of nine words, one of which decides; its place counts from the first word."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda k: int(torch.randint(k, (), generator=generator))  # noqa: E731
    texts, labels, places = [], [], []
    for _ in range(n):
        words, place, label = [FILLERS[draw(len(FILLERS))] for _ in range(6 + draw(4))], draw(6), draw(2)
        words[place] = (BAD, GOOD)[label][draw(3)]
        texts.append(" ".join(words))
        labels.append(label)
        places.append(place)
    return texts, torch.tensor(labels), places


def random_model(name, config, **changes):
    """A model of transformers with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(transformers, name)(tiny(config, **changes)).eval()
