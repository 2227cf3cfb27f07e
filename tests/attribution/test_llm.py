"""Answers of a causal language model, through captum's LLMAttribution: the parts of a prompt they need."""

import contextlib
import functools
import inspect

import captum
import pytest
import torch
from captum.attr import FeatureAblation, LLMAttribution, TextTemplateInput, TextTokenInput

from stg_attr import ArgumentError, LayerStochasticGates, LLMStochasticGates, ScoreFunction, StochasticGates
from stg_attr.model import Prefixes

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402

pytestmark = pytest.mark.skipif(
    captum.__version__.startswith("0.7"),
    reason="captum 0.7 drops the first token of an answer, whatever it is",
)

COLOURS = {"red": "apple", "yellow": "banana", "green": "pear"}
ANIMALS = {"cat": "milk", "dog": "bone", "horse": "hay"}
FILLERS = ["the", "a", "one", "saw", "and", "was", "very", "near", "house", "street"]


def word_tokenizer():
    words = ["<pad>", "<eos>", ":", *FILLERS, *COLOURS, *COLOURS.values(), *ANIMALS, *ANIMALS.values()]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", unk_token="<pad>", eos_token="<eos>"
    )


def written(n, generator, padded=False):
    """Prompts of eight words and a colon, and answers: the fruit of the colour, the food of the animal."""
    draw = lambda words: list(words)[int(torch.randint(len(words), (), generator=generator))]  # noqa: E731
    texts, places = [], []
    for _ in range(n):
        words, colour, animal = [draw(FILLERS) for _ in range(8)], draw(COLOURS), draw(ANIMALS)
        first, second = torch.randperm(8, generator=generator)[:2].tolist()
        words[first], words[second] = colour, animal
        for i in range(8):
            if padded and float(torch.rand((), generator=generator)) < 0.3:
                words[i] = "<pad>"
        texts.append((" ".join([*words, ":"]), f"{COLOURS[colour]} {ANIMALS[animal]}"))
        places.append((first, second))
    return texts, places


@pytest.fixture(scope="module")
def trained():
    """A small Llama that has learned to answer, also where words of the prompt are missing."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = word_tokenizer()
        model = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=2,
                max_position_embeddings=32,
                pad_token_id=0,
                bos_token_id=None,
                eos_token_id=1,
            )
        )
        generator = torch.Generator().manual_seed(0)
        texts, _ = written(600, generator, padded=True)
        ids = tokenizer([f"{prompt} {answer}" for prompt, answer in texts], return_tensors="pt")["input_ids"]
        optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
        for _ in range(120):
            rows = ids[torch.randint(len(ids), (64,), generator=generator)]
            logits = model(rows, attention_mask=torch.ones_like(rows)).logits[:, -3:-1]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, -2:].flatten()).backward()
            optimizer.step()
    model.zero_grad()
    return model.eval(), tokenizer


def by_gradient(model, tokenizer, **kwargs):
    return LLMStochasticGates(LayerStochasticGates(model, model.get_input_embeddings()), tokenizer, **kwargs)


def by_score(model, tokenizer, **kwargs):
    return LLMStochasticGates(StochasticGates(model, estimator=ScoreFunction()), tokenizer, **kwargs)


def kept(attributions):
    return (attributions > 0.5).nonzero().flatten().tolist()


@pytest.mark.parametrize("make", [by_gradient, by_score])
def test_the_words_that_an_answer_and_each_of_its_tokens_need(make, trained, untouched):
    model, tokenizer = trained
    llm = make(model, tokenizer)
    texts, places = written(4, torch.Generator().manual_seed(1))
    right = 0
    for (prompt, answer), (colour, animal) in zip(texts, places, strict=True):
        inp = TextTokenInput(prompt, tokenizer, skip_tokens=[tokenizer.convert_tokens_to_ids(":")])
        with untouched(model):
            result = llm.attribute(inp, target=answer)
        assert result.seq_attr.shape == (8,)
        assert result.token_attr.shape == (2, 8)
        assert result.input_tokens == prompt.split()[:8]
        assert result.output_tokens == answer.split()
        assert bool(((result.token_attr >= 0) & (result.token_attr <= 1)).all())
        right += kept(result.seq_attr) == sorted((colour, animal))
        right += kept(result.token_attr[0]) == [colour]
        right += kept(result.token_attr[1]) == [animal]
    assert right >= 11


def test_templates_whose_parts_are_words_or_groups(trained):
    model, tokenizer = trained
    inp = TextTemplateInput(
        "the {} was {} and {} saw {} :",
        values=["cat", "very", "red", "one"],
        baselines=["house", "near", "near", "a"],
    )
    result = by_score(model, tokenizer).attribute(inp, target="apple milk")
    assert kept(result.seq_attr) == [0, 2]
    assert result.token_attr.argmax(1).tolist() == [2, 0]
    grouped = TextTemplateInput(
        "the {} was {} and {} saw {} :",
        values=["cat", "very", "red", "one"],
        baselines=["house", "near", "near", "a"],
        mask=[0, 1, 0, 1],
    )
    found = by_score(model, tokenizer).attribute(grouped, target="apple milk").seq_attr
    assert kept(found) == [0, 2]
    assert found[0] == found[2]


def test_the_gradient_route_takes_tokens_only(trained):
    inp = TextTemplateInput("the {} :", values=["cat"])
    with pytest.raises(
        ArgumentError, match=r"inp: expected TextTokenInput.*TextTemplateInput.*ScoreFunction\(\)"
    ):
        by_gradient(*trained).attribute(inp, target="apple")


@pytest.mark.parametrize("make", [by_gradient, by_score])
@pytest.mark.parametrize("attr_target", ["log_prob", "prob"])
def test_the_whole_answer_alone(make, attr_target, trained):
    model, tokenizer = trained
    inp = TextTokenInput("the very red house was near one cat :", tokenizer)
    whole = make(model, tokenizer, attr_target=attr_target, per_token=False).attribute(
        inp, target="apple milk"
    )
    assert whole.token_attr is None
    both = make(model, tokenizer, attr_target=attr_target).attribute(inp, target="apple milk")
    torch.testing.assert_close(whole.seq_attr, both.seq_attr, rtol=0, atol=1e-4)
    assert {2, 7} <= set(kept(whole.seq_attr))


def test_the_answer_may_be_generated_and_its_scores_read_in_one_pass(trained):
    model, tokenizer = trained
    inp = TextTokenInput("the very red house was near one cat :", tokenizer)
    llm = by_score(model, tokenizer)
    given = llm.attribute(inp, target="apple milk", seed=3)
    generated = llm.attribute(inp, gen_args={"max_new_tokens": 2, "do_sample": False}, seed=3)
    assert generated.output_tokens == ["apple", "milk"]
    torch.testing.assert_close(given.seq_attr, generated.seq_attr)
    if "forward_in_tokens" not in inspect.signature(LLMAttribution.attribute).parameters:
        return  # before captum 0.9
    at_once = llm.attribute(inp, target="apple milk", forward_in_tokens=False, seed=3)
    assert set(given.seq_attr.topk(2).indices.tolist()) == set(at_once.seq_attr.topk(2).indices.tolist())


def test_a_prompt_is_shown_once(trained):
    model, tokenizer = trained
    inp = TextTemplateInput("the {} was {} :", values=["cat", "red"], baselines=["house", "near"])
    seen = []
    by_score(model, tokenizer).attribute(
        inp, target="apple milk", _inspect_forward=lambda *call: seen.append(call[0])
    )
    assert len(seen) == len(set(seen)) <= 4


def test_captums_own_wrapper_agrees_on_the_words(trained):
    model, tokenizer = trained
    inp = TextTokenInput("the very red house was near one cat :", tokenizer)
    theirs = LLMAttribution(FeatureAblation(model), tokenizer).attribute(inp, target="apple milk")
    ours = by_score(model, tokenizer).attribute(inp, target="apple milk")
    assert set(ours.seq_attr.topk(2).indices.tolist()) == set(theirs.seq_attr.topk(2).indices.tolist())
    assert ours.seq_attr_dict.keys() == theirs.seq_attr_dict.keys()


def test_methods_of_other_kinds_are_refused(trained):
    with pytest.raises(AssertionError, match="does not support"):
        LLMStochasticGates(FeatureAblation(trained[0]), trained[1])


@contextlib.contextmanager
def pressing_at(model, call):
    """The user presses Ctrl-C in a call of the model, counted from 1; yields an entry for each call."""
    forward, calls = model.forward, []

    @functools.wraps(forward)
    def pressed(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return forward(*args, **kwargs)

    model.forward = pressed
    try:
        yield calls
    finally:
        del model.forward


@pytest.mark.parametrize("make", [by_gradient, by_score])
def test_after_ctrl_c_what_was_learned_is_returned_with_a_warning(make, trained):
    llm = make(*trained)
    inp = TextTokenInput(written(1, torch.Generator().manual_seed(1))[0][0][0], llm.tokenizer)
    with pressing_at(llm.model, 0) as calls:
        whole = llm.attribute(inp, target="apple milk", n_steps=6)
    n_calls = len(calls)
    for call in (n_calls // 2, n_calls - 1):
        with (
            pressing_at(llm.model, call) as calls,
            pytest.warns(UserWarning, match="^. of 3 ") as said,
        ):
            found = llm.attribute(inp, target="apple milk", n_steps=6)
        assert len([one for one in said if "interrupted" in str(one.message)]) == 1
        assert len(calls) == call
        assert found.seq_attr.shape == whole.seq_attr.shape
        assert bool(found.seq_attr.any())
        assert found.token_attr.shape == whole.token_attr.shape
        if make is by_score and call == n_calls - 1:  # one score after the other: the first is done
            torch.testing.assert_close(found.seq_attr, whole.seq_attr)
        elif make is by_score:
            assert not torch.equal(found.token_attr, whole.token_attr)


@pytest.mark.parametrize("make", [by_gradient, by_score])
def test_ctrl_c_before_anything_is_learned_is_raised(make, trained):
    llm = make(*trained)
    inp = TextTokenInput("the cat saw red :", llm.tokenizer)
    with pressing_at(llm.model, 2), pytest.raises(KeyboardInterrupt):
        llm.attribute(inp, target="apple milk", n_steps=6)


def answers(model, rows, answer):
    """Log-probabilities of the tokens of an answer, each prompt run whole and by itself."""
    found = []
    for prompt in rows:
        logits = model(torch.cat([prompt, answer])[None]).logits[0, len(prompt) - 1 : -1]
        found.append(logits.log_softmax(1).gather(1, answer[:, None]).squeeze(1))
    return torch.stack(found).detach()


def prompts(n, generator):
    """Prompts that begin with the same five tokens, of different lengths."""
    head = torch.randint(3, 20, (5,), generator=generator)
    rows = [torch.randint(3, 20, (int(k),), generator=generator) for k in torch.randint(1, 9, (n,))]
    return [torch.cat([head, row]) for row in rows]


def other_model(name):
    """Models whose cache is not that of Llama, with random weights."""
    size = {"vocab_size": 25, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    size |= {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}
    if name == "GPT2":
        config = transformers.GPT2Config(vocab_size=25, n_embd=16, n_layer=2, n_head=2)
        return transformers.GPT2LMHeadModel(config).eval()
    if name == "Mamba":  # keeps a state, of which no token can be taken away
        config = transformers.MambaConfig(vocab_size=25, hidden_size=16, num_hidden_layers=1, state_size=4)
        return transformers.MambaForCausalLM(config).eval()
    config = transformers.MistralConfig(**size, sliding_window=3)  # keeps a window of three tokens
    return transformers.MistralForCausalLM(config).eval()


@pytest.mark.parametrize("name", ["Llama", "GPT2", "Mistral", "Mamba"])
@pytest.mark.filterwarnings("ignore")  # of transformers, about slow Mamba
def test_prompts_that_begin_alike_have_the_answers_that_they_have_alone(name, trained):
    generator = torch.Generator().manual_seed(2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = trained[0] if name == "Llama" else other_model(name)
        rows, answer = prompts(12, generator), torch.tensor([7, 12, 4])
    shared = Prefixes(model)
    for some in (rows, rows[3:7], rows[:1]):
        torch.testing.assert_close(
            shared.log_probabilities(some, answer), answers(model, some, answer), rtol=1e-4, atol=1e-4
        )
    whole = sum(len(row) + 2 for row in [*rows, *rows[3:7], *rows[:1]])
    assert shared.n_tokens < 0.75 * whole if name in ("Llama", "GPT2") else shared.n_tokens == whole


def test_a_call_that_fails_leaves_nothing_behind(trained):
    model, answer, rows = (
        trained[0],
        torch.tensor([7, 12]),
        [torch.tensor([3, 4, 5]), torch.tensor([3, 4, 6, 5])],
    )
    shared = Prefixes(model)
    shared.log_probabilities(rows, answer)
    with pressing_at(model, 1), pytest.raises(KeyboardInterrupt):
        shared.log_probabilities(rows, answer)
    found = shared.log_probabilities(rows, answer)
    torch.testing.assert_close(found, answers(model, rows, answer), rtol=1e-5, atol=1e-5)


def test_an_answer_of_one_token_after_equal_prompts(trained):
    model, answer = trained[0], torch.tensor([7])
    row = torch.tensor([3, 4, 5])
    shared = Prefixes(model)
    found = shared.log_probabilities([row, row, row[:1]], answer)
    torch.testing.assert_close(found, answers(model, [row, row, row[:1]], answer), rtol=1e-5, atol=1e-5)
    assert shared.n_tokens == 1 + 2 + 1  # the last token of a prompt is run for its logits


def test_the_explanation_is_that_of_rows_that_are_run_whole(trained, monkeypatch):
    model, tokenizer = trained
    head = "the house was very near . " * 3
    inp = TextTemplateInput(head + "{} {} near the {} :", ["red", "one", "cat"], baselines=["a", "a", "a"])
    seen, forward = [], model.forward

    @functools.wraps(forward)
    def counted(input_ids, **kwargs):
        seen.append(input_ids.shape[1])
        return forward(input_ids, **kwargs)

    monkeypatch.setattr(model, "forward", counted)
    llm, tokens = by_score(model, tokenizer), {}
    for cached in (True, False):
        found = llm.attribute(inp, target="apple milk", use_cached_outputs=cached, forward_in_tokens=False)
        tokens[cached] = sum(seen), found
        seen.clear()
    torch.testing.assert_close(tokens[True][1].seq_attr, tokens[False][1].seq_attr, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(tokens[True][1].token_attr, tokens[False][1].token_attr, rtol=1e-4, atol=1e-4)
    assert tokens[True][0] < 0.5 * tokens[False][0]
