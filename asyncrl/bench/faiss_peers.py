"""faiss's indices for the largest dot product, where the package faiss-cpu is installed (the extra `faiss`), with one thread."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

LSH = ((64, 256), (256, 256), (256, 1024))
"""Bits of a code, and how many of the nearest codes' actions are compared exactly afterwards: LSH alone returns codes, not dot products."""
LINKS, BREADTH = 32, 64
"""HNSW: links of a node, and candidates that a search keeps."""

Peer = tuple[str, Callable[[NDArray[np.float32]], int], int]
"""Name, the call that takes a query [d] and returns an action, and the bytes of the index as written to a file."""


def peers(latents: NDArray[np.float32], hnsw: bool) -> Iterator[Peer]:
    """faiss's indices over latents [N, d]; none where faiss is not installed. `hnsw`: whether HNSW is among them."""
    if find_spec("faiss") is None:
        return
    faiss = importlib.import_module("faiss")
    faiss.omp_set_num_threads(1)
    size = latents.shape[1]
    yield _of("faiss IndexFlatIP", faiss.IndexFlatIP(size), latents, faiss)
    for bits, compared in LSH:
        yield _lsh(bits, min(compared, len(latents)), latents, faiss)
    if hnsw:
        index = faiss.IndexHNSWFlat(size, LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efSearch = BREADTH
        yield _of(f"faiss IndexHNSWFlat {LINKS}, {BREADTH}", index, latents, faiss)


def _of(name: str, index: Any, latents: NDArray[np.float32], faiss: Any) -> Peer:
    index.add(latents)

    def choose(query: NDArray[np.float32]) -> int:
        return int(index.search(query[None], 1)[1][0, 0])

    return name, choose, len(faiss.serialize_index(index))


def _lsh(bits: int, compared: int, latents: NDArray[np.float32], faiss: Any) -> Peer:
    """Random rotation and signs, of latents that one more number makes equally long, as in our projections."""
    centred = latents - latents.mean(axis=0)
    squares = np.square(centred).sum(axis=1)
    longer = np.column_stack([centred, np.sqrt(np.maximum(squares.max() - squares, 0.0))])
    index = faiss.IndexLSH(longer.shape[1], bits, True, False)
    index.add(np.ascontiguousarray(longer, np.float32))

    def choose(query: NDArray[np.float32]) -> int:
        near = index.search(np.append(query, np.float32(0.0))[None], compared)[1][0]
        return int(near[np.argmax(latents[near] @ query)])

    return f"faiss IndexLSH {bits}, best of {compared}", choose, len(faiss.serialize_index(index))
