"""Updates a second of TD3's and SAC's learners. Usage: python runs/learner_rates.py [bare | devices]

bare       beside bare torch loops of the same updates, which are what one writes first: nn.Linear, torch.optim.Adam, targets in a
           loop over parameters, no figures. All take turns in slices of a few updates; what counts is the median over slices of
           the ratio, in processor time.
devices    on each device that is here, for hidden layers of several widths and batches of several sizes: drawing from the replay
           and copying the batch included. Writes runs/reference/learner-device.json.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from asyncrl.algos.sac import Sac, SacOptions
from asyncrl.algos.td3 import Td3, Td3Options
from asyncrl.heads.networks.devices import names_here, place_of
from asyncrl.replays.records import Batch, fields_of
from asyncrl.replays.store import Replay

OBSERVATION, ACTION, BATCH, HIDDEN = 17, 6, 256, 256
SLICES, UPDATES = 15, 20
WIDTHS, BATCHES = (64, 256, 1024), (256, 1024)
DEVICE_SLICES, SLICE_SECONDS = 5, 0.5


def network(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs))


class Bare:
    def __init__(self, outputs, fused):
        self.policy, self.q1, self.q2 = network(OBSERVATION, outputs), network(OBSERVATION + ACTION, 1), network(OBSERVATION + ACTION, 1)
        self.nets = (self.policy, self.q1, self.q2)
        self.targets = copy.deepcopy(self.nets)
        self.policy_adam = torch.optim.Adam(self.policy.parameters(), 3e-4, fused=fused)
        self.critic_adam = torch.optim.Adam([*self.q1.parameters(), *self.q2.parameters()], 3e-4, fused=fused)
        self.count = 0

    def critics(self, observation, action, target):
        x = torch.cat([observation, action], 1)
        loss = F.mse_loss(self.q1(x).squeeze(1), target) + F.mse_loss(self.q2(x).squeeze(1), target)
        self.critic_adam.zero_grad()
        loss.backward()
        self.critic_adam.step()

    def down(self, loss, adam):
        adam.zero_grad()
        loss.backward()
        adam.step()

    def follow(self, pairs):
        with torch.no_grad():
            for target, net in pairs:
                for theirs, ours in zip(target.parameters(), net.parameters()):
                    theirs.mul_(0.995).add_(ours, alpha=0.005)


class BareTd3(Bare):
    def update(self, observation, action, reward, discount, following):
        self.count += 1
        policy, q1, q2 = self.targets
        with torch.no_grad():
            noise = (torch.randn_like(action) * 0.2).clamp(-0.5, 0.5)
            x = torch.cat([following, (torch.tanh(policy(following)) + noise).clamp(-1, 1)], 1)
            target = reward + discount * torch.min(q1(x), q2(x)).squeeze(1)
        self.critics(observation, action, target)
        if self.count % 2 == 0:
            loss = -self.q1(torch.cat([observation, torch.tanh(self.policy(observation))], 1)).mean()
            self.down(loss, self.policy_adam)
            self.follow(zip(self.targets, self.nets))


class BareSac(Bare):
    def __init__(self, outputs, fused):
        super().__init__(outputs, fused)
        self.log_alpha = torch.zeros(1, requires_grad=True)
        self.alpha_adam = torch.optim.Adam([self.log_alpha], 3e-4, fused=fused)

    def sample(self, observation):
        mean, log_std = self.policy(observation).chunk(2, -1)
        normal = torch.distributions.Normal(mean, log_std.clamp(-20, 2).exp(), validate_args=False)
        u = normal.rsample()
        action = torch.tanh(u)
        return action, normal.log_prob(u).sum(1) - (2 * (np.log(2) - u - F.softplus(-2 * u))).sum(1)

    def update(self, observation, action, reward, discount, following):
        _, q1, q2 = self.targets
        alpha = self.log_alpha.exp().detach()
        with torch.no_grad():
            next_action, log_prob = self.sample(following)
            x = torch.cat([following, next_action], 1)
            target = reward + discount * (torch.min(q1(x), q2(x)).squeeze(1) - alpha * log_prob)
        self.critics(observation, action, target)
        fresh, log_prob = self.sample(observation)
        x = torch.cat([observation, fresh], 1)
        self.down((alpha * log_prob - torch.min(self.q1(x), self.q2(x)).squeeze(1)).mean(), self.policy_adam)
        self.down(-(self.log_alpha.exp() * (log_prob.detach() - ACTION)).mean(), self.alpha_adam)
        self.follow(list(zip(self.targets, self.nets))[1:])


def filled_replay():
    generator = np.random.default_rng(0)
    replay = Replay.private(100_000, fields_of(((OBSERVATION,), np.float32), ACTION), 0.99)
    views = replay.record.views(replay._rows)
    for name in ("observation", "next_observation", "reward"):
        views[name][...] = generator.standard_normal(views[name].shape)
    views["action"][...] = generator.uniform(-1, 1, views["action"].shape)
    views["discount"][...] = 0.99
    replay._words[:2] = replay.capacity
    return replay


def seconds(update):
    began = time.thread_time()
    for _ in range(UPDATES):
        update()
    return (time.thread_time() - began) / UPDATES


def compare(name, ours, bares):
    generator, replay = np.random.default_rng(0), filled_replay()
    batch: Batch = copy.deepcopy(replay.draw(generator, BATCH))
    arguments = [torch.from_numpy(a) for a in (batch.observation, batch.action, batch.reward, batch.discount, batch.next_observation)]
    updates = {"asyncrl": lambda: ours.update(batch), "asyncrl with its draw": lambda: ours.update(replay.draw(generator, BATCH))}
    updates.update({label: lambda bare=bare: bare.update(*arguments) for label, bare in bares.items()})
    for update in updates.values():
        seconds(update)
    slices = {label: [] for label in updates}
    for _ in range(SLICES):
        for label, update in updates.items():
            slices[label].append(seconds(update))
    for label, taken in slices.items():
        ratio = np.median(np.array(slices["bare"]) / np.array(taken))
        print(f"{name:4} {label:22} {1e3 * min(taken):7.2f} ms at best, rate {ratio:5.2f} of bare")


def bare():
    compare("td3", Td3(OBSERVATION, ACTION, Td3Options(), 0), {"bare": BareTd3(ACTION, None), "bare, fused Adam": BareTd3(ACTION, True)})
    compare(
        "sac", Sac(OBSERVATION, ACTION, SacOptions(), 0), {"bare": BareSac(2 * ACTION, None), "bare, fused Adam": BareSac(2 * ACTION, True)}
    )


def rate(learner, replay, size):
    """Updates a second: the median over slices of time."""
    generator, rates = np.random.default_rng(0), []
    for _ in range(DEVICE_SLICES + 1):
        began, updates = time.perf_counter(), 0
        while time.perf_counter() - began < SLICE_SECONDS or updates < 2:
            learner.update(replay.draw(generator, size))  # its figures are numbers of the host: it has waited for the device
            updates += 1
        rates.append(updates / (time.perf_counter() - began))
    return float(np.median(rates[1:]))


def devices():
    replay, rows = filled_replay(), []
    kinds = (("td3", Td3, Td3Options), ("sac", Sac, SacOptions))
    for (name, kind, options), width, size in itertools.product(kinds, WIDTHS, BATCHES):
        row: dict[str, Any] = {"algo": name, "hidden": [width, width], "batch": size}
        for device in names_here():
            learner = kind(OBSERVATION, ACTION, options(batch=size), 0, (width, width), place_of(device))
            row[device] = round(rate(learner, replay, size), 1)
        rows.append(row | {f"{device}_over_cpu": round(row[device] / row["cpu"], 2) for device in names_here()[1:]})
        print(rows[-1], flush=True)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    data = {"command": "python runs/learner_rates.py devices", "torch": torch.__version__, "gpu": gpu, "rows": rows}
    (Path(__file__).parent / "reference" / "learner-device.json").write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description="Updates a second of TD3's and SAC's learners.")
    parser.add_argument("what", nargs="?", choices=("bare", "devices"), default="bare")
    {"bare": bare, "devices": devices}[parser.parse_args().what]()
