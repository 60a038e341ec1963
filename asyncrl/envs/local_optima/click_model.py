"""What RecSim-Data learns from a log before anybody acts: embeddings of items, and when a user clicks (seed 002; AGILE).

Both are fitted once, with seeded generators and one thread, so that the same log gives the same numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.local_optima.movielens import USER_SIZE, Log

EMBEDDING = 30
HISTORY = 3
"""Items that were clicked last: what is known of a user beside the attributes."""
HIDDEN = 64
SHARE = 0.6
"""Of the log's rows, from which the model of training is fitted; from the others that of evaluation."""
BATCH = 512
_LEARNING_RATE = 1e-3

Numbers = NDArray[np.float32]


def samples(log: Log, click_from: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """For each row of the log the items [R, 3] that its user had clicked last, oldest first, -1 for none, and whether it is a click [R]."""
    clicks = log.rating >= click_from
    history = np.full((len(log.user), HISTORY), -1, np.int64)
    latest = np.full((len(log.users), HISTORY), -1, np.int64)
    for row, (user, item) in enumerate(zip(log.user, log.item)):
        history[row] = latest[user]
        if clicks[row]:
            latest[user] = [*latest[user, 1:], item]
    return history, clicks


def observations(history: NDArray[np.int64], embeddings: Numbers, users: Numbers) -> Numbers:
    """[N, 3, 54]: the embedding of each item of history[N, 3], zero for none, beside its user's vector of users[N, 24]."""
    items = np.where(history[..., None] >= 0, embeddings[history], np.float32(0.0))
    return np.concatenate([items, np.repeat(users[:, None], HISTORY, axis=1)], axis=2)


def item_embeddings(genres: Numbers, seed: int, epochs: int = 150) -> Numbers:
    """[I, 30], each column within -1 to 1: the means of a variational autoencoder of genres[I, 18], which is fitted here."""
    import torch

    with _alone(seed):
        size = genres.shape[1]
        encoder = torch.nn.Sequential(torch.nn.Linear(size, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 2 * EMBEDDING))
        decoder = torch.nn.Sequential(torch.nn.Linear(EMBEDDING, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, size))
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], _LEARNING_RATE)
        given = torch.from_numpy(genres)
        for _ in range(epochs):
            for part in torch.randperm(len(given)).split(BATCH):
                mean, log_variance = encoder(given[part]).chunk(2, dim=1)
                latent = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
                told = torch.nn.functional.binary_cross_entropy_with_logits(decoder(latent), given[part], reduction="sum")
                divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum()
                optimizer.zero_grad()
                ((told + 0.1 * divergence) / len(part)).backward()
                optimizer.step()
        with torch.no_grad():
            made: Numbers = encoder(given)[:, :EMBEDDING].numpy()
    low, high = made.min(axis=0), made.max(axis=0)
    return np.clip(2.0 * (made - low) / (high - low) - 1.0, -1.0, 1.0).astype(np.float32)


def layout_of(items: int) -> dict[str, tuple[tuple[int, ...], type]]:
    """Names, shapes and type of what `fitted` returns, for so many items."""
    each, f = USER_SIZE + EMBEDDING, np.float32
    return {
        "element": ((HIDDEN, each), f),  # y_j = relu(element x_j + its bias)
        "element_bias": ((HIDDEN,), f),
        "pooled": ((EMBEDDING, HIDDEN), f),  # s = pooled mean_j y_j + its bias
        "pooled_bias": ((EMBEDDING,), f),
        "state": ((HIDDEN, EMBEDDING), f),  # logit of item i = last relu(item[i] + state s) + last_bias
        "item": ((items, HIDDEN), f),
        "last": ((HIDDEN,), f),
        "last_bias": ((1,), f),
    }


def fitted(
    seen: Numbers, items: NDArray[np.int64], clicks: NDArray[np.bool_], embeddings: Numbers, seed: int, epochs: int
) -> dict[str, Numbers]:
    """The weights (`layout_of`) of P(click) = sigmoid(network(mean over j of an encoder of x_j, the item's embedding)).

    seen [N, 3, 54] are the x_j, items [N] and clicks [N] what was shown and done, embeddings [I, 30]. By binary cross-entropy.
    """
    import torch

    with _alone(seed):
        element, pooled = torch.nn.Linear(seen.shape[2], HIDDEN), torch.nn.Linear(HIDDEN, EMBEDDING)
        joined, last = torch.nn.Linear(2 * EMBEDDING, HIDDEN), torch.nn.Linear(HIDDEN, 1)
        parameters = [parameter for layer in (element, pooled, joined, last) for parameter in layer.parameters()]
        optimizer = torch.optim.Adam(parameters, _LEARNING_RATE)
        given, shown, wanted = torch.from_numpy(seen), torch.from_numpy(embeddings[items]), torch.from_numpy(clicks.astype(np.float32))
        for _ in range(epochs):
            for part in torch.randperm(len(given)).split(BATCH):
                state = pooled(element(given[part]).relu().mean(dim=1))
                logits = last(joined(torch.cat([state, shown[part]], dim=1)).relu())[:, 0]
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted[part])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        with torch.no_grad():
            of_state, of_item = joined.weight[:, :EMBEDDING], joined.weight[:, EMBEDDING:]
            of_items = torch.from_numpy(embeddings) @ of_item.T + joined.bias
        weights: list[Any] = [element.weight, element.bias, pooled.weight, pooled.bias, of_state, of_items, last.weight[0], last.bias]
        return {name: weight.detach().numpy() for name, weight in zip(layout_of(len(embeddings)), weights, strict=True)}


@contextlib.contextmanager
def _alone(seed: int) -> Iterator[None]:
    """Seed torch's generator and use one thread; both are afterwards as they were."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
