"""RecSim-Data: reading MovieLens' files, what is learned from them, and users that click by it."""

from __future__ import annotations

import movielens_files
import numpy as np
import pytest
import torch

from asyncrl.envs.local_optima import recsim_data
from asyncrl.envs.local_optima.click_model import SHARE, fitted, item_embeddings, observations, samples
from asyncrl.envs.local_optima.made_up_log import made_up_log
from asyncrl.envs.local_optima.movielens import FORMATS, Log, read_movielens
from asyncrl.envs.local_optima.recsim_data import RecSimData
from asyncrl.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return movielens_files.write(tmp_path_factory.mktemp("ml-100k"), movielens_files.small_log())


@pytest.mark.parametrize("recbole", [False, True])
def test_both_formats_are_read_as_they_were_written(tmp_path, recbole):
    log = movielens_files.small_log()
    found = read_movielens(str(movielens_files.write(tmp_path / "ml", log, recbole)))
    for name in ("user", "item", "rating", "genres", "users"):
        np.testing.assert_array_equal(getattr(found, name), getattr(log, name), name)


def test_a_made_up_log_has_the_schema():
    log = made_up_log(1)
    assert log.genres.shape == (1682, 18)
    assert log.users.shape == (943, 24)
    assert np.bincount(log.rating)[1:] / 1e5 == pytest.approx([0.061, 0.114, 0.271, 0.342, 0.212], abs=0.002)
    assert (log.users[:, 1:3].sum(axis=1) == 1).all()
    assert (log.users[:, 3:].sum(axis=1) == 1).all()
    assert (log.genres.sum(axis=1) >= 1).all()
    np.testing.assert_array_equal(log.rating, made_up_log(1).rating)
    assert (log.rating != made_up_log(2).rating).any()


def spoiled(folder, form, place, line, text):
    name = form[place]
    lines = (folder / name).read_text("latin-1").split("\n")
    lines[line - 1] = text
    (folder / name).write_text("\n".join(lines), "latin-1")


@pytest.mark.parametrize(
    ("place", "line", "text", "told"),
    [
        (0, 3, "1\t2\t6\t7", r"u\.data, line 3: '6' cannot be used \(allowed: whole numbers from 1 to 5\)"),
        (0, 3, "1\t2\tfive\t7", "u.data, line 3: 'five' cannot be used"),
        (0, 3, "1\t2\t5", r"u\.data, line 3: 3 columns cannot be used \(allowed: from 4\)"),
        (0, 7, "41\t2\t5\t7", "u.data, line 7: there is no user '41'"),
        (0, 7, "1\t51\t5\t7", "u.data, line 7: there is no item '51'"),
        (1, 2, "2|a|b|c|d|0|1", r"u\.item, line 2: 7 columns cannot be used \(allowed: 24\)"),
        (1, 2, "1|a|b||d" + "|0" * 19, "u.item, line 2: number 1 comes twice"),
        (1, 2, "2|a|b||d" + "|2" * 19, "u.item, line 2: '2' cannot be used"),
        (2, 1, "1|old|M|other|1", "u.user, line 1: 'old' cannot be used"),
        (2, 1, "1|30|X|other|1", "u.user, line 1: 'X' cannot be used"),
        (2, 1, "1|30|M|docter|1", "u.user, line 1: unknown occupation 'docter'; did you mean 'doctor'"),
    ],
)
def test_malformed_files_say_where(tmp_path, place, line, text, told):
    there = movielens_files.write(tmp_path / "ml", movielens_files.small_log())
    spoiled(there, FORMATS[0], place, line, text)
    with pytest.raises(UserError, match=told) as caught:
        RecSimData(str(there))
    assert "\n" not in str(caught.value)


def test_missing_files(tmp_path, monkeypatch):
    monkeypatch.delenv(recsim_data.VARIABLE, raising=False)
    there = movielens_files.write(tmp_path / "ml", movielens_files.small_log())
    with pytest.raises(UserError, match="name its folder in the variable ASYNCRL_MOVIELENS"):
        RecSimData()
    with pytest.raises(UserError, match="'nowhere' is not there"):
        RecSimData("nowhere")
    (there / "u.item").unlink()
    with pytest.raises(UserError, match=r"has no u\.item"):
        RecSimData(str(there))
    (there / "u.data").unlink()
    with pytest.raises(UserError, match=r"has neither u\.data nor ml-100k\.inter"):
        RecSimData(str(there))
    monkeypatch.setenv(recsim_data.VARIABLE, str(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match="elsewhere' is not there"):
        RecSimData()


def test_histories_are_the_last_three_clicks():
    log = Log(np.array([0, 1, 0, 0, 0, 0, 1]), np.array([5, 6, 7, 8, 9, 4, 3]), np.array([5, 5, 4, 5, 5, 5, 1]), *(np.zeros((2, 2)),) * 2)
    history, clicks = samples(log, 5)
    assert clicks.tolist() == [True, True, False, True, True, True, False]
    assert history.tolist() == [[-1, -1, -1], [-1, -1, -1], [-1, -1, 5], [-1, -1, 5], [-1, 5, 8], [5, 8, 9], [-1, -1, 6]]
    assert samples(log, 4)[0][5].tolist() == [7, 8, 9]


def test_observations_hold_films_and_user():
    embeddings, users = np.random.default_rng(0).random((2, 50, 30), np.float32)
    made = observations(np.array([[-1, 4, 7]]), embeddings, users[:1, :24])
    assert made.shape == (1, 3, 54)
    assert (made[0, 0, :30] == 0).all()
    np.testing.assert_array_equal(made[0, 1:, :30], embeddings[[4, 7]])
    np.testing.assert_array_equal(made[0, :, 30:], users[[0, 0, 0], :24])


def test_embeddings_tell_genres_apart():
    """Films of the same genres have the same embedding, and those of more common genres are nearer than those of fewer."""
    genres = made_up_log(1).genres[:400]
    genres[1] = genres[0]
    made = item_embeddings(genres, 0)
    assert made.shape == (400, 30)
    assert np.abs(made).max() <= 1.0
    np.testing.assert_allclose(made[0], made[1], atol=1e-5)
    apart = np.abs(genres[2:] - genres[0]).sum(axis=1)
    distance = np.linalg.norm(made[2:] - made[0], axis=1)
    assert np.corrcoef(apart, distance)[0, 1] > 0.5
    np.testing.assert_array_equal(made, item_embeddings(genres, 0))


def test_probabilities_are_those_of_the_network(folder, monkeypatch):
    """The compact form in numpy against the network written in torch, and the spread of what is above 0.7."""
    env = RecSimData(str(folder), spread=False)
    env.reset(seed=1)
    env._history = np.array([-1, 3, 8])
    arrays = {name: torch.tensor(array) for name, array in env.audience.arrays().items()}
    x = torch.tensor(env._observe())
    y = torch.relu(x @ arrays["offline/element"].T + arrays["offline/element_bias"]).mean(0)
    state = arrays["offline/pooled"] @ y + arrays["offline/pooled_bias"]
    hidden = torch.relu(arrays["offline/state"] @ state + arrays["offline/item"])
    expected = torch.sigmoid(hidden @ arrays["offline/last"] + arrays["offline/last_bias"]).numpy()
    np.testing.assert_allclose(env.click_probabilities(), expected, rtol=1e-5)
    low = float(np.quantile(expected, 0.5))
    monkeypatch.setattr(recsim_data, "SURE", low)
    env._spread = True
    made, above = env.click_probabilities(), expected > low
    np.testing.assert_allclose(made[~above], expected[~above], rtol=1e-5)
    part = expected[above]
    np.testing.assert_allclose(made[above], low + (1 - low) * (part - part.min()) / (part.max() - part.min()), rtol=1e-3)
    assert made.max() == 1.0


def test_models_learn_from_the_log():
    """On rows that it was not fitted to, the model of training ranks clicks above others; a made-up log can be learned."""
    log = made_up_log(5, users=60, items=60, ratings=12_000)
    embeddings = item_embeddings(log.genres, 0)
    history, clicks = samples(log, 5)
    rows = np.random.default_rng(0).random(len(clicks)) < SHARE
    seen = observations(history, embeddings, log.users[log.user])
    w = fitted(seen[rows], log.item[rows], clicks[rows], embeddings, 0, 20)
    y = np.maximum(seen @ w["element"].T + w["element_bias"], 0).mean(axis=1)
    state = y @ w["pooled"].T + w["pooled_bias"]
    logits = np.maximum(w["item"][log.item] + state @ w["state"].T, 0) @ w["last"]
    told, asked = logits[~rows], clicks[~rows]
    order = np.argsort(np.argsort(told))
    clicked = asked.sum()
    area = (order[asked].sum() - clicked * (clicked - 1) / 2) / (clicked * (~asked).sum())
    assert area > 0.65


def test_history_moves_with_clicks_alone(folder):
    env = RecSimData(str(folder), click_from=3)
    before, _ = env.reset(seed=4)
    assert (before[:, :30] == 0).all()
    seen = set()
    for number in range(60):
        observation, reward, terminated, truncated, info = env.step(number % 50)
        assert (terminated, truncated) == (False, False)
        assert reward == info["click"]
        if reward:
            np.testing.assert_array_equal(observation[2, :30], env.action_features[number % 50])
            np.testing.assert_array_equal(observation[:2], before[1:])
        else:
            np.testing.assert_array_equal(observation, before)
        before = observation
        seen.add(reward)
    assert seen == {0.0, 1.0}


def test_both_models_differ_and_files_of_the_same_content_give_the_same(folder, tmp_path):
    offline, online = RecSimData(str(folder)), RecSimData(str(folder), users="online")
    for env in (offline, online):
        env.reset(seed=1)
    assert (offline.click_probabilities() != online.click_probabilities()).any()
    moved = movielens_files.write(tmp_path / "moved", movielens_files.small_log())
    assert RecSimData(str(moved)).audience == offline.audience
    assert RecSimData(str(moved)).action_features is offline.action_features


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"users": "ofline"}, "unknown users 'ofline'; did you mean 'offline'"),
        ({"click_from": 6}, r"click_from = 6 cannot be used \(allowed: 1 to 5\)"),
        ({"epochs": 0}, "epochs = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"render_mode": "human"}, "render_mode = 'human'"),
    ],
)
def test_wrong_arguments(folder, arguments, told):
    with pytest.raises(UserError, match=told):
        RecSimData(str(folder), **arguments)
