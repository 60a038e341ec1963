"""A small log with MovieLens-100K's schema, written as GroupLens and as recbole do."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from asyncrl.envs.local_optima.made_up_log import made_up_log
from asyncrl.envs.local_optima.movielens import GENRES, OCCUPATIONS, Log


def small_log() -> Log:
    return made_up_log(3, users=40, items=50, ratings=1500)


def write(folder: Path, log: Log, recbole: bool = False) -> Path:
    """Write the three files; rows of the ratings in another order than that of time."""
    folder.mkdir(exist_ok=True)
    order = np.random.default_rng(0).permutation(len(log.user))
    ratings = [f"{log.user[row] + 1}\t{log.item[row] + 1}\t{log.rating[row]}\t{880_000_000 + row}" for row in order]
    people = [(str(round(100 * user[0])), "FM"[int(user[2])], OCCUPATIONS[int(user[3:].argmax())], "12345") for user in log.users]
    if recbole:
        words = [" ".join(name for name, there in zip(GENRES, row) if there) for row in log.genres]
        items = [f"{number}\tA Film\t1995\t{text}" for number, text in enumerate(words, 1)]
        heads = ("user_id:token\titem_id:token\trating:float\ttime:float", "item_id\ttitle\tyear\tclass", "user_id\tage\tsex\tjob\tzip")
        texts = ratings, items, ["\t".join((str(number), *one)) for number, one in enumerate(people, 1)]
        names = "ml-100k.inter", "ml-100k.item", "ml-100k.user"
        lines = [[head, *text] for head, text in zip(heads, texts)]
    else:
        flags = ["|".join(str(int(one)) for one in (0, *row)) for row in log.genres]
        items = [f"{number}|Amélie (1995)|01-Jan-1995||http://x|{text}" for number, text in enumerate(flags, 1)]
        names = "u.data", "u.item", "u.user"
        lines = [ratings, items, ["|".join((str(number), *one)) for number, one in enumerate(people, 1)]]
    for name, text in zip(names, lines):
        (folder / name).write_text("\n".join(text) + "\n", "latin-1")
    return folder
